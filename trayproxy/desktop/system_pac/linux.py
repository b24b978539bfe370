"""The system's own proxy setting on Linux: of GNOME, of KDE, or in environment variables."""

import re
from collections.abc import Callable, Mapping

from trayproxy.desktop.system_pac.base import (
    SystemSetting,
    detection_setting,
    manual_setting,
    script_setting,
    suffix_rules,
    values_before,
)
from trayproxy.desktop.system_pac.environment import environment_setting
from trayproxy.desktop.system_proxy.base import ProxyKind, endpoint
from trayproxy.desktop.system_proxy.gsettings import GSettingsTarget, unquote
from trayproxy.desktop.system_proxy.kde import KdeTarget, text_of
from trayproxy.desktop.system_proxy.linux import DesktopFamily, desktop_of, find_target
from trayproxy.desktop.system_proxy.linux_commands import runtime_folder, session_environment
from trayproxy.system_settings.entries import TargetError, Values
from trayproxy.system_settings.journal import Journal

_STRING = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\"""", re.DOTALL)


def read_setting(journal: Journal | None, environ: Mapping[str, str]) -> SystemSetting:
    """Return the setting of the desktop as it was before TrayProxy.

    Without a setting of the desktop, environment variables count. On desktops that are neither of
    GNOME nor of KDE, they come first, as in Chromium.

    Args:
        journal: The changes of TrayProxy; None if there are none.
        environ: The environment of this process.

    Raises:
        TargetError: The setting of the desktop cannot be read.
    """
    session = session_environment(environ, runtime_folder())

    def gnome() -> SystemSetting:
        target = find_target(GSettingsTarget.name, environ)
        assert isinstance(target, GSettingsTarget)
        return gnome_setting(target.with_defaults(values_before(journal, target)))

    def kde() -> SystemSetting:
        target = find_target(KdeTarget.name, environ)
        assert isinstance(target, KdeTarget)
        return kde_setting(target.with_defaults(values_before(journal, target)), session)

    def variables() -> SystemSetting:
        return environment_setting(session)

    match desktop_of(session):
        case DesktopFamily.KDE:
            return _first(kde, variables)
        case DesktopFamily.GNOME:
            return _first(gnome, variables)
    try:
        return _first(variables, gnome)
    except TargetError:
        return SystemSetting()


def gnome_setting(values: Mapping[str, str]) -> SystemSetting:
    """Return the setting for the values of ``org.gnome.system.proxy``, with all defaults.

    Args:
        values: GVariant texts by key, as `GSettingsTarget.with_defaults` returns them.
    """
    title = GSettingsTarget.title
    match unquote(values["mode"]):
        case "auto":
            url = unquote(values["autoconfig-url"])
            return script_setting(title, url) if url else detection_setting(title)
        case "manual":
            socks = _gnome_address(values, "socks", "socks://")
            return manual_setting(
                title,
                _gnome_address(values, "http") or socks,
                _gnome_address(values, "https") or socks,
                map(unquote, _STRING.findall(values["ignore-hosts"])),
            )
    return SystemSetting(origin=title)


def read_login(journal: Journal | None, environ: Mapping[str, str]) -> tuple[str, str]:
    """Return the user name and the password that GNOME keeps in clear text for its manual proxy.

    Args:
        journal: The changes of TrayProxy; None if there are none.
        environ: The environment of this process.

    Returns:
        Empty texts if GNOME keeps no login, or cannot be read.
    """
    try:
        target = find_target(GSettingsTarget.name, environ)
        assert isinstance(target, GSettingsTarget)
        values = target.with_defaults(values_before(journal, target))
    except TargetError:
        return "", ""
    if values["http use-authentication"] != "true":
        return "", ""
    user, password = (
        unquote(values.get(f"http authentication-{part}", "")) for part in ("user", "password")
    )
    return user, password


def kde_setting(values: Values, environ: Mapping[str, str]) -> SystemSetting:
    """Return the setting for the values of ``kioslaverc``.

    With ``ReversedException``, programs use the proxy only for the listed hosts; here they use the
    proxy for all hosts.

    Args:
        values: The values of the file, with the administrator's defaults.
        environ: The environment variables, which the file may refer to.
    """
    title = KdeTarget.title
    http, https, socks = (
        text_of(values, key).replace(" ", ":") for key in ("httpProxy", "httpsProxy", "socksProxy")
    )
    exceptions = text_of(values, "NoProxyFor")
    match text_of(values, "ProxyType"):
        case "1":
            is_reversed = text_of(values, "ReversedException").lower() == "true"
            entries = [] if is_reversed else re.split(r"[,\s]+", exceptions)
            return manual_setting(title, http or socks, https or socks, suffix_rules(entries))
        case "2":
            return script_setting(title, text_of(values, "Proxy Config Script"))
        case "3":
            return detection_setting(title)
        case "4":
            # The addresses are names of variables then.
            variables = (http or "http_proxy", https or "https_proxy", exceptions or "no_proxy")
            return environment_setting(environ, *variables)
    return SystemSetting(origin=title)


def _first(*readers: Callable[[], SystemSetting]) -> SystemSetting:
    """Return the first setting that there is; the reason why there is none comes before none."""
    found: list[SystemSetting] = []
    for read in readers:
        found.append(read())
        if found[-1].kind is not ProxyKind.NONE or found[-1].reason:
            return found[-1]
    return found[0]


def _gnome_address(values: Mapping[str, str], child: str, scheme: str = "") -> str:
    host, port = unquote(values.get(f"{child} host", "")), values.get(f"{child} port", "0")
    return f"{scheme}{endpoint(host, port)}" if host and port != "0" else ""
