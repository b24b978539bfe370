"""Tests of written autostart entries with the programs that read them: GLib and systemd."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.support.display import Desktop, desktop
from tests.support.ports import free_port
from tests.support.process_output import PATIENCE
from tests.support.processes import Home
from tests.support.service import run_command, status_of
from tests.support.tray import ending
from trayproxy.control.client import DisconnectedError, NoReplyError
from trayproxy.control.messages import ListenerState, Status
from trayproxy.control.transport import NotRunningError
from trayproxy.desktop.autostart.base import StartCommand
from trayproxy.desktop.autostart.linux import FILE, XdgAutostart
from trayproxy.desktop.autostart.systemd import UNIT, SystemdAutostart
from trayproxy.desktop.commands import CommandResult
from trayproxy.desktop.installation import InstalledProgram
from trayproxy.paths import Paths, locate

GENERATOR = Path("/usr/lib/systemd/user-generators/systemd-xdg-autostart-generator")
NAME = "my 100% \"odd\" 'program' $HOME & \\ `x` é"


@pytest.fixture
def odd_command(tmp_path: Path) -> StartCommand:
    """A command with a path and a home that need every kind of quoting."""
    program = tmp_path / NAME
    program.write_text('#!/bin/sh\nprintf \'%s\\n\' "$0" "$TRAYPROXY_HOME" "$@" >"$OUT"\n')
    program.chmod(0o755)
    return StartCommand(
        InstalledProgram(str(program)), ("--background", "50% of $HOME"), f"/home/{NAME}"
    )


def moved(command: StartCommand, folder: Path, name: str) -> StartCommand:
    """Give the program and the home of a command another name."""
    path = Path(command.program.path).rename(folder / name)
    return StartCommand(
        InstalledProgram(str(path)), ("--background", "50% of home"), f"/home/{name}"
    )


def written_entry(command: StartCommand, folder: Path) -> Path:
    XdgAutostart(command, folder).turn_on()
    return folder / FILE


def test_the_entry_is_valid(odd_command: StartCommand, tmp_path: Path) -> None:
    entry = written_entry(odd_command, tmp_path / "autostart")
    checked = subprocess.run(
        ["desktop-file-validate", entry], capture_output=True, encoding="utf-8", check=False
    )
    assert (checked.returncode, checked.stdout) == (0, "")


def test_glib_runs_the_command_with_its_arguments(
    odd_command: StartCommand, tmp_path: Path, place: Home
) -> None:
    entry = written_entry(odd_command, tmp_path / "autostart")
    out = tmp_path / "out"
    os.mkfifo(out)
    subprocess.run(["gio", "launch", entry], env=place.environment(OUT=str(out)), check=True)
    assert out.read_text("utf-8").splitlines() == [
        odd_command.program.path,
        odd_command.home,
        *odd_command.arguments,
    ]


def test_systemd_starts_the_entry_with_the_session(
    odd_command: StartCommand, tmp_path: Path, place: Home
) -> None:
    """systemd starts the entries of Plasma and, optionally, of other desktops."""
    # Without the characters that it cannot read.
    command = moved(odd_command, tmp_path, "my 100% \"odd\" 'program' & é")
    written_entry(command, place.path("config") / "autostart")
    units = place.path("units")
    subprocess.run(
        [GENERATOR, *(3 * [units])],
        env=place.environment(XDG_CURRENT_DESKTOP="KDE", XDG_CONFIG_DIRS=str(place.path("none"))),
        check=True,
    )
    [unit] = units.glob("app-*.service")
    quoted = command.program.path.replace("%", "%%").replace('"', '\\"')
    home = command.home.replace("%", "%%").replace('"', '\\"')
    assert (
        f'ExecStart=:/usr/bin/env "TRAYPROXY_HOME={home}" "{quoted}" --background "50%% of home"'
        in unit.read_text("utf-8").splitlines()
    )
    assert list(units.glob("xdg-desktop-autostart.target.wants/*"))


def test_systemd_accepts_the_unit(odd_command: StartCommand, tmp_path: Path) -> None:
    def run(argv: object) -> CommandResult:
        return CommandResult(0)

    folder = tmp_path / "units"
    command = moved(odd_command, tmp_path, "my 100% $HOME & `x`; é")
    SystemdAutostart(command, folder, run).turn_on()
    checked = subprocess.run(
        ["systemd-analyze", "--user", "verify", folder / UNIT],
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    # verify also checks that the program exists.
    assert (checked.returncode, checked.stderr) == (0, "")


def test_systemctl_enables_and_disables_the_unit(place: Home) -> None:
    """Without a running systemd, which only the user of a session has."""
    offline = {**place.trayproxy_environment(), "SYSTEMD_OFFLINE": "1"}

    def autostart(verb: str) -> str:
        return subprocess.run(
            [sys.executable, "-m", "trayproxy", "autostart", verb, "--headless"],
            env=offline,
            cwd=place.root,
            capture_output=True,
            encoding="utf-8",
            check=True,
        ).stdout

    units = place.path("config") / "systemd" / "user"
    assert autostart("on").startswith("On: ")
    assert (units / "default.target.wants" / UNIT).resolve() == units / UNIT
    assert autostart("status").startswith("On: ")
    subprocess.run(["systemctl", "--user", "disable", UNIT], env=offline, check=True)
    assert autostart("status") == "Off\n"
    assert autostart("on").startswith("On: ")
    assert autostart("off") == "Off\n"
    assert [path for path in units.rglob("*") if not path.is_dir()] == []


@pytest.fixture
def here(place: Home) -> Iterator[Desktop]:
    with desktop(place) as started:
        yield started


@pytest.fixture
def paths(place: Home) -> Iterator[Paths]:
    """The files of a TrayProxy, which is killed after the test."""
    paths = locate(place.trayproxy_environment())
    paths.prepare()
    paths.config_file.write_text(f"[listen]\nport = {free_port()}\n")
    yield paths
    if status := running_status(paths):
        for pid in (psutil.Process(status.pid).ppid(), status.pid):
            with suppress(ProcessLookupError):
                if pid > 1:
                    os.kill(pid, signal.SIGKILL)


def running_status(paths: Paths) -> Status | None:
    try:
        return status_of(paths)
    except (NotRunningError, DisconnectedError, NoReplyError, OSError):
        return None


def test_the_entry_starts_this_trayproxy(place: Home, here: Desktop, paths: Paths) -> None:
    done = run_command(place, "autostart", "on")
    assert done.returncode == 0, done.stderr
    # The session knows neither the home nor the source folder.
    session = here.environment()
    entry = Path(session["XDG_CONFIG_HOME"]) / "autostart" / FILE
    subprocess.run(["gio", "launch", entry], env=session, cwd=place.root, check=True)
    deadline = time.monotonic() + PATIENCE
    while not (status := running_status(paths)) or status.listener is not ListenerState.UP:
        assert time.monotonic() < deadline, [p.read_text() for p in paths.log.iterdir()]
    # A tray that has not connected yet would start another service after the end of this one.
    while run_command(place, "show").returncode:
        assert time.monotonic() < deadline
    tray = psutil.Process(status.pid).ppid()
    assert "--background" in psutil.Process(tray).cmdline()
    with ending(tray), ending(status.pid):
        assert run_command(place, "quit").returncode == 0
    assert run_command(place, "autostart", "off").returncode == 0
    assert not entry.exists()
