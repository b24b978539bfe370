"""The system proxy of Windows: the settings of the LAN and of each dial-up and VPN connection.

Programs use the settings of the active connection (learn.microsoft.com, "Setting and Retrieving
Internet Options"): without the settings of a VPN connection, programs would leave TrayProxy as soon
as the VPN is up. Services that use WinHTTP, and store apps, do not follow these settings.

Written from the vendor's documentation and tested with replacements of the calls. Under Wine, which
keeps only the server and whether it is in use, these two were set and restored. Nothing was run on
Windows.
"""

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Protocol

from trayproxy.desktop.system_proxy.base import (
    BypassKind,
    BypassRule,
    ProxyKind,
    ProxySetting,
    ProxyTargets,
    ProxyView,
    Wanted,
    endpoint,
)
from trayproxy.desktop.system_proxy.wininet import (
    BYPASS,
    FLAGS,
    SCRIPT,
    SERVER,
    ConnectionSettings,
    WinInet,
    load_libraries,
)
from trayproxy.system_settings.entries import Change, TargetError, Unit, Value, Values

NAME = "wininet"
LAN = ""
"""The name of the LAN connection in keys; Windows passes no name for it."""

_DIRECT, _PROXY, _AUTO_PROXY_URL, _AUTO_DETECT = 1, 2, 4, 8
"""PROXY_TYPE_DIRECT and others: how programs of a connection find their proxy."""
_OPTIONS = {"server": SERVER, "bypass": BYPASS, "script": SCRIPT, "flags": FLAGS}
"""The WinINET option of each entry of a connection, in the order in which they are changed."""
_LOOPBACK = ("localhost", "127.*", "[::1]")
"""The entries for this computer. Windows refuses an IPv6 address without brackets
(ERROR_INVALID_PARAMETER)."""

_SETTINGS = r"Software\Microsoft\Windows\CurrentVersion\Internet Settings"
_POLICIES = r"Software\Policies\Microsoft\Windows\CurrentVersion\Internet Settings"
_NOT_CONNECTIONS = frozenset({"DefaultConnectionSettings", "SavedLegacySettings"})
"""Values below ``Connections`` that are not the settings of a connection with this name."""


class Registry(Protocol):
    """The part of the registry that the target reads."""

    def value_names(self, key: str) -> Sequence[str]:
        """Return the names of the values of a key in HKEY_CURRENT_USER; empty without the key."""

    def policy(self, key: str, name: str) -> object:
        """Return a value of a key in HKEY_LOCAL_MACHINE, None if the value is missing."""


class WinInetCalls(Protocol):
    """The methods of `WinInet` that the target calls; tests replace them."""

    def read(self, connection: str) -> ConnectionSettings:
        """Return the settings of a connection; raise `TargetError` if Windows refuses."""

    def write(self, connection: str, changes: Mapping[int, int | str | None]) -> None:
        """Change settings of a connection; raise `TargetError` if Windows refuses."""

    def notify(self) -> None:
        """Tell running programs that the settings have changed."""

    def ras_connections(self) -> tuple[str, ...]:
        """Return the names of the dial-up and VPN connections."""


class WindowsTarget:
    """The proxy settings of all connections of the user.

    The keys are ``flags of LAN``, and for other connections ``flags of connection NAME``.
    """

    name = NAME
    title = "Windows"
    hint = ""

    def __init__(self, calls: WinInetCalls, registry: Registry) -> None:
        """Find the connections.

        Args:
            calls: The calls of WinINET and RAS.
            registry: The registry.
        """
        self._calls = calls
        self._registry = registry
        stored = (
            name
            for name in registry.value_names(rf"{_SETTINGS}\Connections")
            if name not in _NOT_CONNECTIONS
        )
        self._connections = tuple(dict.fromkeys((LAN, *calls.ras_connections(), *stored)))
        self.units: Sequence[Unit] = tuple(
            unit for connection in self._connections for unit in _units(connection)
        )

    @property
    def is_managed(self) -> bool:
        """True if a policy makes the settings machine-wide: only administrators change these."""
        return self._registry.policy(_POLICIES, "ProxySettingsPerUser") == 0

    def read(self) -> Values:
        """Return the settings of all connections; those that cannot be read are left out.

        Raises:
            TargetError: The settings of the LAN cannot be read.
        """
        values: dict[str, Value] = {}
        for connection in self._connections:
            try:
                found = self._calls.read(connection)
            except TargetError:
                if connection == LAN:
                    raise
                continue
            values |= {
                _key("server", connection): found.server,
                _key("bypass", connection): found.bypass,
                _key("script", connection): found.script,
                _key("flags", connection): str(found.flags),
            }
        return values

    def write(self, changes: Sequence[Change]) -> None:
        """Change settings, one call for each connection.

        A connection that refuses the change does not prevent the change of the others.

        Raises:
            TargetError: Windows refuses the change of a connection.
        """
        pending: dict[str, dict[int, int | str | None]] = {}
        for change in changes:
            option, connection = _parse_key(change.key)
            value: int | str | None = change.value
            if option == FLAGS:
                value = int(change.value or _DIRECT)
            pending.setdefault(connection, {})[option] = value
        refused: TargetError | None = None
        for connection, options in pending.items():
            try:
                self._calls.write(connection, options)
            except TargetError as error:
                refused = TargetError(f"{connection or 'LAN'}: {error}")
        self._calls.notify()
        if refused is not None:
            raise refused

    def wanted(self, setting: ProxySetting, present: Values) -> Wanted:
        """Return the values for a setting; see `ProxyTarget`."""
        if setting.uses_pac:
            options = {"script": setting.pac_url, "flags": str(_DIRECT | _AUTO_PROXY_URL)}
            return Wanted(self._for_all(options))
        entries: list[str] = []
        inexpressible: list[str] = []
        for rule in setting.bypass:
            entry = _bypass_entry(rule)
            if entry is None:
                inexpressible.append(rule.text)
            else:
                entries.append(entry)
        options = {
            "server": endpoint(setting.host, setting.port),
            "bypass": ";".join(dict.fromkeys((*_LOOPBACK, *entries))),
            # A PAC file and automatic detection come before the proxy, so they are switched off;
            # the URL of the PAC file stays.
            "flags": str(_DIRECT | _PROXY),
        }
        return Wanted(self._for_all(options), tuple(inexpressible))

    def describe(self, values: Values, part: str | None = None) -> ProxyView:
        """Return the proxy that programs use on a connection; see `ProxyTarget`."""
        connection = part or LAN
        flags = int(values[_key("flags", connection)] or 0)
        if flags & _AUTO_DETECT:
            return ProxyView(ProxyKind.DETECT)
        if flags & _AUTO_PROXY_URL:
            return ProxyView(ProxyKind.PAC, values[_key("script", connection)] or "")
        if flags & _PROXY:
            return ProxyView(ProxyKind.MANUAL, values[_key("server", connection)] or "")
        return ProxyView(ProxyKind.NONE)

    def in_effect(self) -> None:
        """Return None: the proxy in use is not read from Windows; see `ProxyTarget`.

        A change that the LAN refuses is an error of `write` in any case.
        """

    def without_proxy(self, values: Values) -> Values:
        """Return the values without proxies; see `ProxyTarget`."""
        changed = dict(values)
        for key in values:
            option, _ = _parse_key(key)
            if option == SERVER:
                changed[key] = None
            elif option == FLAGS:
                changed[key] = str(int(values[key] or 0) & ~_PROXY | _DIRECT)
        return changed

    def _for_all(self, options: Mapping[str, str]) -> dict[str, Value]:
        return {
            _key(option, connection): value
            for connection in self._connections
            for option, value in options.items()
        }


def proxy_targets(starts_at_log_in: object) -> ProxyTargets:
    """Return the targets of Windows.

    Args:
        starts_at_log_in: Not used: no target is read only at log-in.

    Raises:
        TargetError: The libraries cannot be loaded.
    """
    return ProxyTargets((find_target(NAME),))


def find_target(name: str) -> WindowsTarget:
    """Return the target with a name from the journal.

    Raises:
        TargetError: Windows has no target of this name, or the libraries cannot be loaded.
    """
    if name != NAME:
        raise TargetError(f"there is no target “{name}” on Windows")
    try:
        return WindowsTarget(WinInet(load_libraries()), WindowsRegistry())
    except OSError as error:
        raise TargetError(str(error)) from None


class WindowsRegistry:
    """The registry of this computer."""

    def value_names(self, key: str) -> Sequence[str]:
        """Return the names of the values of a key in HKEY_CURRENT_USER; empty without the key."""
        import winreg as module

        winreg: ModuleType = module
        try:
            with winreg.OpenKey(winreg.HKEY_CURRENT_USER, key) as opened:
                _, count, _ = winreg.QueryInfoKey(opened)
                return [winreg.EnumValue(opened, index)[0] for index in range(count)]
        except OSError:
            return ()

    def policy(self, key: str, name: str) -> object:
        """Return a value of a key in HKEY_LOCAL_MACHINE, None if the value is missing."""
        import winreg as module

        winreg: ModuleType = module
        try:
            with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, key) as opened:
                value: object = winreg.QueryValueEx(opened, name)[0]
                return value
        except OSError:
            return None


def _units(connection: str) -> tuple[Unit, ...]:
    names = {option: _key(option, connection) for option in _OPTIONS}
    return (
        Unit(names["server"], (names["server"],), (), connection),
        Unit(names["bypass"], (names["bypass"],), (), connection),
        Unit(names["script"], (names["script"],), (), connection),
        Unit(names["flags"], (names["flags"],), (names["server"], names["script"]), connection),
    )


def _key(option: str, connection: str) -> str:
    return f"{option} of connection {connection}" if connection else f"{option} of LAN"


def _parse_key(key: str) -> tuple[int, str]:
    """Return the WinINET option and the name of the connection from a key of the target."""
    option, _, rest = key.partition(" of ")
    return _OPTIONS[option], rest.removeprefix("connection ") if rest != "LAN" else LAN


def _bypass_entry(rule: BypassRule) -> str | None:
    """Return a rule in the syntax of Windows; None if Windows cannot express it.

    The list has names and addresses with ``*``, and ``<local>``. There are no networks, except for
    those that end at a dot: ``10.0.0.0/8`` is ``10.*``.
    """
    if rule.port is not None:
        return None
    match rule.kind:
        case BypassKind.ADDRESS:
            return f"[{rule.subject}]" if ":" in rule.subject else rule.subject
        case BypassKind.SUBDOMAINS:
            return f"*.{rule.subject}"
        case BypassKind.NETWORK:
            address, _, prefix = rule.subject.partition("/")
            octets = int(prefix) // 8
            if ":" in address or int(prefix) % 8 or not octets:
                return None
            return ".".join(address.split(".")[:octets]) + ".*"
    return rule.subject
