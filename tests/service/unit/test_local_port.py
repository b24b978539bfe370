"""Tests for trayproxy.service.local_port: a port that is taken, and another port for this run."""

import asyncio
import errno
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.service.fake_process_names import FakeProcessNames
from trayproxy.control.messages import ListenerState
from trayproxy.domain.problem import Problem
from trayproxy.profiles.config import Config, Forward
from trayproxy.service import listen_problems
from trayproxy.service.further_listeners import FurtherListeners
from trayproxy.service.local_port import LISTEN_RETRY_S, FurtherSettings, LocalPort
from trayproxy.service.other_loopback import OtherLoopback
from trayproxy.service.status_publisher import StatusPublisher


class FakeEngine:
    """An engine that listens on port 3128, unless another program uses the port."""

    def __init__(self) -> None:
        self.address = "127.0.0.1:3128"
        self.errors: dict[int, OSError] = {}

    def listen(self, port: int | None = None) -> None:
        self.move(port or 3128)

    def move(self, port: int) -> None:
        if port in self.errors:
            raise self.errors[port]
        self.address = f"127.0.0.1:{port}"

    def listen_on_other_loopback(self) -> str:
        return ""


class FakeOtherLoopback:
    def __init__(self) -> None:
        self.tries = 0

    def try_now(self) -> None:
        self.tries += 1


class PortHarness:
    """A `LocalPort` with fakes. It is created on a running event loop."""

    def __init__(self, *, waits: bool) -> None:
        self.engine = FakeEngine()
        self.other_loopback = FakeOtherLoopback()
        loop = asyncio.get_running_loop()
        self.publisher = StatusPublisher(loop, lambda status: None, lambda: False)
        self.stop = asyncio.Event()
        self.addresses: list[str] = []
        self.waits = 0
        self.config = Config()
        self.further_calls: list[str] = []
        self.port = LocalPort(
            self.engine,
            self.publisher,
            FakeProcessNames(),
            cast(OtherLoopback, self.other_loopback),
            self.addresses.append,
            self.record_waiting,
            self.stop,
            FurtherSettings(lambda: self.config, self.make_further),
            waits=waits,
        )

    def make_further(self) -> FurtherListeners:
        calls = self.further_calls
        calls.append("make")
        further: Any = SimpleNamespace(
            apply=lambda config: calls.append(f"apply {len(config.forwards)}"),
            update=lambda: calls.append("update"),
            close=lambda: calls.append("close"),
        )
        return cast(FurtherListeners, further)

    async def record_waiting(self) -> None:
        self.waits += 1

    async def start_waiting(self) -> "asyncio.Task[Problem | None]":
        """Listen in a task, and return the task while it waits for the port."""
        task = asyncio.create_task(self.port.listen())
        await asyncio.sleep(0)
        assert self.publisher.status().listener is ListenerState.FAILED
        assert self.waits == 1
        return task


@pytest.fixture(autouse=True)
def next_port_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listen_problems, "free_port_after", lambda port, host: port + 1)


async def test_a_waiting_service_reports_a_taken_port_with_a_free_port() -> None:
    harness = PortHarness(waits=True)
    harness.engine.errors[3128] = OSError(errno.EADDRINUSE, "in use")
    listening = await harness.start_waiting()
    harness.stop.set()
    assert await listening is None
    status = harness.publisher.status()
    assert status.spare_port == 3129
    assert status.problem == Problem(
        "TP-101",
        "Port 3128 is taken",
        "Another program already uses 127.0.0.1:3128. TrayProxy starts by itself once the port is "
        "free.",
    )


def problem_without_waiting(error: OSError) -> Problem:
    async def play() -> Problem | None:
        harness = PortHarness(waits=False)
        harness.engine.errors[3128] = error
        return await harness.port.listen()

    problem = asyncio.run(play())
    assert problem is not None
    return problem


def test_without_waiting_the_problem_of_a_taken_port_names_a_free_port() -> None:
    problem = problem_without_waiting(OSError(errno.EADDRINUSE, "in use"))
    assert problem.id == "TP-101"
    assert problem.body.endswith("Choose another port, such as --listen 127.0.0.1:3129.")


def test_an_address_of_another_computer_is_reported() -> None:
    problem = problem_without_waiting(OSError(errno.EADDRNOTAVAIL, "Cannot assign address"))
    assert (problem.id, problem.title) == ("TP-102", "TrayProxy cannot listen on 127.0.0.1:3128")
    assert problem.body.endswith("(Cannot assign address).")


async def test_another_port_is_used_at_once_and_the_configured_port_again_when_it_is_free() -> None:
    harness = PortHarness(waits=True)
    port, publisher = harness.port, harness.publisher
    harness.engine.errors[3128] = OSError(errno.EADDRINUSE, "in use")
    listening = await harness.start_waiting()
    port.use(3129)
    async with asyncio.timeout(LISTEN_RETRY_S / 2):
        assert await listening is None
    port.report_listening()
    assert harness.addresses == ["127.0.0.1:3129"]
    assert publisher.status().listener is ListenerState.UP
    assert publisher.own_values.wanted_port == 3128
    assert harness.other_loopback.tries == 1

    problem = port.return_to_configured()
    assert problem is not None
    hint = "already uses 127.0.0.1:3128. TrayProxy stays at 127.0.0.1:3129."
    assert problem.body.endswith(hint)
    assert publisher.own_values.wanted_port == 3128

    harness.engine.errors.clear()
    assert port.return_to_configured() is None
    assert harness.addresses == ["127.0.0.1:3129", "127.0.0.1:3128"]
    assert publisher.own_values.wanted_port == 0
    assert port.return_to_configured() is None
    assert len(harness.addresses) == 2


async def test_further_listeners_follow_the_settings_and_the_network() -> None:
    harness = PortHarness(waits=False)
    assert await harness.port.listen() is None
    harness.port.report_listening()
    harness.port.network_changed()
    assert harness.further_calls == []
    harness.config = Config(forwards=(Forward("127.0.0.1", 2222, "git.example", 22),))
    harness.port.settings_changed()
    harness.port.network_changed()
    harness.config = Config()
    harness.port.settings_changed()
    assert harness.further_calls == ["make", "apply 1", "update", "apply 0"]
