"""A profile: one way to the internet, by its name in the tray menu."""

from dataclasses import dataclass
from enum import StrEnum, auto


class ProfileError(ValueError):
    """A profile, or a part of one, that cannot be used; the text says why and what to write."""


class SignIn(StrEnum):
    """How one signs in to the upstream proxy of a profile."""

    PASSWORD = auto()
    """With a user name and a password that TrayProxy asks for and keeps in the keyring."""
    NONE = auto()
    """Not at all: a 407 is an error and nobody is asked."""


@dataclass(frozen=True, slots=True)
class Upstream:
    """An upstream proxy as configured; the pinned identity that a login belongs to.

    Attributes:
        host: A DNS name in its ASCII form, lower case, or an IP literal without brackets.
        port: 1 to 65535.
        scheme: How TrayProxy talks to it: ``http``.
    """

    host: str
    port: int
    scheme: str = "http"

    def __str__(self) -> str:
        """Return its URL, ``http://proxy.corp.example:8080``; IPv6 literals get brackets."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Profile:
    """One entry of the profile menu.

    Attributes:
        id: Never changes once made, not even with the name; keyring entries are found by it.
            ``[a-z0-9][a-z0-9-]{0,63}``.
        name: What the person calls it, 1 to 100 characters, unique whatever the case.
        upstream: Where its requests go.
        sign_in: How one signs in there.
        user: The user name to suggest, and whose keyring entry is read; empty if unknown.
        bypass: Hosts that are reached without the upstream (`trayproxy.routing.bypass`).
    """

    id: str
    name: str
    upstream: Upstream
    sign_in: SignIn = SignIn.PASSWORD
    user: str = ""
    bypass: tuple[str, ...] = ()
