"""The loader with a manual clock, a real server and real threads."""

import asyncio
import ssl
from collections.abc import Callable, Coroutine, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from threading import Event, Semaphore

import pytest

from tests.pac.pac_server import SCRIPT, PacServer, ok, response
from tests.service.manual_clock_loop import ManualClockLoop
from tests.support.process_output import PATIENCE
from trayproxy.pac.direct_connection import Address
from trayproxy.pac.fetch import PacTools
from trayproxy.pac.loader import (
    COPY_AFTER_S,
    DETECT_AGAIN_S,
    FRESH_FILE_S,
    FRESH_S,
    GIVE_UP_S,
    MAX_THREADS,
    RETRY_AFTER_CHANGE_S,
    RETRY_S,
    PacLoader,
)
from trayproxy.pac.state import PacState
from trayproxy.profiles.pac_address import parse_pac_source
from trayproxy.profiles.pac_source import PacKind, PacSource

OTHER = SCRIPT.replace("8080", "8081")
FAILURE = response("404 x")
URL = parse_pac_source("http://pac.example/x.pac")


def no_context() -> ssl.SSLContext:
    raise AssertionError("no TLS is needed")


@pytest.fixture
def tools(tmp_path: Path) -> PacTools:
    return PacTools(
        tmp_path / "pac", no_context, lambda: pytest.fail("the system is not asked"), lambda: ()
    )


class Watched:
    """A loader whose states are recorded."""

    def __init__(
        self, tools: PacTools, server: PacServer | None = None, source: PacSource = URL
    ) -> None:
        self.states: list[PacState] = []
        self._news = asyncio.Event()
        tools = replace(tools, look_up=server.look_up) if server is not None else tools
        self.loader = PacLoader(source, tools, self._record)

    def _record(self, state: PacState) -> None:
        self.states.append(state)
        self._news.set()

    async def wait_for(self, count: int) -> PacState:
        """Return the state with this number, the first is 1."""
        while len(self.states) < count:
            self._news.clear()
            await asyncio.wait_for(self._news.wait(), PATIENCE)
        return self.states[count - 1]

    async def advance(self, seconds: float) -> None:
        """Let the time pass, and the timers run that are due."""
        loop = asyncio.get_running_loop()
        assert isinstance(loop, ManualClockLoop)
        loop.now += seconds
        for _ in range(4):
            await asyncio.sleep(0)


Story = Callable[[Watched], Coroutine[None, None, None]]


def play(
    story: Story, tools: PacTools, server: PacServer | None = None, source: PacSource = URL
) -> Watched:
    async def run() -> Watched:
        watched = Watched(tools, server, source)
        with closing(watched.loader):
            await story(watched)
        return watched

    with asyncio.Runner(loop_factory=ManualClockLoop) as runner:
        return runner.run(run())


def test_requests_share_one_download(tools: PacTools) -> None:
    async def story(watched: Watched) -> None:
        loader = watched.loader
        assert loader.state == PacState()
        states = await asyncio.gather(*(loader.current(PATIENCE) for _ in range(20)))
        assert {state.script for state in states} == {SCRIPT}
        assert loader.state == watched.states[0]

    with PacServer(ok()) as server:
        assert len(play(story, tools, server).states) == 1
    assert len(server.requests) == 1


def test_a_script_is_loaded_again_at_the_first_request_after_an_hour(tools: PacTools) -> None:
    async def story(watched: Watched) -> None:
        await watched.loader.current(PATIENCE)
        await watched.advance(FRESH_S - 1)
        assert (await watched.loader.current(PATIENCE)).script == SCRIPT
        assert len(server.requests) == 1
        await watched.advance(2)
        assert len(server.requests) == 1
        # At once, with the script known before.
        assert (await watched.loader.current(PATIENCE)).script == SCRIPT
        assert (await watched.wait_for(2)).script == OTHER

    with PacServer(ok(), ok(OTHER)) as server:
        play(story, tools, server)
    assert len(server.requests) == 2


def test_an_edited_file_is_noticed_soon(tools: PacTools, tmp_path: Path) -> None:
    path = tmp_path / "my.pac"
    path.write_text(SCRIPT)

    async def story(watched: Watched) -> None:
        with closing(
            PacLoader(PacSource(PacKind.FILE, str(path)), tools, lambda s: None)
        ) as loader:
            assert (await loader.current(PATIENCE)).script == SCRIPT
            path.write_text(OTHER)
            await watched.advance(FRESH_FILE_S)
            await loader.current(PATIENCE)
            assert (await loader.reload()).script == OTHER

    play(story, tools)


def test_a_failure_is_told_and_tried_again(tools: PacTools) -> None:
    async def story(watched: Watched) -> None:
        loader = watched.loader
        state = await loader.current(PATIENCE)
        assert state.problem is not None
        assert state.problem.id == "TP-501"
        # The other requests of a page do not ask again.
        assert await loader.current(PATIENCE) == state
        assert len(server.requests) == 1
        await watched.advance(RETRY_S[0])
        assert (await loader.current(PATIENCE)).script is None
        assert len(server.requests) == 2
        await watched.advance(RETRY_S[1])
        state = await watched.wait_for(2)
        assert (state.script, state.problem) == (SCRIPT, None)

    with PacServer(FAILURE, FAILURE, ok()) as server:
        play(story, tools, server)


def test_a_request_does_not_wait_for_the_pause_between_attempts(tools: PacTools) -> None:
    async def story(watched: Watched) -> None:
        assert (await watched.loader.current(PATIENCE)).script is None
        await watched.advance(RETRY_S[0] - 1)
        assert (await watched.loader.current(PATIENCE)).script == SCRIPT

    with PacServer(FAILURE, ok()) as server:
        play(story, tools, server)


def test_a_failure_in_a_new_network_is_told_at_the_second_time(tools: PacTools) -> None:
    async def story(watched: Watched) -> None:
        loader = watched.loader
        await loader.current(PATIENCE)
        loader.network_changed()
        await loader.reload()
        assert len(watched.states) == 1
        await watched.advance(RETRY_AFTER_CHANGE_S)
        state = await watched.wait_for(2)
        assert state.problem is not None
        assert (state.script, state.is_stored) == (SCRIPT, True)
        loader.network_changed()
        assert (await watched.wait_for(3)).problem is None

    with PacServer(ok(), FAILURE, FAILURE, ok()) as server:
        play(story, tools, server)
    assert len(server.requests) == 4


def test_a_change_of_the_network_during_a_download_leads_to_another(tools: PacTools) -> None:
    async def story(watched: Watched) -> None:
        loader = watched.loader
        loader.start()
        loader.network_changed()
        assert (await watched.wait_for(1)).script == SCRIPT
        assert (await watched.wait_for(2)).script == OTHER

    with PacServer(ok(), ok(OTHER)) as server:
        play(story, tools, server)


class GatedNames:
    """A name server that answers when the test opens it.

    Attributes:
        asked: The number of questions.
    """

    def __init__(self, server: PacServer) -> None:
        self.asked = 0
        self._server = server
        self._questions = Semaphore(0)
        self._is_open = Event()

    async def wait_for_question(self) -> None:
        """Wait for the next question."""
        assert await asyncio.to_thread(self._questions.acquire, timeout=PATIENCE)

    def open(self) -> None:
        """Let all look-ups go on."""
        self._is_open.set()

    def __call__(self, host: str, port: int) -> Sequence[Address]:
        self.asked += 1
        self._questions.release()
        assert self._is_open.wait(PATIENCE)
        return self._server.look_up(host, port)


def test_detection_is_repeated_as_a_network_may_name_its_domain_later(tools: PacTools) -> None:
    domains: list[str] = []
    reads = 0

    def dns_suffixes() -> Sequence[str]:
        nonlocal reads
        reads += 1
        return domains

    async def story(watched: Watched) -> None:
        loader = watched.loader
        loader.start()
        for number, pause_s in enumerate((0, *DETECT_AGAIN_S), 1):
            while reads < number:
                await watched.advance(pause_s)
        await loader.reload()
        ended = reads
        await watched.advance(FRESH_S - 1)
        assert reads == ended
        loader.network_changed()
        await loader.reload()
        domains.append("corp.example")
        await watched.advance(DETECT_AGAIN_S[0])
        assert (await watched.wait_for(2)).script == SCRIPT

    with PacServer(ok()) as server:
        late = replace(tools, dns_suffixes=dns_suffixes)
        states = play(story, late, server, PacSource(PacKind.WPAD)).states
    assert [state.is_undetected for state in states] == [True, False]


def test_a_request_waits_no_longer_than_it_says(tools: PacTools) -> None:
    async def story(watched: Watched) -> None:
        loader = watched.loader
        waiting = asyncio.ensure_future(loader.current(2.0))
        await watched.advance(0)
        await watched.advance(2.0)
        assert await waiting == PacState()
        gate.open()
        assert (await watched.wait_for(1)).script == SCRIPT

    with PacServer(ok()) as server:
        gate = GatedNames(server)
        play(story, replace(tools, look_up=gate))


def test_while_the_source_is_silent_the_copy_is_in_use_after_a_second(tools: PacTools) -> None:
    async def first(watched: Watched) -> None:
        await watched.loader.current(PATIENCE)

    async def story(watched: Watched) -> None:
        loader = watched.loader
        waiting = asyncio.ensure_future(loader.current(PATIENCE))
        await gate.wait_for_question()
        await watched.advance(COPY_AFTER_S)
        state = await waiting
        assert (state.script, state.is_stored, state.problem) == (SCRIPT, True, None)
        gate.open()
        state = await watched.wait_for(2)
        assert (state.script, state.is_stored, state.problem) == (OTHER, False, None)

    with PacServer(ok(), ok(OTHER)) as server:
        play(first, tools, server)
        gate = GatedNames(server)
        play(story, replace(tools, look_up=gate))


def test_a_look_up_that_hangs_fails_after_its_time(tools: PacTools) -> None:
    async def story(watched: Watched) -> None:
        loader = watched.loader
        for number in range(1, MAX_THREADS + 2):
            loader.start()
            if number <= MAX_THREADS:
                await gate.wait_for_question()
            await watched.advance(GIVE_UP_S)
            assert loader.state.problem is not None
            assert "there is no answer within 15 s" in loader.state.problem.body
        # No more threads than that wait in vain.
        assert gate.asked == MAX_THREADS
        gate.open()
        await watched.advance(RETRY_S[-1])
        while (await loader.reload()).script is None:
            pass

    with PacServer(ok()) as server:
        gate = GatedNames(server)
        play(story, replace(tools, look_up=gate))


def test_a_closed_loader_is_silent(tools: PacTools) -> None:
    async def story(watched: Watched) -> None:
        loader = watched.loader
        waiting = asyncio.ensure_future(loader.current(PATIENCE))
        await gate.wait_for_question()
        loader.close()
        assert await waiting == PacState()
        gate.open()
        loader.network_changed()
        assert await loader.current(0.0) == PacState()
        assert await loader.reload() == PacState()
        assert watched.states == []

    with PacServer(ok()) as server:
        gate = GatedNames(server)
        play(story, replace(tools, look_up=gate))
