r"""Autostart on Windows: a value of the key ``Run`` of the user.

The check boxes in Task Manager and in the settings do not change ``Run``: they write a binary value
of the same name below ``Explorer\StartupApproved\Run``, whose first octet is even if the program is
started and odd if the user has disabled it. The vendor does not document this value, so TrayProxy
reads it and never writes it. The key ``Run``: learn.microsoft.com, "Run and RunOnce Registry Keys".

Written from the vendor's documentation, and tested with a replacement of the registry and with the
registry of Wine. Nothing was run on Windows.
"""

import re
import shutil
import subprocess
from types import ModuleType
from typing import Protocol

from trayproxy.desktop.autostart.base import (
    AutostartState,
    AutostartStatus,
    FindProgram,
    StartCommand,
)
from trayproxy.identity import APP_NAME
from trayproxy.paths import HOME_VARIABLE
from trayproxy.system_settings.entries import TargetError

RUN = r"Software\Microsoft\Windows\CurrentVersion\Run"
APPROVED = r"Software\Microsoft\Windows\CurrentVersion\Explorer\StartupApproved\Run"
VALUE = APP_NAME

_PLACE = rf"HKEY_CURRENT_USER\{RUN}\{VALUE}"
_MAX_LENGTH = 260
"""The documented maximum length of a command in ``Run``."""
_DISABLED = (
    "It is disabled in Windows. Enable TrayProxy in Task Manager, on the page “Startup apps”."
)
_FIRST_WORD = re.compile(r'\s*(?:"([^"]*)"|(\S+))\s*(.*)', re.DOTALL)


class RunKeyRegistry(Protocol):
    """The registry of the user, ``HKEY_CURRENT_USER``."""

    def read(self, key: str, name: str) -> str | bytes | None:
        """Return a text or binary value; None if it is missing or of another type.

        Raises:
            TargetError: It cannot be read.
        """

    def write(self, key: str, name: str, text: str) -> None:
        """Set a text value, in a key that may be missing.

        Raises:
            TargetError: It was not set.
        """

    def delete(self, key: str, name: str) -> None:
        """Delete a value if it exists.

        Raises:
            TargetError: It was not deleted.
        """


class RunKeyAutostart:
    """The value in the key ``Run``."""

    def __init__(
        self, command: StartCommand, registry: RunKeyRegistry, find: FindProgram = shutil.which
    ) -> None:
        """Create the object; `registry` reads and writes, `find` finds programs."""
        self._command = command
        self._registry = registry
        self._find = find

    def status(self) -> AutostartStatus:
        """Return the present state; see `Autostart`."""
        line = self._registry.read(RUN, VALUE)
        if line is None:
            return AutostartStatus(AutostartState.OFF, _PLACE)
        words = _split(line) if isinstance(line, str) else ()
        program = words[0] if words else ""
        if not self._command.is_started_by(words, self._command.home, self._find):
            missing = self._find(program) is None
            return AutostartStatus(AutostartState.OTHER, _PLACE, program, missing)
        approved = self._registry.read(APPROVED, VALUE)
        if isinstance(approved, bytes) and approved[:1] and approved[0] % 2:
            return AutostartStatus(AutostartState.DISABLED, _PLACE, program, reason=_DISABLED)
        return AutostartStatus(AutostartState.ON, _PLACE, program)

    def turn_on(self) -> None:
        """Set the value; see `Autostart`."""
        if self._command.home:
            raise TargetError(
                f"Windows would start it without {HOME_VARIABLE}; try again where this variable "
                "is not set"
            )
        line = _command_line(self._command)
        if len(line) > _MAX_LENGTH:
            raise TargetError(
                f"Windows starts no command longer than {_MAX_LENGTH} characters, and this one is "
                f"{line}"
            )
        if self.status().state in (AutostartState.OFF, AutostartState.OTHER):
            self._registry.write(RUN, VALUE, line)

    def turn_off(self) -> None:
        """Delete the value; see `Autostart`. The user's choice in Task Manager stays."""
        self._registry.delete(RUN, VALUE)


class UserRegistry:
    """The registry of this computer."""

    def read(self, key: str, name: str) -> str | bytes | None:
        """Return a text or binary value; see `RunKeyRegistry`."""
        import winreg as module

        winreg: ModuleType = module
        try:
            with winreg.OpenKey(winreg.HKEY_CURRENT_USER, key) as opened:
                value: object = winreg.QueryValueEx(opened, name)[0]
        except FileNotFoundError:
            return None
        except OSError as error:
            raise TargetError(_reason(error)) from None
        return value if isinstance(value, str | bytes) else None

    def write(self, key: str, name: str, text: str) -> None:
        """Set a text value; see `RunKeyRegistry`."""
        import winreg as module

        winreg: ModuleType = module
        try:
            with winreg.CreateKeyEx(winreg.HKEY_CURRENT_USER, key, 0, winreg.KEY_SET_VALUE) as made:
                winreg.SetValueEx(made, name, 0, winreg.REG_SZ, text)
        except OSError as error:
            raise TargetError(_reason(error)) from None

    def delete(self, key: str, name: str) -> None:
        """Delete a value if it exists; see `RunKeyRegistry`."""
        import winreg as module

        winreg: ModuleType = module
        try:
            access = winreg.KEY_SET_VALUE
            with winreg.OpenKey(winreg.HKEY_CURRENT_USER, key, 0, access) as opened:
                winreg.DeleteValue(opened, name)
        except FileNotFoundError:
            return
        except OSError as error:
            raise TargetError(_reason(error)) from None


def _reason(error: OSError) -> str:
    return f"the registry refuses: {error.strerror or error}"


def _command_line(command: StartCommand) -> str:
    """Return the command line with a quoted program: without quotes, Windows would try every part
    of a path with blanks as a program."""
    return f'"{command.program.path}" {subprocess.list2cmdline(command.argv[1:])}'


def _split(line: str) -> tuple[str, ...]:
    """Return the program and the arguments of a command line; TrayProxy's arguments have no quotes
    or blanks."""
    found = _FIRST_WORD.fullmatch(line)
    if not found:
        return ()
    return (found[2] if found[1] is None else found[1], *found[3].split())
