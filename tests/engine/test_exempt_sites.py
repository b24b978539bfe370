"""Requests are first sent without a login to sites for which an upstream requires none (R-086)."""

import re
from contextlib import ExitStack
from threading import Event

import pytest

from tests.engine.conftest import MakeUpstream, Serve, Start, StartScripted
from tests.engine.fakes import LOGIN, FakeBroker, desk_for, office
from tests.engine.running import Running
from tests.engine.wire import ProxyClient, chunked, connect, get, post
from tests.support.scripted_upstream import ESTABLISHED, OK, ScriptedConnection, challenge
from trayproxy.auth.basic import Basic
from trayproxy.auth.digest import Digest
from trayproxy.auth.scheme import Scheme
from trayproxy.desk.protection_space import UpstreamId
from trayproxy.engine.forward.request_loop import RequestLoop
from trayproxy.engine.proxy_auth.exempt_sites import MAX_SITES, ExemptSites
from trayproxy.engine.transfer.head_cache import CachedRequest
from trayproxy.engine.transfer.replay_buffer import MAX_IN_MEMORY, MAX_REPLAYABLE
from trayproxy.engine.upstream.pool import PoolKey
from trayproxy.engine.upstream.route import Route
from trayproxy.http.request import parse_request
from trayproxy.http.target import Authority

UPSTREAM, OTHER = (
    UpstreamId("office", "http://proxy.test:3128"),
    UpstreamId("home", "http://proxy.test:3128"),
)
SITE = Authority("free.test", 80)

FREE, ASKED = b"http://free.test/", b"http://asked.test/"
TUNNEL = connect(b"free.test:443")


# --- which sites are exempt ---


def test_a_site_is_exempt_after_a_response_without_a_login_until_a_challenge() -> None:
    sites = ExemptSites()
    assert not sites.has(UPSTREAM, SITE)
    assert not sites.note_challenged(UPSTREAM, SITE)
    sites.note_served(UPSTREAM, SITE)
    assert sites.has(UPSTREAM, SITE)
    assert not sites.has(UPSTREAM, Authority("free.test", 443))
    assert not sites.has(OTHER, SITE)
    assert not sites.note_challenged(OTHER, SITE)
    assert sites.note_challenged(UPSTREAM, SITE)
    assert not sites.has(UPSTREAM, SITE)


def test_the_least_recently_served_exempt_site_is_dropped() -> None:
    sites = ExemptSites()
    each = [Authority(f"site{number}.test", 80) for number in range(MAX_SITES)]
    for site in (*each, each[0], SITE):
        sites.note_served(UPSTREAM, site)
    assert [site for site in each if not sites.has(UPSTREAM, site)] == [each[1]]
    assert sites.has(UPSTREAM, SITE)


def test_forget_drops_all_exempt_sites() -> None:
    sites = ExemptSites()
    sites.note_served(UPSTREAM, SITE)
    sites.forget()
    assert not sites.has(UPSTREAM, SITE)


def test_a_cached_request_with_a_withheld_login_is_another_request() -> None:
    answer = FakeBroker(LOGIN, is_known=True, schemes=(Basic(),)).known(UPSTREAM)
    plan = CachedRequest(
        parse_request(b"GET http://a.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n"), None
    )
    way, key = Route.direct(), PoolKey("http://proxy.test:3128")
    plan.store_sent(b"wire", way, None, key, answer)
    assert (plan.credentials, plan.known_credentials) == (None, answer)
    assert plan.was_sent_with(way, None, key, answer)
    assert not plan.was_sent_with(way, None, key)
    plan.store_sent(b"wire", way, answer, key)
    assert (plan.credentials, plan.known_credentials) == (answer, answer)
    assert plan.was_sent_with(way, answer, key)
    assert not plan.was_sent_with(way, None, key, answer)


# --- an upstream that hangs if a login is sent for an exempt site ---


class PartlyExemptUpstream:
    """An upstream that requires a login for all sites but free.test, and never responds to a
    request for free.test with a login.

    Attributes:
        logins: For each request, True if it had a login.
        asks_everywhere: Set to require and accept a login for free.test as well.
        connections: The number of connections.
    """

    def __init__(self, challenge: str = 'Basic realm="r"') -> None:
        self.challenge = challenge
        self.response = OK
        self.logins: list[bool] = []
        self.asks_everywhere = Event()
        self.connections = 0

    def __call__(self, peer: ScriptedConnection) -> None:
        self.connections += 1
        is_authenticated = False
        while True:
            head = peer.read_head()
            sent = b"\r\nProxy-Authorization:" in head
            self.logins.append(sent)
            length = re.search(rb"(?i)content-length: (\d+)", head)
            peer.read(int(length[1]) if length else 0)
            if b"//free.test" in head or head.startswith(b"CONNECT free.test"):
                if sent and not self.asks_everywhere.is_set():
                    peer.hang()
                is_served = sent or is_authenticated or not self.asks_everywhere.is_set()
            else:
                is_served = sent or is_authenticated
            if sent and self.challenge == "NTLM":
                is_served = is_authenticated = b"NTLM dGhyZWU=" in head
            if not is_served:
                peer.send(challenge("NTLM dHdv" if sent else self.challenge))
            elif head.startswith(b"CONNECT"):
                peer.send(ESTABLISHED)
                peer.read_all()
                return
            else:
                peer.send(self.response)


BASIC: tuple[str, tuple[Scheme, ...]] = ('Basic realm="r"', (Basic(),))
DIGEST: tuple[str, tuple[Scheme, ...]] = (
    'Digest realm="r", nonce="n", qop="auth", algorithm=MD5',
    (Digest(bytes),),
)
EACH_REQUEST = pytest.mark.parametrize(
    ("asks", "schemes"), [BASIC, DIGEST], ids=["basic", "digest"]
)


def is_served_by(client: ProxyClient, request_octets: bytes) -> bool:
    """Return True if the upstream serves a request of this client."""
    client.socket.settimeout(5)
    return client.ask(request_octets, request_octets.split(b" ")[0]).status == 200


def send_each(engine: Running, *requests: bytes) -> None:
    """Send each request on a new client connection."""
    for request_octets in requests:
        with engine.connect() as client:
            assert is_served_by(client, request_octets)
        engine.until_clients_left()


@EACH_REQUEST
@pytest.mark.parametrize(
    "request_octets",
    [get(FREE), get(FREE, method=b"HEAD"), post(FREE, b"content"), TUNNEL],
    ids=["GET", "HEAD", "POST", "CONNECT"],
)
def test_an_exempt_site_receives_no_known_login_r_086(
    start_scripted: StartScripted, asks: str, schemes: tuple[Scheme, ...], request_octets: bytes
) -> None:
    upstream = PartlyExemptUpstream(asks)
    desk = desk_for(*schemes)
    engine, _ = start_scripted(upstream, desk=desk)
    send_each(engine, request_octets, get(ASKED), request_octets, request_octets)
    assert upstream.logins == [False, False, True, False, False]
    assert (len(desk.challenged_requests), len(desk.accepted), desk.permit_count) == (1, 1, 0)
    assert (desk.without_verdict, desk.unproved, desk.silent) == ([], [], [])


def test_a_request_without_a_login_needs_no_permit_to_carry_one(
    start_scripted: StartScripted,
) -> None:
    """The login is known but not proved, so only one request at a time may carry it."""
    upstream = PartlyExemptUpstream()
    desk = desk_for(Basic())
    desk.wants_all_reports = True
    engine, _ = start_scripted(upstream, desk=desk)
    send_each(engine, get(FREE), get(ASKED), get(FREE), get(FREE), get(FREE, b"Accept: b"))
    assert (desk.permit_count, len(desk.accepted)) == (0, 1)


def test_a_program_keeps_one_connection_for_exempt_sites_and_others(serve: Serve) -> None:
    upstream = PartlyExemptUpstream()
    client, _ = serve(upstream, desk=desk_for(Basic()))
    for url in (FREE, ASKED, FREE, ASKED, FREE, ASKED):
        assert is_served_by(client, get(url))
    assert upstream.connections == 1


@EACH_REQUEST
@pytest.mark.parametrize("request_octets", [get(FREE), TUNNEL], ids=["GET", "CONNECT"])
def test_a_request_for_an_exempt_site_uses_the_fast_path(
    start_scripted: StartScripted,
    request_loops: list[RequestLoop],
    asks: str,
    schemes: tuple[Scheme, ...],
    request_octets: bytes,
) -> None:
    upstream = PartlyExemptUpstream(asks)
    engine, _ = start_scripted(upstream, desk=desk_for(*schemes))
    send_each(engine, request_octets, get(ASKED), request_octets)
    before = len(request_loops)
    send_each(engine, request_octets, request_octets, request_octets)
    assert len(request_loops) == before
    assert not any(upstream.logins[3:])


# --- a site that is no longer exempt ---


@EACH_REQUEST
@pytest.mark.parametrize(
    "request_octets", [get(FREE), post(FREE, b"content"), TUNNEL], ids=["GET", "POST", "CONNECT"]
)
def test_a_challenge_ends_the_exemption_of_a_site_r_086(
    start_scripted: StartScripted, asks: str, schemes: tuple[Scheme, ...], request_octets: bytes
) -> None:
    upstream = PartlyExemptUpstream(asks)
    desk = desk_for(*schemes)
    engine, _ = start_scripted(upstream, desk=desk)
    send_each(engine, request_octets, get(ASKED), request_octets)
    upstream.asks_everywhere.set()
    upstream.logins.clear()
    send_each(engine, request_octets, request_octets, request_octets)
    assert upstream.logins == [False, True, True, True]
    tried = [request.refused for request in desk.challenged_requests]
    assert tried == [None, None]  # A 407 to a request without a login is no verdict.


def test_after_a_challenge_every_request_for_the_site_carries_the_login(
    start_scripted: StartScripted,
) -> None:
    """This is also true for requests on the fast path."""
    upstream = PartlyExemptUpstream()
    engine, _ = start_scripted(upstream, desk=desk_for(Basic()))
    other = get(FREE + b"other")
    send_each(engine, get(FREE), get(ASKED), get(FREE), other, other)
    upstream.asks_everywhere.set()
    send_each(engine, get(FREE))
    upstream.logins.clear()
    send_each(engine, other, other)
    assert all(upstream.logins)


@pytest.mark.parametrize(
    "status",
    [
        b"401 Unauthorized\r\nWWW-Authenticate: Basic realm=a",
        b"302 Found\r\nLocation: http://login.test/",
        b"403 Forbidden",
        b"502 Bad Gateway",
        b"511 Network Authentication Required",
    ],
)
def test_a_possible_response_of_the_upstream_exempts_no_site(
    start: Start, script: MakeUpstream, status: bytes
) -> None:
    """The upstream may serve the site with a login although it did not require one."""
    upstream = PartlyExemptUpstream()
    upstream.asks_everywhere.set()

    def answer_without_asking(peer: ScriptedConnection) -> None:
        peer.read_head()
        peer.send(b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    first, *_ = status.split(b" ")
    port = script(answer_without_asking, upstream).port
    engine = start(office(port), desk_for(Basic()))
    with engine.connect() as client:
        assert client.ask(get(FREE)).status == int(first)
    send_each(engine, get(ASKED), get(FREE))
    assert upstream.logins == [False, True, True]


@pytest.mark.parametrize("change", ["a login or a profile", "the network"])
def test_after_a_change_no_site_is_exempt(start_scripted: StartScripted, change: str) -> None:
    upstream = PartlyExemptUpstream()
    engine, _ = start_scripted(upstream, desk=desk_for(Basic()))
    send_each(engine, get(FREE), get(ASKED), get(FREE), get(FREE))
    forget = engine.engine.forget_connections
    engine.call(engine.engine.network_changed if change == "the network" else forget)
    upstream.asks_everywhere.set()
    upstream.logins.clear()
    send_each(engine, get(FREE))
    assert upstream.logins == [True]


def test_a_response_from_before_a_change_exempts_no_site(start_scripted: StartScripted) -> None:
    asked, go_on = Event(), Event()

    def respond_late(peer: ScriptedConnection) -> None:
        peer.read_head()
        asked.set()
        assert go_on.wait(20)
        peer.send(OK)

    upstream = PartlyExemptUpstream()
    upstream.asks_everywhere.set()
    engine, _ = start_scripted(respond_late, upstream, desk=desk_for(Basic()))
    with engine.connect() as client:
        client.send(get(FREE))
        assert asked.wait(20)
        engine.call(engine.engine.forget_connections)
        go_on.set()
        assert client.reply().status == 200
    send_each(engine, get(ASKED), get(FREE))
    assert upstream.logins == [False, True, True]


# --- unrepeatable content ---


@pytest.mark.parametrize(
    "request_octets",
    [
        chunked(FREE, b"content"),
        get(FREE, b"Content-Length: %d" % (MAX_IN_MEMORY + 1), method=b"POST"),
        get(FREE, b"Content-Length: %d" % (MAX_REPLAYABLE + 1), method=b"PUT"),
    ],
    ids=["of unknown length", "large", "very large"],
)
def test_unrepeatable_content_is_sent_with_the_login(
    start: Start, script: MakeUpstream, stack: ExitStack, request_octets: bytes
) -> None:
    upstream = PartlyExemptUpstream()
    scripted = script(upstream)
    engine = start(office(scripted.port), desk_for(Basic()))
    send_each(engine, get(FREE), get(ASKED))
    upstream.logins.clear()
    client = stack.enter_context(engine.connect())
    client.send(request_octets)
    engine.until(lambda: bool(upstream.logins), "the head of the upload")
    assert upstream.logins[0]


# --- authenticated connections ---


def test_a_new_connection_carries_no_leg_to_an_exempt_site(start_scripted: StartScripted) -> None:
    upstream = PartlyExemptUpstream("NTLM")
    engine, _ = start_scripted(upstream, desk=desk_for())
    send_each(engine, get(FREE), TUNNEL, get(ASKED))
    upstream.logins.clear()
    # Over the authenticated connection, and over a new connection for the tunnel.
    send_each(engine, get(FREE), TUNNEL, post(FREE, b"content"))
    assert not any(upstream.logins)
    used = upstream.connections
    send_each(engine, get(ASKED))
    assert upstream.connections == used  # The tunnel has not consumed the authenticated connection.
    assert not any(upstream.logins)


def test_an_unauthenticated_connection_carries_no_leg_to_an_exempt_site(
    start_scripted: StartScripted, stack: ExitStack
) -> None:
    upstream = PartlyExemptUpstream("NTLM")
    engine, _ = start_scripted(upstream, desk=desk_for())
    send_each(engine, get(FREE))
    holder = stack.enter_context(engine.connect())
    assert is_served_by(holder, get(ASKED))  # This client keeps the only authenticated connection.
    upstream.logins.clear()
    with engine.connect() as client:
        for request_octets in (get(FREE), post(FREE, b"content"), get(FREE), get(FREE)):
            assert is_served_by(client, request_octets)
    assert upstream.connections == 2
    assert upstream.logins == [False] * 4


def test_a_site_served_over_an_authenticated_connection_is_not_exempt(
    start_scripted: StartScripted, stack: ExitStack
) -> None:
    upstream = PartlyExemptUpstream("NTLM")
    engine, _ = start_scripted(upstream, desk=desk_for())
    holder = stack.enter_context(engine.connect())
    for request_octets in (get(ASKED), get(ASKED), get(ASKED + b"more")):
        assert is_served_by(holder, request_octets)
    assert upstream.logins == [False, True, True, False, False]
    upstream.logins.clear()
    other = stack.enter_context(engine.connect())
    assert is_served_by(other, get(ASKED + b"other"))
    assert upstream.logins == [True, True]


def test_a_challenge_of_an_exempt_site_authenticates_the_connection(
    start_scripted: StartScripted,
) -> None:
    upstream = PartlyExemptUpstream("NTLM")
    engine, _ = start_scripted(upstream, desk=desk_for())
    send_each(engine, TUNNEL, get(ASKED), TUNNEL)
    upstream.asks_everywhere.set()
    upstream.logins.clear()
    with engine.connect() as client:
        assert is_served_by(client, TUNNEL)
    assert upstream.logins == [False, True, True]
    used = upstream.connections
    with engine.connect() as client:
        assert is_served_by(client, TUNNEL)
    assert upstream.connections == used  # The tunnel uses the authenticated connection.
