"""Which answers prove that a proxy accepted the login that their request carried."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.engine.conftest import Start
from tests.engine.fakes import LOGIN, FakeDesk, office
from tests.engine.wire import connect, get
from tests.support.scripted import Scripted, answering, challenge
from trayproxy.auth.basic import Basic
from trayproxy.auth.scheme import Offer
from trayproxy.desk.credentials import Credentials
from trayproxy.desk.protection_space import UpstreamId
from trayproxy.engine.proxy_auth.challenge_detection import (
    ChallengeDetector,
    Evidence,
    captive_portal_url,
    evidence,
    has_reached_site,
)
from trayproxy.http.challenges import Challenge
from trayproxy.http.request import parse_request
from trayproxy.http.response import Response, parse_response

GET = get(b"http://site.test/page")
CONNECT = connect(b"site.test:443")
DOUBTFUL = (300, 301, 302, 303, 307, 308, 401, 402, 403, 408, 429, 451, 500, 502, 503, 504, 511)
ONLY_SITES = (404, 405, 406, 409, 410, 411, *range(412, 418), *range(421, 427), 428, 431)
"""RFC 9110, section 15.5; RFC 4918, section 11; RFC 6585, sections 3 and 5; RFC 8470."""


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


@pytest.mark.parametrize("status", ONLY_SITES)
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


@pytest.mark.parametrize(
    ("status", "lines", "expected"),
    [
        (200, b"", True),
        (304, b"", True),
        (404, b"", True),
        (301, b"Location: https://site.test/\r\n", True),
        (302, b"Location: http://login.test/\r\n", False),
        (401, b"WWW-Authenticate: Basic realm=a\r\n", False),
        (403, b"", False),
        (503, b"", False),
        (511, b"", False),
    ],
)
def test_only_an_answer_of_its_site_shows_that_a_request_was_let_through(
    status: int, lines: bytes, expected: bool
) -> None:
    head = b"HTTP/1.1 %d Reason\r\n%b\r\n" % (status, lines)
    assert has_reached_site(parse_response(head, b"GET"), parse_request(GET)) is expected


def test_no_other_error_says_that_a_request_has_reached_a_site() -> None:
    found = {status for status in range(400, 600) if of(status) is not Evidence.NONE}
    assert found == set(ONLY_SITES)
    assert {of(status, request=CONNECT) for status in range(300, 600)} == {Evidence.NONE}


@given(status=st.integers(300, 599))
def test_no_answer_but_2xx_and_304_proves_a_login(status: int) -> None:
    assert (of(status) is Evidence.PROOF) == (status == 304)
    assert of(status, request=CONNECT) is Evidence.NONE


# --- A proxy that refuses a login with a 401 ------------------------------------------------------

SPACE = UpstreamId("office", "http://proxy.test:3128")
OTHER = UpstreamId("lab", "http://proxy.test:3128")
SERVER = b"Server: tinyproxy/1.11.0"
ASKS = b'WWW-Authenticate: Basic realm="r"'


def answer_in(realm: str, space: UpstreamId = SPACE) -> Credentials:
    challenge = Challenge("basic", (("realm", realm),) if realm else ())
    return FakeDesk(LOGIN)._answer_with(space, Offer(Basic(), challenge), LOGIN)


def response(status: int, *lines: bytes, method: bytes = b"GET") -> Response:
    head = b"".join(line + b"\r\n" for line in (b"HTTP/1.1 %d No" % status, *lines, b""))
    return parse_response(head, method)


def refusals(*lines: bytes, space: UpstreamId = SPACE) -> ChallengeDetector:
    """Return what has seen a 407 of a proxy with these lines."""
    known = ChallengeDetector()
    asked = known.challenges_in(
        response(407, b'Proxy-Authenticate: Basic realm="r"', *lines), b"GET", space, None
    )
    assert asked == (Challenge("basic", (("realm", "r"),)),)
    return known


def test_a_401_with_all_marks_of_the_407_is_a_refusal() -> None:
    known = refusals(SERVER)
    wanted = known.challenges_in(response(401, SERVER, ASKS), b"GET", SPACE, answer_in("r"))
    assert wanted == (Challenge("basic", (("realm", "r"),)),)


@pytest.mark.parametrize(
    ("before", "lines", "realm"),
    [
        ((), (ASKS,), "r"),
        ((), (SERVER, ASKS), "r"),
        ((SERVER,), (ASKS,), "r"),
        ((SERVER,), (b"Server: nginx", ASKS), "r"),
        ((SERVER,), (SERVER, SERVER, ASKS), "r"),
        ((SERVER,), (SERVER, b"Via: 1.1 tinyproxy", ASKS), "r"),
        ((SERVER,), (SERVER,), "r"),
        ((SERVER,), (SERVER, b'WWW-Authenticate: Basic realm="site"'), "r"),
        ((SERVER,), (SERVER, b'WWW-Authenticate: Digest realm="r", nonce="n"'), "r"),
        ((SERVER,), (SERVER, b"WWW-Authenticate: Basic"), ""),
    ],
)
def test_a_401_that_lacks_one_of_the_marks_may_be_a_sites(
    before: tuple[bytes, ...], lines: tuple[bytes, ...], realm: str
) -> None:
    known = refusals(*before)
    assert known.challenges_in(response(401, *lines), b"GET", SPACE, answer_in(realm)) is None


def test_a_401_is_none_for_another_proxy_or_without_a_login_or_with_another_status() -> None:
    known = refusals(SERVER)
    marked = response(401, SERVER, ASKS)
    assert known.challenges_in(marked, b"GET", OTHER, answer_in("r", OTHER)) is None
    assert known.challenges_in(marked, b"GET", SPACE, None) is None
    assert known.challenges_in(marked, b"CONNECT", SPACE, None) is None
    assert known.challenges_in(response(403, SERVER, ASKS), b"GET", SPACE, answer_in("r")) is None


def test_a_401_to_connect_needs_no_marks_but_a_challenge() -> None:
    known, carried = ChallengeDetector(), answer_in("r")
    asked = response(401, ASKS, method=b"CONNECT")
    assert known.challenges_in(asked, b"CONNECT", SPACE, carried) is not None
    bare = response(401, method=b"CONNECT")
    assert known.challenges_in(bare, b"CONNECT", SPACE, carried) is None


def test_what_many_proxies_look_like_is_not_remembered_for_ever() -> None:
    known = refusals(SERVER)
    for number in range(200):
        space = UpstreamId(f"profile-{number}", "http://proxy.test:3128")
        known.challenges_in(response(407, SERVER), b"GET", space, None)
        assert len(known._servers) <= 64


# --- Pages of the network -------------------------------------------------------------------------


def page_of(status: int, *lines: bytes, request: bytes = GET) -> str:
    head = b"".join(line + b"\r\n" for line in (b"HTTP/1.1 %d Reason" % status, *lines, b""))
    asked = parse_request(request)
    return captive_portal_url(parse_response(head, asked.method), asked)


def test_a_511_is_about_a_page_of_the_network() -> None:
    portal = b"Location: https://portal.test/login"
    assert page_of(511, portal) == "https://portal.test/login"
    assert page_of(511, portal, request=CONNECT) == "https://portal.test/login"
    assert page_of(511) == "http://site.test/"


def test_only_a_redirect_leads_a_tunnel_to_a_page() -> None:
    portal = b"Location: http://portal.test/"
    for status in range(200, 600):
        is_page = 300 <= status < 400 or status == 511
        assert bool(page_of(status, portal, request=CONNECT)) is is_page, status


def test_a_page_that_is_too_long_to_be_opened_is_none() -> None:
    longest = b"http://portal.test/".ljust(2048, b"x")
    assert page_of(302, b"Location: " + longest, request=CONNECT) == longest.decode()
    assert page_of(302, b"Location: " + longest + b"x", request=CONNECT) == ""


def test_a_redirect_of_a_tunnel_is_about_a_page_of_the_network() -> None:
    portal = b"Location: http://portal.test/"
    assert page_of(302, portal, request=CONNECT) == "http://portal.test/"
    assert page_of(302, portal) == ""
    assert page_of(302, request=CONNECT) == ""


@pytest.mark.parametrize(
    "location",
    [
        b"javascript:alert(1)",
        b"file:///etc/passwd",
        b"http://user:secret@portal.test/",
        b"//portal.test/",
        b"https://[x/",
        b"http://p\xf6rtal.test/",
        b"http://" + b"x" * 3000,
    ],
)
def test_what_a_browser_must_not_open_is_no_page(location: bytes) -> None:
    assert page_of(307, b"Location: " + location, request=CONNECT) == ""
    assert page_of(511, b"Location: " + location) == "http://site.test/"


def test_a_page_of_the_network_is_told_each_time(start: Start) -> None:
    no = b"HTTP/1.1 511 Sign in\r\nContent-Length: 2\r\n\r\nno"
    with Scripted(answering(no)) as upstream:
        engine = start(office(upstream.port))
        with engine.connect() as client:
            for _ in range(3):
                assert client.ask(GET).status == 511
    assert engine.observer.pages == ["http://site.test/"] * 3


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
