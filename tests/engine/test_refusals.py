"""Which answers prove that a proxy accepted the login that their request carried."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.engine.conftest import Start
from tests.engine.fakes import LOGIN, FakeDesk, office
from tests.engine.wire import connect, get
from tests.support.scripted import Scripted, answering, challenge
from trayproxy.auth.basic import Basic
from trayproxy.engine.refusals import Evidence, evidence
from trayproxy.http.request import parse_request
from trayproxy.http.response import parse_response

GET = get(b"http://site.test/page")
CONNECT = connect(b"site.test:443")
DOUBTFUL = (300, 301, 302, 303, 307, 308, 401, 402, 403, 408, 429, 451, 500, 502, 503, 504, 511)


def of(status: int, *lines: bytes, request: bytes = GET) -> Evidence:
    head = b"".join(line + b"\r\n" for line in (b"HTTP/1.1 %d Reason" % status, *lines, b""))
    asked = parse_request(request)
    return evidence(parse_response(head, asked.method), asked)


@pytest.mark.parametrize("status", [101, 200, 201, 204, 206, 299, 304])
def test_a_success_and_what_was_not_modified_prove_a_login(status: int) -> None:
    assert of(status) is Evidence.PROOF


def test_an_opened_tunnel_proves_a_login() -> None:
    assert of(200, request=CONNECT) is Evidence.PROOF


@pytest.mark.parametrize("status", DOUBTFUL)
def test_what_a_proxy_may_say_to_a_wrong_login_proves_nothing(status: int) -> None:
    lines = [b"Location: https://portal.test/login"] if 300 <= status < 400 else []
    assert of(status, *lines) is Evidence.NONE


@pytest.mark.parametrize("status", [404, 405, 410, 412, 416, 431])
def test_what_only_a_site_says_is_no_proof_and_no_sign_of_a_wrong_login(status: int) -> None:
    assert of(status) is Evidence.FROM_SITE


@pytest.mark.parametrize(
    "location", [b"/login", b"https://site.test/", b"https://SITE.test:8443/x", b"", b"?again"]
)
def test_a_redirect_within_its_host_is_of_the_site(location: bytes) -> None:
    assert of(302, b"Location: " + location) is Evidence.FROM_SITE


@pytest.mark.parametrize(
    "location", [b"http://portal.test/", b"//portal.test/x", b"https://site.test.evil/", b"//[x/"]
)
def test_a_redirect_to_another_host_proves_nothing(location: bytes) -> None:
    assert of(307, b"Location: " + location) is Evidence.NONE


def test_a_401_of_a_site_names_its_challenge() -> None:
    assert of(401, b'WWW-Authenticate: Basic realm="site"') is Evidence.FROM_SITE


@given(status=st.integers(300, 599))
def test_no_answer_but_2xx_and_304_proves_a_login(status: int) -> None:
    assert (of(status) is Evidence.PROOF) == (status == 304)
    assert of(status, request=CONNECT) is Evidence.NONE


# --- In the engine --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "is_doubtful"),
    [
        (b"HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\nno", True),
        (b"HTTP/1.1 404 No\r\nContent-Length: 2\r\n\r\nno", False),
    ],
    ids=["500", "404"],
)
def test_an_answer_that_proves_nothing_is_passed_on_and_told(
    start: Start, answer: bytes, is_doubtful: bool
) -> None:
    with Scripted(answering(challenge('Basic realm="corp"'), answer)) as upstream:
        engine = start(office(upstream.port), FakeDesk(LOGIN, schemes=[Basic()]))
        with engine.connect() as client:
            assert client.ask(GET).body == b"no"
    assert engine.desk.open == [("site.test:80", is_doubtful)]
    assert engine.desk.acceptances == []


def test_a_login_accepted_before_is_confirmed_by_what_only_a_site_says(start: Start) -> None:
    no = b"HTTP/1.1 %d No\r\nContent-Length: 2\r\n\r\nno"
    with Scripted(answering(no % 500, no % 404)) as upstream:
        desk = FakeDesk(LOGIN, schemes=[Basic()], knows_it=True)
        with start(office(upstream.port), desk).connect() as client:
            assert client.ask(GET).status == 500
            assert desk.acceptances == []
            assert client.ask(GET).status == 404
    assert len(desk.acceptances) == 1
    assert desk.open == [("site.test:80", True)]
