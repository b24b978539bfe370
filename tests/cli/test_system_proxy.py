"""Tests for trayproxy.cli.system_proxy: the requests it sends, and what it prints."""

import json
from dataclasses import replace

import pytest

from tests.cli.conftest import Cli
from tests.cli.fake_service import FakeServiceHandler
from tests.system_settings.fake_proxy_target import FakeProxyTarget
from trayproxy.control.messages import (
    Failed,
    GetSystemProxy,
    LeftoverChoice,
    SystemProxyState,
    SystemProxyStatus,
    UseSystemProxy,
)
from trayproxy.desktop.system_proxy import factory as targets_factory
from trayproxy.desktop.system_proxy import repair as repair_module
from trayproxy.desktop.system_proxy.base import ProxySetting, ProxyTargets
from trayproxy.domain.problem import Problem
from trayproxy.paths import Paths
from trayproxy.profiles.config import Config, SystemProxyMode, SystemProxySettings
from trayproxy.profiles.store import SettingsStore
from trayproxy.service.system_proxy.files import files_of
from trayproxy.service.system_proxy.operations import turn_on
from trayproxy.system_settings.entries import TargetError

ON = SystemProxyStatus(
    SystemProxyState.ON, targets=("GNOME", "KDE"), hints=("Log in again for XFCE programs.",)
)


@pytest.fixture
def target(monkeypatch: pytest.MonkeyPatch) -> FakeProxyTarget:
    """Return the only target of this system."""
    target = FakeProxyTarget(mode="none")

    def find(name: str) -> FakeProxyTarget:
        if name != target.name:
            raise TargetError("it is unknown")
        return target

    monkeypatch.setattr(targets_factory, "proxy_targets", lambda starts: ProxyTargets((target,)))
    monkeypatch.setattr(repair_module, "find_target", find)
    return target


@pytest.fixture
def left_on(paths: Paths, target: FakeProxyTarget) -> FakeProxyTarget:
    """Leave the system proxy on, as a killed service does."""
    paths.prepare()
    store = SettingsStore(paths.config_file)
    store.save(replace(store.load(), system_proxy=SystemProxySettings(use=True)))
    files = files_of(paths)
    setting = ProxySetting("127.0.0.1", 3128, "http://127.0.0.1:3128/4f1c.pac")
    turn_on(files, ProxyTargets((target,)), setting, LeftoverChoice.ASK, lambda host, port: False)
    return target


@pytest.mark.parametrize(
    ("arguments", "request_"),
    [
        (["on"], UseSystemProxy(True)),
        (["on", "--mode", "pac"], UseSystemProxy(True, SystemProxyMode.PAC)),
        (["on", "--forget"], UseSystemProxy(True, leftover=LeftoverChoice.FORGET)),
        (["on", "--keep"], UseSystemProxy(True, leftover=LeftoverChoice.KEEP)),
        (["off"], UseSystemProxy(False)),
        (["off", "--everything"], UseSystemProxy(False, everything=True)),
        (["restore"], UseSystemProxy(False)),
        (["restore", "--everything"], UseSystemProxy(False, everything=True)),
        (["restore", "--keep"], UseSystemProxy(False, leftover=LeftoverChoice.KEEP)),
        (["restore", "--forget"], UseSystemProxy(False, leftover=LeftoverChoice.FORGET)),
        (["status"], GetSystemProxy()),
        ([], GetSystemProxy()),
    ],
)
def test_the_service_receives_the_request(
    cli: Cli,
    service: FakeServiceHandler,
    arguments: list[str],
    request_: GetSystemProxy | UseSystemProxy,
) -> None:
    assert cli("system-proxy", *arguments)[0] == 0
    assert service.requests == [request_]


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (SystemProxyStatus(), "Off\n"),
        (ON, "On: GNOME, KDE\n  Log in again for XFCE programs.\n"),
        (
            SystemProxyStatus(SystemProxyState.ON, SystemProxyMode.PAC, targets=("GNOME",)),
            "On (PAC file): GNOME\n",
        ),
        (
            SystemProxyStatus(
                SystemProxyState.ON,
                targets=("GNOME",),
                inexpressible=("a.example:8080", "*-b"),
                skipped=("KDE",),
            ),
            "On: GNOME\n  The system cannot express these exceptions: a.example:8080, *-b. "
            "Programs send their requests to TrayProxy, which connects directly.\n"
            "  Left alone: KDE\n",
        ),
        (
            SystemProxyStatus(waiting=("Windows: VPN", "KDE"), withheld="127.0.0.1:8888"),
            "Off\n  Not put back yet: Windows: VPN, KDE. TrayProxy tries again when it starts and "
            "when the network changes.\n"
            "  Your earlier system proxy 127.0.0.1:8888 was not put back, because no program "
            "answers there.\n"
            "  To have it back nevertheless: trayproxy system-proxy restore --keep\n"
            "  To forget it: trayproxy system-proxy restore --forget\n",
        ),
        (
            SystemProxyStatus(holder="/h/config.toml"),
            "Off: the TrayProxy with the settings /h/config.toml has set it\n",
        ),
        (
            SystemProxyStatus(SystemProxyState.CHANGED, value="other:8888\u202e\n"),
            "Changed by another program: it is now other:8888 (TP-603)\n",
        ),
        (
            SystemProxyStatus(SystemProxyState.CHANGED, value="127.0.0.1:8888", program="mitmdump"),
            "Changed by mitmdump: it is now 127.0.0.1:8888 (TP-603)\n",
        ),
        (
            SystemProxyStatus(SystemProxyState.CHANGED),
            "Changed by another program: programs connect directly now (TP-603)\n",
        ),
        (
            SystemProxyStatus(SystemProxyState.MANAGED),
            "Managed by your organisation: it cannot be changed here\n",
        ),
        (
            SystemProxyStatus(SystemProxyState.UNAVAILABLE, hints=("no desktop",)),
            "Not available: no desktop\n",
        ),
    ],
)
def test_the_state_is_printed(
    cli: Cli, service: FakeServiceHandler, status: SystemProxyStatus, text: str
) -> None:
    service.system_proxy = status
    assert cli("system-proxy", "status") == (0, text, "")


def test_the_state_as_json(cli: Cli, service: FakeServiceHandler) -> None:
    service.system_proxy = ON
    code, out, _ = cli("system-proxy", "on", "--json")
    found = json.loads(out)
    assert (code, found["schema"], found["state"]) == (0, 1, "on")
    assert found["targets"] == ["GNOME", "KDE"]


def test_a_refusal_is_reported(cli: Cli, service: FakeServiceHandler) -> None:
    service.failure = Failed(Problem("TP-605", "It does not work", "Forget it, or keep it."))
    code, out, err = cli("system-proxy", "on")
    assert (code, out) == (1, "")
    assert "(TP-605)\n  To forget it: trayproxy system-proxy on --forget. To keep it: --keep" in err


def test_on_needs_the_service(cli: Cli, target: FakeProxyTarget) -> None:
    assert cli("system-proxy", "on")[0] == 3
    assert target.values["mode"] == "none"


@pytest.mark.parametrize("verb", ["off", "restore"])
def test_a_killed_service_is_repaired(
    cli: Cli, paths: Paths, left_on: FakeProxyTarget, verb: str
) -> None:
    assert cli("system-proxy", "status")[1] == "On: Fake\n"
    assert cli("system-proxy", verb) == (0, "Off\n", "")
    assert left_on.values["mode"] == "none"
    assert left_on.values["host"] is None
    assert SettingsStore(paths.config_file).load() == Config()
    assert cli("system-proxy", verb) == (0, "Off\n", "")
    assert cli("system-proxy", "status")[1] == "Off\n"


def test_restore_works_although_the_service_refuses(
    cli: Cli, service: FakeServiceHandler, left_on: FakeProxyTarget
) -> None:
    service.failure = Failed(Problem("TP-604", "It could not be changed", "Why."))
    assert cli("system-proxy", "restore")[:2] == (0, "Off\n")
    assert left_on.values["mode"] == "none"


def test_a_failure_of_the_service_is_told_if_there_is_nothing_left_to_restore(
    cli: Cli, service: FakeServiceHandler, target: FakeProxyTarget
) -> None:
    service.failure = Failed(Problem("TP-606", "The record is damaged", "It is kept."))
    code, out, err = cli("system-proxy", "restore")
    assert (code, out) == (1, "")
    assert "TP-606" in err


def test_values_of_another_program_stay_and_are_reported(
    cli: Cli, left_on: FakeProxyTarget
) -> None:
    left_on.values |= {"host": "other", "port": "8888"}
    assert cli("system-proxy", "status")[1] == (
        "Changed by another program: it is now other:8888 (TP-603)\n"
    )
    code, out, err = cli("system-proxy", "restore")
    assert (code, out) == (0, "Off\n")
    assert "Another program" in err
    assert left_on.values["host"] == "other"


def test_values_of_another_program_are_replaced_on_request(
    cli: Cli, left_on: FakeProxyTarget
) -> None:
    left_on.values |= {"host": "other", "port": "8888"}
    assert cli("system-proxy", "restore", "--everything") == (0, "Off\n", "")
    assert left_on.values["host"] is None


def test_a_failed_repair_is_reported_and_can_be_repeated(
    cli: Cli, left_on: FakeProxyTarget
) -> None:
    left_on.refused.add("mode")
    code, out, err = cli("system-proxy", "restore")
    assert (code, out) == (1, "")
    assert "TP-607" in err
    assert "mode is read-only" in err
    left_on.refused.clear()
    assert cli("system-proxy", "restore") == (0, "Off\n", "")


def test_a_damaged_journal_is_reported_and_kept(
    cli: Cli, paths: Paths, target: FakeProxyTarget
) -> None:
    paths.shared.mkdir()
    paths.system_proxy_file.write_text("{")
    assert "cannot be used: it is not complete. To put" in cli("system-proxy", "status")[2]
    code, _, err = cli("system-proxy", "restore")
    assert code == 1
    assert "TP-606" in err
    assert f"{paths.system_proxy_file}.damaged-1" in err
    assert cli("system-proxy", "restore") == (0, "Off\n", "")


DEAD = {"host": "127.0.0.1", "port": "1", "mode": "manual"}


@pytest.mark.parametrize(("option", "mode"), [("--keep", "manual"), ("--forget", None)])
def test_a_proxy_that_has_ended_comes_back_only_on_request(
    cli: Cli, left_on: FakeProxyTarget, paths: Paths, option: str, mode: str | None
) -> None:
    """Nothing listens on port 1."""
    files = files_of(paths)
    journal = files.journal.load()
    assert journal is not None
    record = replace(journal.targets[0], original={**journal.targets[0].original, **DEAD})
    files.journal.save(replace(journal, targets=(record,)))
    for verb in ("restore", "status", "restore"):
        code, out, _ = cli("system-proxy", verb)
        assert (code, "127.0.0.1:1 was not put back" in out) == (0, True)
        assert left_on.values["mode"] is None
    assert cli("system-proxy", "restore", option) == (0, "Off\n", "")
    assert left_on.values["mode"] == mode
    assert not paths.system_proxy_file.exists()


def test_restore_does_not_wait_for_the_trayproxy_that_has_set_it(
    cli: Cli, left_on: FakeProxyTarget, paths: Paths
) -> None:
    files = files_of(paths)
    journal = files.journal.load()
    assert journal is not None
    files.journal.save(replace(journal, settings="/other/config.toml"))
    shown = "Off: the TrayProxy with the settings /other/config.toml has set it\n"
    assert cli("system-proxy", "status")[1] == shown
    assert cli("system-proxy", "restore") == (0, "Off\n", "")
    assert left_on.values["mode"] == "none"
