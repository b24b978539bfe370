"""Environment variables for the programs of new sessions, in ``~/.config/environment.d``.

On XFCE, LXQt and unknown desktops, Chromium and many other programs read only environment
variables. When the user logs in, systemd sets the variables of these files for its user services
(environment.d(5)), and GDM for the whole session. Other display managers such as LightDM and SDDM
do not (systemd issue 12938, SDDM issue 1276): only programs that systemd starts get the variables.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from trayproxy.desktop.atomic_file import read_text, remove, replace_text
from trayproxy.desktop.config_home import config_home
from trayproxy.desktop.system_proxy.base import (
    LOOPBACK_EXCEPTIONS,
    BypassKind,
    BypassRule,
    ProxyKind,
    ProxySetting,
    ProxyView,
    Wanted,
    endpoint,
)
from trayproxy.desktop.system_proxy.bypass_rules import ExceptionList, exception_list
from trayproxy.system_settings.entries import Change, TargetError, Unit, Values

KEY = "text"
"""The only key of the target: the text of the file."""

FILE_NAME = "60-trayproxy.conf"
"""The name of the file. Files with a higher number have precedence."""

_COMMENT = (
    "# Written by TrayProxy (system proxy). It is removed when the system proxy is turned off."
)
_VARIABLE = re.compile(r"^\s*(http_proxy|https_proxy|HTTP_PROXY|HTTPS_PROXY)=(.*)$", re.MULTILINE)


class EnvironmentTarget:
    """TrayProxy's file in ``environment.d``."""

    name = "environment.d"
    title = "Environment variables"
    hint = (
        "Programs that read environment variables use TrayProxy after the next log-in, when "
        "TrayProxy starts as well, because autostart is on. If you turn the system proxy or "
        "autostart off or quit TrayProxy, the variables are gone after the next log-in. If the "
        "log-in screen is LightDM or SDDM, only programs started by systemd have the variables."
    )
    is_managed = False
    units: Sequence[Unit] = (Unit("file", (KEY,)),)

    def __init__(self, path: Path) -> None:
        """Set the file.

        Args:
            path: The file; it and its folder may be missing.
        """
        self._path = path

    def read(self) -> Values:
        """Return the text of the file; see `SettingsTarget`."""
        return {KEY: read_text(self._path)}

    def write(self, changes: Sequence[Change]) -> None:
        """Replace or remove the file; see `SettingsTarget`."""
        if self._path.is_symlink():
            raise TargetError(f"{self._path.name} is a symbolic link")
        for change in changes:
            if change.value is None:
                remove(self._path)
            else:
                replace_text(self._path, change.value)

    def wanted(self, setting: ProxySetting, present: Values) -> Wanted:
        """Return the values for a setting; see `ProxyTarget`.

        Environment variables cannot name a PAC file: the file is not changed then.
        """
        if setting.uses_pac:
            return Wanted({})
        found = no_proxy(setting.bypass)
        url = f"http://{endpoint(setting.host, setting.port)}"
        # Many programs do not understand the network 127.0.0.0/8.
        hosts = ",".join((*LOOPBACK_EXCEPTIONS, "127.0.0.1", *found.entries))
        variables = {"http_proxy": url, "https_proxy": url, "no_proxy": hosts}
        return Wanted({KEY: _file(variables)}, found.inexpressible)

    def describe(self, values: Values, part: str | None = None) -> ProxyView:
        """Return the proxy that programs of the next session use; see `ProxyTarget`."""
        found = [url.strip("\"' ") for _, url in _VARIABLE.findall(values.get(KEY) or "")]
        addresses = dict.fromkeys(filter(None, map(_address, found)))
        if not addresses:
            return ProxyView(ProxyKind.NONE)
        return ProxyView(ProxyKind.MANUAL, ", ".join(addresses))

    def in_effect(self) -> None:
        """Return None: there are no connections with proxies of their own; see `ProxyTarget`."""

    def without_proxy(self, values: Values) -> Values:
        """Return the values without the file, which only TrayProxy writes; see `ProxyTarget`."""
        return {KEY: None}


def environment_file(environ: Mapping[str, str]) -> Path:
    """Return the path of the file.

    Args:
        environ: The environment with ``HOME`` or ``XDG_CONFIG_HOME``.
    """
    return config_home(environ) / "environment.d" / FILE_NAME


def no_proxy(bypass: Sequence[BypassRule]) -> ExceptionList:
    """Return bypass rules as entries of ``no_proxy``.

    There is no standard. Chromium and Firefox compare the end of a host with an entry, so that
    ``x.com`` also matches ``netflix.com``. Names are therefore left out, and so are patterns that
    do not begin with ``*``. Old programs ignore networks; most programs ignore ports.
    """
    return exception_list(bypass, _entry, lambda rule: rule.port is None and rule.kind in _COMMON)


_COMMON = (BypassKind.SUBDOMAINS, BypassKind.ADDRESS, BypassKind.NETWORK)


def _entry(rule: BypassRule) -> str | None:
    match rule.kind:
        case BypassKind.SUBDOMAINS:
            return f".{rule.subject}{rule.port_suffix}"
        case BypassKind.PATTERN if rule.subject.startswith("*"):
            return f"{rule.subject}{rule.port_suffix}"
        case BypassKind.ADDRESS | BypassKind.NETWORK | BypassKind.LOCAL if rule.port is None:
            return rule.subject
    return None


def _file(variables: Mapping[str, str]) -> str:
    both = {**variables, **{name.upper(): value for name, value in variables.items()}}
    return "".join(f"{line}\n" for line in (_COMMENT, *(f"{k}={v}" for k, v in both.items())))


def _address(url: str) -> str:
    try:
        parts = urlsplit(url if "://" in url else f"//{url}")
        return endpoint(parts.hostname or "", parts.port or 80) if parts.hostname else ""
    except ValueError:
        return ""
