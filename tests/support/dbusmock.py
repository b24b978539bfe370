"""The NetworkManager of python-dbusmock, which is independent of TrayProxy, on a bus."""

import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest
from jeepney import DBusAddress, new_method_call
from jeepney.io.blocking import DBusConnection, open_dbus_connection
from jeepney.wrappers import unwrap_msg

from tests.support.bus import wait_for_name
from tests.support.process_output import PATIENCE
from tests.support.processes import Home, running

_PYTHON = "/usr/bin/python3"
"""Debian's Python, which has python-dbusmock and dbus-python."""
_NAME = "org.freedesktop.NetworkManager"
_PATH = "/org/freedesktop/NetworkManager"
_ACTIVATED_DEVICE, _ACTIVATED = 100, 2


class MockedNetworkManager:
    """A NetworkManager to which the test adds devices and connections."""

    def __init__(self, connection: DBusConnection) -> None:
        self._connection = connection

    def join(self, ssid: str) -> None:
        """Connect a new wireless interface to an access point."""
        device = self._call("AddWiFiDevice", "ssi", "mock_wlan", "wlan0", _ACTIVATED_DEVICE)
        station = ("mock_point", ssid, "02:00:5E:10:00:01", 2, 2425, 5400, 82, 0x100)
        point = self._call("AddAccessPoint", "ssssuuuyu", device, *station)
        profile = self._call("AddWiFiConnection", "ssss", device, "mock_profile", ssid, "wpa-psk")
        arguments = ([device], profile, point, "mock_active", _ACTIVATED)
        self._call("AddActiveConnection", "assssu", *arguments)

    def set_connectivity(self, connectivity: int) -> None:
        """Set the result of the search for captive portals (NMConnectivityState)."""
        self._call("SetConnectivity", "u", connectivity)

    def _call(self, method: str, signature: str, *arguments: object) -> Any:
        address = DBusAddress(_PATH, bus_name=_NAME, interface="org.freedesktop.DBus.Mock")
        message = new_method_call(address, method, signature, arguments)
        body = unwrap_msg(self._connection.send_and_get_reply(message, timeout=PATIENCE))
        return body[0] if body else None


@contextmanager
def mocked_network_manager(place: Home, bus: str) -> Iterator[MockedNetworkManager]:
    """Run the NetworkManager of python-dbusmock on a bus; skip the test without python-dbusmock."""
    trial = [_PYTHON, "-c", "import dbusmock"]
    try:
        is_missing = bool(subprocess.run(trial, capture_output=True, check=False).returncode)
    except FileNotFoundError:
        is_missing = True
    if is_missing:
        pytest.skip("needs python3-dbusmock")
    argv = [_PYTHON, "-m", "dbusmock", "--system", "--template", "networkmanager"]
    environment = place.environment(DBUS_SYSTEM_BUS_ADDRESS=bus)
    with running(argv, env=environment, cwd=place.root):
        wait_for_name(bus, _NAME)
        with closing(open_dbus_connection(bus=bus)) as connection:
            yield MockedNetworkManager(connection)
