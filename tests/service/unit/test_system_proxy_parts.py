"""The switch of the system proxy: network connections that are missing or refuse a change."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.service.unit.system_proxy_bench import OURS, USED, Bench, started, use
from tests.system_settings.fake_proxy_target import VPN, FakeProxyTarget
from trayproxy.control.messages import SystemProxyState
from trayproxy.desktop.system_proxy.base import ProxyKind, ProxyView
from trayproxy.profiles.config import SystemProxyMode, SystemProxySettings
from trayproxy.service.system_proxy import operations


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """Return a bench with a connection that may be missing."""
    target = FakeProxyTarget(has_vpn=True, mode="none")
    target.values |= {"host of vpn": "old", "mode of vpn": "manual"}
    bench = Bench(tmp_path, target)
    use(bench, monkeypatch)
    return bench


async def test_a_connection_that_is_missing_is_restored_when_the_network_changes(
    bench: Bench,
) -> None:
    switch = await started(bench)
    bench.target.missing.add(VPN)
    await switch.close()
    assert bench.target.values["mode"] == "none"
    switch = await started(bench, SystemProxySettings())
    status = bench.published[-1]
    assert (status.state, status.waiting) == (SystemProxyState.OFF, ("Fake: vpn",))
    assert (status.problem, status.was_repaired) == (None, False)
    switch.network_changed()
    await switch.read()
    bench.target.missing.clear()
    switch.network_changed()
    await bench.wait_for(lambda status: not status.waiting)
    await switch.close()
    assert (bench.target.values["host of vpn"], bench.target.values["port of vpn"]) == ("old", None)
    assert not bench.files.journal.path.exists()
    assert not bench.watchdog.is_running()


async def test_a_connection_that_was_missing_is_restored_after_the_next_use(bench: Bench) -> None:
    switch = await started(bench)
    bench.target.missing.add(VPN)
    await switch.close()
    switch = await started(bench)
    assert bench.published[-1].state is SystemProxyState.ON
    bench.target.missing.clear()
    await switch.close()
    assert bench.target.values["host of vpn"] == "old"
    assert bench.target.values["mode"] == "none"
    assert not bench.files.journal.path.exists()


async def test_a_connection_that_refuses_is_skipped_and_named(bench: Bench) -> None:
    bench.target.refused.add("port of vpn")
    switch = await started(bench)
    status = bench.published[-1]
    assert (status.state, status.skipped) == (SystemProxyState.ON, ("Fake: vpn",))
    assert bench.ours == OURS
    assert bench.target.values["host of vpn"] == "old"
    # The next change of the network is another chance.
    bench.target.refused.clear()
    switch.network_changed()
    await bench.wait_for(lambda status: not status.skipped)
    assert bench.target.values["port of vpn"] == "3128"
    await switch.close()
    assert bench.target.values["host of vpn"] == "old"


@pytest.mark.parametrize(
    ("effect", "works"),
    [
        (None, True),
        (ProxyView(ProxyKind.NONE), True),
        (ProxyView(ProxyKind.MANUAL, "127.0.0.1:3128"), True),
        (ProxyView(ProxyKind.MANUAL, "old:8080"), False),
    ],
)
async def test_the_connection_that_programs_use_must_not_refuse(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, effect: ProxyView | None, works: bool
) -> None:
    monkeypatch.setattr(operations, "EFFECT_PAUSES_S", (0.0,))
    bench.target.refused.add("port of vpn")
    bench.target.effect = effect
    switch = await started(bench, replace(USED, use=False))
    problem = await switch.turn_on(SystemProxyMode.ADDRESS)
    assert (problem is None) is works
    assert bench.target.values["mode"] == ("manual" if works else "none")
    if problem is not None:
        assert "vpn: port of vpn is read-only" in problem.body
        assert not bench.files.journal.path.exists()
        assert not bench.watchdog.is_running()


async def test_an_earlier_dead_proxy_of_a_connection_causes_a_question(bench: Bench) -> None:
    bench.target.values |= {"host of vpn": "127.0.0.1", "port of vpn": "8888"}
    bench.dead.add(("127.0.0.1", 8888))
    switch = await started(bench, SystemProxySettings())
    problem = await switch.turn_on(SystemProxyMode.ADDRESS)
    assert problem is not None
    assert (problem.id, "127.0.0.1:8888" in problem.body) == ("TP-605", True)
