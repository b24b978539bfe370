"""The protocol of autostart, and its values."""

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from trayproxy.desktop.installation import InstalledProgram

FindProgram = Callable[[str], str | None]
"""Returns the path of a program that exists and can be run, from a path or a name on the PATH; None
if there is no such program."""


class AutostartState(StrEnum):
    """Whether the system starts TrayProxy when the user logs in."""

    OFF = "off"
    ON = "on"
    OTHER = "other"
    """The entry of TrayProxy starts another program, usually another installation of TrayProxy,
    or one that does not exist any more."""
    DISABLED = "disabled"
    """The entry is correct, but the user or an administrator has disabled it in the system."""


@dataclass(frozen=True, slots=True)
class AutostartStatus:
    """The present state of autostart.

    Attributes:
        state: The state.
        place: The file or the registry key of the entry, which need not exist.
        program: The program that the entry names, as written there; empty without an entry.
            Untrusted.
        is_missing: True if this program does not exist.
        home: The value of ``TRAYPROXY_HOME`` in the entry; empty if it has none. Untrusted.
        reason: With `AutostartState.DISABLED`, where it was disabled, and how the user enables it:
            sentences. Otherwise what the user should know about a state that is on; may be empty.
    """

    state: AutostartState
    place: str
    program: str = ""
    is_missing: bool = False
    home: str = ""
    reason: str = ""


class Autostart(Protocol):
    """The entry with which the system starts TrayProxy when the user logs in.

    No method starts or ends a TrayProxy.
    """

    def status(self) -> AutostartStatus:
        """Return the state that the system's own files or registry have now.

        Raises:
            TargetError: The entry cannot be read or understood.
        """

    def turn_on(self) -> None:
        """Create or correct the entry; keep what the user has added to it.

        Raises:
            TargetError: The entry cannot be understood or written; nothing was changed.
        """

    def turn_off(self) -> None:
        """Remove the entry, or disable an entry to which the user has added something.

        Raises:
            TargetError: The entry cannot be understood or removed.
        """


@dataclass(frozen=True, slots=True)
class StartCommand:
    """The command that the entry runs.

    Attributes:
        program: The program of this installation.
        arguments: The arguments for TrayProxy.
        home: The value of ``TRAYPROXY_HOME`` for the started TrayProxy; empty if it is unset.
    """

    program: InstalledProgram
    arguments: tuple[str, ...]
    home: str = ""

    @property
    def argv(self) -> tuple[str, ...]:
        """The whole command line, without the environment."""
        return (*self.program.argv, *self.arguments)

    def is_started_by(
        self, argv: Sequence[str], home: str = "", find: FindProgram = shutil.which
    ) -> bool:
        """Return True if a command line starts this installation with the same files.

        The arguments for TrayProxy may differ. A script may be named by a link: pipx and uv put
        links to scripts into a folder on the PATH.
        """
        if not argv or home != self.home:
            return False
        expected = self.program.arguments
        if tuple(argv[1 : 1 + len(expected)]) != expected:
            return False
        found, own = find(argv[0]), self.program.path
        if found is None:
            return False
        # The interpreter of a virtual environment is a link to an interpreter of the system, which
        # other virtual environments share.
        real = os.path.abspath if expected else os.path.realpath
        return os.path.normcase(real(found)) == os.path.normcase(real(own))
