"""Autostart on Linux desktops: a file in ``~/.config/autostart`` (Desktop Application Autostart
Specification).

The file of the user takes precedence over a file of the same name in ``/etc/xdg/autostart``, which
a package may install; there, off means a file of the user with ``Hidden=true``.

Plasma and some other desktops let systemd start the entries (systemd-xdg-autostart-generator(8)).
systemd 252 does not read the escapes of the backslash, the dollar sign and the backquote as the
specification demands: such desktops do not start a program with these characters in its path.
"""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from trayproxy.desktop.atomic_file import remove, replace_text
from trayproxy.desktop.autostart.base import (
    AutostartState,
    AutostartStatus,
    FindProgram,
    StartCommand,
)
from trayproxy.desktop.autostart.desktop_entry import GROUP, DesktopEntry, exec_line, parse_exec
from trayproxy.desktop.autostart.entry_file import read_entry
from trayproxy.desktop.config_home import config_home
from trayproxy.identity import APP_ID, APP_NAME
from trayproxy.paths import HOME_VARIABLE
from trayproxy.system_settings.entries import TargetError

FILE = f"{APP_ID}.desktop"

_ADDED = {
    "Type": "Application",
    "Name": APP_NAME,
    "Comment": "Sign in once to the company proxy, for every program",
    "Icon": APP_ID,
    "Terminal": "false",
    "StartupNotify": "false",
    # KDE Plasma starts it when its panel, with the tray, is there; LXQt waits for the tray.
    "X-KDE-autostart-after": "panel",
    "X-LXQt-Need-Tray": "true",
}
"""The keys of a new file, and those that a file of the user is given where they are missing."""
_ENABLED = "X-GNOME-Autostart-enabled"
_OWN_KEYS = frozenset({*_ADDED, _ENABLED, "Exec", "TryExec", "Hidden"})


@dataclass(frozen=True, slots=True)
class _Found:
    """The entry that the desktop reads.

    Attributes:
        path: Its file.
        entry: The parsed entry.
    """

    path: Path
    entry: DesktopEntry


class XdgAutostart:
    """The autostart file of the user."""

    def __init__(
        self,
        command: StartCommand,
        folder: Path,
        *,
        system_folders: Sequence[Path] = (),
        desktops: Sequence[str] = (),
        find: FindProgram = shutil.which,
    ) -> None:
        """Set the places of the user's file and of the system's files; nothing is read.
        Args:
            command: The command of this installation.
            folder: The folder of the user's file, ``$XDG_CONFIG_HOME/autostart``.
            system_folders: The folders of the system, the most important first.
            desktops: The names of the present desktop, from ``XDG_CURRENT_DESKTOP``; empty if it is
                unknown.
            find: Finds programs.
        """
        self._command = command
        self._file = folder / FILE
        self._system_files = [each / FILE for each in system_folders]
        self._desktops = tuple(desktops)
        self._find = find

    def status(self) -> AutostartStatus:
        """Return the present state; see `Autostart`."""
        found = self._read()
        if found is None:
            return AutostartStatus(AutostartState.OFF, str(self._file))
        try:
            words, home = _command_of(found.entry)
        except TargetError as error:
            raise TargetError(f"{found.path} was left alone: {error}") from None
        program = words[0] if words else ""
        if not self._is_enabled(found.entry):
            return AutostartStatus(AutostartState.OFF, str(found.path), program)
        # Desktops do not start an entry whose TryExec does not exist.
        missing = [
            each
            for each in (found.entry.get("TryExec") or program, program)
            if self._find(each) is None
        ]
        if not missing and self._command.is_started_by(words, home, self._find):
            return AutostartStatus(AutostartState.ON, str(found.path), program, home=home)
        return AutostartStatus(
            AutostartState.OTHER, str(found.path), (missing or [program])[0], bool(missing), home
        )

    def turn_on(self) -> None:
        """Write the file; see `Autostart`."""
        program = self._command.program.path
        if "=" in program:
            # The specification forbids it, and env would take it for a variable.
            raise TargetError(f"desktop entries cannot contain the path {program} with “=”")
        line = exec_line(_words(self._command))
        if self.status().state is AutostartState.ON:
            return
        own = self._read_file(self._file)
        entry = own.entry if own else DesktopEntry(f"{GROUP}\n")
        entry.set("Exec", line)
        entry.set("TryExec", program)
        for key, value in _ADDED.items():
            if not entry.get(key) or key == "Type":
                entry.set(key, value)
        entry.set(_ENABLED, "true")
        entry.remove("Hidden")
        if not self._is_enabled(entry):
            entry.remove("OnlyShowIn")
            entry.remove("NotShowIn")
        replace_text(self._file, entry.text)

    def turn_off(self) -> None:
        """Remove or hide the file; see `Autostart`."""
        own = self._read_file(self._file)
        is_needed = any(path.exists() for path in self._system_files)
        if own is None and not is_needed:
            return
        if own and not is_needed and _is_as_written(own.entry):
            remove(self._file)
            return
        entry = own.entry if own else DesktopEntry(f"{GROUP}\nType=Application\nName={APP_NAME}\n")
        if not entry.is_true("Hidden"):
            entry.set("Hidden", "true")
            replace_text(self._file, entry.text)

    def _is_enabled(self, entry: DesktopEntry) -> bool:
        if entry.is_true("Hidden") or not entry.is_true(_ENABLED, default=True):
            return False
        only, never = entry.strings("OnlyShowIn"), entry.strings("NotShowIn")
        if not self._desktops:
            return True
        if only and not set(only) & set(self._desktops):
            return False
        return not set(never) & set(self._desktops)

    def _read(self) -> _Found | None:
        """Return the entry of the user, or else that of the system."""
        for path in (self._file, *self._system_files):
            if found := self._read_file(path):
                return found
        return None

    @staticmethod
    def _read_file(path: Path) -> _Found | None:
        text = read_entry(path)
        if text is None:
            return None
        try:
            return _Found(path, DesktopEntry(text))
        except TargetError as error:
            raise TargetError(f"{path} was left alone: {error}") from None


def _is_as_written(entry: DesktopEntry) -> bool:
    """Return True if the user has added nothing to an entry of TrayProxy."""
    return _OWN_KEYS.issuperset(entry.keys) and not entry.has_more


def xdg_autostart(command: StartCommand, environ: Mapping[str, str]) -> XdgAutostart:
    """Return the autostart file of this user (XDG Base Directory Specification)."""
    folder = config_home(environ) / "autostart"
    system = (environ.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(":")
    return XdgAutostart(
        command,
        folder,
        system_folders=[Path(each) / "autostart" for each in system if each.startswith("/")],
        desktops=[name for name in environ.get("XDG_CURRENT_DESKTOP", "").split(":") if name],
    )


def _words(command: StartCommand) -> tuple[str, ...]:
    """Return the command line of the entry, which begins with ``env`` if that is needed."""
    if command.home:
        return ("env", f"{HOME_VARIABLE}={command.home}", *command.argv)
    # systemd 252 looks for the program of an entry before it reads %% as a percent sign.
    return ("env", *command.argv) if "%" in command.program.path else command.argv


def _command_of(entry: DesktopEntry) -> tuple[tuple[str, ...], str]:
    """Return the command line of an entry without ``env``, and its ``TRAYPROXY_HOME``."""
    words = parse_exec(entry.get("Exec"))
    if len(words) < 2 or Path(words[0]).name != "env":
        return words, ""
    assignment = f"{HOME_VARIABLE}="
    if words[1].startswith(assignment):
        return words[2:], words[1].removeprefix(assignment)
    return words[1:], ""
