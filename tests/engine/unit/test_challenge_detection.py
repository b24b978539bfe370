"""Which responses prove that a proxy accepted the login in their request."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.engine.fakes import LOGIN, FakeBroker
from tests.engine.wire import connect, get
from trayproxy.auth.basic import Basic
from trayproxy.auth.scheme import Offer
from trayproxy.desk.broker import Accepted, Report, Unproved
from trayproxy.desk.credentials import Credentials
from trayproxy.desk.protection_space import UpstreamId
from trayproxy.engine.proxy_auth.challenge_detection import (
    ChallengeDetector,
    Evidence,
    captive_portal_url,
    evidence,
    has_reached_site,
    report_evidence,
)
from trayproxy.http.challenges import Challenge
from trayproxy.http.request import parse_request
from trayproxy.http.response import Response, parse_response

GET = get(b"http://site.test/page")
CONNECT = connect(b"site.test:443")
DOUBTFUL = (300, 301, 302, 303, 307, 308, 401, 402, 403, 408, 429, 451, 500, 502, 503, 504, 511)
ONLY_SITES = (404, 405, 406, 409, 410, 411, *range(412, 418), *range(421, 427), 428, 431)
"""RFC 9110, section 15.5; RFC 4918, section 11; RFC 6585, sections 3 and 5; RFC 8470."""


def evidence_of(status: int, *lines: bytes, request: bytes = GET) -> Evidence:
    """Return the evidence of a response with this status and these field lines."""
    head = b"".join(line + b"\r\n" for line in (b"HTTP/1.1 %d Reason" % status, *lines, b""))
    sent = parse_request(request)
    return evidence(parse_response(head, sent.method), sent)


@pytest.mark.parametrize("status", [101, 200, 201, 204, 206, 299, 304])
def test_a_success_or_304_proves_a_login(status: int) -> None:
    assert evidence_of(status) is Evidence.PROOF


def test_an_opened_tunnel_proves_a_login() -> None:
    assert evidence_of(200, request=CONNECT) is Evidence.PROOF


@pytest.mark.parametrize("status", DOUBTFUL)
def test_the_status_of_a_proxy_error_proves_nothing(status: int) -> None:
    lines = [b"Location: https://portal.test/login"] if 300 <= status < 400 else []
    assert evidence_of(status, *lines) is Evidence.NONE


@pytest.mark.parametrize("status", ONLY_SITES)
def test_the_status_of_a_site_error_is_from_the_site(status: int) -> None:
    assert evidence_of(status) is Evidence.FROM_SITE


@pytest.mark.parametrize(
    "location", [b"/login", b"https://site.test/", b"https://SITE.test:8443/x", b"", b"?again"]
)
def test_a_redirect_within_the_host_is_from_the_site(location: bytes) -> None:
    assert evidence_of(302, b"Location: " + location) is Evidence.FROM_SITE


@pytest.mark.parametrize(
    "location", [b"http://portal.test/", b"//portal.test/x", b"https://site.test.evil/", b"//[x/"]
)
def test_a_redirect_to_another_host_proves_nothing(location: bytes) -> None:
    assert evidence_of(307, b"Location: " + location) is Evidence.NONE


def test_a_401_with_a_challenge_is_from_the_site() -> None:
    assert evidence_of(401, b'WWW-Authenticate: Basic realm="site"') is Evidence.FROM_SITE


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
def test_only_a_response_of_the_site_proves_a_request_to_have_reached_it(
    status: int, lines: bytes, expected: bool
) -> None:
    head = b"HTTP/1.1 %d Reason\r\n%b\r\n" % (status, lines)
    assert has_reached_site(parse_response(head, b"GET"), parse_request(GET)) is expected


def test_no_other_error_is_from_a_site() -> None:
    found = {status for status in range(400, 600) if evidence_of(status) is not Evidence.NONE}
    assert found == set(ONLY_SITES)
    assert {evidence_of(status, request=CONNECT) for status in range(300, 600)} == {Evidence.NONE}


@given(status=st.integers(300, 599))
def test_only_2xx_and_304_prove_a_login(status: int) -> None:
    assert (evidence_of(status) is Evidence.PROOF) == (status == 304)
    assert evidence_of(status, request=CONNECT) is Evidence.NONE


# --- a proxy that refuses a login with a 401 ---

UPSTREAM = UpstreamId("office", "http://proxy.test:3128")
OTHER = UpstreamId("lab", "http://proxy.test:3128")
SERVER = b"Server: tinyproxy/1.11.0"
ASKS = b'WWW-Authenticate: Basic realm="r"'


def credentials_in(realm: str, upstream_id: UpstreamId = UPSTREAM) -> Credentials:
    """Return credentials for a challenge with this realm."""
    challenge = Challenge("basic", (("realm", realm),) if realm else ())
    return FakeBroker(LOGIN).answer_with(upstream_id, Offer(Basic(), challenge), LOGIN)


def response(status: int, *lines: bytes, method: bytes = b"GET") -> Response:
    """Return a response with this status and these field lines."""
    head = b"".join(line + b"\r\n" for line in (b"HTTP/1.1 %d No" % status, *lines, b""))
    return parse_response(head, method)


def detector_after_407(*lines: bytes, upstream_id: UpstreamId = UPSTREAM) -> ChallengeDetector:
    """Return a detector that has seen a 407 with these field lines."""
    detector = ChallengeDetector()
    challenges = detector.challenges_in(
        response(407, b'Proxy-Authenticate: Basic realm="r"', *lines), b"GET", upstream_id, None
    )
    assert challenges == (Challenge("basic", (("realm", "r"),)),)
    return detector


def test_a_401_matching_the_last_407_is_a_refusal() -> None:
    detector = detector_after_407(SERVER)
    challenges = detector.challenges_in(
        response(401, SERVER, ASKS), b"GET", UPSTREAM, credentials_in("r")
    )
    assert challenges == (Challenge("basic", (("realm", "r"),)),)


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
def test_a_401_not_matching_the_last_407_is_no_refusal(
    before: tuple[bytes, ...], lines: tuple[bytes, ...], realm: str
) -> None:
    detector = detector_after_407(*before)
    assert (
        detector.challenges_in(response(401, *lines), b"GET", UPSTREAM, credentials_in(realm))
        is None
    )


def test_a_401_of_another_proxy_or_without_a_login_is_no_refusal() -> None:
    detector = detector_after_407(SERVER)
    marked = response(401, SERVER, ASKS)
    assert detector.challenges_in(marked, b"GET", OTHER, credentials_in("r", OTHER)) is None
    assert detector.challenges_in(marked, b"GET", UPSTREAM, None) is None
    assert detector.challenges_in(marked, b"CONNECT", UPSTREAM, None) is None
    assert (
        detector.challenges_in(response(403, SERVER, ASKS), b"GET", UPSTREAM, credentials_in("r"))
        is None
    )


def test_a_401_to_connect_is_a_refusal_if_it_has_a_challenge() -> None:
    detector, carried = ChallengeDetector(), credentials_in("r")
    marked = response(401, ASKS, method=b"CONNECT")
    assert detector.challenges_in(marked, b"CONNECT", UPSTREAM, carried) is not None
    bare = response(401, method=b"CONNECT")
    assert detector.challenges_in(bare, b"CONNECT", UPSTREAM, carried) is None


def test_the_number_of_remembered_servers_is_limited() -> None:
    detector, refusal = detector_after_407(SERVER), response(401, SERVER, ASKS)
    carried: dict[UpstreamId, Credentials] = {}
    for number in range(200):
        upstream_id = UpstreamId(f"profile-{number}", "http://proxy.test:3128")
        detector.challenges_in(response(407, SERVER), b"GET", upstream_id, None)
        carried[upstream_id] = credentials_in("r", upstream_id)
        remembered = [
            detector.challenges_in(refusal, b"GET", other, credentials) is not None
            for other, credentials in carried.items()
        ]
        assert remembered[-1]
        assert sum(remembered) <= 64


@pytest.mark.parametrize("verb", ["upload_cut_off", "kept_open"])
def test_each_upstream_has_its_own_record_and_their_number_is_limited(verb: str) -> None:
    detector = ChallengeDetector()
    note = getattr(detector, f"note_{verb}")
    has = detector.take_upload_cut_off if verb == "upload_cut_off" else detector.was_kept_open
    note(None)
    assert not has(None)
    upstreams = [UpstreamId(f"profile-{number}", "http://proxy.test:1") for number in range(65)]
    assert not any(map(has, upstreams))
    for upstream_id in upstreams:
        note(upstream_id)
    assert [has(upstream_id) for upstream_id in upstreams] == [True] * 64 + [False]
    is_kept = verb == "kept_open"  # The record of an upload is cleared by its use.
    assert [has(upstream_id) for upstream_id in upstreams] == [is_kept] * 64 + [False]


# --- reports to the desk ---


@pytest.mark.parametrize(
    ("status", "on_trial", "permit", "expected"),
    [
        (200, False, 0, Accepted("site.test:80")),
        (200, True, 0, Accepted("site.test:80")),
        (404, False, 0, Accepted("site.test:80")),
        (404, False, 1, Accepted("site.test:80")),
        (404, True, 0, Unproved("site.test:80", is_doubtful=False)),
        (403, False, 0, None),
        (403, False, 1, Unproved("site.test:80", is_doubtful=True)),
        (403, True, 0, Unproved("site.test:80", is_doubtful=True)),
    ],
)
@pytest.mark.parametrize("is_recent", [False, True])
def test_evidence_is_reported_about_a_login_not_accepted_recently(
    status: int, on_trial: bool, permit: int, expected: Report | None, is_recent: bool
) -> None:
    reports: list[tuple[Credentials, Report]] = []
    broker: Any = SimpleNamespace(report=lambda *report: reports.append(report))
    carried = replace(credentials_in("r"), permit=permit)
    carried.acceptance.is_recent = is_recent
    report_evidence(broker, carried, parse_request(GET), response(status), on_trial=on_trial)
    assert reports == ([] if is_recent or expected is None else [(carried, expected)])


# --- captive portals ---


def portal_of(status: int, *lines: bytes, request: bytes = GET) -> str:
    """Return the URL of the captive portal in a response with this status and these field lines."""
    head = b"".join(line + b"\r\n" for line in (b"HTTP/1.1 %d Reason" % status, *lines, b""))
    sent = parse_request(request)
    return captive_portal_url(parse_response(head, sent.method), sent)


def test_a_511_names_a_captive_portal() -> None:
    portal = b"Location: https://portal.test/login"
    assert portal_of(511, portal) == "https://portal.test/login"
    assert portal_of(511, portal, request=CONNECT) == "https://portal.test/login"
    assert portal_of(511) == "http://site.test/"


def test_only_a_redirect_or_511_to_connect_names_a_captive_portal() -> None:
    portal = b"Location: http://portal.test/"
    for status in range(200, 600):
        is_page = 300 <= status < 400 or status == 511
        assert bool(portal_of(status, portal, request=CONNECT)) is is_page, status


def test_a_too_long_url_is_not_opened() -> None:
    longest = b"http://portal.test/".ljust(2048, b"x")
    assert portal_of(302, b"Location: " + longest, request=CONNECT) == longest.decode()
    assert portal_of(302, b"Location: " + longest + b"x", request=CONNECT) == ""


@pytest.mark.parametrize(
    ("host", "url"), [(b"a.test", "http://a.test/"), (b"[2001:db8::1]", "http://[2001:db8::1]/")]
)
def test_a_511_to_connect_names_a_page_without_encryption(host: bytes, url: str) -> None:
    request = b"CONNECT %b:443 HTTP/1.1\r\nHost: %b\r\n\r\n" % (host, host)
    assert portal_of(511, request=request) == url


def test_a_redirect_to_connect_names_a_captive_portal() -> None:
    portal = b"Location: http://portal.test/"
    assert portal_of(302, portal, request=CONNECT) == "http://portal.test/"
    assert portal_of(302, portal) == ""
    assert portal_of(302, request=CONNECT) == ""


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
        b"http:///login",
        b"http://portal.test/a b",
        b"http://portal.test/a\tb",
    ],
)
def test_an_unsafe_url_is_not_opened(location: bytes) -> None:
    assert portal_of(307, b"Location: " + location, request=CONNECT) == ""
    assert portal_of(511, b"Location: " + location) == "http://site.test/"
