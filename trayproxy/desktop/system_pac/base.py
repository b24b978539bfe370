"""The system's own proxy setting as a value, and the notations that several systems share."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from urllib.parse import urlsplit

from trayproxy.desktop.system_proxy.base import ProxyKind
from trayproxy.profiles.pac_address import parse_pac_source
from trayproxy.profiles.pac_source import PacKind, PacSource
from trayproxy.profiles.profile import ProfileError, Upstream
from trayproxy.profiles.validate import parse_upstream
from trayproxy.system_settings.compare import restoration
from trayproxy.system_settings.entries import SettingsTarget, Values
from trayproxy.system_settings.journal import Journal

_DEFAULT_PORTS = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}
_ADDRESS = re.compile(r"(?:(?P<scheme>[A-Za-z0-9]+)://)?(?:[^@/]*@)?(?P<host>[^@/]+)/?")
_NAME = re.compile(r"[^\s,;|@]+")
_SHORT_NETWORK = re.compile(r"(?P<octets>[0-9]+(?:[.][0-9]+){0,2})/(?P<length>[0-9]+)")


@dataclass(frozen=True, slots=True)
class SystemSetting:
    """The system's own proxy setting.

    Attributes:
        kind: How programs find their proxy: `ProxyKind.NONE`, `MANUAL`, `PAC` or `DETECT`.
        source: With `PAC` and `DETECT`, where the script comes from: never `PacKind.SYSTEM`.
        http: With `MANUAL`, the proxy for http URLs; None: programs connect directly.
        https: With `MANUAL`, the proxy for https URLs; None: programs connect directly.
        bypass: With `MANUAL`, the hosts that programs reach without proxy, as rules of
            `trayproxy.profiles.host_pattern`.
        origin: The title of the settings, ``GNOME``; empty if there are none.
        reason: Why a setting cannot be used, a clause; the kind is `ProxyKind.NONE` then.
    """

    kind: ProxyKind = ProxyKind.NONE
    source: PacSource | None = None
    http: Upstream | None = None
    https: Upstream | None = None
    bypass: tuple[str, ...] = ()
    origin: str = ""
    reason: str = ""


def values_before(journal: Journal | None, target: SettingsTarget) -> Values:
    """Return the values of a target as they would be without TrayProxy.

    Values that another program has written since stay. So do those that TrayProxy has written
    instead of the address of a program that has ended.

    Args:
        journal: The changes of TrayProxy; None if there are none.
        target: The target.

    Raises:
        TargetError: The values cannot be read.
    """
    present = target.read()
    record = journal.record_of(target.name) if journal is not None else None
    if record is None:
        return present
    changes = restoration(record, present, keeps_withheld=True).changes
    return {**present, **{change.key: change.value for change in changes}}


def script_setting(origin: str, address: str) -> SystemSetting:
    """Return the setting of a PAC script.

    Args:
        origin: See `SystemSetting`.
        address: The URL or the path of the script, as in the settings. Untrusted.
    """
    try:
        source = parse_pac_source(address)
    except ProfileError:
        source = None
    if source is None or source.kind in (PacKind.SYSTEM, PacKind.WPAD):
        return SystemSetting(origin=origin, reason="the address of its PAC script cannot be used")
    return SystemSetting(ProxyKind.PAC, source, origin=origin)


def detection_setting(origin: str) -> SystemSetting:
    """Return the setting of automatic detection."""
    return SystemSetting(ProxyKind.DETECT, PacSource(PacKind.WPAD), origin=origin)


def manual_setting(origin: str, http: str, https: str, bypass: Iterable[str]) -> SystemSetting:
    """Return the setting of proxies with given addresses.

    Args:
        origin: See `SystemSetting`.
        http: The address for http URLs, see `upstream_of`; empty if there is none.
        https: The address for https URLs; empty if there is none.
        bypass: The rules; those that are none are left out.
    """
    found = upstream_of(http), upstream_of(https)
    if found == (None, None):
        has_address = bool(http or https)
        reason = "the address of its proxy cannot be used" if has_address else ""
        return SystemSetting(origin=origin, reason=reason)
    rules = tuple(dict.fromkeys(rule for rule in bypass if _NAME.fullmatch(rule)))
    return SystemSetting(ProxyKind.MANUAL, None, *found, rules, origin)


def upstream_of(address: str) -> Upstream | None:
    """Return the proxy of an address such as ``proxy:8080`` or ``http://user:word@proxy``.

    A login is left out: TrayProxy asks for its own. Without a port, it is the port of the protocol.

    Args:
        address: The address. Untrusted.

    Returns:
        The proxy; None if TrayProxy cannot use it.
    """
    found = _ADDRESS.fullmatch(address.strip())
    if not found:
        return None
    scheme = (found["scheme"] or "http").lower()
    scheme = "socks5" if scheme == "socks" else scheme
    has_port = re.search(r":[0-9]+$", found["host"]) is not None
    port = "" if has_port else f":{_DEFAULT_PORTS.get(scheme, 80)}"
    try:
        return parse_upstream(f"{scheme}://{found['host']}{port}")
    except ProfileError:
        return None


def without_own_address(setting: SystemSetting, own: Iterable[tuple[str, int]]) -> SystemSetting:
    """Return the setting; none if it leads to TrayProxy itself, as after a crash without journal.

    Args:
        setting: The setting.
        own: The hosts and ports at which TrayProxy listens.
    """
    ports = {port for _, port in own}
    places = [(up.host, up.port) for up in (setting.http, setting.https) if up is not None]
    if setting.source is not None and setting.source.kind is PacKind.URL:
        parts = urlsplit(setting.source.location)
        places.append((parts.hostname or "", parts.port or _DEFAULT_PORTS[parts.scheme]))
    if any(port in ports and _is_loopback(host) for host, port in places):
        return SystemSetting(origin=setting.origin, reason="it is the address of TrayProxy itself")
    return setting


def suffix_rules(entries: Iterable[str]) -> Iterator[str]:
    """Yield rules for entries that also match the hosts below a name, as in ``no_proxy``."""
    for entry in entries:
        name = entry.removeprefix("*")
        host = name.removeprefix(".")
        if (
            "*" in host
            or not host
            or "/" in host
            or _is_address(host.partition(":")[0])
            or (_is_address(host.strip("[]")))
        ):
            yield entry
        else:
            yield host
            yield f".{host}"


def whole_network(entry: str) -> str:
    """Return an entry, with the missing octets of a network: ``169.254.0.0/16``."""
    found = _SHORT_NETWORK.fullmatch(entry)
    if not found:
        return entry
    octets = found["octets"].split(".")
    try:
        network = ip_network(f"{'.'.join(octets + ['0'] * (4 - len(octets)))}/{found['length']}")
    except ValueError:
        return entry
    return str(network)


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
