"""Tests for trayproxy.cli.autostart."""

import json
import os
from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from trayproxy.cli import autostart as module
from trayproxy.cli.autostart import as_text
from trayproxy.desktop.autostart import factory
from trayproxy.desktop.autostart.base import AutostartState, AutostartStatus
from trayproxy.desktop.autostart.linux import FILE
from trayproxy.desktop.installation import InstallationError, installed_program
from trayproxy.desktop.system_proxy.base import ProxySetting, ProxyTargets
from trayproxy.desktop.system_proxy.environment_d import EnvironmentTarget, environment_file
from trayproxy.paths import Paths
from trayproxy.service.system_proxy.files import files_of
from trayproxy.service.system_proxy.operations import turn_on
from trayproxy.system_settings.entries import TargetError


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the autostart file of this user, which is below the folder of the test."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_DIRS", str(tmp_path / "system"))
    monkeypatch.delenv("XDG_CURRENT_DESKTOP", raising=False)
    return tmp_path / "autostart" / FILE


@pytest.fixture
def environment_target(file: Path) -> EnvironmentTarget:
    """Return the file with the variables for the next session of this user."""
    return EnvironmentTarget(environment_file(os.environ))


class FakeAutostart:
    """An entry with a state, and an error for changes."""

    def __init__(self, status: AutostartStatus, error: str = "") -> None:
        self._status = status
        self._error = error

    def status(self) -> AutostartStatus:
        return self._status

    def turn_on(self) -> None:
        if self._error:
            raise TargetError(self._error)

    turn_off = turn_on


def test_on_off_and_status(cli: Cli, file: Path) -> None:
    program = installed_program().path
    assert cli("autostart") == (0, "Off\n", "")
    assert cli("autostart", "on") == (0, f"On: {program}\n", "")
    assert f"TryExec={program}\n" in file.read_text("utf-8")
    assert cli("autostart", "status") == (0, f"On: {program}\n", "")
    assert cli("autostart", "off") == (0, "Off\n", "")
    assert not file.exists()


def test_the_state_as_json(cli: Cli, file: Path) -> None:
    code, out, _ = cli("autostart", "on", "--json")
    home = json.loads(out).pop("home")
    assert (code, json.loads(out)) == (
        0,
        {
            "state": "on",
            "place": str(file),
            "program": installed_program().path,
            "is_missing": False,
            "home": home,
            "reason": "",
            "schema": 1,
        },
    )


def test_an_entry_of_another_installation_is_named_and_corrected(cli: Cli, file: Path) -> None:
    file.parent.mkdir()
    file.write_text("[Desktop Entry]\nExec=/old/trayproxy\n", "utf-8")
    assert cli("autostart", "status")[:2] == (
        0,
        f"The entry starts /old/trayproxy, which does not exist: {file}\n"
        "  To start this TrayProxy instead: trayproxy autostart on\n",
    )
    assert cli("autostart", "on")[0] == 0
    assert cli("autostart", "status")[1].startswith("On: ")


def test_a_file_that_cannot_be_parsed_is_named(cli: Cli, file: Path) -> None:
    file.parent.mkdir()
    file.write_text("garbage", "utf-8")
    for verb in ("on", "off", "status"):
        code, out, err = cli("autostart", verb)
        assert (code, out) == (1, "")
        assert "TP-608" in err
        assert f"{file} was left alone" in err
    assert file.read_text("utf-8") == "garbage"


def test_without_systemd_the_reason_is_printed(
    cli: Cli, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert cli("autostart", "status", "--headless") == (0, "Off\n", "")
    code, out, err = cli("autostart", "on", "--headless")
    assert (code, out) == (1, "")
    assert "no systemd" in err
    assert "TP-608" in err


def test_a_disabled_entry_is_a_failure_of_on(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    status = AutostartStatus(AutostartState.DISABLED, "Run", "p.exe", reason="Enable it there.")
    monkeypatch.setattr(module, "autostart", lambda is_headless: FakeAutostart(status))
    code, out, err = cli("autostart", "on")
    assert (code, out) == (1, "")
    assert "Enable it there." in err
    assert "TP-609" in err
    assert cli("autostart", "status") == (
        0,
        "Disabled in the system: p.exe\n  Enable it there.\n",
        "",
    )


def test_an_entry_that_did_not_change_is_a_failure(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    off = FakeAutostart(AutostartStatus(AutostartState.OFF, "/place"))
    monkeypatch.setattr(module, "autostart", lambda is_headless: off)
    code, _, err = cli("autostart", "on")
    assert (code, "/place is not as TrayProxy has written it" in err) == (1, True)


@pytest.mark.parametrize("verb", ["on", "off"])
def test_a_failed_change_is_reported(cli: Cli, monkeypatch: pytest.MonkeyPatch, verb: str) -> None:
    fake = FakeAutostart(AutostartStatus(AutostartState.OFF, ""), "the disk is full")
    monkeypatch.setattr(module, "autostart", lambda is_headless: fake)
    code, out, err = cli("autostart", verb)
    assert (code, out) == (1, "")
    assert "the disk is full. (TP-608)" in err


def test_a_source_folder_cannot_be_started(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_: object) -> None:
        raise InstallationError("TrayProxy runs from a source folder")

    monkeypatch.setattr(factory, "installed_program", fail)
    code, _, err = cli("autostart", "on")
    assert (code, "install it first" in err) == (1, True)


def test_a_note_about_a_state_that_is_on_goes_to_standard_error(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    on = AutostartStatus(AutostartState.ON, "unit", "/bin/t", reason="It starts at log-in.")
    monkeypatch.setattr(module, "autostart", lambda is_headless: FakeAutostart(on))
    assert cli("autostart", "on") == (0, "On: /bin/t\n", "It starts at log-in.\n")
    assert cli("autostart", "status", "--json")[2] == ""


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (
            AutostartStatus(AutostartState.OTHER, "/f", "/a\x1b[2J", home="/h"),
            "The entry starts /a[2J with TRAYPROXY_HOME=/h, which is not this TrayProxy: /f\n",
        ),
        (AutostartStatus(AutostartState.OTHER, "/f"), "The entry starts no program: /f\n"),
    ],
)
def test_the_text_of_another_program(status: AutostartStatus, text: str) -> None:
    assert as_text(status).startswith(text)


def test_off_removes_the_variables_for_the_next_session(
    cli: Cli, file: Path, paths: Paths, environment_target: EnvironmentTarget
) -> None:
    assert cli("autostart", "on")[0] == 0
    files, setting = files_of(paths), ProxySetting("127.0.0.1", 3128, "")
    turn_on(files, ProxyTargets((environment_target,)), setting, None, lambda host, port: False)
    assert environment_target.read()["text"]
    assert cli("autostart", "off")[0] == 0
    assert environment_target.read()["text"] is None
    assert not paths.system_proxy_file.exists()
