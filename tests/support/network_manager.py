"""Fake NetworkManager and systemd-resolved on a bus; the test moves to another network.

The signatures of the properties are those of the introspection data of NetworkManager 1.42 and of
org.freedesktop.resolve1(5).
"""

from typing import Any

from jeepney import HeaderFields, Message

from tests.support.tray_host import BusProgram

_NAME = "org.freedesktop.NetworkManager"
_PATH = "/org/freedesktop/NetworkManager"
_RESOLVED = "org.freedesktop.resolve1"

CONNECTED = 4
BEHIND_PORTAL = 2
"""Values of NMConnectivityState."""

Objects = dict[str, dict[str, tuple[str, Any]]]
"""The properties of each object, by their names, each with its signature."""


class PropertyProgram(BusProgram):
    """A program on the bus that has objects with properties only.

    Attributes:
        bus: The address of the bus.
        objects: The objects by their paths.
        reads: The number of calls of ``GetAll``.
    """

    def __init__(self, bus: str, name: str) -> None:
        self.bus = bus
        self.objects: Objects = {}
        self.reads = 0
        super().__init__(bus, name)

    def _call(self, member: str, message: Message) -> tuple[str, tuple[Any, ...]] | None:
        if member != "GetAll":
            return None
        self.reads += 1
        path = message.header.fields[HeaderFields.path]
        return "a{sv}", (self.objects.get(path, {}),)


class NetworkManager(PropertyProgram):
    """Owns the bus name of NetworkManager."""

    def __init__(self, bus: str) -> None:
        """Connect to the bus, without a network."""
        super().__init__(bus, _NAME)
        self.move()

    def move(
        self,
        *,
        ssid: bytes = b"",
        vpn: str = "",
        domains: tuple[str, ...] = (),
        connectivity: int = CONNECTED,
        check_uri: str = "http://check.example/",
    ) -> None:
        """Connect to another network: its Wi-Fi, its VPN connection and its DNS domains."""
        objects: Objects = {
            f"{_PATH}/DnsManager": {
                "Configuration": (
                    "aa{sv}",
                    [{"nameservers": ("as", ["192.0.2.1"]), "domains": ("as", list(domains))}],
                )
            }
        }
        active = [f"{_PATH}/ActiveConnection/1"]
        objects[active[0]] = self._active("802-3-ethernet", "Wired")
        if ssid:
            active.append(f"{_PATH}/ActiveConnection/2")
            point = f"{_PATH}/AccessPoint/7"
            objects[active[-1]] = self._active("802-11-wireless", "home", point)
            objects[point] = {"Ssid": ("ay", ssid)}
        if vpn:
            active.append(f"{_PATH}/ActiveConnection/3")
            objects[active[-1]] = {**self._active("vpn", vpn), "Vpn": ("b", True)}
        objects[_PATH] = {
            "ActiveConnections": ("ao", active),
            "Connectivity": ("u", connectivity),
            "ConnectivityCheckUri": ("s", check_uri),
        }
        self.objects = objects

    def _active(self, kind: str, name: str, point: str = "/") -> dict[str, tuple[str, Any]]:
        return {
            "Type": ("s", kind),
            "Id": ("s", name),
            "State": ("u", 2),
            "Vpn": ("b", False),
            "SpecificObject": ("o", point),
        }


class Resolved(PropertyProgram):
    """Owns the bus name of systemd-resolved, with these search and routing domains."""

    def __init__(self, bus: str, *domains: str) -> None:
        super().__init__(bus, _RESOLVED)
        entries = [(2, domain, domain.startswith("~")) for domain in domains]
        self.objects = {"/org/freedesktop/resolve1": {"Domains": ("a(isb)", entries)}}
