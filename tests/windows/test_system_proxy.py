"""The system proxy with the real WinINET and the real registry, as far as Wine implements them.

Of the settings of a connection, Wine 8 keeps the server and whether it is in use, the same for all
connections. It does not keep the bypass list and the URL of the PAC file, and of the flags it only
reads back PROXY_TYPE_PROXY or PROXY_TYPE_DIRECT. Where a test needs the others, `KeepingWinInet`
keeps them in memory.
"""

import asyncio
import importlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.desktop.system_proxy.turning_on import turn_on
from tests.support.process_output import PATIENCE
from trayproxy.desktop.system_proxy.base import ProxyKind, ProxySetting, ProxyView
from trayproxy.desktop.system_proxy.windows import NAME, WindowsRegistry, WindowsTarget, find_target
from trayproxy.desktop.system_proxy.wininet import (
    BYPASS,
    FLAGS,
    SCRIPT,
    SERVER,
    ConnectionSettings,
    WinInet,
    load_libraries,
)
from trayproxy.desktop.system_proxy_change.factory import watch_system_proxy
from trayproxy.desktop.system_proxy_change.windows import KEY, WindowsSystemProxyWatch
from trayproxy.system_settings.journal import JournalFile
from trayproxy.system_settings.restore import Restored, restore

winreg: Any = importlib.import_module("winreg")

POLICIES = r"Software\Policies\Microsoft\Windows\CurrentVersion\Internet Settings"
CONNECTIONS = rf"{KEY}\Connections"
LAN = ""
DIRECT, PROXY, AUTO_PROXY_URL, AUTO_DETECT = 1, 2, 4, 8
COMPANY = "proxy.example:8080"
SETTING = ProxySetting("127.0.0.1", 3128, "http://127.0.0.1:3128/4f1c.pac")
_FIELDS = {SERVER: "server", BYPASS: "bypass", SCRIPT: "script"}


class KeepingWinInet(WinInet):
    """The real WinINET, with the settings in memory that Wine does not keep."""

    def __init__(self) -> None:
        super().__init__(load_libraries())
        self.kept = ConnectionSettings(DIRECT, None, None, None)

    def read(self, connection: str) -> ConnectionSettings:
        found = super().read(connection)
        in_use = found.flags & PROXY
        return replace(self.kept, server=found.server, flags=self.kept.flags & ~PROXY | in_use)

    def write(self, connection: str, changes: Mapping[int, int | str | None]) -> None:
        super().write(connection, changes)
        texts: dict[str, Any] = {
            _FIELDS[option]: text for option, text in changes.items() if option in _FIELDS
        }
        flags = changes.get(FLAGS, self.kept.flags)
        assert isinstance(flags, int)
        self.kept = replace(self.kept, flags=flags, **texts)


@pytest.fixture
def wininet() -> WinInet:
    return WinInet(load_libraries())


@pytest.fixture(autouse=True)
def direct(wininet: WinInet) -> Iterator[None]:
    """Connect directly before and after the test."""
    settings = {SERVER: None, BYPASS: None, SCRIPT: None, FLAGS: DIRECT}
    wininet.write(LAN, settings)
    yield
    wininet.write(LAN, settings)


def values(key: str = KEY) -> dict[str, object]:
    """Return the values of a key of the user."""
    with winreg.OpenKey(winreg.HKEY_CURRENT_USER, key) as opened:
        _, count, _ = winreg.QueryInfoKey(opened)
        return {
            name: value for name, value, _ in (winreg.EnumValue(opened, i) for i in range(count))
        }


def set_value(name: str, value: str, key: str = KEY) -> None:
    """Set a value of a key of the user, as another program does."""
    with winreg.CreateKey(winreg.HKEY_CURRENT_USER, key) as opened:
        winreg.SetValueEx(opened, name, 0, winreg.REG_SZ, value)


# --- WinINET and the registry --------------------------------------------------------------------


def test_the_settings_of_the_lan_are_written_read_and_restored(wininet: WinInet) -> None:
    before = wininet.read(LAN)
    assert before == ConnectionSettings(DIRECT, None, None, None)
    wininet.write(LAN, {SERVER: COMPANY, BYPASS: "localhost;[::1]", FLAGS: DIRECT | PROXY})
    found = wininet.read(LAN)
    # Wine keeps neither PROXY_TYPE_DIRECT nor the bypass list.
    assert (found.server, found.flags & PROXY) == (COMPANY, PROXY)
    assert (values()["ProxyServer"], values()["ProxyEnable"]) == (COMPANY, 1)
    wininet.write(
        LAN,
        {SERVER: before.server, BYPASS: before.bypass, SCRIPT: before.script, FLAGS: before.flags},
    )
    assert wininet.read(LAN) == before
    assert "ProxyServer" not in values()
    assert values()["ProxyEnable"] == 0


def test_the_server_can_be_changed_alone(wininet: WinInet) -> None:
    wininet.write(LAN, {SERVER: COMPANY, FLAGS: DIRECT | PROXY})
    wininet.write(LAN, {SERVER: "próxy.example:3128"})
    assert wininet.read(LAN).server == "próxy.example:3128"
    assert values()["ProxyServer"] == "próxy.example:3128"
    wininet.write(LAN, {FLAGS: DIRECT})
    assert wininet.read(LAN) == ConnectionSettings(DIRECT, "próxy.example:3128", None, None)


def test_a_pac_file_takes_the_proxy_out_of_use(wininet: WinInet) -> None:
    wininet.write(LAN, {SERVER: COMPANY, FLAGS: DIRECT | PROXY})
    wininet.write(LAN, {SCRIPT: SETTING.pac_url, FLAGS: DIRECT | AUTO_PROXY_URL})
    # Wine does not keep the URL.
    found = wininet.read(LAN)
    assert (found.server, found.flags & PROXY) == (COMPANY, 0)


def test_each_of_many_servers_is_read_back(wininet: WinInet) -> None:
    for number in range(50):
        wininet.write(LAN, {SERVER: f"proxy-{number}.example:8080", FLAGS: DIRECT | PROXY})
        assert wininet.read(LAN).server == f"proxy-{number}.example:8080"
    wininet.notify()


def test_without_phone_books_there_are_no_ras_connections(wininet: WinInet) -> None:
    assert wininet.ras_connections() == ()


def test_the_names_of_the_registry_are_read() -> None:
    registry = WindowsRegistry()
    assert registry.value_names(rf"{KEY}\Missing") == ()
    set_value("VPN of the company", "", CONNECTIONS)
    try:
        assert "VPN of the company" in registry.value_names(CONNECTIONS)
    finally:
        winreg.DeleteKey(winreg.HKEY_CURRENT_USER, CONNECTIONS)
    assert registry.value_names(CONNECTIONS) == ()


@pytest.mark.parametrize("per_user", [None, 1, 0])
def test_the_policy_of_the_machine_is_read(per_user: int | None) -> None:
    if per_user is not None:
        with winreg.CreateKey(winreg.HKEY_LOCAL_MACHINE, POLICIES) as opened:
            winreg.SetValueEx(opened, "ProxySettingsPerUser", 0, winreg.REG_DWORD, per_user)
    try:
        assert WindowsRegistry().policy(POLICIES, "ProxySettingsPerUser") == per_user
        assert find_target(NAME).is_managed is (per_user == 0)
    finally:
        if per_user is not None:
            winreg.DeleteKey(winreg.HKEY_LOCAL_MACHINE, POLICIES)


# --- the target ----------------------------------------------------------------------------------


@pytest.fixture
def file(tmp_path: Path) -> JournalFile:
    return JournalFile(tmp_path / "journal")


@pytest.fixture
def target() -> WindowsTarget:
    return WindowsTarget(KeepingWinInet(), WindowsRegistry())


def test_the_system_proxy_is_set_and_restored(file: JournalFile, target: WindowsTarget) -> None:
    before, registry = target.read(), values()
    turn_on(file, target, SETTING)
    assert target.describe(target.read()) == ProxyView(ProxyKind.MANUAL, "127.0.0.1:3128")
    assert (values()["ProxyServer"], values()["ProxyEnable"]) == ("127.0.0.1:3128", 1)
    assert restore(file, lambda name: target) == Restored(True, (NAME,))
    assert (target.read(), values()) == (before, registry)
    assert file.load() is None


def test_the_proxy_of_the_company_is_restored(file: JournalFile, target: WindowsTarget) -> None:
    calls = KeepingWinInet()
    calls.write(LAN, {SERVER: COMPANY, BYPASS: "<local>", FLAGS: DIRECT | PROXY | AUTO_DETECT})
    target = WindowsTarget(calls, WindowsRegistry())
    before, registry = target.read(), values()
    turn_on(file, target, SETTING)
    assert values()["ProxyServer"] == "127.0.0.1:3128"
    restore(file, lambda name: target)
    assert (target.read(), values()) == (before, registry)
    assert calls.read(LAN) == ConnectionSettings(
        DIRECT | PROXY | AUTO_DETECT, COMPANY, "<local>", None
    )


def test_a_pac_file_is_set_and_the_proxy_restored(file: JournalFile, target: WindowsTarget) -> None:
    registry = values()
    turn_on(file, target, replace(SETTING, uses_pac=True))
    assert target.describe(target.read()) == ProxyView(ProxyKind.PAC, SETTING.pac_url)
    assert values()["ProxyEnable"] == 0
    restore(file, lambda name: target)
    assert values() == registry


def test_the_proxy_of_another_program_stays(file: JournalFile, target: WindowsTarget) -> None:
    turn_on(file, target, SETTING)
    set_value("ProxyServer", "127.0.0.1:8888")
    restored = restore(file, lambda name: target)
    assert (NAME, "server of LAN") in restored.left
    assert (values()["ProxyServer"], values()["ProxyEnable"]) == ("127.0.0.1:8888", 1)


# --- the watch -----------------------------------------------------------------------------------


def set_a_value() -> None:
    set_value("AutoConfigURL", "http://pac.example/proxy.pac")


def delete_a_value() -> None:
    with winreg.OpenKey(winreg.HKEY_CURRENT_USER, KEY, 0, winreg.KEY_SET_VALUE) as opened:
        winreg.DeleteValue(opened, "AutoConfigURL")


def add_a_connection() -> None:
    set_value("VPN", "", CONNECTIONS)


def delete_the_connections() -> None:
    winreg.DeleteKey(winreg.HKEY_CURRENT_USER, CONNECTIONS)


def set_the_proxy() -> None:
    WinInet(load_libraries()).write(LAN, {SERVER: COMPANY, FLAGS: DIRECT | PROXY})


async def test_every_change_of_the_settings_is_reported() -> None:
    changes: list[Callable[[], None]] = [
        set_a_value,
        delete_a_value,
        add_a_connection,
        delete_the_connections,
        set_the_proxy,
    ]
    reported = asyncio.Event()
    watch = watch_system_proxy(reported.set)
    assert isinstance(watch, WindowsSystemProxyWatch)
    for change in changes:
        change()
        await asyncio.wait_for(reported.wait(), PATIENCE)
        reported.clear()
    watch.close()


async def test_many_watches_can_be_started_and_closed() -> None:
    for _ in range(100):
        WindowsSystemProxyWatch(asyncio.get_running_loop(), lambda: None).close()
