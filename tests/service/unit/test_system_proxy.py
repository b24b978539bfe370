"""The switch of the system proxy: on, off, start and end."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from tests.service.unit.system_proxy_bench import ADDRESS, OURS, USED, Bench, started, use
from tests.system_settings.fake_proxy_target import FakeProxyTarget
from trayproxy.control.messages import SystemProxyState
from trayproxy.desktop.system_proxy.base import ProxyTargets
from trayproxy.profiles.config import SystemProxyMode, SystemProxySettings


async def test_the_system_proxy_is_left_alone_unless_wanted(bench: Bench) -> None:
    switch = await started(bench, SystemProxySettings())
    assert (await switch.read()).state is SystemProxyState.OFF
    await switch.close()
    assert bench.target.values["mode"] == "none"
    assert not bench.files.journal.path.exists()
    assert not bench.watchdog.is_running()


async def test_on_and_off(bench: Bench) -> None:
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
    assert bench.target.values["mode"] == "none"
    assert bench.target.values["host"] is None
    assert not bench.watchdog.is_running()
    assert not bench.files.journal.path.exists()


async def test_it_is_set_at_the_start_and_restored_at_the_end(bench: Bench) -> None:
    switch = await started(bench)
    assert bench.ours == OURS
    await switch.close()
    assert bench.target.values["mode"] == "none"
    assert not bench.watchdog.is_running()


async def test_it_stays_at_the_end_if_the_user_wants_that(bench: Bench) -> None:
    switch = await started(bench, replace(USED, restore_on_quit=False))
    await switch.close()
    assert bench.ours == OURS
    assert bench.files.journal.path.exists()
    assert bench.watchdog.kept


@pytest.mark.parametrize("restore_on_quit", [True, False])
async def test_the_end_waits_for_a_change_that_has_begun(
    bench: Bench, restore_on_quit: bool
) -> None:
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
    assert (bench.target.values["mode"] == "none") is restore_on_quit
    assert bench.target.values["exceptions"] in (None, "")
    assert bench.files.journal.path.exists() is not restore_on_quit
    assert not bench.watchdog.is_running()
    assert bench.watch.report is None


async def test_with_a_pac_file_the_url_is_set(bench: Bench) -> None:
    switch = await started(bench, replace(USED, mode=SystemProxyMode.PAC))
    assert bench.target.values["url"] == "http://127.0.0.1:3128/secret.pac"
    assert bench.target.values["mode"] == "auto"
    assert bench.target.values["host"] is None
    assert 'return "PROXY 127.0.0.1:3128; DIRECT";' in bench.served["/secret.pac"]
    assert await switch.turn_on(SystemProxyMode.ADDRESS) is None
    assert bench.target.read()["url"] is None
    assert bench.ours == OURS
    await switch.close()
    assert bench.target.values["mode"] == "none"


async def test_after_a_crash_the_settings_are_restored(bench: Bench) -> None:
    await started(bench)
    switch = await started(bench, SystemProxySettings())
    assert bench.published[-1].was_repaired
    await switch.close()
    assert bench.target.values["mode"] == "none"


async def test_after_a_crash_the_settings_are_restored_while_programs_cannot_connect(
    bench: Bench,
) -> None:
    await started(bench)
    switch = bench.make(USED, "")
    await switch.start()
    assert bench.published[-1].was_repaired
    assert bench.target.values["mode"] == "none"
    switch.address_changed(ADDRESS)
    await bench.wait_for(lambda status: status.state is SystemProxyState.ON)
    assert bench.ours == OURS
    await switch.close()
    assert bench.target.values["mode"] == "none"


async def test_after_a_crash_the_original_values_are_known_still(bench: Bench) -> None:
    await started(bench)
    switch = await started(bench)
    assert bench.published[-1].state is SystemProxyState.ON
    assert not bench.published[-1].was_repaired
    await switch.close()
    assert bench.target.values["mode"] == "none"
    assert bench.target.values["host"] is None


@pytest.fixture
def log_in_bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """Return a bench with a second target, which programs read only when the user logs in."""
    target, at_log_in = FakeProxyTarget(mode="none"), FakeProxyTarget("environment.d", mode="none")
    bench = Bench(tmp_path, target, at_log_in)
    use(bench, monkeypatch)
    return bench


@pytest.mark.parametrize(
    ("session_ends", "starts_at_log_in", "mode"),
    [(True, True, "manual"), (True, False, "none"), (False, True, "none")],
)
async def test_settings_read_at_log_in_stay_only_for_the_next_session(
    log_in_bench: Bench, session_ends: bool, starts_at_log_in: bool, mode: str
) -> None:
    bench = log_in_bench
    [at_log_in] = bench.targets.optional
    assert isinstance(at_log_in, FakeProxyTarget)
    switch = await started(bench)
    if not starts_at_log_in:
        bench.targets = ProxyTargets((bench.target,))
    await switch.close(session_ends=session_ends)
    assert bench.target.values["mode"] == "none"
    assert at_log_in.values["mode"] == mode
    assert bench.watchdog.kept is (mode == "manual")
    assert bench.files.journal.path.exists() is (mode == "manual")


@pytest.mark.parametrize("is_used", [True, False])
async def test_the_next_session_continues_with_the_settings_read_at_log_in(
    log_in_bench: Bench, is_used: bool
) -> None:
    bench = log_in_bench
    [at_log_in] = bench.targets.optional
    assert isinstance(at_log_in, FakeProxyTarget)
    switch = await started(bench)
    await switch.close(session_ends=True)
    switch = await started(bench, replace(USED, use=is_used))
    state = SystemProxyState.ON if is_used else SystemProxyState.OFF
    assert bench.published[-1].state is state
    assert at_log_in.values["mode"] == ("manual" if is_used else "none")
    assert bench.ours == OURS if is_used else bench.target.values["mode"] == "none"
    await switch.close()
    assert (bench.target.values["mode"], at_log_in.values["mode"]) == ("none", "none")
    assert not bench.files.journal.path.exists()
