"""The system's own proxy setting on Windows: of a policy, of the LAN, or of the computer.

Windows itself tries automatic detection before the PAC script and the proxy, and has it switched on
from the start. Here it comes last: it sends requests to any computer that answers in the network.

Written from learn.microsoft.com ("INTERNET_PER_CONN_OPTION structure", "Internet Explorer policies:
Make proxy settings per-machine") and tested with replacements of WinINET and the registry; nothing
was run on Windows.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from types import ModuleType

from trayproxy.desktop.system_pac.base import (
    SystemSetting,
    detection_setting,
    manual_setting,
    script_setting,
    values_before,
)
from trayproxy.desktop.system_proxy.base import ProxyKind
from trayproxy.desktop.system_proxy.windows import NAME, WindowsTarget, find_target
from trayproxy.system_settings.entries import Values
from trayproxy.system_settings.journal import Journal

USER, MACHINE = "HKEY_CURRENT_USER", "HKEY_LOCAL_MACHINE"
SETTINGS = r"Software\Microsoft\Windows\CurrentVersion\Internet Settings"
POLICIES = r"Software\Policies\Microsoft\Windows\CurrentVersion\Internet Settings"

ReadValue = Callable[[str, str, str], object]
"""Returns a value of the registry by root, key and name; None if the value is missing."""

_PROXY, _AUTO_PROXY_URL, _AUTO_DETECT = 2, 4, 8
"""PROXY_TYPE_PROXY and others."""
_IGNORED = "<-loopback>"
"""The entry of the list of exceptions with which requests for this computer use the proxy as well.
It names no host, so it is skipped."""


def read_setting(journal: Journal | None, environ: Mapping[str, str]) -> SystemSetting:
    """Return the setting as it was before TrayProxy.

    Args:
        journal: The changes of TrayProxy; None if there are none.
        environ: Not used: programs of Windows find their proxy in the registry.

    Raises:
        TargetError: The setting cannot be read.
    """
    target: WindowsTarget = find_target(NAME)
    has_record = journal is not None and journal.record_of(NAME) is not None
    values = values_before(journal, target)
    return windows_setting(values, registry_value, is_original=not has_record)


def windows_setting(values: Values, read: ReadValue, *, is_original: bool) -> SystemSetting:
    """Return the setting for the values of WinINET and the registry.

    Args:
        values: The values of `WindowsTarget` as they were before TrayProxy.
        read: Reads the registry.
        is_original: True if TrayProxy has changed none of the values.
    """
    title = WindowsTarget.title
    for root in (MACHINE, USER):
        if url := _text(read(root, POLICIES, "AutoConfigURL")):
            return script_setting(f"{title} (policy)", url)
    flags = int(values.get("flags of LAN") or 0)
    script = values.get("script of LAN")
    if flags & _AUTO_PROXY_URL and script:
        return script_setting(title, script)
    if flags & _PROXY:
        found = _manual(values.get("server of LAN") or "", values.get("bypass of LAN") or "")
        if found.kind is not ProxyKind.NONE:
            return found
    is_per_machine = read(MACHINE, POLICIES, "ProxySettingsPerUser") == 0
    roots = [MACHINE] * is_per_machine + [USER] * is_original
    for root in roots:
        if url := _text(read(root, SETTINGS, "AutoConfigURL")):
            return script_setting(title, url)
    if is_per_machine and read(MACHINE, SETTINGS, "ProxyEnable") == 1:
        server, bypass = (
            _text(read(MACHINE, SETTINGS, name)) for name in ("ProxyServer", "ProxyOverride")
        )
        return _manual(server, bypass)
    return detection_setting(title) if flags & _AUTO_DETECT else SystemSetting(origin=title)


def registry_value(root: str, key: str, name: str) -> object:
    """Return a value of the registry of this computer; see `ReadValue`."""
    import winreg as module

    winreg: ModuleType = module
    try:
        with winreg.OpenKey(getattr(winreg, root), key) as opened:
            value: object = winreg.QueryValueEx(opened, name)[0]
            return value
    except OSError:
        return None


def _manual(server: str, bypass: str) -> SystemSetting:
    """Return the setting of ``proxy:8080`` or ``http=proxy:8080;https=proxy:8081``."""
    proxies: dict[str, str] = {}
    for entry in re.split(r"[;\s]+", server):
        scheme, equals, address = entry.partition("=")
        if equals:
            proxies.setdefault(scheme.lower(), address)
        elif entry:
            proxies.setdefault("", entry)
    for_all = proxies.get("", "")
    return manual_setting(
        WindowsTarget.title,
        proxies.get("http", for_all),
        proxies.get("https", for_all),
        _exceptions(bypass),
    )


def _exceptions(bypass: str) -> Iterator[str]:
    for entry in re.split(r"[;\s]+", bypass):
        if entry and entry.lower() != _IGNORED:
            yield re.sub("^[a-z]+://", "", entry, flags=re.IGNORECASE)


def _text(value: object) -> str:
    return value.strip() if isinstance(value, str) else ""
