"""The switch of the system proxy follows TrayProxy's own changes and those of other programs."""

from dataclasses import replace

import pytest

from tests.service.unit.system_proxy_bench import ADDRESS, OURS, USED, Bench, started
from trayproxy.control.messages import SystemProxyState
from trayproxy.profiles.config import SystemProxyMode, SystemProxySettings


async def test_a_change_by_another_program_is_shown_and_left(bench: Bench) -> None:
    switch = await started(bench)
    bench.target.values |= {"host": "10.0.0.1", "port": "8888"}
    assert bench.watch.report is not None
    bench.watch.report()
    status = await bench.wait_for(lambda status: status.state is SystemProxyState.CHANGED)
    assert status.value == "10.0.0.1:8888"
    await switch.close()
    assert bench.target.values["host"] == "10.0.0.1"
    assert bench.target.values["mode"] == "manual"


@pytest.mark.parametrize("event", ["bypass", "address", "settings", "start"])
async def test_only_the_user_takes_the_system_proxy_back(bench: Bench, event: str) -> None:
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
    assert bench.target.values["host"] == "10.0.0.1"


@pytest.mark.parametrize("everything", [False, True])
async def test_off_leaves_the_change_of_another_program_unless_told(
    bench: Bench, everything: bool
) -> None:
    switch = await started(bench)
    bench.target.values["mode"] = "auto"
    assert await switch.turn_off(everything=everything) is None
    await switch.close()
    assert bench.target.values["mode"] == ("none" if everything else "auto")
    assert bench.target.values["host"] is None


async def test_on_takes_back_the_change_of_another_program(bench: Bench) -> None:
    switch = await started(bench)
    bench.target.values |= {"mode": "auto", "port": "1"}
    assert await switch.turn_on(SystemProxyMode.ADDRESS) is None
    assert bench.ours == OURS
    await switch.close()
    assert bench.target.values["mode"] == "none"


async def test_a_changed_list_of_exceptions_is_the_users_own(bench: Bench) -> None:
    switch = await started(bench)
    bench.target.values["exceptions"] = "intranet"
    assert (await switch.read()).state is SystemProxyState.ON
    await switch.close()
    assert bench.target.values["exceptions"] == "intranet"
    assert bench.target.values["mode"] == "none"


async def test_the_system_proxy_follows_the_local_address(bench: Bench) -> None:
    switch = await started(bench)
    writing = bench.next_write()
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
    assert bench.target.values["mode"] == "none"


async def test_an_address_that_cannot_be_followed_is_taken_back(bench: Bench) -> None:
    switch = await started(bench)
    bench.target.refused.add("port")
    switch.address_changed("127.0.0.1:3129")
    status = await bench.wait_for(lambda status: status.problem is not None)
    assert status.problem is not None
    bench.target.refused.clear()
    await switch.close()
    assert bench.target.values["mode"] == "none"


async def test_after_a_failed_off_the_address_is_followed_by_another_attempt(bench: Bench) -> None:
    switch = await started(bench)
    bench.target.refused.add("mode")
    assert await switch.turn_off() is not None
    assert bench.published[-1].state is SystemProxyState.ON
    assert bench.watch.report is not None
    bench.target.refused.clear()
    switch.address_changed("127.0.0.1:3129")
    await bench.wait_for(lambda status: status.state is SystemProxyState.OFF)
    await switch.close()
    assert bench.target.values["mode"] == "none"


async def test_the_exceptions_follow_the_bypass_rules(bench: Bench) -> None:
    switch = await started(bench)
    switch.bypass_changed(("intranet", "host:8080"))
    status = await bench.wait_for(lambda status: bool(status.inexpressible))
    assert status.inexpressible == ("host:8080",)
    assert bench.target.values["exceptions"] == "intranet"
    await switch.close()
    assert bench.target.values["exceptions"] is None


async def test_settings_changed_outside_are_followed(bench: Bench) -> None:
    switch = await started(bench, SystemProxySettings())
    switch.settings_changed(USED)
    await bench.wait_for(lambda status: status.state is SystemProxyState.ON)
    switch.settings_changed(SystemProxySettings())
    await bench.wait_for(lambda status: status.state is SystemProxyState.OFF)
    await switch.close()
    assert bench.target.values["mode"] == "none"
