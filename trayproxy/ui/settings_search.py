"""Searches this computer for the settings of other programs while there is no profile (ux §2b)."""

from collections.abc import Callable

import msgspec
from msgspec import Struct
from PySide6.QtCore import QObject, Slot

from trayproxy.control.messages import Status
from trayproxy.desktop.process import command
from trayproxy.profiles.profile import Method, SignIn
from trayproxy.ui.background_commands import BackgroundCommands, CommandOutput


class FoundPasswordView(Struct, frozen=True):
    """The place of a password in the settings of another program; the password is not known here.

    Attributes:
        form: ``clear text``, ``Base64`` or ``keyring``.
        place: The path of the file, or another name. Untrusted.
        line: The number of the line; 0 if there is none.
    """

    form: str
    place: str
    line: int = 0


class FoundSettingsView(Struct, frozen=True):
    """Settings in the output of the command; see ``trayproxy import --json``. All texts are
    untrusted.

    Attributes:
        title: The name of the source, ``Px``.
        place: The path of the file, or another name.
        state: ``new``, if the settings can become a profile.
        name: The name for the profile.
        upstreams: The URLs of the proxies.
        pac: The PAC address of an automatic profile; empty if there is none.
        user: The user name; empty if unknown.
        sign_in: The kind of sign-in.
        method: The allowed authentication schemes.
        bypass: The bypass rules.
        password: The place of the password, None if there is none.
        notes: Sentences about settings that are not carried over.
    """

    title: str
    place: str
    state: str
    name: str = ""
    upstreams: tuple[str, ...] = ()
    pac: str = ""
    user: str = ""
    sign_in: SignIn = SignIn.PASSWORD
    method: Method = Method.AUTOMATIC
    bypass: tuple[str, ...] = ()
    password: FoundPasswordView | None = None
    notes: tuple[str, ...] = ()


class _SearchOutput(Struct, frozen=True):
    profiles: tuple[FoundSettingsView, ...] = ()


class SettingsSearch(QObject):
    """Runs ``trayproxy import --dry-run`` once, when the first status has no profile."""

    def __init__(
        self,
        on_found: Callable[[tuple[FoundSettingsView, ...]], object],
        parent: QObject | None = None,
        make_command: Callable[..., list[str]] = command,
    ) -> None:
        """Create the search; nothing is searched.

        Args:
            on_found: Called with the settings that can become profiles.
            parent: The Qt parent.
            make_command: Returns the command line for arguments of ``trayproxy``.
        """
        super().__init__(parent)
        self._on_found = on_found
        self._make_command = make_command
        self._commands: BackgroundCommands | None = None

    @Slot(object)
    def show_status(self, status: Status) -> None:
        """Search if there is no profile, and nothing was searched before."""
        if self._commands is None and not status.profiles and not status.direct:
            self._commands = BackgroundCommands(self, self._make_command)
            self._commands.run(("import", "--dry-run", "--json"), self._on_output)

    def close(self) -> None:
        """End a running search."""
        if self._commands is not None:
            self._commands.close()

    def _on_output(self, output: CommandOutput) -> None:
        # A search that fails offers nothing: the user fills in the form as without it.
        try:
            found = msgspec.json.decode(output.octets, type=_SearchOutput).profiles
        except msgspec.MsgspecError:
            return
        self._on_found(tuple(each for each in found if each.state == "new"))
