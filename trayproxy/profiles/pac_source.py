"""Where a PAC script comes from, as a value.

A PAC (proxy auto-configuration) script is JavaScript with the function ``FindProxyForURL(url,
host)``, which chooses the proxy for each URL (Mozilla, "Proxy Auto-Configuration (PAC) file").
`trayproxy.profiles.pac_address` reads the value from the text that a user types.
"""

from dataclasses import dataclass
from enum import StrEnum, auto


class PacKind(StrEnum):
    """The kind of place that a PAC script is loaded from."""

    URL = auto()
    """An http or https URL."""
    FILE = auto()
    """A file of this computer or of a file server."""
    DATA = auto()
    """A ``data:`` URL, which contains the script itself (RFC 2397)."""
    SYSTEM = auto()
    """The source that the settings of the desktop name."""
    WPAD = auto()
    """A server of the present network, found by its name in the DNS (Web Proxy Auto-Discovery)."""


@dataclass(frozen=True, slots=True)
class PacSource:
    """The source of a PAC script.

    Attributes:
        kind: The kind of the source.
        location: With `PacKind.URL`, the URL in ASCII with host, path and query, but without user
            name and fragment; with `PacKind.FILE`, the absolute path; with `PacKind.DATA`, the
            URL; otherwise empty.
    """

    kind: PacKind
    location: str = ""

    def __str__(self) -> str:
        """Return the text from which `pac_address.parse_pac_source` reads this value."""
        return self.location or self.kind.value

    @property
    def title(self) -> str:
        """The source for texts and logs: a URL without its query, which may contain a secret."""
        match self.kind:
            case PacKind.URL:
                return self.location.partition("?")[0]
            case PacKind.FILE:
                return self.location
            case PacKind.DATA:
                return "data: URL"
            case PacKind.SYSTEM:
                return "system settings"
            case PacKind.WPAD:
                return "automatic detection (WPAD)"

    @property
    def is_authentic(self) -> bool:
        """True if no computer in the network can have changed the script on its way.

        Otherwise the script must not decide which proxy receives a login (security.md T7). The
        sources `PacKind.SYSTEM` and `PacKind.WPAD` say nothing about the script that is found.
        """
        if self.kind is PacKind.URL:
            return self.location.startswith("https:")
        return self.kind in (PacKind.FILE, PacKind.DATA)
