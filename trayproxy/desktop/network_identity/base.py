"""The present network as a value, with the facts by which profiles recognise a network.

The facts come from the network and are untrusted: every access point may call itself ``Office``.
Reading them takes some 20 ms and waits at most `LIMIT_S` seconds for each service of the system, so
a caller on an event loop reads them in a thread.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum, auto

LIMIT_S = 0.4
"""Seconds after which a service of the system counts as missing."""

_MAX_TEXT_LENGTH = 255
_MAC = re.compile(r"[0-9a-fA-F]{1,2}([:-][0-9a-fA-F]{1,2}){5}")


class Portal(StrEnum):
    """Whether the network requires signing in on its own web page (RFC 8952), as the system says.

    TrayProxy sends no request of its own to find this out.
    """

    UNKNOWN = auto()
    """The system does not say."""
    ABSENT = auto()
    PRESENT = auto()


@dataclass(frozen=True, slots=True, order=True)
class Gateway:
    """A default gateway.

    Attributes:
        address: An IPv4 or IPv6 literal without a zone.
        mac: The hardware address as ``02:00:5e:10:00:01``, in lower case; empty if unknown.
    """

    address: str
    mac: str = ""


@dataclass(frozen=True, slots=True)
class NetworkIdentity:
    """The network to which this computer is connected. Empty tuples: none, or unknown.

    Attributes:
        wifi: The names (SSIDs) of the connected wireless networks.
        gateways: The default gateways.
        dns_suffixes: The DNS suffixes of the network's search list and of its own domains, in lower
            case without a trailing dot.
        vpns: The names of the VPN interfaces that are up, and of the system's VPN connections.
        portal: Whether there is a captive portal.
        portal_url: The http or https URL of a page that leads to the captive portal; empty if the
            system names none.
    """

    wifi: tuple[str, ...] = ()
    gateways: tuple[Gateway, ...] = ()
    dns_suffixes: tuple[str, ...] = ()
    vpns: tuple[str, ...] = ()
    portal: Portal = Portal.UNKNOWN
    portal_url: str = ""

    @property
    def is_connected(self) -> bool:
        """True if there is a way to other networks, or a wireless network."""
        return bool(self.gateways or self.wifi or self.vpns)

    def is_same_network(self, other: "NetworkIdentity") -> bool:
        """Return True if both were read on the same network, as far as the facts show.

        A hardware address may be unknown at first, and IPv6 gateways announce themselves later than
        others (RFC 4861, section 6.2), so they count only where both sides have them.
        """
        names = (self.wifi, self.dns_suffixes, self.vpns)
        if names != (other.wifi, other.dns_suffixes, other.vpns):
            return False
        ours, theirs = self._main_gateways(), other._main_gateways()
        macs = ((ours[address], theirs[address]) for address in ours if address in theirs)
        return ours.keys() == theirs.keys() and all(a == b or not (a and b) for a, b in macs)

    def _main_gateways(self) -> dict[str, str]:
        """Return the hardware addresses of the IPv4 gateways; without one, of all gateways."""
        found = {gateway.address: gateway.mac for gateway in self.gateways}
        return {address: mac for address, mac in found.items() if ":" not in address} or found


ReadNetwork = Callable[[], NetworkIdentity]
"""Reads the present network. Never raises an error: unknown facts are empty."""


def clean_suffix(text: str) -> str:
    """Return a DNS suffix for `NetworkIdentity.dns_suffixes`; empty if it is none.

    ``~corp.example`` is the notation of systemd-resolved and NetworkManager for a domain whose
    names are looked up in this network, but which is not in the search list. ``.`` and the domains
    of reverse look-ups identify no network.
    """
    suffix = text.strip().removeprefix("~").strip(".").lower()
    if len(suffix) > _MAX_TEXT_LENGTH or suffix.endswith((".in-addr.arpa", ".ip6.arpa", ".local")):
        return ""
    return "" if suffix == "local" or any(map(str.isspace, suffix)) else suffix


def clean_mac(text: str) -> str:
    """Return a hardware address in the form of `Gateway.mac`; empty if the text is none.

    macOS writes ``2:0:5e:10:0:1``, Windows ``02-00-5E-10-00-01``.
    """
    if not _MAC.fullmatch(text):
        return ""
    return ":".join(part.zfill(2) for part in re.split("[:-]", text.lower()))


def ssid_text(octets: bytes) -> str:
    """Return an SSID, up to 32 octets (IEEE 802.11, section 9.4.2.2), as text.

    Octets that are not UTF-8 are replaced by U+FFFD.
    """
    return octets[:32].decode("utf-8", "replace")


def web_url(text: str) -> str:
    """Return the URL if it is a printable http or https URL; otherwise an empty string."""
    is_web = text.startswith(("http://", "https://"))
    is_plain = text.isascii() and text.isprintable() and " " not in text and "@" not in text
    return text if is_web and is_plain and len(text) <= 2048 else ""
