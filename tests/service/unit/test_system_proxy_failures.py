"""The switch of the system proxy: a failure is reported and leaves no change."""

from pathlib import Path

import pytest

from tests.service.unit.system_proxy_bench import ADDRESS, OURS, USED, Bench, started, use
from tests.system_settings.fake_proxy_target import FakeProxyTarget
from trayproxy.control.messages import SystemProxyState
from trayproxy.desktop.system_proxy.base import ADMINISTRATOR_NEEDED, ProxyTargets, Wanted
from trayproxy.profiles.config import SystemProxyMode, SystemProxySettings
from trayproxy.system_settings.entries import TargetError


async def test_a_start_that_fails_leaves_no_address_of_an_earlier_run(bench: Bench) -> None:
    await started(bench)
    bench.target.refused.add("exceptions")
    switch = bench.make(USED, "127.0.0.1:3129")
    switch.bypass_changed(("intranet",))
    await switch.start()
    assert bench.target.values["mode"] == "none"
    bench.target.refused.clear()
    await switch.close()
    assert bench.target.values["host"] is None


async def test_a_repair_that_fails_is_not_reported_as_a_success(bench: Bench) -> None:
    await started(bench)
    bench.target.refused.add("mode")
    await started(bench, SystemProxySettings())
    assert not bench.published[-1].was_repaired
    assert bench.published[-1].problem is not None


async def test_a_desktop_without_a_setting_for_a_pac_file(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench.target, "wanted", lambda setting, present: Wanted({}))
    switch = await started(bench, SystemProxySettings())
    problem = await switch.turn_on(SystemProxyMode.PAC)
    assert problem is not None
    assert "PAC file" in problem.body
    assert not bench.files.journal.path.exists()


async def test_without_a_listener_the_system_proxy_is_not_set(bench: Bench) -> None:
    switch = bench.make(SystemProxySettings(), "")
    problem = await switch.turn_on(SystemProxyMode.ADDRESS)
    assert problem is not None
    assert problem.id == "TP-604"
    assert bench.target.values["mode"] == "none"


async def test_a_managed_system_proxy_is_not_touched(bench: Bench) -> None:
    bench.target.is_managed = True
    switch = await started(bench, SystemProxySettings())
    assert (await switch.read()).state is SystemProxyState.MANAGED
    problem = await switch.turn_on(SystemProxyMode.ADDRESS)
    assert problem is not None
    assert problem.id == "TP-602"
    assert ADDRESS in problem.body
    assert bench.target.values["mode"] == "none"


async def test_a_failure_is_told_and_leaves_nothing(bench: Bench) -> None:
    bench.target.refused.add("mode")
    switch = await started(bench, SystemProxySettings())
    problem = await switch.turn_on(SystemProxyMode.ADDRESS)
    assert problem is not None
    assert (problem.id, "mode is read-only" in problem.body) == ("TP-604", True)
    assert bench.target.values["host"] is None
    assert not bench.watchdog.is_running()


async def test_a_missing_administrator_is_reported(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(changes: object) -> None:
        raise TargetError(ADMINISTRATOR_NEEDED)

    monkeypatch.setattr(bench.target, "write", write)
    switch = await started(bench, SystemProxySettings())
    problem = await switch.turn_on(SystemProxyMode.ADDRESS)
    assert problem is not None
    assert (problem.id, ADDRESS in problem.body) == ("TP-601", True)
    assert bench.target.values["mode"] == "none"
    assert not bench.watchdog.is_running()


async def test_without_a_watchdog_nothing_is_changed(bench: Bench) -> None:
    bench.watchdog.fails = True
    switch = await started(bench, SystemProxySettings())
    problem = await switch.turn_on(SystemProxyMode.ADDRESS)
    assert problem is not None
    assert "Cannot allocate memory" in problem.body
    assert bench.target.values["host"] is None


async def test_a_system_without_a_system_proxy(bench: Bench) -> None:
    bench.targets = ProxyTargets(())
    switch = await started(bench, SystemProxySettings())
    assert (await switch.read()).state is SystemProxyState.UNAVAILABLE
    problem = await switch.turn_on(SystemProxyMode.ADDRESS)
    assert problem is not None
    assert "this system has no system proxy" in problem.body


async def test_an_optional_target_that_cannot_be_read_is_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    optional = FakeProxyTarget("other")
    optional.unreadable = True
    bench = Bench(tmp_path, FakeProxyTarget(mode="none"), optional)
    use(bench, monkeypatch)
    switch = await started(bench)
    assert bench.published[-1].skipped == ("Other",)
    assert bench.published[-1].targets == ("Fake",)
    await switch.close()
    assert bench.target.values["mode"] == "none"


async def test_a_damaged_journal_is_kept_and_reported(bench: Bench) -> None:
    bench.files.journal.path.write_text("{")
    await started(bench, SystemProxySettings())
    problem = bench.published[-1].problem
    assert problem is not None
    assert problem.id == "TP-606"
    assert "system-proxy.json.damaged-1" in problem.body
    assert bench.target.values["mode"] == "none"


async def test_with_a_damaged_journal_the_present_values_become_the_original_values(
    bench: Bench,
) -> None:
    bench.files.journal.path.write_text("{")
    switch = await started(bench)
    assert bench.ours == OURS
    problem = bench.published[-1].problem
    assert problem is not None
    assert problem.id == "TP-606"
    await switch.close()
    assert bench.target.values["mode"] == "none"
    assert (bench.files.journal.path.parent / "system-proxy.json.damaged-1").exists()


async def test_a_failed_restoration_is_told_and_the_journal_stays(bench: Bench) -> None:
    switch = await started(bench)
    bench.target.refused.add("mode")
    problem = await switch.turn_off()
    assert problem is not None
    assert problem.id == "TP-607"
    assert bench.files.journal.path.exists()
    assert bench.watchdog.is_running()


@pytest.mark.parametrize("refused", ["mode", "url"])
async def test_a_change_of_the_mode_that_fails_leaves_the_earlier_mode(
    bench: Bench, refused: str
) -> None:
    switch = await started(bench)
    bench.target.refused.add(refused)
    problem = await switch.turn_on(SystemProxyMode.PAC)
    assert bench.ours == OURS
    assert bench.target.values["url"] is None
    assert (await switch.read()).state is SystemProxyState.ON
    bench.target.refused.clear()
    await switch.close()
    assert problem is not None
    assert "The settings are as they were before." in problem.body
    assert bench.target.values["mode"] == "none"
    assert bench.target.values["host"] is None
