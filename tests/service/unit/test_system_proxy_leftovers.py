"""The switch of the system proxy: earlier proxies at which no program answers."""

import pytest

from tests.service.unit.system_proxy_bench import OURS, Bench, started
from trayproxy.control.messages import LeftoverChoice, SystemProxyState
from trayproxy.desktop.system_proxy.base import ProxyKind, ProxyView
from trayproxy.profiles.config import SystemProxyMode, SystemProxySettings


@pytest.mark.parametrize(
    ("choice", "restored"), [(LeftoverChoice.FORGET, None), (LeftoverChoice.KEEP, "manual")]
)
async def test_a_dead_proxy_is_asked_about(
    bench: Bench, choice: LeftoverChoice, restored: str | None
) -> None:
    bench.target.values |= {"host": "127.0.0.1", "port": "8888", "mode": "manual"}
    bench.dead.add(("127.0.0.1", 8888))
    switch = await started(bench, SystemProxySettings())
    problem = await switch.turn_on(SystemProxyMode.ADDRESS)
    assert problem is not None
    assert bench.target.values["port"] == "8888"
    assert not bench.watchdog.is_running()
    assert not switch.settings.use
    assert await switch.turn_on(SystemProxyMode.ADDRESS, choice) is None
    await switch.close()
    assert problem.id == "TP-605"
    assert "127.0.0.1:8888" in problem.body
    assert "Fiddler or Charles" in problem.body
    assert bench.target.values["mode"] == restored


@pytest.mark.parametrize(
    "address", ["127.0.0.1:1, 127.0.0.1:8888", "http=127.0.0.1:8888;https=127.0.0.1:8888"]
)
async def test_a_dead_proxy_among_several_is_asked_about(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    view = ProxyView(ProxyKind.MANUAL, address)
    monkeypatch.setattr(bench.target, "describe", lambda values, part=None: view)
    bench.dead.add(("127.0.0.1", 8888))
    switch = await started(bench, SystemProxySettings())
    problem = await switch.turn_on(SystemProxyMode.ADDRESS)
    assert problem is not None
    assert problem.id == "TP-605"


async def test_a_proxy_that_answers_causes_no_question(bench: Bench) -> None:
    bench.target.values |= {"host": "localhost", "port": "8888", "mode": "manual"}
    switch = await started(bench, SystemProxySettings())
    assert await switch.turn_on(SystemProxyMode.ADDRESS) is None
    await switch.close()
    assert bench.target.values["port"] == "8888"


@pytest.mark.parametrize("choice", [LeftoverChoice.FORGET, LeftoverChoice.KEEP])
async def test_the_own_address_without_a_journal_is_asked_about(
    bench: Bench, choice: LeftoverChoice
) -> None:
    bench.target.values |= OURS
    switch = await started(bench)
    problem = bench.published[-1].problem
    assert problem is not None
    assert problem.id == "TP-605"
    assert await switch.turn_on(SystemProxyMode.ADDRESS, choice) is None
    await switch.close()
    assert bench.target.values["host"] is None


DEAD = ("127.0.0.1", 8888)


async def use_until_the_other_program_ends(bench: Bench) -> None:
    """Set the system proxy while another program is the proxy, and quit after that has ended."""
    bench.target.values |= {"host": "127.0.0.1", "port": "8888", "mode": "manual"}
    switch = await started(bench)
    assert bench.ours == OURS
    bench.dead.add(DEAD)
    await switch.close()


async def test_a_proxy_that_has_ended_is_not_restored_blindly(bench: Bench) -> None:
    await use_until_the_other_program_ends(bench)
    assert bench.target.values["mode"] is None
    switch = await started(bench, SystemProxySettings())
    status = bench.published[-1]
    assert (status.state, status.withheld) == (SystemProxyState.OFF, "127.0.0.1:8888")
    assert not status.was_repaired
    assert status.problem is not None
    assert (status.problem.id, "restore --keep" in status.problem.body) == ("TP-614", True)
    # Another program may listen there by now: only the user decides.
    bench.dead.clear()
    await switch.close()
    await started(bench, SystemProxySettings())
    assert bench.target.values["mode"] is None


@pytest.mark.parametrize(
    ("choice", "answers", "mode", "is_known"),
    [
        (LeftoverChoice.ASK, True, "manual", False),
        (LeftoverChoice.ASK, False, None, True),
        (LeftoverChoice.KEEP, False, "manual", False),
        (LeftoverChoice.FORGET, False, None, False),
    ],
)
async def test_the_user_decides_about_a_proxy_that_has_ended(
    bench: Bench, choice: LeftoverChoice, answers: bool, mode: str | None, is_known: bool
) -> None:
    await use_until_the_other_program_ends(bench)
    switch = await started(bench, SystemProxySettings())
    if answers:
        bench.dead.clear()
    assert await switch.turn_off(choice) is None
    assert bool(bench.published[-1].withheld) is is_known
    assert (bench.published[-1].problem is not None) is is_known
    assert bench.target.values["mode"] == mode
    assert bench.files.journal.path.exists() is is_known


async def test_a_proxy_that_has_ended_is_kept_while_the_system_proxy_is_set_again(
    bench: Bench,
) -> None:
    await use_until_the_other_program_ends(bench)
    switch = await started(bench)
    assert bench.published[-1].problem is None
    bench.dead.clear()
    await switch.close()
    assert (bench.target.values["mode"], bench.target.values["port"]) == ("manual", "8888")
    assert not bench.files.journal.path.exists()


async def test_the_address_of_trayproxy_itself_is_not_restored(bench: Bench) -> None:
    bench.target.values |= {"host": "127.0.0.1", "port": "3129", "mode": "manual"}
    switch = await started(bench)
    writing = bench.next_write()
    # The other program has ended, and TrayProxy gets its port.
    switch.address_changed("127.0.0.1:3129")
    await writing.wait()
    await switch.read()
    assert bench.target.values["port"] == "3129"
    await switch.close()
    assert bench.target.values["mode"] is None
