"""The route of a request may be a refusal, or known only later."""

from asyncio import Future

import pytest

from tests.engine.conftest import Start
from tests.engine.fakes import FakeRoutes, office
from tests.engine.recorder import Recorder
from tests.engine.running import Running
from tests.engine.wire import ProxyClient, connect, get
from trayproxy.engine.error_pages import ErrorPage
from trayproxy.engine.server.listener_use import ListenerUse
from trayproxy.engine.upstream.route import RouteChoice, RouteClient
from trayproxy.http.target import Authority, Target

GET = get(b"http://origin.test/")
BLOCKED = ErrorPage(403, "A rule blocks this site", "It says so.", "http_request_denied")


class LateRoutes(FakeRoutes):
    """Routes that are not known at once."""

    def __init__(self) -> None:
        super().__init__(None)
        self.waiting: list[Future[RouteChoice]] = []

    def choose(  # type: ignore[override]  # The interface permits both.
        self, target: Target, client: RouteClient
    ) -> RouteChoice | Future[RouteChoice]:
        future: Future[RouteChoice] = Future()
        self.waiting.append(future)
        return future


class LateEngine:
    """An engine with a further listener, whose requests wait for their routes."""

    def __init__(self, engine: Running) -> None:
        self.engine = engine
        self.routes = LateRoutes()
        self.route = engine.routes.to(Authority("origin.test", 80))
        self.port = engine.call(self._listen)

    def _listen(self) -> int:
        engine = self.engine.engine
        use = ListenerUse(self.routes, engine.access_control)
        return engine.listeners.add("127.0.0.1", 0, use)[1]

    def take(self) -> Future[RouteChoice]:
        """Return the future of the next request, once there is one."""
        self.engine.until(lambda: bool(self.routes.waiting), "the request for a route")
        return self.routes.waiting.pop()

    def answer(self, choice: RouteChoice | None) -> None:
        """Answer the next request for a route."""
        assert choice is not None
        future = self.take()
        self.engine.call(lambda: future.set_result(choice))


@pytest.fixture
def late(start: Start, recorder: Recorder) -> LateEngine:
    return LateEngine(start(office(recorder.port)))


def test_requests_wait_for_their_route(late: LateEngine, recorder: Recorder) -> None:
    with ProxyClient(late.port) as client:
        for count in (1, 2):
            client.send(GET)
            late.answer(late.route)
            assert client.reply().status == 200
            assert len(recorder.requests) == count


def test_a_request_may_be_refused_and_the_connection_goes_on(late: LateEngine) -> None:
    with ProxyClient(late.port) as client:
        for request in (GET, connect(b"origin.test:443"), GET):
            client.send(request)
            late.answer(BLOCKED)
            reply = client.reply()
            assert reply.status == 403
            assert b"A rule blocks this site" in reply.body


def test_a_client_that_leaves_ends_the_wait(late: LateEngine) -> None:
    with ProxyClient(late.port) as client:
        client.send(GET)
        future = late.take()
    late.engine.until(future.cancelled, "the end of the wait")


def test_a_removed_listener_accepts_no_connections(late: LateEngine) -> None:
    with ProxyClient(late.port) as client:
        client.send(GET)
        future = late.take()
        late.engine.call(lambda: late.engine.engine.listeners.remove(("127.0.0.1", late.port)))
        with pytest.raises(OSError, match="refused"):
            ProxyClient(late.port)
        late.engine.call(lambda: future.set_result(BLOCKED))
        assert client.reply().status == 403  # An open connection is still served.
