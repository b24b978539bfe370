"""The settings that were found in other programs, as values."""

from dataclasses import dataclass, field, replace
from enum import StrEnum

from trayproxy.profiles.pac_source import PacSource
from trayproxy.profiles.profile import Method, Profile, SignIn, Upstream


class Source(StrEnum):
    """A source of settings on this computer."""

    PX = "px"
    CNTLM = "cntlm"
    WINFOOM = "winfoom"
    ALPACA = "alpaca"
    PROXYDETOX = "proxydetox"
    ENVIRONMENT = "env"
    SYSTEM = "system"
    NPM = "npm"
    GIT = "git"
    FILE = "file"
    """A file or an address that the user has named, and that is none of the others."""
    EXPORT = "export"
    """A file with profiles of TrayProxy."""


TITLES = {
    Source.PX: "Px",
    Source.CNTLM: "Cntlm",
    Source.WINFOOM: "Winfoom",
    Source.ALPACA: "Alpaca",
    Source.PROXYDETOX: "Proxydetox",
    Source.ENVIRONMENT: "environment variables",
    Source.SYSTEM: "system settings",
    Source.NPM: "npm",
    Source.GIT: "Git",
    Source.FILE: "file",
    Source.EXPORT: "exported profiles",
}
"""The names of the sources for users."""

SEARCHED = tuple(source for source in Source if source not in (Source.FILE, Source.EXPORT))
"""The sources that can be searched without the path of a file."""


@dataclass(frozen=True, slots=True)
class Place:
    """The place of a value.

    Attributes:
        name: The path of a file, or another name such as ``the variable https_proxy``.
        line: The number of the line, from 1; 0 if there is none.
    """

    name: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.name}, line {self.line}" if self.line else self.name


class UnreadableSourceError(Exception):
    """A source cannot be read, or is none.

    Attributes:
        place: The place of the error.
        reason: The reason, a clause without a full stop. It contains no value of the source.
    """

    def __init__(self, place: Place, reason: str) -> None:
        super().__init__(f"{place}: {reason}")
        self.place = place
        self.reason = reason


class SecretForm(StrEnum):
    """The form in which a password is kept."""

    CLEAR = "clear text"
    BASE64 = "Base64"
    """An encoding that everyone can decode."""
    HASH = "hash"
    """A hash of the password: an attacker can sign in with it, but TrayProxy never uses it."""
    KEYRING = "keyring"
    """The password is encrypted, in an entry of another program in the keyring."""


@dataclass(frozen=True, slots=True)
class FoundPassword:
    """A password that another program keeps.

    Attributes:
        form: The form.
        place: The place. With `SecretForm.KEYRING`, the name is the service name of the entry.
        secret: The password; empty with `SecretForm.HASH` and `SecretForm.KEYRING`.
        key: The name of the setting, such as ``Password``; empty if there is none.
    """

    form: SecretForm
    place: Place
    secret: str = field(default="", repr=False)
    key: str = ""

    @property
    def is_usable(self) -> bool:
        """True if the password itself can be had."""
        return self.form is not SecretForm.HASH


@dataclass(frozen=True, slots=True)
class FoundProfile:
    """Settings that make a profile.

    Attributes:
        source: The source.
        place: The place of the settings.
        upstreams: The proxies in order of preference; empty for settings with a PAC file only.
        pac: The source of a PAC script, None if there is none.
        user: The user name, with its domain; empty if unknown.
        bypass: The bypass rules (`trayproxy.profiles.host_pattern`).
        sign_in: The kind of sign-in.
        method: The allowed authentication schemes.
        password: The password for this user, None if there is none.
        listens_at: The local address at which the other program listens, ``127.0.0.1:3128``; empty
            if it does not listen.
        notes: Sentences about settings that are not carried over.
        exported: The profile of a file of TrayProxy, None for the settings of other programs.
    """

    source: Source
    place: Place
    upstreams: tuple[Upstream, ...] = ()
    pac: PacSource | None = None
    user: str = ""
    bypass: tuple[str, ...] = ()
    sign_in: SignIn = SignIn.PASSWORD
    method: Method = Method.AUTOMATIC
    password: FoundPassword | None = None
    listens_at: str = ""
    notes: tuple[str, ...] = ()
    exported: Profile | None = None

    def with_notes(self, *notes: str) -> "FoundProfile":
        """Return the settings with more notes; empty notes are left out."""
        return replace(self, notes=(*self.notes, *filter(None, notes)))


@dataclass(frozen=True, slots=True)
class Found:
    """The settings of one or more sources.

    Attributes:
        profiles: The settings that make profiles.
        passwords: The passwords that belong to no profile, and hashes.
        notes: Sentences about a whole source.
        errors: The sources that could not be read.
    """

    profiles: tuple[FoundProfile, ...] = ()
    passwords: tuple[FoundPassword, ...] = ()
    notes: tuple[str, ...] = ()
    errors: tuple[UnreadableSourceError, ...] = ()

    def without_keyring_entries(self) -> "Found":
        """Return the settings without passwords in the keyring.

        A file that may be from a stranger must not decide to which proxy a password of the user
        is offered.
        """
        profiles = (
            replace(profile, password=None)
            if profile.password is not None and profile.password.form is SecretForm.KEYRING
            else profile
            for profile in self.profiles
        )
        return replace(self, profiles=tuple(profiles))

    def __add__(self, other: "Found") -> "Found":
        """Return the settings of both, this one first."""
        return Found(
            self.profiles + other.profiles,
            self.passwords + other.passwords,
            self.notes + other.notes,
            self.errors + other.errors,
        )
