"""A switch of the system proxy with its surroundings in memory."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from threading import Event

import pytest

from tests.system_settings.fake_proxy_target import FakeProxyTarget
from trayproxy.control.messages import SystemProxyStatus
from trayproxy.desktop.system_proxy import dead_proxy
from trayproxy.desktop.system_proxy import repair as repair_module
from trayproxy.desktop.system_proxy.base import ProxyTargets
from trayproxy.profiles.config import SystemProxySettings
from trayproxy.service.system_proxy.files import SystemProxyFiles
from trayproxy.service.system_proxy.switch import SystemProxySwitch
from trayproxy.service.system_proxy.tools import SystemProxyTools
from trayproxy.system_settings.entries import TargetError

ADDRESS = "127.0.0.1:3128"
OURS = {"host": "127.0.0.1", "port": "3128", "exceptions": "", "mode": "manual"}
USED = SystemProxySettings(use=True)


class FakeWatchdog:
    """A watchdog that records whether it runs."""

    def __init__(self) -> None:
        self.kept = False
        self.fails = False
        self.starting = Event()
        self.may_start = Event()
        self.may_start.set()
        self._runs = False

    def is_running(self) -> bool:
        return self._runs

    def start(self) -> None:
        self.starting.set()
        self.may_start.wait(30)
        if self.fails:
            raise OSError(12, "Cannot allocate memory")
        self._runs = True

    def stop(self, *, keep: bool = False) -> None:
        if self._runs:
            self._runs, self.kept = False, keep


class FakeWatch:
    """A watch whose reports come from a test."""

    def __init__(self) -> None:
        self.report: Callable[[], None] | None = None

    def __call__(self, report: Callable[[], None]) -> "FakeWatch":
        self.report = report
        return self

    def close(self) -> None:
        self.report = None


class Bench:
    """A switch with its surroundings.

    Attributes:
        dead: The addresses at which no program listens.
        other_runs: True if the process of another TrayProxy runs.
    """

    def __init__(self, folder: Path, *targets: FakeProxyTarget) -> None:
        self.target = targets[0] if targets else FakeProxyTarget(mode="none")
        self.targets = ProxyTargets((self.target,), targets[1:])
        self.folder = folder
        self.other_runs = True
        self.files = self.files_of("")
        self.watchdog = FakeWatchdog()
        self.watch = FakeWatch()
        self.dead: set[tuple[str, int]] = set()
        self.served: dict[str, str] = {}
        self.published: list[SystemProxyStatus] = []
        self.changed = asyncio.Event()

    def files_of(self, settings: str) -> SystemProxyFiles:
        """Return the files, as a TrayProxy with a settings file of this name uses them."""
        journal, lock = self.folder / "system-proxy.json", self.folder / "system-proxy.lock"
        return SystemProxyFiles(journal, lock, settings, lambda pid, since: self.other_runs)

    def make(self, settings: SystemProxySettings, address: str = ADDRESS) -> SystemProxySwitch:
        tools = SystemProxyTools(
            self.files,
            self.find_targets,
            self.watchdog,
            self.watch,
            lambda host, port: (host, port) in self.dead,
            self.served.__setitem__,
        )
        return SystemProxySwitch(tools, self.publish, settings, address, pac_path="/secret.pac")

    def next_write(self) -> asyncio.Event:
        """Return an event that is set when a thread is about to write to the target."""
        loop, writing = asyncio.get_running_loop(), asyncio.Event()

        def write() -> None:
            loop.call_soon_threadsafe(writing.set)

        self.target.before_write = write
        return writing

    def find_targets(self) -> ProxyTargets:
        if not self.targets.required:
            raise TargetError("this system has no system proxy")
        return self.targets

    def publish(self, status: SystemProxyStatus) -> None:
        self.published.append(status)
        self.changed.set()

    @property
    def ours(self) -> dict[str, str | None]:
        return {key: self.target.values[key] for key in OURS}

    async def wait_for(self, is_expected: Callable[[SystemProxyStatus], bool]) -> SystemProxyStatus:
        async with asyncio.timeout(30):
            while not self.published or not is_expected(self.published[-1]):
                self.changed.clear()
                await self.changed.wait()
        return self.published[-1]


def use(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    known = (*bench.targets.required, *bench.targets.optional)

    def find(name: str) -> FakeProxyTarget:
        for target in known:
            if target.name == name:
                assert isinstance(target, FakeProxyTarget)
                return target
        raise TargetError("it is unknown")

    monkeypatch.setattr(repair_module, "find_target", find)
    monkeypatch.setattr(dead_proxy, "is_dead", lambda host, port: (host, port) in bench.dead)


async def started(bench: Bench, settings: SystemProxySettings = USED) -> SystemProxySwitch:
    switch = bench.make(settings)
    await switch.start()
    return switch
