"""A site for which an upstream asks for no login gets requests without one at first (R-086)."""

import re
from collections.abc import Callable
from contextlib import ExitStack
from threading import Event

import pytest

from tests.engine.conftest import Start
from tests.engine.fakes import LOGIN, FakeDesk, office
from tests.engine.running import Running
from tests.engine.schemes import ntlm_like_scheme
from tests.engine.wire import Client, chunked, connect, get, post
from tests.support.scripted import ESTABLISHED, OK, Peer, Scripted, challenge
from trayproxy.auth.basic import Basic
from trayproxy.auth.digest import Digest
from trayproxy.auth.scheme import Scheme
from trayproxy.desk.protection_space import UpstreamId
from trayproxy.engine.forward.request_loop import RequestLoop
from trayproxy.engine.proxy_auth.exempt_sites import MAX_SITES, ExemptSites
from trayproxy.engine.server.client_connection import ClientConnection
from trayproxy.engine.transfer.head_cache import CachedRequest
from trayproxy.engine.transfer.replay_buffer import MAX_IN_MEMORY, MAX_REPLAYABLE
from trayproxy.engine.upstream.pool import PoolKey
from trayproxy.engine.upstream.route import Route
from trayproxy.http.request import parse_request
from trayproxy.http.target import Authority

Play = Callable[..., Scripted]

SPACE, OTHER = (
    UpstreamId("office", "http://proxy.test:3128"),
    UpstreamId("home", "http://proxy.test:3128"),
)
SITE = Authority("free.test", 80)

FREE, ASKED = b"http://free.test/", b"http://asked.test/"
TUNNEL = connect(b"free.test:443")


# --- which sites are exempt ---


def test_a_site_is_exempt_from_its_first_answer_without_a_login_until_it_is_asked_for() -> None:
    sites = ExemptSites()
    assert not sites.has(SPACE, SITE)
    assert not sites.note_challenged(SPACE, SITE)
    sites.note_served(SPACE, SITE)
    assert sites.has(SPACE, SITE)
    assert not sites.has(SPACE, Authority("free.test", 443))
    assert not sites.has(OTHER, SITE)
    assert not sites.note_challenged(OTHER, SITE)
    assert sites.note_challenged(SPACE, SITE)
    assert not sites.has(SPACE, SITE)


def test_too_many_exempt_sites_push_out_the_one_that_was_served_least_recently() -> None:
    sites = ExemptSites()
    each = [Authority(f"site{number}.test", 80) for number in range(MAX_SITES)]
    for site in (*each, each[0], SITE):
        sites.note_served(SPACE, site)
    assert [site for site in each if not sites.has(SPACE, site)] == [each[1]]
    assert sites.has(SPACE, SITE)


def test_exempt_sites_are_forgotten_together() -> None:
    sites = ExemptSites()
    sites.note_served(SPACE, SITE)
    sites.forget()
    assert not sites.has(SPACE, SITE)


def test_what_was_written_without_a_login_that_is_known_is_not_what_was_written_without_any() -> (
    None
):
    answer = FakeDesk(LOGIN, knows_it=True, schemes=(Basic(),)).known(SPACE)
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


# --- what an upstream gets that hangs when a login comes for such a site ---


class Picky:
    """An upstream that asks for a login for all sites but free.test, and never answers a request
    for free.test that comes with one.

    Attributes:
        heads: All heads that came.
        asks_everywhere: It asks for free.test as well from now on, and takes a login there.
        connections: How many there were.
    """

    def __init__(self, challenge: str = 'Basic realm="r"') -> None:
        self.challenge = challenge
        self.answer = OK
        self.heads: list[bytes] = []
        self.asks_everywhere = Event()
        self.connections = 0

    def __call__(self, peer: Peer) -> None:
        self.connections += 1
        is_signed_in = False
        while True:
            head = peer.read_head()
            self.heads.append(head)
            length = re.search(rb"(?i)content-length: (\d+)", head)
            peer.read(int(length[1]) if length else 0)
            sent = has_login(head)
            if b"//free.test" in head or head.startswith(b"CONNECT free.test"):
                if sent and not self.asks_everywhere.is_set():
                    peer.hang()
                is_served = sent or is_signed_in or not self.asks_everywhere.is_set()
            else:
                is_served = sent or is_signed_in
            if sent and self.challenge == "NTLM":
                is_served = is_signed_in = b"NTLM dGhyZWU=" in head
            if not is_served:
                peer.send(challenge("NTLM dHdv" if sent else self.challenge))
            elif head.startswith(b"CONNECT"):
                peer.send(ESTABLISHED)
                peer.read_all()
                return
            else:
                peer.send(self.answer)


def has_login(head: bytes) -> bool:
    """Return whether a request carries a login."""
    return b"\r\nProxy-Authorization:" in head


BASIC: tuple[str, tuple[Scheme, ...]] = ('Basic realm="r"', (Basic(),))
DIGEST: tuple[str, tuple[Scheme, ...]] = (
    'Digest realm="r", nonce="n", qop="auth", algorithm=MD5',
    (Digest(bytes),),
)
EACH_REQUEST = pytest.mark.parametrize(
    ("asks", "schemes"), [BASIC, DIGEST], ids=["basic", "digest"]
)


def served(client: Client, octets: bytes) -> bool:
    """Return whether a request of a client gets its answer from the upstream."""
    client.socket.settimeout(5)
    return client.ask(octets, octets.split(b" ")[0]).status == 200


def once(engine: Running, *requests: bytes) -> None:
    """Send each of these requests on a connection of its own."""
    for octets in requests:
        with engine.connect() as client:
            assert served(client, octets)
        engine.until(lambda: not engine.engine.executor.works, "the end of the client")


@EACH_REQUEST
@pytest.mark.parametrize(
    "octets",
    [get(FREE), get(FREE, method=b"HEAD"), post(FREE, b"content"), TUNNEL],
    ids=["GET", "HEAD", "POST", "CONNECT"],
)
def test_an_exempt_site_gets_no_login_although_one_is_known_r_086(
    start: Start, script: Play, asks: str, schemes: tuple[Scheme, ...], octets: bytes
) -> None:
    upstream = Picky(asks)
    desk = FakeDesk(LOGIN, schemes=schemes)
    engine = start(office(script(upstream).port), desk)
    once(engine, octets, get(ASKED), octets, octets)
    assert [has_login(head) for head in upstream.heads] == [False, False, True, False, False]
    assert (len(desk.turns), len(desk.acceptances), desk.departures) == (1, 1, 0)
    assert (desk.doubts, desk.open, desk.overdues) == ([], [], [])


def test_a_request_without_a_login_needs_no_permit_to_carry_one(start: Start, script: Play) -> None:
    """The login is known and was not accepted lately: one request at a time carries it."""
    upstream = Picky()
    desk = FakeDesk(LOGIN, schemes=(Basic(),))
    desk.doubts_all = True
    engine = start(office(script(upstream).port), desk)
    once(engine, get(FREE), get(ASKED), get(FREE), get(FREE), get(FREE, b"Accept: b"))
    assert (desk.departures, len(desk.acceptances)) == (0, 1)


def test_a_program_keeps_one_connection_for_exempt_sites_and_others(
    start: Start, script: Play
) -> None:
    upstream = Picky()
    engine = start(office(script(upstream).port), FakeDesk(LOGIN, schemes=(Basic(),)))
    with engine.connect() as client:
        for url in (FREE, ASKED, FREE, ASKED, FREE, ASKED):
            assert served(client, get(url))
    assert upstream.connections == 1


@EACH_REQUEST
@pytest.mark.parametrize("octets", [get(FREE), TUNNEL], ids=["GET", "CONNECT"])
def test_a_request_without_a_login_for_an_exempt_site_takes_the_short_way(
    start: Start,
    script: Play,
    monkeypatch: pytest.MonkeyPatch,
    asks: str,
    schemes: tuple[Scheme, ...],
    octets: bytes,
) -> None:
    stories = list[object]()

    class Counted(RequestLoop):
        def __init__(self, link: ClientConnection) -> None:
            stories.append(link)
            super().__init__(link)

    monkeypatch.setattr("trayproxy.engine.server.client_connection.RequestLoop", Counted)
    upstream = Picky(asks)
    engine = start(office(script(upstream).port), FakeDesk(LOGIN, schemes=schemes))
    once(engine, octets, get(ASKED), octets)
    told = len(stories)
    once(engine, octets, octets, octets)
    assert len(stories) == told
    assert not any(map(has_login, upstream.heads[3:]))


# --- a site that asks later ---


@EACH_REQUEST
@pytest.mark.parametrize(
    "octets", [get(FREE), post(FREE, b"content"), TUNNEL], ids=["GET", "POST", "CONNECT"]
)
def test_a_site_that_asks_after_all_gets_the_login_and_is_exempt_no_more_r_086(
    start: Start, script: Play, asks: str, schemes: tuple[Scheme, ...], octets: bytes
) -> None:
    upstream = Picky(asks)
    desk = FakeDesk(LOGIN, schemes=schemes)
    engine = start(office(script(upstream).port), desk)
    once(engine, octets, get(ASKED), octets)
    upstream.asks_everywhere.set()
    upstream.heads.clear()
    once(engine, octets, octets, octets)
    assert [has_login(head) for head in upstream.heads] == [False, True, True, True]
    tried = [turn.tried for turn in desk.turns]
    assert tried == [None, None]  # A 407 to a request without a login says nothing about one.


def test_a_site_that_has_asked_once_is_asked_by_no_other_request_without_a_login(
    start: Start, script: Play
) -> None:
    """Neither by one that takes the short way."""
    upstream = Picky()
    engine = start(office(script(upstream).port), FakeDesk(LOGIN, schemes=(Basic(),)))
    other = get(FREE + b"other")
    once(engine, get(FREE), get(ASKED), get(FREE), other, other)
    upstream.asks_everywhere.set()
    once(engine, get(FREE))
    upstream.heads.clear()
    once(engine, other, other)
    assert all(map(has_login, upstream.heads))


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
def test_a_site_is_not_exempt_if_the_answer_may_be_that_of_the_upstream(
    start: Start, script: Play, status: bytes
) -> None:
    """The upstream may serve with a login for which it does not ask."""
    upstream = Picky()
    upstream.asks_everywhere.set()

    def answer_without_asking(peer: Peer) -> None:
        peer.read_head()
        peer.send(b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    first, *_ = status.split(b" ")
    port = script(answer_without_asking, upstream).port
    engine = start(office(port), FakeDesk(LOGIN, schemes=(Basic(),)))
    with engine.connect() as client:
        assert client.ask(get(FREE)).status == int(first)
    once(engine, get(ASKED), get(FREE))
    assert [has_login(head) for head in upstream.heads] == [False, True, True]


@pytest.mark.parametrize("change", ["a login or a profile", "the network"])
def test_after_a_change_no_site_is_exempt(start: Start, script: Play, change: str) -> None:
    upstream = Picky()
    engine = start(office(script(upstream).port), FakeDesk(LOGIN, schemes=(Basic(),)))
    once(engine, get(FREE), get(ASKED), get(FREE), get(FREE))
    forget = engine.engine.forget_connections
    engine.call(engine.engine.network_changed if change == "the network" else forget)
    upstream.asks_everywhere.set()
    upstream.heads.clear()
    once(engine, get(FREE))
    assert [has_login(head) for head in upstream.heads] == [True]


def test_an_answer_from_before_a_change_makes_no_site_exempt(start: Start, script: Play) -> None:
    asked, go_on = Event(), Event()

    def late(peer: Peer) -> None:
        peer.read_head()
        asked.set()
        assert go_on.wait(20)
        peer.send(OK)

    upstream = Picky()
    upstream.asks_everywhere.set()
    engine = start(office(script(late, upstream).port), FakeDesk(LOGIN, schemes=(Basic(),)))
    with engine.connect() as client:
        client.send(get(FREE))
        assert asked.wait(20)
        engine.call(engine.engine.forget_connections)
        go_on.set()
        assert client.reply().status == 200
    once(engine, get(ASKED), get(FREE))
    assert [has_login(head) for head in upstream.heads] == [False, True, True]


# --- content that may not be there any more when a login is asked for ---


@pytest.mark.parametrize(
    "octets",
    [
        chunked(FREE, b"content"),
        get(FREE, b"Content-Length: %d" % (MAX_IN_MEMORY + 1), method=b"POST"),
        get(FREE, b"Content-Length: %d" % (MAX_REPLAYABLE + 1), method=b"PUT"),
    ],
    ids=["of unknown length", "large", "very large"],
)
def test_content_that_may_not_be_sent_again_goes_with_the_login(
    start: Start, script: Play, stack: ExitStack, octets: bytes
) -> None:
    upstream = Picky()
    scripted = script(upstream)
    engine = start(office(scripted.port), FakeDesk(LOGIN, schemes=(Basic(),)))
    once(engine, get(FREE), get(ASKED))
    upstream.heads.clear()
    client = stack.enter_context(engine.connect())
    client.send(octets)
    engine.until(lambda: bool(upstream.heads), "the head of the upload")
    assert has_login(upstream.heads[0])


# --- connections that are signed in ---


def test_a_new_connection_of_a_scheme_that_signs_in_connections_carries_no_leg_to_an_exempt_site(
    start: Start, script: Play
) -> None:
    upstream = Picky("NTLM")
    engine = start(office(script(upstream).port), FakeDesk(LOGIN, schemes=(ntlm_like_scheme(),)))
    once(engine, get(FREE), TUNNEL, get(ASKED))
    upstream.heads.clear()
    # Over the connection that is signed in, and over one that is not, which a tunnel gets.
    once(engine, get(FREE), TUNNEL, post(FREE, b"content"))
    assert not any(map(has_login, upstream.heads))
    used = upstream.connections
    once(engine, get(ASKED))
    assert upstream.connections == used  # The tunnel has not used it up.
    assert not any(map(has_login, upstream.heads))


def test_a_request_on_a_connection_that_is_not_signed_in_carries_no_leg_to_an_exempt_site(
    start: Start, script: Play, stack: ExitStack
) -> None:
    upstream = Picky("NTLM")
    engine = start(office(script(upstream).port), FakeDesk(LOGIN, schemes=(ntlm_like_scheme(),)))
    once(engine, get(FREE))
    holder = stack.enter_context(engine.connect())
    assert served(holder, get(ASKED))  # Its client keeps the only connection that is signed in.
    upstream.heads.clear()
    with engine.connect() as client:
        for octets in (get(FREE), post(FREE, b"content"), get(FREE), get(FREE)):
            assert served(client, octets)
    assert upstream.connections == 2
    assert [has_login(head) for head in upstream.heads] == [False] * 4


def test_a_site_that_is_served_over_a_connection_that_is_signed_in_is_not_exempt(
    start: Start, script: Play, stack: ExitStack
) -> None:
    upstream = Picky("NTLM")
    engine = start(office(script(upstream).port), FakeDesk(LOGIN, schemes=(ntlm_like_scheme(),)))
    holder = stack.enter_context(engine.connect())
    for octets in (get(ASKED), get(ASKED), get(ASKED + b"more")):
        assert served(holder, octets)
    assert [has_login(head) for head in upstream.heads] == [False, True, True, False, False]
    upstream.heads.clear()
    other = stack.enter_context(engine.connect())
    assert served(other, get(ASKED + b"other"))
    assert [has_login(head) for head in upstream.heads] == [True, True]


def test_a_connection_is_signed_in_where_an_exempt_site_asks_after_all(
    start: Start, script: Play
) -> None:
    upstream = Picky("NTLM")
    engine = start(office(script(upstream).port), FakeDesk(LOGIN, schemes=(ntlm_like_scheme(),)))
    once(engine, TUNNEL, get(ASKED), TUNNEL)
    upstream.asks_everywhere.set()
    upstream.heads.clear()
    with engine.connect() as client:
        assert served(client, TUNNEL)
    assert [has_login(head) for head in upstream.heads] == [False, True, True]
    used = upstream.connections
    with engine.connect() as client:
        assert served(client, TUNNEL)
    assert upstream.connections == used  # It went over the connection that was signed in.
