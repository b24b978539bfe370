"""The port of an own request, on socket pairs."""

import asyncio
import socket
from collections.abc import Coroutine
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any, TypeVar

import pytest

from tests.engine.fakes import LOGIN, desk_for
from tests.engine.wire import get
from tests.support.scripted_upstream import OK, challenge
from trayproxy.auth.basic import Basic, basic_credentials
from trayproxy.engine.error_pages import RequestRefusedError
from trayproxy.engine.limits import EngineLimits
from trayproxy.engine.net.socket_stream import SocketStream
from trayproxy.engine.proxy_auth.auth_port import ConnectionFacts, ConnectionLostError, Message
from trayproxy.engine.proxy_auth.own_auth_port import OwnAuthPort
from trayproxy.engine.proxy_auth.own_request import OwnRequest
from trayproxy.engine.upstream.route import Route
from trayproxy.http.request import parse_request
from trayproxy.http.response import parse_response
from trayproxy.profiles.profile import Profile, ProxyScheme, Upstream

T = TypeVar("T")

ROUTE = Route.via_profile(Profile("office", "Office", Upstream("proxy.test", 3128)))
DIRECT = Route.direct()
BY_SOCKS = Route.via_profile(
    Profile("office", "Office", Upstream("socks.test", 1080, ProxyScheme.SOCKS5))
)
REQUEST = parse_request(get(b"http://origin.test/"))


def run(play: Coroutine[Any, Any, T]) -> T:
    """Run a play in a loop that watches descriptors; the default loop of Windows does not."""
    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        return runner.run(play)


class PortScenario:
    """A port, and the upstream's ends of its connections.

    Attributes:
        port: The port.
        peers: The upstream's ends of all connections.
    """

    def __init__(self, stack: ExitStack) -> None:
        self.peers: list[socket.socket] = []
        self._stack = stack
        tools: Any = SimpleNamespace(
            connector=SimpleNamespace(open=self._open),
            limits=EngineLimits(connect_response_head_s=0.05),
            via=b"here",
        )
        self.port = OwnAuthPort(ROUTE, REQUEST, tools)

    async def _open(self, request: object) -> SocketStream:
        near, far = (self._stack.enter_context(end) for end in socket.socketpair())
        self.peers.append(far)
        return SocketStream(near)

    async def acquire(self, *, is_fresh: bool = False) -> ConnectionFacts:
        return await self.port.acquire(None, "none" if is_fresh else "current")


@pytest.fixture
def scenario(stack: ExitStack) -> PortScenario:
    return PortScenario(stack)


@pytest.mark.parametrize(
    ("state", "number"), [("quiet", 1), ("fresh", 2), ("dropped", 2), ("ended", 2), ("octets", 2)]
)
def test_a_connection_is_used_again_while_it_is_quiet(
    scenario: PortScenario, state: str, number: int
) -> None:
    async def play() -> ConnectionFacts:
        assert scenario.port.open_connection() is None
        first = await scenario.acquire()
        assert first == ConnectionFacts(1) == scenario.port.open_connection()
        if state == "dropped":
            scenario.port.drop()
        elif state == "ended":
            scenario.peers[0].close()
        elif state == "octets":
            scenario.peers[0].send(b"unasked")
        return await scenario.acquire(is_fresh=state == "fresh")

    assert run(play()) == ConnectionFacts(number)
    assert len(scenario.peers) == number


@pytest.mark.parametrize("has_login", [False, True])
def test_a_response_counts_for_its_connection_and_a_login_counts_as_sent(
    scenario: PortScenario, has_login: bool
) -> None:
    desk, upstream_id = desk_for(Basic(), is_known=True), ROUTE.upstream_id
    assert upstream_id is not None
    carried = desk.known(upstream_id) if has_login else None

    async def play() -> tuple[int, ConnectionFacts | None]:
        await scenario.acquire()
        assert not scenario.port.progress.is_sent
        scenario.peers[0].send(b"HTTP/1.1 102 Processing\r\n\r\n" + OK[: OK.index(b"ok")])
        response = await scenario.port.send(Message(REQUEST, carried, carried))
        return response.status, scenario.port.open_connection()

    assert run(play()) == (200, ConnectionFacts(1, was_used=True))
    assert scenario.port.progress.is_sent
    assert scenario.port.login_was_sent is has_login
    sent = scenario.peers[0].recv(1 << 16)
    assert (b"Proxy-Authorization: " + basic_credentials(LOGIN) in sent) is has_login


def test_a_login_sent_while_connecting_counts_as_sent(scenario: PortScenario) -> None:
    scenario.port.connect_request(BY_SOCKS, None).before_login()
    assert scenario.port.login_was_sent


@pytest.mark.parametrize("octets", [0, 1])
def test_a_login_counts_as_sent_after_its_first_octet(
    scenario: PortScenario, monkeypatch: pytest.MonkeyPatch, octets: int
) -> None:
    accepted = iter((octets,))

    def send(stream: SocketStream, data: bytes) -> int:
        for count in accepted:
            return count
        raise BrokenPipeError

    assert ROUTE.upstream_id is not None
    login = desk_for(Basic(), is_known=True).known(ROUTE.upstream_id)

    async def play() -> None:
        assert not scenario.port.progress.was_sent
        await scenario.acquire()
        monkeypatch.setattr(SocketStream, "send", send)
        with pytest.raises(ConnectionLostError) as raised:
            await scenario.port.send(Message(REQUEST, login, login))
        assert raised.value.request_was_unread

    run(play())
    assert scenario.port.login_was_sent is scenario.port.progress.was_sent is bool(octets)


@pytest.mark.parametrize("scheme_blocks", [True, False])
@pytest.mark.parametrize("login_blocks", [True, False])
def test_only_a_blocking_step_runs_in_a_thread(scheme_blocks: bool, login_blocks: bool) -> None:
    async def run_in_thread(handshake: object, challenges: object) -> str:
        return "in a thread"

    tools: Any = SimpleNamespace(
        limits=EngineLimits(), handshake_threads=SimpleNamespace(run=run_in_thread)
    )
    handshake: Any = SimpleNamespace(step=lambda challenges: "at once")
    credentials: Any = SimpleNamespace(
        scheme=SimpleNamespace(blocks=scheme_blocks),
        authenticator=SimpleNamespace(blocks=login_blocks),
    )
    port = OwnAuthPort(ROUTE, REQUEST, tools)
    step: object = run(port.run_step(credentials, handshake, ()))
    assert step == ("in a thread" if scheme_blocks and login_blocks else "at once")


@pytest.mark.parametrize(
    ("route", "is_refusal"), [(ROUTE, True), (DIRECT, False), (BY_SOCKS, False)]
)
def test_only_a_proxy_refuses_a_request_for_lack_of_a_login(route: Route, is_refusal: bool) -> None:
    response = parse_response(challenge("Basic").partition(b"\r\n\r\n")[0] + b"\r\n\r\n", b"GET")
    tools: Any = None
    challenges = OwnAuthPort(route, REQUEST, tools).challenges_in(response, b"GET", None)
    assert (challenges is not None) is is_refusal


HOME = b"Location: http://origin.test/home"
PORTAL = b"Location: http://portal.test/"


@pytest.mark.parametrize(
    ("status", "line", "is_check_page", "url"),
    [
        (302, PORTAL, True, "http://portal.test/"),
        (302, PORTAL, False, ""),
        (302, HOME, True, ""),
        (200, PORTAL, True, ""),
        (201, PORTAL, True, ""),
        (403, PORTAL, True, ""),
        (503, PORTAL, True, ""),
        (511, PORTAL, False, "http://portal.test/"),
        (511, b"X: y", True, "http://origin.test/"),
        (511, b"Location: ftp://portal.test/", True, "http://origin.test/"),
    ],
)
def test_a_portal_is_reported_if_a_response_can_only_come_from_the_network(
    status: int, line: bytes, is_check_page: bool, url: str
) -> None:
    """Only a check page never redirects to another host itself."""
    portals: list[tuple[Route, str]] = []
    tools: Any = SimpleNamespace(broker=None, on_portal=lambda *portal: portals.append(portal))
    more = {"is_check_page": True} if is_check_page else {}
    assert ROUTE.profile is not None
    own = OwnRequest(ROUTE.profile, REQUEST, tools, **more)
    own.report_portal(parse_response(b"HTTP/1.1 %d X\r\n%b\r\n\r\n" % (status, line), b"GET"))
    assert portals == ([(own.route, url)] if url else [])


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"", RequestRefusedError),
        (b"malformed\r\n\r\n", RequestRefusedError),
        (b"HTTP/1.1 200", ConnectionLostError),
    ],
    ids=["silent", "malformed", "cut off"],
)
def test_a_request_without_a_response_is_refused_or_lost(
    scenario: PortScenario, answer: bytes, error: type[Exception]
) -> None:
    async def play() -> None:
        await scenario.acquire()
        if answer:
            scenario.peers[0].send(answer)
            scenario.peers[0].shutdown(socket.SHUT_WR)
        with pytest.raises(error) as raised:
            await scenario.port.send(Message(REQUEST))
        if isinstance(raised.value, ConnectionLostError):
            # A part of the response shows that the request was read.
            assert not raised.value.request_was_unread

    run(play())
    assert not scenario.port.login_was_sent
