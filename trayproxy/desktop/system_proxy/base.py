"""The protocol of the system proxy's targets, and the arguments and results of its methods.

A target is a store in which programs look for the system proxy. A desktop may have several: on KDE,
some programs read ``kioslaverc``, others the settings of GNOME.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from trayproxy.system_settings.entries import SettingsTarget, Values

LOOPBACK_EXCEPTIONS = ("localhost", "127.0.0.0/8", "::1")
"""Hosts that no program should reach through a proxy, whatever the rules of the profile."""


READ_AT_LOG_IN = frozenset({"environment.d"})
"""The names of the targets that programs read only when the user logs in.

They are in use only while TrayProxy starts at log-in (autostart): without TrayProxy, programs of
the new session would connect to an address at which nothing listens. When the session ends, they
stay for the next one.
"""

ADMINISTRATOR_NEEDED = "no administrator has allowed it"
"""The reason of a `TargetError` if the system asked for an administrator in vain."""


class BypassKind(StrEnum):
    """The kind of host that a bypass rule matches."""

    NAME = "name"
    """A rule for one host name."""
    SUBDOMAINS = "subdomains"
    """Every host below a domain, but not the domain itself."""
    PATTERN = "pattern"
    """Host names with ``*`` in another place."""
    ADDRESS = "address"
    """A rule for one IP address."""
    NETWORK = "network"
    """The addresses of a network."""
    LOCAL = "local"
    """A rule for all host names without a dot."""


@dataclass(frozen=True, slots=True)
class BypassRule:
    """A host that programs reach without TrayProxy.

    Attributes:
        text: The rule as the user has written it.
        kind: What the rule matches.
        subject: The name in ASCII (RFC 5890) and lower case, the domain without ``*.``, the
            pattern, the address without brackets, the network as ``10.0.0.0/8``, or ``<local>``.
        port: The only port; None for all ports.
    """

    text: str
    kind: BypassKind
    subject: str
    port: int | None = None

    @property
    def network(self) -> str:
        """The network, or an address as a network of one address, ``10.1.2.3/32``."""
        if self.kind is BypassKind.NETWORK:
            return self.subject
        return f"{self.subject}/{128 if ':' in self.subject else 32}"

    @property
    def port_suffix(self) -> str:
        """The port with its colon; empty for all ports."""
        return "" if self.port is None else f":{self.port}"


@dataclass(frozen=True, slots=True)
class ProxySetting:
    """The system proxy that TrayProxy sets.

    Attributes:
        host: The local address, an IP literal without brackets.
        port: The local port.
        pac_url: The URL of TrayProxy's PAC file, which lets programs connect directly while
            TrayProxy does not run.
        uses_pac: True to set the URL of the PAC file, False to set the address.
        bypass: The hosts that programs reach without TrayProxy. `LOOPBACK_EXCEPTIONS` are not in
            it.
    """

    host: str
    port: int
    pac_url: str
    uses_pac: bool = False
    bypass: tuple[BypassRule, ...] = ()


@dataclass(frozen=True, slots=True)
class Wanted:
    """The values that a target needs for a setting.

    Attributes:
        values: The new values, for every key of each unit to change.
        inexpressible: The texts of the bypass rules that the target cannot express. Programs send
            requests for these hosts to TrayProxy, which then connects to them directly.
    """

    values: Values
    inexpressible: tuple[str, ...] = ()


class ProxyKind(StrEnum):
    """How programs find their proxy."""

    NONE = "none"
    """Programs connect directly."""
    MANUAL = "manual"
    """Programs use a proxy with a given address."""
    PAC = "pac"
    """Programs load a PAC file from a URL."""
    DETECT = "detect"
    """Programs look for a PAC file in the network (WPAD)."""
    ENVIRONMENT = "environment"
    """Programs read their proxy from environment variables."""


@dataclass(frozen=True, slots=True)
class ProxyView:
    """The proxy settings that programs read from the values of a target.

    Attributes:
        kind: How programs find their proxy.
        address: With `ProxyKind.MANUAL`, the proxy for http and https as ``host:port``, as far as
            it is set; with `ProxyKind.PAC`, the URL. Untrusted.
    """

    kind: ProxyKind
    address: str = ""


class ProxyTarget(SettingsTarget, Protocol):
    """A target of the system proxy.

    `describe`, `wanted` and `without_proxy` are pure functions of their arguments. The parts of a
    target (`trayproxy.system_settings.entries.Unit`) are network connections, each with proxies of
    its own.
    """

    @property
    def title(self) -> str:
        """The name of the target for users, such as ``KDE``."""

    @property
    def is_managed(self) -> bool:
        """True if an administrator has locked the settings; `write` would fail."""

    @property
    def hint(self) -> str:
        """A text about the target for users, such as “after the next log-in”; may be empty."""

    def wanted(self, setting: ProxySetting, present: Values) -> Wanted:
        """Return the values for a setting.

        Args:
            setting: The system proxy to set.
            present: The present values of all entries.
        """

    def describe(self, values: Values, part: str | None = None) -> ProxyView:
        """Return the proxy that programs use with the values.

        Args:
            values: Values for all entries, as `read` returns them.
            part: A part of which the values are complete; None for the most important part.
        """

    def in_effect(self) -> ProxyView | None:
        """Return the proxy that programs use at the moment; None if the system reports none."""

    def without_proxy(self, values: Values) -> Values:
        """Return the values with which programs connect directly, with the other entries kept.

        Args:
            values: Values for all entries, as `read` returns them.
        """


@dataclass(frozen=True, slots=True)
class ProxyTargets:
    """The targets of a desktop, in the order in which they are changed.

    Attributes:
        required: The targets that most programs of the desktop read. If one of them cannot be
            changed, none is.
        optional: Targets that only some programs read, and that may be missing.
    """

    required: Sequence[ProxyTarget]
    optional: Sequence[ProxyTarget] = ()


def endpoint(host: str, port: str | int) -> str:
    """Return ``host:port``; IPv6 literals get brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
