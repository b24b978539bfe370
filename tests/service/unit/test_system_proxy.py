"""The switch of the system proxy, with targets in memory."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import TypeVar

import pytest

from tests.system_settings.fake_proxy_target import FakeProxyTarget
from trayproxy.control.messages import LeftoverChoice, SystemProxyState, SystemProxyStatus
from trayproxy.desktop.system_proxy import repair as repair_module
from trayproxy.desktop.system_proxy.base import ProxyKind, ProxyTargets, ProxyView, Wanted
from trayproxy.domain.problem import Problem
from trayproxy.profiles.config import SystemProxyMode, SystemProxySettings
from trayproxy.service.system_proxy.operations import SystemProxyFiles
from trayproxy.service.system_proxy.switch import SystemProxySwitch, SystemProxyTools
from trayproxy.system_settings.entries import TargetError

T = TypeVar("T")

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
        self._runs = False
        self.kept = keep


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
    """A switch with its surroundings."""

    def __init__(self, folder: Path, *targets: FakeProxyTarget) -> None:
        self.target = targets[0] if targets else FakeProxyTarget(mode="none")
        self.targets = ProxyTargets((self.target,), targets[1:])
        self.files = SystemProxyFiles(folder / "system-proxy.json", folder / "system-proxy.lock")
        self.watchdog = FakeWatchdog()
        self.watch = FakeWatch()
        self.dead: set[tuple[str, int]] = set()
        self.served: dict[str, str] = {}
        self.published: list[SystemProxyStatus] = []
        self.changed = asyncio.Event()

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


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    bench = Bench(tmp_path)
    use(bench, monkeypatch)
    return bench


def use(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def find(name: str) -> FakeProxyTarget:
        for target in (*bench.targets.required, *bench.targets.optional):
            if target.name == name:
                assert isinstance(target, FakeProxyTarget)
                return target
        raise TargetError("it is unknown")

    monkeypatch.setattr(repair_module, "find_target", find)


def play(scene: Callable[[], Awaitable[T]]) -> T:
    async def run() -> T:
        return await scene()

    return asyncio.run(run())


async def started(bench: Bench, settings: SystemProxySettings = USED) -> SystemProxySwitch:
    switch = bench.make(settings)
    await switch.start()
    return switch


def test_the_system_proxy_is_left_alone_unless_wanted(bench: Bench) -> None:
    async def scene() -> None:
        switch = await started(bench, SystemProxySettings())
        assert (await switch.read()).state is SystemProxyState.OFF
        await switch.close()

    play(scene)
    assert bench.target.values["mode"] == "none"
    assert not bench.files.journal.path.exists()
    assert not bench.watchdog.is_running()


def test_on_and_off(bench: Bench) -> None:
    async def scene() -> None:
        switch = await started(bench, SystemProxySettings())
        assert await switch.turn_on(SystemProxyMode.ADDRESS) is None
        assert bench.ours == OURS
        assert bench.watchdog.is_running()
        status = bench.published[-1]
        assert (status.state, status.targets) == (SystemProxyState.ON, ("Fake",))
        assert switch.settings == USED
        assert await switch.turn_off() is None
        assert bench.published[-1].state is SystemProxyState.OFF
        assert switch.settings == SystemProxySettings()

    play(scene)
    assert bench.target.values["mode"] == "none"
    assert bench.target.values["host"] is None
    assert not bench.watchdog.is_running()
    assert not bench.files.journal.path.exists()


def test_it_is_set_at_the_start_and_restored_at_the_end(bench: Bench) -> None:
    async def scene() -> None:
        switch = await started(bench)
        assert bench.ours == OURS
        await switch.close()

    play(scene)
    assert bench.target.values["mode"] == "none"
    assert not bench.watchdog.is_running()


def test_it_stays_at_the_end_if_the_user_wants_that(bench: Bench) -> None:
    async def scene() -> None:
        switch = await started(bench, replace(USED, restore_on_quit=False))
        await switch.close()

    play(scene)
    assert bench.ours == OURS
    assert bench.files.journal.path.exists()
    assert bench.watchdog.kept


@pytest.mark.parametrize("restore_on_quit", [True, False])
def test_the_end_waits_for_a_change_that_has_begun(bench: Bench, restore_on_quit: bool) -> None:
    async def scene() -> None:
        switch = bench.make(SystemProxySettings(use=True, restore_on_quit=restore_on_quit))
        bench.watchdog.may_start.clear()
        switch.start_soon()
        await asyncio.to_thread(bench.watchdog.starting.wait, 30)
        switch.bypass_changed(("*.corp.example",))
        closing = asyncio.create_task(switch.close())
        await asyncio.sleep(0)
        bench.watchdog.may_start.set()
        await closing
        assert (await switch.turn_on(SystemProxyMode.ADDRESS)) is not None

    play(scene)
    assert (bench.target.values["mode"] == "none") is restore_on_quit
    assert bench.target.values["exceptions"] in (None, "")
    assert bench.files.journal.path.exists() is not restore_on_quit
    assert not bench.watchdog.is_running()
    assert bench.watch.report is None


def test_with_a_pac_file_the_url_is_set(bench: Bench) -> None:
    async def scene() -> None:
        switch = await started(bench, replace(USED, mode=SystemProxyMode.PAC))
        assert bench.target.values["url"] == "http://127.0.0.1:3128/secret.pac"
        assert bench.target.values["mode"] == "auto"
        assert bench.target.values["host"] is None
        assert 'return "PROXY 127.0.0.1:3128; DIRECT";' in bench.served["/secret.pac"]
        assert await switch.turn_on(SystemProxyMode.ADDRESS) is None
        assert bench.target.read()["url"] is None
        assert bench.ours == OURS
        await switch.close()

    play(scene)
    assert bench.target.values["mode"] == "none"


def test_after_a_crash_the_settings_are_restored(bench: Bench) -> None:
    async def scene() -> None:
        await started(bench)
        switch = await started(bench, SystemProxySettings())
        assert bench.published[-1].was_repaired
        await switch.close()

    play(scene)
    assert bench.target.values["mode"] == "none"


def test_after_a_crash_the_settings_are_restored_while_programs_cannot_connect(
    bench: Bench,
) -> None:
    async def scene() -> None:
        await started(bench)
        switch = bench.make(USED, "")
        await switch.start()
        assert bench.published[-1].was_repaired
        assert bench.target.values["mode"] == "none"
        switch.address_changed(ADDRESS)
        await bench.wait_for(lambda status: status.state is SystemProxyState.ON)
        assert bench.ours == OURS
        await switch.close()

    play(scene)
    assert bench.target.values["mode"] == "none"


def test_after_a_crash_the_original_values_are_known_still(bench: Bench) -> None:
    async def scene() -> None:
        await started(bench)
        switch = await started(bench)
        assert bench.published[-1].state is SystemProxyState.ON
        assert not bench.published[-1].was_repaired
        await switch.close()

    play(scene)
    assert bench.target.values["mode"] == "none"
    assert bench.target.values["host"] is None


def test_a_change_by_another_program_is_shown_and_left(bench: Bench) -> None:
    async def scene() -> None:
        switch = await started(bench)
        bench.target.values |= {"host": "10.0.0.1", "port": "8888"}
        assert bench.watch.report is not None
        bench.watch.report()
        status = await bench.wait_for(lambda status: status.state is SystemProxyState.CHANGED)
        assert status.value == "10.0.0.1:8888"
        await switch.close()

    play(scene)
    assert bench.target.values["host"] == "10.0.0.1"
    assert bench.target.values["mode"] == "manual"


@pytest.mark.parametrize("event", ["bypass", "address", "settings", "start"])
def test_only_the_user_takes_the_system_proxy_back(bench: Bench, event: str) -> None:
    async def scene() -> None:
        switch = await started(bench)
        bench.target.values |= {"host": "10.0.0.1", "port": "8888"}
        match event:
            case "bypass":
                switch.bypass_changed(("intranet",))
            case "address":
                switch.address_changed("127.0.0.1:3129")
            case "settings":
                switch.settings_changed(replace(USED, restore_on_quit=False))
            case "start":
                switch = await started(bench)
        status = await bench.wait_for(lambda status: status.state is SystemProxyState.CHANGED)
        assert status.value == "10.0.0.1:8888"
        assert bench.target.values["port"] == "8888"
        assert bench.watch.report is not None
        await switch.close()

    play(scene)
    assert bench.target.values["host"] == "10.0.0.1"


@pytest.mark.parametrize("everything", [False, True])
def test_off_leaves_the_change_of_another_program_unless_told(
    bench: Bench, everything: bool
) -> None:
    async def scene() -> None:
        switch = await started(bench)
        bench.target.values["mode"] = "auto"
        assert await switch.turn_off(everything=everything) is None
        await switch.close()

    play(scene)
    assert bench.target.values["mode"] == ("none" if everything else "auto")
    assert bench.target.values["host"] is None


def test_on_takes_back_the_change_of_another_program(bench: Bench) -> None:
    async def scene() -> None:
        switch = await started(bench)
        bench.target.values |= {"mode": "auto", "port": "1"}
        assert await switch.turn_on(SystemProxyMode.ADDRESS) is None
        assert bench.ours == OURS
        await switch.close()

    play(scene)
    assert bench.target.values["mode"] == "none"


def test_a_changed_list_of_exceptions_is_the_users_own(bench: Bench) -> None:
    async def scene() -> None:
        switch = await started(bench)
        bench.target.values["exceptions"] = "intranet"
        assert (await switch.read()).state is SystemProxyState.ON
        await switch.close()

    play(scene)
    assert bench.target.values["exceptions"] == "intranet"
    assert bench.target.values["mode"] == "none"


def test_the_system_proxy_follows_the_local_address(bench: Bench) -> None:
    async def scene() -> None:
        switch = await started(bench)
        loop, writing = asyncio.get_running_loop(), asyncio.Event()

        def write() -> None:
            loop.call_soon_threadsafe(writing.set)

        bench.target.before_write = write
        switch.address_changed("127.0.0.1:3129")
        await writing.wait()
        assert (await switch.read()).state is SystemProxyState.ON
        assert bench.target.values["port"] == "3129"
        switch.address_changed("")
        await bench.wait_for(lambda status: status.state is SystemProxyState.OFF)
        assert bench.target.values["mode"] == "none"
        switch.address_changed(ADDRESS)
        await bench.wait_for(lambda status: status.state is SystemProxyState.ON)
        assert bench.ours == OURS
        await switch.close()

    play(scene)
    assert bench.target.values["mode"] == "none"


def test_an_address_that_cannot_be_followed_is_taken_back(bench: Bench) -> None:
    async def scene() -> None:
        switch = await started(bench)
        bench.target.refused.add("port")
        switch.address_changed("127.0.0.1:3129")
        status = await bench.wait_for(lambda status: status.problem is not None)
        assert status.problem is not None
        bench.target.refused.clear()
        await switch.close()

    play(scene)
    assert bench.target.values["mode"] == "none"


def test_a_start_that_fails_leaves_no_address_of_an_earlier_run(bench: Bench) -> None:
    async def scene() -> None:
        await started(bench)
        bench.target.refused.add("exceptions")
        switch = bench.make(USED, "127.0.0.1:3129")
        switch.bypass_changed(("intranet",))
        await switch.start()
        assert bench.target.values["mode"] == "none"
        bench.target.refused.clear()
        await switch.close()

    play(scene)
    assert bench.target.values["host"] is None


def test_after_a_failed_off_the_address_is_followed_by_another_attempt(bench: Bench) -> None:
    async def scene() -> None:
        switch = await started(bench)
        bench.target.refused.add("mode")
        assert await switch.turn_off() is not None
        assert bench.published[-1].state is SystemProxyState.ON
        assert bench.watch.report is not None
        bench.target.refused.clear()
        switch.address_changed("127.0.0.1:3129")
        await bench.wait_for(lambda status: status.state is SystemProxyState.OFF)
        await switch.close()

    play(scene)
    assert bench.target.values["mode"] == "none"


def test_a_repair_that_fails_is_not_told_as_a_success(bench: Bench) -> None:
    async def scene() -> None:
        await started(bench)
        bench.target.refused.add("mode")
        await started(bench, SystemProxySettings())

    play(scene)
    assert not bench.published[-1].was_repaired
    assert bench.published[-1].problem is not None


def test_a_desktop_without_a_setting_for_a_pac_file(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench.target, "wanted", lambda setting, present: Wanted({}))

    async def scene() -> Problem | None:
        switch = await started(bench, SystemProxySettings())
        return await switch.turn_on(SystemProxyMode.PAC)

    problem = play(scene)
    assert problem is not None
    assert "PAC file" in problem.body
    assert not bench.files.journal.path.exists()


def test_without_a_listener_the_system_proxy_is_not_set(bench: Bench) -> None:
    async def scene() -> Problem | None:
        switch = bench.make(SystemProxySettings(), "")
        return await switch.turn_on(SystemProxyMode.ADDRESS)

    problem = play(scene)
    assert problem is not None
    assert problem.id == "TP-604"
    assert bench.target.values["mode"] == "none"


def test_the_exceptions_follow_the_bypass_rules(bench: Bench) -> None:
    async def scene() -> None:
        switch = await started(bench)
        switch.bypass_changed(("intranet", "host:8080"))
        status = await bench.wait_for(lambda status: bool(status.inexpressible))
        assert status.inexpressible == ("host:8080",)
        assert bench.target.values["exceptions"] == "intranet"
        await switch.close()

    play(scene)
    assert bench.target.values["exceptions"] is None


@pytest.mark.parametrize(
    ("choice", "restored"),
    [(LeftoverChoice.FORGET, None), (LeftoverChoice.KEEP, "manual")],
)
def test_a_dead_proxy_is_asked_about(
    bench: Bench, choice: LeftoverChoice, restored: str | None
) -> None:
    bench.target.values |= {"host": "127.0.0.1", "port": "8888", "mode": "manual"}
    bench.dead.add(("127.0.0.1", 8888))

    async def scene() -> Problem:
        switch = await started(bench, SystemProxySettings())
        problem = await switch.turn_on(SystemProxyMode.ADDRESS)
        assert problem is not None
        assert bench.target.values["port"] == "8888"
        assert not bench.watchdog.is_running()
        assert not switch.settings.use
        assert await switch.turn_on(SystemProxyMode.ADDRESS, choice) is None
        await switch.close()
        return problem

    problem = play(scene)
    assert problem.id == "TP-605"
    assert "127.0.0.1:8888" in problem.body
    assert "Fiddler or Charles" in problem.body
    assert bench.target.values["mode"] == restored


@pytest.mark.parametrize(
    "address", ["127.0.0.1:1, 127.0.0.1:8888", "http=127.0.0.1:8888;https=127.0.0.1:8888"]
)
def test_a_dead_proxy_among_several_is_asked_about(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    view = ProxyView(ProxyKind.MANUAL, address)
    monkeypatch.setattr(bench.target, "describe", lambda values: view)
    bench.dead.add(("127.0.0.1", 8888))

    async def scene() -> Problem | None:
        switch = await started(bench, SystemProxySettings())
        return await switch.turn_on(SystemProxyMode.ADDRESS)

    problem = play(scene)
    assert problem is not None
    assert problem.id == "TP-605"


def test_a_proxy_that_answers_is_not_asked_about(bench: Bench) -> None:
    bench.target.values |= {"host": "localhost", "port": "8888", "mode": "manual"}

    async def scene() -> None:
        switch = await started(bench, SystemProxySettings())
        assert await switch.turn_on(SystemProxyMode.ADDRESS) is None
        await switch.close()

    play(scene)
    assert bench.target.values["port"] == "8888"


@pytest.mark.parametrize("choice", [LeftoverChoice.FORGET, LeftoverChoice.KEEP])
def test_the_own_address_without_a_journal_is_asked_about(
    bench: Bench, choice: LeftoverChoice
) -> None:
    bench.target.values |= OURS

    async def scene() -> None:
        switch = await started(bench)
        problem = bench.published[-1].problem
        assert problem is not None
        assert problem.id == "TP-605"
        assert await switch.turn_on(SystemProxyMode.ADDRESS, choice) is None
        await switch.close()

    play(scene)
    assert bench.target.values["host"] is None


def test_a_managed_system_proxy_is_not_touched(bench: Bench) -> None:
    bench.target.is_managed = True

    async def scene() -> Problem | None:
        switch = await started(bench, SystemProxySettings())
        assert (await switch.read()).state is SystemProxyState.MANAGED
        return await switch.turn_on(SystemProxyMode.ADDRESS)

    problem = play(scene)
    assert problem is not None
    assert problem.id == "TP-602"
    assert ADDRESS in problem.body
    assert bench.target.values["mode"] == "none"


def test_a_failure_is_told_and_leaves_nothing(bench: Bench) -> None:
    bench.target.refused.add("mode")

    async def scene() -> Problem | None:
        switch = await started(bench, SystemProxySettings())
        return await switch.turn_on(SystemProxyMode.ADDRESS)

    problem = play(scene)
    assert problem is not None
    assert (problem.id, "mode is read-only" in problem.body) == ("TP-604", True)
    assert bench.target.values["host"] is None
    assert not bench.watchdog.is_running()


def test_without_a_watchdog_nothing_is_changed(bench: Bench) -> None:
    bench.watchdog.fails = True

    async def scene() -> Problem | None:
        switch = await started(bench, SystemProxySettings())
        return await switch.turn_on(SystemProxyMode.ADDRESS)

    problem = play(scene)
    assert problem is not None
    assert "Cannot allocate memory" in problem.body
    assert bench.target.values["host"] is None


def test_a_system_without_a_system_proxy(bench: Bench) -> None:
    bench.targets = ProxyTargets(())

    async def scene() -> None:
        switch = await started(bench, SystemProxySettings())
        assert (await switch.read()).state is SystemProxyState.UNAVAILABLE
        problem = await switch.turn_on(SystemProxyMode.ADDRESS)
        assert problem is not None
        assert "this system has no system proxy" in problem.body

    play(scene)


def test_an_optional_target_that_cannot_be_read_is_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    optional = FakeProxyTarget("other")
    optional.unreadable = True
    bench = Bench(tmp_path, FakeProxyTarget(mode="none"), optional)
    use(bench, monkeypatch)

    async def scene() -> None:
        switch = await started(bench)
        assert bench.published[-1].skipped == ("Other",)
        assert bench.published[-1].targets == ("Fake",)
        await switch.close()

    play(scene)
    assert bench.target.values["mode"] == "none"


def test_a_damaged_journal_is_kept_and_told(bench: Bench) -> None:
    bench.files.journal.path.write_text("{")

    async def scene() -> None:
        await started(bench, SystemProxySettings())

    play(scene)
    problem = bench.published[-1].problem
    assert problem is not None
    assert problem.id == "TP-606"
    assert "system-proxy.json.damaged-1" in problem.body
    assert bench.target.values["mode"] == "none"


def test_with_a_damaged_journal_the_present_values_become_the_original_ones(bench: Bench) -> None:
    bench.files.journal.path.write_text("{")

    async def scene() -> None:
        switch = await started(bench)
        assert bench.ours == OURS
        problem = bench.published[-1].problem
        assert problem is not None
        assert problem.id == "TP-606"
        await switch.close()

    play(scene)
    assert bench.target.values["mode"] == "none"
    assert (bench.files.journal.path.parent / "system-proxy.json.damaged-1").exists()


def test_a_failed_restoration_is_told_and_the_journal_stays(bench: Bench) -> None:
    async def scene() -> Problem | None:
        switch = await started(bench)
        bench.target.refused.add("mode")
        return await switch.turn_off()

    problem = play(scene)
    assert problem is not None
    assert problem.id == "TP-607"
    assert bench.files.journal.path.exists()
    assert bench.watchdog.is_running()


def test_settings_changed_outside_are_followed(bench: Bench) -> None:
    async def scene() -> None:
        switch = await started(bench, SystemProxySettings())
        switch.settings_changed(USED)
        await bench.wait_for(lambda status: status.state is SystemProxyState.ON)
        switch.settings_changed(SystemProxySettings())
        await bench.wait_for(lambda status: status.state is SystemProxyState.OFF)
        await switch.close()

    play(scene)
    assert bench.target.values["mode"] == "none"
