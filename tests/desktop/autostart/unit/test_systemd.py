"""Tests for trayproxy.desktop.autostart.systemd."""

from pathlib import Path

import pytest

from tests.desktop.autostart.fake_systemctl import FakeSystemctl
from trayproxy.desktop.autostart.base import AutostartState, AutostartStatus, StartCommand
from trayproxy.desktop.autostart.systemd import LINGER, UNIT, SystemdAutostart, config_folder
from trayproxy.desktop.installation import InstalledProgram
from trayproxy.system_settings.entries import TargetError

PACKAGED = Path(__file__).parents[4] / "packaging" / "systemd" / UNIT
OFF, ON, OTHER = AutostartState.OFF, AutostartState.ON, AutostartState.OTHER


@pytest.fixture
def command() -> StartCommand:
    # Not a path of Windows: systemd starts no program with a backslash in its path.
    return StartCommand(InstalledProgram("/my programs/100%/trayproxy"), ("run",))


def find(name: str) -> str | None:
    """Find every program except for those of the old installation."""
    return None if name.startswith("/old") else name


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "systemd" / "user" / UNIT


@pytest.fixture
def systemctl(file: Path) -> FakeSystemctl:
    return FakeSystemctl(file.parent)


@pytest.fixture
def autostart(command: StartCommand, file: Path, systemctl: FakeSystemctl) -> SystemdAutostart:
    return SystemdAutostart(command, file.parent, systemctl, find)


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(text.encode())


def text_of(file: Path) -> str:
    return file.read_bytes().decode()


def test_on_and_off(
    autostart: SystemdAutostart, command: StartCommand, file: Path, systemctl: FakeSystemctl
) -> None:
    assert autostart.status() == AutostartStatus(OFF, str(file))
    autostart.turn_off()
    assert systemctl.verbs == []
    autostart.turn_on()
    assert autostart.status() == AutostartStatus(ON, str(file), command.program.path, reason=LINGER)
    # Neither started nor stopped.
    assert systemctl.verbs == ["show", "daemon-reload", "enable", "is-enabled"]
    systemctl.verbs.clear()
    autostart.turn_off()
    assert systemctl.verbs == ["show", "disable", "daemon-reload"]
    assert autostart.status().state is OFF
    assert not file.exists()


def test_the_unit_equals_the_unit_of_the_package(autostart: SystemdAutostart, file: Path) -> None:
    autostart.turn_on()
    folder = "# The folder in which pipx and uv install programs."
    packaged = PACKAGED.read_text("utf-8").partition("[Unit]")
    expected = [line for line in (packaged[1] + packaged[2]).splitlines() if line != folder]
    written = text_of(file).splitlines()
    assert [line for line in written if not line.startswith("ExecStart=")] == [
        line for line in expected if not line.startswith("ExecStart=")
    ]
    assert next(line for line in written if line.startswith("ExecStart=")).endswith(" run")


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("/opt/trayproxy", "ExecStart=/opt/trayproxy -P $$x run"),
        ("/my 100%;$HOME", 'ExecStart="/my 100%%;$HOME" -P $$x run'),
    ],
)
def test_the_command_line(file: Path, systemctl: FakeSystemctl, path: str, line: str) -> None:
    command = StartCommand(InstalledProgram(path, ("-P", "$x")), ("run",), home="/my 100% home")
    own = SystemdAutostart(command, file.parent, systemctl, find)
    own.turn_on()
    assert line in text_of(file).splitlines()
    assert 'Environment="TRAYPROXY_HOME=/my 100%% home"' in text_of(file).splitlines()
    assert own.status().state is ON
    assert own.status().program == path
    own.turn_off()
    assert not file.exists()


@pytest.mark.parametrize(
    ("path", "home"), [("/a\nb", ""), ("/a", "/b\nc"), ('/a"', ""), ("/a'", ""), ("/a\\", "")]
)
def test_a_unit_that_systemd_would_refuse_is_not_written(
    file: Path, systemctl: FakeSystemctl, path: str, home: str
) -> None:
    command = StartCommand(InstalledProgram(path), ("run",), home)
    with pytest.raises(TargetError, match="systemd"):
        SystemdAutostart(command, file.parent, systemctl).turn_on()
    assert not file.exists()


def test_a_disabled_unit_is_off(
    autostart: SystemdAutostart, file: Path, systemctl: FakeSystemctl
) -> None:
    autostart.turn_on()
    systemctl.enabled.clear()
    assert autostart.status().state is OFF
    autostart.turn_on()
    assert autostart.status().state is ON


def test_a_masked_unit_is_disabled(autostart: SystemdAutostart, systemctl: FakeSystemctl) -> None:
    autostart.turn_on()
    systemctl.masked.add(UNIT)
    status = autostart.status()
    assert status.state is AutostartState.DISABLED
    assert f"systemctl --user unmask {UNIT}" in status.reason


def test_the_path_of_another_installation_is_corrected_and_other_lines_stay(
    autostart: SystemdAutostart, command: StartCommand, file: Path, systemctl: FakeSystemctl
) -> None:
    autostart.turn_on()
    mine = text_of(file).replace("RestartSec=5", "RestartSec=9").splitlines()
    mine = ["ExecStart=/old run" if line.startswith("ExecStart=") else line for line in mine]
    write(file, "\n".join(mine) + "\n")
    assert autostart.status() == AutostartStatus(OTHER, str(file), "/old", is_missing=True)
    autostart.turn_on()
    assert autostart.status().state is ON
    assert "RestartSec=9" in text_of(file)
    autostart.turn_off()
    assert autostart.status().state is OFF
    assert "RestartSec=9" in text_of(file)


def test_the_arguments_of_the_user_stay(
    autostart: SystemdAutostart, file: Path, systemctl: FakeSystemctl
) -> None:
    autostart.turn_on()
    write(file, text_of(file).replace(" run\n", " run --no-prompt\n"))
    autostart.turn_on()
    assert " run --no-prompt\n" in text_of(file)


@pytest.mark.parametrize(
    "text", ["[Service]\n", "ExecStart=a\nExecStart=b\n", "ExecStart=a \\\nb\n"]
)
def test_a_unit_without_a_single_command_is_left_alone(
    autostart: SystemdAutostart, file: Path, systemctl: FakeSystemctl, text: str
) -> None:
    write(file, text)
    for action in (autostart.status, autostart.turn_on):
        with pytest.raises(TargetError, match="left alone"):
            action()
    autostart.turn_off()
    assert text_of(file) == text


def test_without_systemd_nothing_is_written(
    autostart: SystemdAutostart, file: Path, systemctl: FakeSystemctl
) -> None:
    systemctl.is_running = False
    with pytest.raises(TargetError, match="Failed to connect to bus"):
        autostart.turn_on()
    systemctl.is_missing = True
    with pytest.raises(TargetError, match="no systemd"):
        autostart.turn_on()
    assert not file.exists()
    assert autostart.status().state is OFF
    write(file, "ExecStart=/old run\n")
    with pytest.raises(TargetError, match="systemctl cannot be run"):
        autostart.status()
    systemctl.is_missing = False
    with pytest.raises(TargetError, match="is-enabled fails: Failed to connect"):
        autostart.status()
    with pytest.raises(TargetError, match="does not serve"):
        autostart.turn_off()


def test_a_failure_takes_the_unit_back(
    autostart: SystemdAutostart, file: Path, systemctl: FakeSystemctl
) -> None:
    systemctl.failing.add("enable")
    with pytest.raises(TargetError, match="Access denied"):
        autostart.turn_on()
    assert not file.exists()
    write(file, "ExecStart=/old run\n")
    with pytest.raises(TargetError, match="Access denied"):
        autostart.turn_on()
    assert text_of(file) == "ExecStart=/old run\n"


@pytest.mark.unix
def test_the_folder_comes_from_the_environment() -> None:
    assert config_folder({"XDG_CONFIG_HOME": "/x"}) == Path("/x/systemd/user")
    assert config_folder({}) == Path.home() / ".config" / "systemd" / "user"
