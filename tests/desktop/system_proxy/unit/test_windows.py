"""Windows: the proxy settings of connections, with replacements of WinINET and the registry."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest

from tests.desktop.system_proxy.turning_on import turn_on
from trayproxy.desktop.system_proxy.base import (
    BypassKind,
    BypassRule,
    ProxyKind,
    ProxySetting,
    ProxyView,
)
from trayproxy.desktop.system_proxy.windows import WindowsTarget
from trayproxy.desktop.system_proxy.wininet import BYPASS, FLAGS, SCRIPT, SERVER, ConnectionSettings
from trayproxy.system_settings.apply import NotAppliedError, RefusedPart
from trayproxy.system_settings.entries import TargetError
from trayproxy.system_settings.journal import JournalFile
from trayproxy.system_settings.restore import restore

DIRECT = ConnectionSettings(1, None, None, None)
COMPANY = ConnectionSettings(1 | 4 | 8, "old:8080", "<local>", "http://wpad/wpad.dat")
URL = "http://127.0.0.1:3128/4f1c.pac"
SETTING = ProxySetting("127.0.0.1", 3128, URL)
_FIELDS = {FLAGS: "flags", SERVER: "server", BYPASS: "bypass", SCRIPT: "script"}


class FakeWinInet:
    """The connections of a user in memory."""

    def __init__(self, **connections: ConnectionSettings) -> None:
        self.connections = connections
        self.refused: set[str] = set()
        self.notifications = 0
        self.before_write: Callable[[], None] = lambda: None

    def read(self, connection: str) -> ConnectionSettings:
        if connection not in self.connections:
            raise TargetError("error 623")
        return self.connections[connection]

    def write(self, connection: str, changes: Mapping[int, int | str | None]) -> None:
        self.before_write()
        if connection in self.refused:
            raise TargetError("error 5")
        fields = {_FIELDS[option]: value for option, value in changes.items()}
        self.connections[connection] = replace(self.connections[connection], **fields)  # type: ignore[arg-type]

    def notify(self) -> None:
        self.notifications += 1

    def ras_connections(self) -> tuple[str, ...]:
        return tuple(name for name in self.connections if name)


class FakeRegistry:
    """The registry with these values below ``Connections`` and this policy."""

    def __init__(self, *names: str, per_user: int | None = None) -> None:
        self.names = names
        self.per_user = per_user

    def value_names(self, key: str) -> tuple[str, ...]:
        assert key.endswith(r"\Internet Settings\Connections")
        return self.names

    def policy(self, key: str, name: str) -> object:
        assert key.startswith(r"Software\Policies")
        return self.per_user if name == "ProxySettingsPerUser" else None


@pytest.fixture
def wininet() -> FakeWinInet:
    return FakeWinInet(**{"": DIRECT, "VPN of LAN": COMPANY})


@pytest.fixture
def target(wininet: FakeWinInet) -> WindowsTarget:
    return WindowsTarget(wininet, FakeRegistry("DefaultConnectionSettings", "VPN of LAN"))


def test_every_connection_is_set_and_restored(
    wininet: FakeWinInet, target: WindowsTarget, file: JournalFile
) -> None:
    turn_on(file, target, SETTING)
    ours = ConnectionSettings(3, "127.0.0.1:3128", "localhost;127.*;[::1]", None)
    assert wininet.connections == {
        "": ours,
        "VPN of LAN": replace(ours, script="http://wpad/wpad.dat"),
    }
    assert target.describe(target.read()) == ProxyView(ProxyKind.MANUAL, "127.0.0.1:3128")
    assert wininet.notifications
    restore(file, lambda name: target)
    assert wininet.connections == {"": DIRECT, "VPN of LAN": COMPANY}


def test_with_a_pac_file_the_proxy_stays(
    wininet: FakeWinInet, target: WindowsTarget, file: JournalFile
) -> None:
    turn_on(file, target, replace(SETTING, uses_pac=True))
    assert wininet.connections["VPN of LAN"] == replace(COMPANY, flags=5, script=URL)
    assert target.describe(target.read()) == ProxyView(ProxyKind.PAC, URL)
    assert target.describe(target.read(), "VPN of LAN") == ProxyView(ProxyKind.PAC, URL)
    restore(file, lambda name: target)
    assert wininet.connections == {"": DIRECT, "VPN of LAN": COMPANY}


def test_if_the_lan_refuses_a_change_nothing_is_changed(
    wininet: FakeWinInet, target: WindowsTarget, file: JournalFile
) -> None:
    wininet.refused.add("")
    with pytest.raises(NotAppliedError, match="error 5"):
        turn_on(file, target, SETTING)
    assert wininet.connections == {"": DIRECT, "VPN of LAN": COMPANY}
    assert file.load() is None


def test_a_connection_that_refuses_the_change_is_skipped(
    wininet: FakeWinInet, target: WindowsTarget, file: JournalFile
) -> None:
    wininet.refused.add("VPN of LAN")
    assert turn_on(file, target, SETTING) == (
        RefusedPart("wininet", "VPN of LAN", "VPN of LAN: error 5"),
    )
    assert wininet.connections[""].server == "127.0.0.1:3128"
    assert wininet.connections["VPN of LAN"] == COMPANY
    restore(file, lambda name: target)
    assert wininet.connections == {"": DIRECT, "VPN of LAN": COMPANY}
    assert file.load() is None


def test_a_connection_that_refuses_does_not_keep_the_others_from_being_restored(
    wininet: FakeWinInet, target: WindowsTarget, file: JournalFile
) -> None:
    turn_on(file, target, SETTING)
    wininet.refused.add("VPN of LAN")
    [rest] = restore(file, lambda name: target).rest
    assert {unit.part for unit in rest.units} == {"VPN of LAN"}
    assert wininet.connections[""] == DIRECT
    wininet.refused.clear()
    assert not restore(file, lambda name: target).rest
    assert wininet.connections == {"": DIRECT, "VPN of LAN": COMPANY}


@pytest.mark.parametrize("count", range(3))
def test_a_crash_between_two_writes_is_repaired(
    wininet: FakeWinInet, target: WindowsTarget, file: JournalFile, count: int
) -> None:
    class CrashError(BaseException):
        pass

    left = iter(range(count))

    def step() -> None:
        if next(left, None) is None:
            raise CrashError

    wininet.before_write = step
    try:
        turn_on(file, target, SETTING)
    except CrashError:
        pass
    wininet.before_write = lambda: None
    restore(file, lambda name: target)
    assert wininet.connections == {"": DIRECT, "VPN of LAN": COMPANY}


def test_the_settings_of_another_program_stay(
    wininet: FakeWinInet, target: WindowsTarget, file: JournalFile
) -> None:
    turn_on(file, target, SETTING)
    wininet.connections[""] = replace(wininet.connections[""], server="127.0.0.1:8888")
    restore(file, lambda name: target)
    assert wininet.connections == {
        "": ConnectionSettings(3, "127.0.0.1:8888", None, None),
        "VPN of LAN": COMPANY,
    }


@pytest.mark.parametrize("stored", [["VPN of LAN"], []])
def test_a_connection_that_fails_or_is_missing_is_restored_later(
    wininet: FakeWinInet, target: WindowsTarget, file: JournalFile, stored: list[str]
) -> None:
    turn_on(file, target, SETTING)
    vpn = wininet.connections.pop("VPN of LAN")
    restore(file, lambda name: WindowsTarget(wininet, FakeRegistry(*stored)))
    assert wininet.connections == {"": DIRECT}
    wininet.connections["VPN of LAN"] = vpn
    restore(file, lambda name: target)
    assert wininet.connections == {"": DIRECT, "VPN of LAN": COMPANY}
    assert file.load() is None


def test_a_connection_that_cannot_be_read_is_left_alone(
    wininet: FakeWinInet, file: JournalFile
) -> None:
    target = WindowsTarget(wininet, FakeRegistry("Broken", "SavedLegacySettings"))
    assert not [key for key in target.read() if "Broken" in key or "Legacy" in key]
    turn_on(file, target, SETTING)
    assert wininet.connections[""].server == "127.0.0.1:3128"


def test_without_the_lan_nothing_can_be_read() -> None:
    with pytest.raises(TargetError):
        WindowsTarget(FakeWinInet(VPN=COMPANY), FakeRegistry()).read()


@pytest.mark.parametrize(("per_user", "managed"), [(None, False), (1, False), (0, True)])
def test_the_policy_of_the_machine_is_recognized(
    wininet: FakeWinInet, per_user: int | None, managed: bool
) -> None:
    assert WindowsTarget(wininet, FakeRegistry(per_user=per_user)).is_managed is managed


@pytest.mark.parametrize(
    ("settings", "view"),
    [
        (DIRECT, ProxyView(ProxyKind.NONE)),
        (COMPANY, ProxyView(ProxyKind.DETECT)),
        (replace(COMPANY, flags=5), ProxyView(ProxyKind.PAC, "http://wpad/wpad.dat")),
        (replace(COMPANY, flags=3), ProxyView(ProxyKind.MANUAL, "old:8080")),
    ],
)
def test_settings_are_described(settings: ConnectionSettings, view: ProxyView) -> None:
    target = WindowsTarget(FakeWinInet(**{"": settings}), FakeRegistry())
    assert target.describe(target.read()) == view


def test_a_proxy_is_removed_and_the_script_stays() -> None:
    wininet = FakeWinInet(**{"": replace(COMPANY, flags=7)})
    target = WindowsTarget(wininet, FakeRegistry())
    values = target.without_proxy(target.read())
    assert values == {
        "server of LAN": None,
        "bypass of LAN": "<local>",
        "script of LAN": "http://wpad/wpad.dat",
        "flags of LAN": "5",
    }


@pytest.mark.parametrize(
    ("kind", "subject", "port", "entry"),
    [
        (BypassKind.NAME, "intranet", None, "intranet"),
        (BypassKind.SUBDOMAINS, "corp.example", None, "*.corp.example"),
        (BypassKind.PATTERN, "dev-*.example", None, "dev-*.example"),
        (BypassKind.ADDRESS, "10.1.2.3", None, "10.1.2.3"),
        (BypassKind.ADDRESS, "fd00::1", None, "[fd00::1]"),
        (BypassKind.NETWORK, "10.0.0.0/8", None, "10.*"),
        (BypassKind.NETWORK, "192.168.4.0/24", None, "192.168.4.*"),
        (BypassKind.NETWORK, "172.16.0.0/12", None, None),
        (BypassKind.NETWORK, "0.0.0.0/0", None, None),
        (BypassKind.NETWORK, "fd00::/8", None, None),
        (BypassKind.LOCAL, "<local>", None, "<local>"),
        (BypassKind.NAME, "intranet", 8080, None),
    ],
)
def test_bypass_rules_in_the_syntax_of_windows(
    target: WindowsTarget, kind: BypassKind, subject: str, port: int | None, entry: str | None
) -> None:
    rule = BypassRule("as typed", kind, subject, port)
    wanted = target.wanted(replace(SETTING, bypass=(rule,)), target.read())
    expected = "localhost;127.*;[::1]" + (f";{entry}" if entry else "")
    assert wanted.values["bypass of LAN"] == expected
    assert wanted.inexpressible == (() if entry else ("as typed",))
