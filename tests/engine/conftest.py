import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.engine.fakes import LOGIN, FakeBroker, desk_for, office
from tests.engine.ntlm_upstream import NtlmBehaviour, NtlmUpstream
from tests.engine.recorder import Recorder
from tests.engine.running import FASTEST_LOOP, LOOPS, NewLoop, Running
from tests.engine.wire import ProxyClient
from tests.support.scripted_upstream import Script, ScriptedUpstream
from trayproxy.engine.forward.request_loop import RequestLoop
from trayproxy.engine.limits import EngineLimits
from trayproxy.engine.server import client_connection
from trayproxy.engine.server.access_control import AccessControl
from trayproxy.profiles.profile import Profile

Start = Callable[..., Running]
"""Starts an engine; see `Running`."""

MakeUpstream = Callable[..., ScriptedUpstream]
"""Starts a scripted upstream; see `ScriptedUpstream`."""

StartScripted = Callable[..., tuple[Running, ScriptedUpstream]]
"""Starts an engine in front of a scripted upstream."""

Serve = Callable[..., tuple[ProxyClient, ScriptedUpstream]]
"""Connects a client to an engine in front of a scripted upstream."""

StartNtlm = Callable[..., tuple[Running, NtlmUpstream]]
"""Starts an engine in front of an upstream with NTLM-like handshakes; see `NtlmBehaviour`."""


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """Closes the resources of a test in reverse order: clients, then engines, then upstreams."""
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def recorder(stack: ExitStack) -> Recorder:
    """An upstream which answers every request."""
    return stack.enter_context(Recorder())


@pytest.fixture(params=list(LOOPS.values()), ids=list(LOOPS))
def new_loop(request: pytest.FixtureRequest) -> NewLoop:
    """Creates event loops, for each kind of loop the engine runs on."""
    found: NewLoop = request.param
    return found


@pytest.fixture
def loop(new_loop: NewLoop) -> Iterator[asyncio.AbstractEventLoop]:
    """Each kind of loop, without an engine."""
    loop = new_loop()
    yield loop
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()


@pytest.fixture
def engines_loop() -> NewLoop:
    """The kind of event loop for engines; a module may override this fixture with `new_loop`."""
    return FASTEST_LOOP


@pytest.fixture
def start(stack: ExitStack, engines_loop: NewLoop) -> Start:
    """Starts engines, which are closed at the end of the test."""

    def start(
        profile: Profile | None,
        desk: FakeBroker | None = None,
        limits: EngineLimits | None = None,
        sleep_clock: Callable[[], float] | None = None,
        access_control: AccessControl | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> Running:
        running = Running(
            profile,
            desk=desk,
            limits=limits,
            new_loop=engines_loop,
            sleep_clock=sleep_clock,
            access_control=access_control,
            host=host,
            port=port,
        )
        return stack.enter_context(running)

    return start


@pytest.fixture
def engine(recorder: Recorder, start: Start) -> Running:
    """An engine with a recorder as its upstream and a known login."""
    return start(office(recorder.port), FakeBroker(LOGIN, is_known=True))


@pytest.fixture
def client(engine: Running, stack: ExitStack) -> ProxyClient:
    """A client of `engine`."""
    return stack.enter_context(engine.connect())


@pytest.fixture
def script(stack: ExitStack) -> MakeUpstream:
    """Starts scripted upstreams."""

    def script(*scripts: Script) -> ScriptedUpstream:
        return stack.enter_context(ScriptedUpstream(*scripts))

    return script


@pytest.fixture
def start_scripted(start: Start, script: MakeUpstream) -> StartScripted:
    def start_scripted(*scripts: Script, **parts: object) -> tuple[Running, ScriptedUpstream]:
        upstream = script(*scripts)
        return start(office(upstream.port), **parts), upstream

    return start_scripted


@pytest.fixture
def serve(start_scripted: StartScripted, stack: ExitStack) -> Serve:
    def serve(*scripts: Script, **parts: object) -> tuple[ProxyClient, ScriptedUpstream]:
        engine, upstream = start_scripted(*scripts, **parts)
        return stack.enter_context(engine.connect()), upstream

    return serve


@pytest.fixture
def start_ntlm(start: Start, stack: ExitStack) -> StartNtlm:
    def start_ntlm(
        desk: FakeBroker | None = None, limits: EngineLimits | None = None, **behaviour: object
    ) -> tuple[Running, NtlmUpstream]:
        upstream = stack.enter_context(NtlmUpstream(NtlmBehaviour(**behaviour)))  # type: ignore[arg-type]
        return start(office(upstream.port), desk or desk_for(), limits), upstream

    return start_ntlm


@pytest.fixture
def request_loops(monkeypatch: pytest.MonkeyPatch) -> list[RequestLoop]:
    """Every request loop created from now on."""
    created: list[RequestLoop] = []

    class CountedRequestLoop(RequestLoop):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            created.append(self)

    monkeypatch.setattr(client_connection, "RequestLoop", CountedRequestLoop)
    return created


@pytest.fixture
def nowhere() -> Iterator[int]:
    """A port without an answer: its accept queue is full, so the kernel ignores connection
    attempts."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port: int = listener.getsockname()[1]
        while True:
            waiting = stack.enter_context(socket.socket())
            waiting.settimeout(0.2)
            try:
                waiting.connect(("127.0.0.1", port))
            except TimeoutError:
                break
        yield port
