"""Tests for trayproxy.desktop.autostart.linux."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.desktop.autostart.fake_programs import FakePrograms
from trayproxy.desktop.autostart.base import AutostartState, AutostartStatus, StartCommand
from trayproxy.desktop.autostart.desktop_entry import DesktopEntry, parse_exec
from trayproxy.desktop.autostart.linux import FILE, XdgAutostart, xdg_autostart
from trayproxy.desktop.installation import InstalledProgram
from trayproxy.system_settings.entries import TargetError

OFF, ON, OTHER = AutostartState.OFF, AutostartState.ON, AutostartState.OTHER


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "config" / "autostart" / FILE


@pytest.fixture
def system_file(tmp_path: Path) -> Path:
    file = tmp_path / "system" / FILE
    file.parent.mkdir()
    return file


@pytest.fixture
def autostart(
    command: StartCommand, file: Path, system_file: Path, programs: FakePrograms
) -> XdgAutostart:
    return make(command, file, system_file, programs)


def make(
    command: StartCommand, file: Path, system_file: Path, programs: FakePrograms
) -> XdgAutostart:
    return XdgAutostart(
        command,
        file.parent,
        system_folders=[system_file.parent],
        desktops=["ubuntu", "GNOME"],
        find=programs.find,
    )


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(text.encode())


def text_of(file: Path) -> str:
    return file.read_bytes().decode()


def test_on_and_off(autostart: XdgAutostart, command: StartCommand, file: Path) -> None:
    assert autostart.status() == AutostartStatus(OFF, str(file))
    autostart.turn_off()
    autostart.turn_on()
    assert autostart.status() == AutostartStatus(ON, str(file), command.program.path)
    entry = DesktopEntry(text_of(file))
    # env: see the comment about the percent sign in the path.
    assert parse_exec(entry.get("Exec")) == ("env", *command.argv)
    assert entry.get("TryExec") == command.program.path
    assert entry.get("Icon") == "io.github.trayproxy.TrayProxy"
    assert entry.get("X-KDE-autostart-after") == "panel"
    assert entry.is_true("X-LXQt-Need-Tray")
    assert entry.is_true("X-GNOME-Autostart-enabled")
    before = file.stat()
    autostart.turn_on()
    assert file.stat().st_mtime_ns == before.st_mtime_ns
    autostart.turn_off()
    assert autostart.status().state is OFF
    assert list(file.parent.iterdir()) == []


@pytest.mark.parametrize(
    "line",
    [
        "Hidden=true",
        "X-GNOME-Autostart-enabled=false",
        "OnlyShowIn=KDE;LXQt;",
        "NotShowIn=XFCE;GNOME;",
    ],
)
def test_an_entry_that_the_desktop_does_not_start_is_off(
    autostart: XdgAutostart, file: Path, line: str
) -> None:
    autostart.turn_on()
    own = "\n".join(
        each for each in text_of(file).splitlines() if not each.startswith("X-GNOME-Autostart")
    )
    write(file, f"{own}\n{line}\n")
    assert autostart.status().state is OFF
    autostart.turn_on()
    assert autostart.status().state is ON


@pytest.mark.parametrize("line", ["OnlyShowIn=XFCE;GNOME;", "NotShowIn=KDE;", "Hidden=false"])
def test_an_entry_for_this_desktop_is_on(autostart: XdgAutostart, file: Path, line: str) -> None:
    autostart.turn_on()
    write(file, f"{text_of(file)}{line}\n")
    assert autostart.status().state is ON


def test_an_entry_of_another_installation_is_named_and_corrected(
    autostart: XdgAutostart, programs: FakePrograms, file: Path
) -> None:
    other = str(programs.add("old"))
    write(file, "[Desktop Entry]\nType=Application\nName=TrayProxy\nExec=old --background\n")
    assert autostart.status() == AutostartStatus(OTHER, str(file), "old")
    Path(other).unlink()
    assert autostart.status() == AutostartStatus(OTHER, str(file), "old", is_missing=True)
    autostart.turn_on()
    assert autostart.status().state is ON


def test_an_entry_with_a_missing_tryexec_is_corrected(
    autostart: XdgAutostart, file: Path, tmp_path: Path
) -> None:
    autostart.turn_on()
    entry = DesktopEntry(text_of(file))
    entry.set("TryExec", "gone")
    write(file, entry.text)
    assert autostart.status() == AutostartStatus(OTHER, str(file), "gone", is_missing=True)
    autostart.turn_on()
    assert autostart.status().state is ON


def test_an_entry_without_a_command_is_corrected(autostart: XdgAutostart, file: Path) -> None:
    write(file, "[Desktop Entry]\nType=Link\n")
    assert autostart.status() == AutostartStatus(OTHER, str(file), is_missing=True)
    autostart.turn_on()
    assert autostart.status().state is ON
    assert DesktopEntry(text_of(file)).get("Type") == "Application"


def test_lines_added_by_the_user_are_kept(autostart: XdgAutostart, file: Path) -> None:
    mine = "# mine\n[Desktop Entry]\nName=My proxy\nX-GNOME-Autostart-Delay=7\nExec=old\n"
    action = "\n[Desktop Action x]\nName=X\n"
    write(file, mine + action)
    autostart.turn_on()
    autostart.turn_off()
    assert autostart.status().state is OFF
    autostart.turn_on()
    text = text_of(file)
    assert text.startswith("# mine\n[Desktop Entry]\nName=My proxy\nX-GNOME-Autostart-Delay=7\n")
    assert text.endswith(action)
    assert autostart.status().state is ON


def test_an_entry_of_the_system_is_hidden_by_a_file_of_the_user(
    autostart: XdgAutostart, command: StartCommand, file: Path, system_file: Path
) -> None:
    autostart.turn_on()
    file.rename(system_file)
    assert autostart.status().place == str(system_file)
    assert autostart.status().state is ON
    autostart.turn_on()
    assert not file.exists()
    autostart.turn_off()
    assert autostart.status() == AutostartStatus(OFF, str(file))
    autostart.turn_off()
    autostart.turn_on()
    assert autostart.status() == AutostartStatus(ON, str(file), command.program.path)


def test_another_home_is_another_trayproxy(
    command: StartCommand, file: Path, system_file: Path, programs: FakePrograms
) -> None:
    there = make(replace(command, home="/my home"), file, system_file, programs)
    there.turn_on()
    assert there.status().state is ON
    here = make(command, file, system_file, programs)
    assert here.status() == AutostartStatus(OTHER, str(file), command.program.path, home="/my home")
    here.turn_on()
    assert "TRAYPROXY_HOME" not in text_of(file)
    assert here.status().state is ON


def test_a_path_that_an_entry_cannot_contain_is_refused(
    file: Path, system_file: Path, programs: FakePrograms
) -> None:
    command = StartCommand(InstalledProgram(str(programs.add("a=b/trayproxy"))), ("--background",))
    with pytest.raises(TargetError, match="a=b"):
        make(command, file, system_file, programs).turn_on()
    assert not file.exists()


@pytest.mark.parametrize("text", ["garbage", '[Desktop Entry]\nExec="/a\n'])
def test_a_file_that_cannot_be_parsed_is_left_alone(
    autostart: XdgAutostart, file: Path, text: str
) -> None:
    write(file, text)
    with pytest.raises(TargetError, match="left alone") as raised:
        autostart.status()
    assert str(file) in str(raised.value)
    with pytest.raises(TargetError):
        autostart.turn_on()
    assert text_of(file) == text


@pytest.mark.unix
def test_a_link_is_left_alone(autostart: XdgAutostart, file: Path, tmp_path: Path) -> None:
    target = tmp_path / "dotfiles"
    target.write_text("[Desktop Entry]\nExec=old\n")
    file.parent.mkdir(parents=True)
    file.symlink_to(target)
    for action in (autostart.status, autostart.turn_on, autostart.turn_off):
        with pytest.raises(TargetError, match=r"is a link to .*dotfiles"):
            action()
    assert file.is_symlink()
    assert target.read_text() == "[Desktop Entry]\nExec=old\n"


def test_a_folder_in_its_place_is_left_alone(autostart: XdgAutostart, file: Path) -> None:
    file.mkdir(parents=True)
    for action in (autostart.status, autostart.turn_on, autostart.turn_off):
        with pytest.raises(TargetError, match="not a file"):
            action()


def test_a_folder_that_cannot_be_created_is_reported(
    autostart: XdgAutostart, file: Path, tmp_path: Path
) -> None:
    (tmp_path / "config").write_text("")
    with pytest.raises(TargetError, match="cannot be written"):
        autostart.turn_on()
    autostart.turn_off()
    assert (tmp_path / "config").read_text() == ""


@pytest.mark.unix
def test_the_folders_come_from_the_environment(command: StartCommand, tmp_path: Path) -> None:
    environ = {"XDG_CONFIG_HOME": str(tmp_path), "XDG_CONFIG_DIRS": f"relative:{tmp_path}/etc"}
    file = tmp_path / "etc" / "autostart" / FILE
    assert xdg_autostart(command, environ).status().place == str(tmp_path / "autostart" / FILE)
    write(file, "[Desktop Entry]\nHidden=true\n")
    assert xdg_autostart(command, environ).status().place == str(file)
    home = xdg_autostart(command, {"XDG_CONFIG_HOME": "relative", "XDG_CONFIG_DIRS": "/nowhere"})
    assert home.status().place == str(Path.home() / ".config" / "autostart" / FILE)
