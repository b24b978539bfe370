"""The switch of the system proxy: other processes of TrayProxy change the same system proxy."""

import os
from dataclasses import replace

import pytest

from tests.service.unit.system_proxy_bench import ADDRESS, OURS, USED, Bench, started
from trayproxy.control.messages import SystemProxyState
from trayproxy.desktop.system_proxy.repair import repair
from trayproxy.profiles.config import SystemProxyMode, SystemProxySettings
from trayproxy.service.system_proxy.switch import SystemProxySwitch


@pytest.mark.parametrize("event", ["report", "bypass", "address", "close"])
async def test_a_service_notices_that_its_settings_were_restored(bench: Bench, event: str) -> None:
    """As “trayproxy system-proxy restore” does while the service does not answer."""
    switch = await started(bench)
    repair(bench.files.journal, bench.files.lock)
    match event:
        case "report":
            assert bench.watch.report is not None
            bench.watch.report()
        case "bypass":
            switch.bypass_changed(("intranet",))
        case "address":
            switch.address_changed("127.0.0.1:3129")
    if event != "close":
        await bench.wait_for(lambda status: status.state is SystemProxyState.OFF)
        assert not switch.settings.use
        switch.address_changed("127.0.0.1:3130")
        await switch.read()
        assert not bench.watchdog.is_running()
    await switch.close()
    assert bench.target.values["mode"] == "none"
    assert bench.watch.report is None


async def started_as(
    bench: Bench, name: str, settings: SystemProxySettings = USED
) -> SystemProxySwitch:
    """Start a TrayProxy with a settings file of its own."""
    bench.files = bench.files_of(name)
    return await started(bench, settings)


async def test_a_second_trayproxy_names_the_trayproxy_with_the_system_proxy(bench: Bench) -> None:
    first = await started_as(bench, "first.toml")
    second = await started_as(bench, "second.toml", replace(USED, use=False))
    assert second.status.state is SystemProxyState.OFF
    assert second.status.holder == "first.toml"
    for problem in (await second.turn_on(SystemProxyMode.ADDRESS), await second.turn_off()):
        assert problem is not None
        assert problem.id == "TP-615"
        assert "first.toml" in problem.body
    await second.close()
    assert bench.ours == OURS
    assert (await first.read()).state is SystemProxyState.ON
    await first.close()
    assert bench.target.values["mode"] == "none"


async def test_leftovers_of_another_trayproxy_are_taken_over(bench: Bench) -> None:
    await started_as(bench, "first.toml")
    bench.other_runs = False
    second = await started_as(bench, "second.toml")
    assert second.status.state is SystemProxyState.ON
    journal = bench.files.journal.load()
    assert journal is not None
    assert (journal.settings, journal.pid) == ("second.toml", os.getpid())
    await second.close()
    assert bench.target.values["mode"] == "none"
    assert bench.target.values["host"] is None


async def test_a_crash_of_another_trayproxy_is_repaired(bench: Bench) -> None:
    await started_as(bench, "first.toml")
    bench.other_runs = False
    second = await started_as(bench, "second.toml", SystemProxySettings())
    assert second.status.was_repaired
    assert second.status.holder == ""
    assert bench.target.values["mode"] == "none"


async def test_a_second_trayproxy_that_wants_the_system_proxy_does_not_take_it(
    bench: Bench,
) -> None:
    first = await started_as(bench, "first.toml")
    bench.files = bench.files_of("second.toml")
    second = bench.make(USED, "127.0.0.1:3129")
    await second.start()
    assert second.status.problem is not None
    assert second.status.problem.id == "TP-615"
    second.bypass_changed(("intranet",))
    second.address_changed(ADDRESS)
    await second.read()
    assert bench.ours == OURS
    await second.close()
    assert bench.ours == OURS
    await first.close()
    assert bench.target.values["mode"] == "none"
