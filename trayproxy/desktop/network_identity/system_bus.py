"""Linux: the facts about the network that NetworkManager and systemd-resolved have.

Both are optional, and neither is started. Every value is checked for its type: a sandbox or another
version may return something else. Sources: the D-Bus interfaces of NetworkManager 1.42
(``org.freedesktop.NetworkManager``, ``.Connection.Active``, ``.AccessPoint``, ``.DnsManager``), and
org.freedesktop.resolve1(5).
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Any

from trayproxy.desktop.network_identity.base import (
    LIMIT_S,
    Portal,
    clean_suffix,
    ssid_text,
    web_url,
)

NETWORK_MANAGER = "org.freedesktop.NetworkManager"
RESOLVED = "org.freedesktop.resolve1"
_MANAGER_PATH = "/org/freedesktop/NetworkManager"
_DNS_PATH = "/org/freedesktop/NetworkManager/DnsManager"
_RESOLVED_PATH = "/org/freedesktop/resolve1"
_PROPERTIES = "org.freedesktop.DBus.Properties"

_STATE_ACTIVATED = 2
"""The state of a connection in use: a value of NMActiveConnectionState."""
_MAX_CONNECTIONS = 32

Properties = Mapping[str, Any]
"""The values of properties by their names."""
GetAll = Callable[[str, str, str], Properties]
"""Returns the properties of an interface of an object: name on the bus, path, interface. Empty if
the service or the object is missing."""


@dataclass(frozen=True, slots=True)
class BusFacts:
    """The facts from the system bus; see `NetworkIdentity` for the attributes."""

    wifi: tuple[str, ...] = ()
    dns_suffixes: tuple[str, ...] = ()
    vpns: tuple[str, ...] = ()
    portal: Portal = Portal.UNKNOWN
    portal_url: str = ""


def read_system_bus(bus: str) -> BusFacts:
    """Read the facts from the services on the system bus.

    Raises:
        OSError: The bus cannot be reached.
        ValueError, KeyError: Its address is malformed or missing.
    """
    from jeepney import DBusAddress, HeaderFields, MessageType, new_method_call
    from jeepney.io.blocking import open_dbus_connection
    from jeepney.low_level import MessageFlag

    missing: set[str] = set()
    with closing(open_dbus_connection(bus=bus, auth_timeout=LIMIT_S)) as connection:

        def get_all(name: str, path: str, interface: str) -> Properties:
            if name in missing:
                return {}
            address = DBusAddress(path, bus_name=name, interface=_PROPERTIES)
            message = new_method_call(address, "GetAll", "s", (interface,))
            message.header.flags = MessageFlag.no_auto_start
            try:
                reply = connection.send_and_get_reply(message, timeout=LIMIT_S)
            except TimeoutError:
                missing.add(name)  # One wait is enough for a service that hangs.
                return {}
            is_answer = reply.header.message_type is MessageType.method_return
            if not is_answer or reply.header.fields.get(HeaderFields.signature) != "a{sv}":
                return {}
            # jeepney returns a variant as its signature and its value.
            return {key: value for key, (_, value) in reply.body[0].items()}

        return read_facts(get_all)


def read_facts(get_all: GetAll) -> BusFacts:
    """Return the facts of both services."""
    manager = get_all(NETWORK_MANAGER, _MANAGER_PATH, NETWORK_MANAGER)
    wifi: set[str] = set()
    vpns: set[str] = set()
    for path in _texts(manager.get("ActiveConnections"))[:_MAX_CONNECTIONS]:
        active = get_all(NETWORK_MANAGER, path, f"{NETWORK_MANAGER}.Connection.Active")
        if active.get("State") != _STATE_ACTIVATED:
            continue
        kind, name = active.get("Type"), active.get("Id")
        if kind == "802-11-wireless":
            wifi.update(_ssid(get_all, active.get("SpecificObject")))
        elif isinstance(name, str) and (active.get("Vpn") is True or kind in ("vpn", "wireguard")):
            vpns.add(name)
    dns = get_all(NETWORK_MANAGER, _DNS_PATH, f"{NETWORK_MANAGER}.DnsManager")
    resolved = get_all(RESOLVED, _RESOLVED_PATH, f"{RESOLVED}.Manager")
    domains = (*_dns_manager_domains(dns), *_resolved_domains(resolved))
    return BusFacts(
        tuple(wifi), tuple(filter(None, map(clean_suffix, domains))), tuple(vpns), *_portal(manager)
    )


def _ssid(get_all: GetAll, path: object) -> Iterator[str]:
    """Return the name of an access point."""
    if isinstance(path, str):
        point = get_all(NETWORK_MANAGER, path, f"{NETWORK_MANAGER}.AccessPoint")
        with suppress(TypeError, ValueError):
            if ssid := bytes(point.get("Ssid", b"")):
                yield ssid_text(ssid)


def _dns_manager_domains(dns: Properties) -> Iterator[str]:
    configurations = dns.get("Configuration")
    for configuration in configurations if isinstance(configurations, list) else ():
        if isinstance(configuration, dict):
            _, domains = configuration.get("domains", ("as", []))
            yield from _texts(domains)


def _resolved_domains(resolved: Properties) -> Iterator[str]:
    """Return the search domains and routing domains of all interfaces (``a(isb)``)."""
    domains = resolved.get("Domains")
    for entry in domains if isinstance(domains, list) else ():
        match entry:
            case (int(), str(domain), bool()):
                yield domain


def _portal(manager: Properties) -> tuple[Portal, str]:
    match manager.get("Connectivity"):
        case 2:  # NM_CONNECTIVITY_PORTAL
            uri = manager.get("ConnectivityCheckUri")
            return Portal.PRESENT, web_url(uri) if isinstance(uri, str) else ""
        case 4:  # NM_CONNECTIVITY_FULL
            return Portal.ABSENT, ""
    return Portal.UNKNOWN, ""


def _texts(value: object) -> list[str]:
    return [text for text in value if isinstance(text, str)] if isinstance(value, list) else []
