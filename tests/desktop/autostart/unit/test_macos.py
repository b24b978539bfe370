"""Tests for trayproxy.desktop.autostart.macos, with a replacement of launchctl."""

import plistlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.desktop.autostart.fake_programs import FakePrograms
from trayproxy.desktop.autostart.base import AutostartState, AutostartStatus, StartCommand
from trayproxy.desktop.autostart.macos import FILE, LaunchAgentAutostart
from trayproxy.desktop.commands import CommandResult
from trayproxy.desktop.installation import InstalledProgram
from trayproxy.identity import APP_ID
from trayproxy.system_settings.entries import TargetError

OFF, ON, OTHER = AutostartState.OFF, AutostartState.ON, AutostartState.OTHER


class FakeLaunchctl:
    """Lists disabled agents as a version of macOS does; None if it cannot be run."""

    def __init__(self) -> None:
        self.listed: str | None = 'disabled services = {\n\t"com.other" => disabled\n}\n'

    def __call__(self, argv: Sequence[str]) -> CommandResult:
        assert argv == ["launchctl", "print-disabled", "gui/501"]
        if self.listed is None:
            raise TargetError("launchctl cannot be run")
        return CommandResult(0, self.listed)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "LaunchAgents" / FILE


@pytest.fixture
def launchctl() -> FakeLaunchctl:
    return FakeLaunchctl()


@pytest.fixture
def autostart(
    command: StartCommand, file: Path, launchctl: FakeLaunchctl, programs: FakePrograms
) -> LaunchAgentAutostart:
    return LaunchAgentAutostart(command, file.parent, launchctl, 501, programs.find)


def agent(file: Path) -> dict[str, Any]:
    read: dict[str, Any] = plistlib.loads(file.read_bytes())
    return read


def write(file: Path, **keys: object) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(plistlib.dumps(keys, fmt=plistlib.FMT_BINARY))


def test_on_and_off(autostart: LaunchAgentAutostart, command: StartCommand, file: Path) -> None:
    assert autostart.status() == AutostartStatus(OFF, str(file))
    autostart.turn_off()
    autostart.turn_on()
    assert autostart.status() == AutostartStatus(ON, str(file), command.program.path)
    assert agent(file) == {
        "Label": APP_ID,
        "ProgramArguments": list(command.argv),
        "RunAtLoad": True,
        "ProcessType": "Interactive",
    }
    autostart.turn_off()
    assert list(file.parent.iterdir()) == []


def test_the_program_of_an_application_is_shown_by_its_name(
    file: Path, launchctl: FakeLaunchctl
) -> None:
    program = InstalledProgram("/Applications/TrayProxy.app/Contents/MacOS/TrayProxy")
    command = StartCommand(program, ("--background",))
    LaunchAgentAutostart(command, file.parent, launchctl, 501, lambda name: name).turn_on()
    assert agent(file)["AssociatedBundleIdentifiers"] == [APP_ID]


def test_another_home_is_another_trayproxy(
    command: StartCommand, file: Path, launchctl: FakeLaunchctl, programs: FakePrograms
) -> None:
    home = replace(command, home="/my home")
    there = LaunchAgentAutostart(home, file.parent, launchctl, 501, programs.find)
    there.turn_on()
    assert agent(file)["EnvironmentVariables"] == {"TRAYPROXY_HOME": "/my home"}
    assert there.status().state is ON
    here = LaunchAgentAutostart(command, file.parent, launchctl, 501, programs.find)
    assert here.status() == AutostartStatus(OTHER, str(file), command.program.path, home="/my home")
    here.turn_on()
    assert "EnvironmentVariables" not in agent(file)
    assert here.status().state is ON


def test_an_entry_of_another_installation_is_corrected_and_other_keys_stay(
    autostart: LaunchAgentAutostart, file: Path
) -> None:
    variables = {"LANG": "de_DE"}
    write(file, InstalledProgram="/old", RunAtLoad=True, Nice=5, EnvironmentVariables=variables)
    assert autostart.status() == AutostartStatus(OTHER, str(file), "/old", is_missing=True)
    autostart.turn_on()
    assert autostart.status().state is ON
    assert (agent(file)["Nice"], agent(file)["EnvironmentVariables"]) == (5, variables)
    assert "InstalledProgram" not in agent(file)
    autostart.turn_off()
    assert autostart.status().state is OFF
    assert (agent(file)["Nice"], agent(file)["Disabled"]) == (5, True)
    autostart.turn_off()
    autostart.turn_on()
    assert autostart.status().state is ON
    assert "Disabled" not in agent(file)


def test_an_agent_that_starts_on_demand_only_is_off(
    autostart: LaunchAgentAutostart, command: StartCommand, file: Path
) -> None:
    write(file, Label=APP_ID, ProgramArguments=list(command.argv))
    assert autostart.status().state is OFF
    autostart.turn_on()
    assert autostart.status().state is ON


@pytest.mark.parametrize("word", ["disabled", "true"])
def test_an_agent_that_launchd_has_disabled(
    autostart: LaunchAgentAutostart, launchctl: FakeLaunchctl, word: str
) -> None:
    autostart.turn_on()
    launchctl.listed = f'disabled services = {{\n\t"{APP_ID}" => {word}\n}}\n'
    status = autostart.status()
    assert status.state is AutostartState.DISABLED
    assert f"launchctl enable gui/501/{APP_ID}" in status.reason
    launchctl.listed = f'\t"{APP_ID}" => enabled\n\t"{APP_ID}.x" => disabled\n'
    assert autostart.status().state is ON
    launchctl.listed = None
    assert autostart.status().state is ON


@pytest.mark.parametrize("octets", [b"", b"garbage", b"bplist00broken", plistlib.dumps([1])])
def test_a_file_that_cannot_be_parsed_is_left_alone(
    autostart: LaunchAgentAutostart, file: Path, octets: bytes
) -> None:
    file.parent.mkdir(parents=True)
    file.write_bytes(octets)
    for action in (autostart.status, autostart.turn_on, autostart.turn_off):
        with pytest.raises(TargetError, match="left alone"):
            action()
    assert file.read_bytes() == octets


@pytest.mark.unix
def test_a_link_is_left_alone(autostart: LaunchAgentAutostart, file: Path, tmp_path: Path) -> None:
    file.parent.mkdir(parents=True)
    file.symlink_to(tmp_path / "elsewhere")
    for action in (autostart.status, autostart.turn_on, autostart.turn_off):
        with pytest.raises(TargetError, match="is a link"):
            action()
