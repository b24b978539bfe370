"""The system's own proxy setting on macOS: of the services in use, or as TrayProxy has found it.

While TrayProxy has changed nothing, scutil(8) reports the setting of the services in use. Otherwise
it is that of the first network service with a proxy, with the values from before TrayProxy.

Written from scutil(8) and networksetup(8) with recorded output, and tested with replacements of the
commands; nothing was run on macOS.
"""

import os
import re
from collections.abc import Mapping, Sequence

from trayproxy.desktop.commands import Run, command_runner
from trayproxy.desktop.system_pac.base import (
    SystemSetting,
    detection_setting,
    manual_setting,
    script_setting,
    values_before,
    whole_network,
)
from trayproxy.desktop.system_proxy.base import ProxyKind, endpoint
from trayproxy.desktop.system_proxy.macos import NAME, MacTarget, find_target
from trayproxy.system_settings.entries import SettingsTarget, TargetError, Values
from trayproxy.system_settings.journal import Journal

_SCUTIL = ("/usr/sbin/scutil", "--proxy")
_LINE = re.compile(r"\s*(?P<key>\w+) : (?P<value>.*?)\s*")
_ARRAY = "<array> {"


def read_setting(journal: Journal | None, environ: Mapping[str, str]) -> SystemSetting:
    """Return the setting as it was before TrayProxy.

    Args:
        journal: The changes of TrayProxy; None if there are none.
        environ: The environment of this process.

    Raises:
        TargetError: The setting cannot be read.
    """
    if journal is not None and journal.record_of(NAME) is not None:
        return services_setting(journal, find_target(NAME))
    return present_setting(command_runner({**os.environ, **environ, "LC_ALL": "C"}))


def present_setting(run: Run) -> SystemSetting:
    """Return the setting of the services in use.

    Args:
        run: Runs a command.

    Raises:
        TargetError: The command fails.
    """
    result = run(_SCUTIL)
    if result.code:
        raise TargetError(f"scutil: {result.reason}")
    found, exceptions = _parse(result.out)
    title = MacTarget.title
    if found.get("ProxyAutoConfigEnable") == "1":
        return script_setting(title, found.get("ProxyAutoConfigURLString", ""))
    http, https = (_address(found, scheme) for scheme in ("HTTP", "HTTPS"))
    socks = _address(found, "SOCKS")
    if http or https or socks:
        socks = f"socks://{socks}" if socks else ""
        rules = [*map(whole_network, exceptions)]
        rules += ["<local>"] * (found.get("ExcludeSimpleHostnames") == "1")
        return manual_setting(title, http or socks, https or socks, rules)
    if found.get("ProxyAutoDiscoveryEnable") == "1":
        return detection_setting(title)
    return SystemSetting(origin=title)


def services_setting(journal: Journal, target: SettingsTarget) -> SystemSetting:
    """Return the setting of the first network service that had one before TrayProxy.

    Args:
        journal: The changes of TrayProxy.
        target: The network services.

    Raises:
        TargetError: The services cannot be read.
    """
    values = values_before(journal, target)
    services = dict.fromkeys(key.partition(" of ")[2] for key in values)
    found = [_service_setting(values, service) for service in services]
    return next((one for one in found if one.kind is not ProxyKind.NONE), _best_reason(found))


def _service_setting(values: Values, service: str) -> SystemSetting:
    def value(name: str) -> str:
        return values.get(f"{name} of {service}") or ""

    title = MacTarget.title
    if value("script state") == "on":
        return script_setting(title, value("script url"))

    def address(kind: str) -> str:
        host, _, port = value(f"{kind} address").rpartition(" ")
        return endpoint(host, port) if host and value(f"{kind} state") == "on" else ""

    http, https = address("web"), address("secure")
    if http or https:
        exceptions = value("exceptions").splitlines()
        return manual_setting(title, http, https, map(whole_network, exceptions))
    if value("detection state") == "on":
        return detection_setting(title)
    return SystemSetting(origin=title)


def _best_reason(found: Sequence[SystemSetting]) -> SystemSetting:
    return next((one for one in found if one.reason), SystemSetting(origin=MacTarget.title))


def _parse(text: str) -> tuple[dict[str, str], list[str]]:
    """Return the values of ``scutil --proxy`` by key, and the list of exceptions."""
    found: dict[str, str] = {}
    exceptions: list[str] = []
    array = ""
    for line in text.splitlines():
        if line.strip() == "}":
            array = ""
        elif entry := _LINE.fullmatch(line):
            if entry["value"] == _ARRAY:
                array = entry["key"]
            elif array == "ExceptionsList":
                exceptions.append(entry["value"])
            elif not array:
                found[entry["key"]] = entry["value"]
    return found, exceptions


def _address(found: Mapping[str, str], scheme: str) -> str:
    host, port = found.get(f"{scheme}Proxy", ""), found.get(f"{scheme}Port", "0")
    return endpoint(host, port) if found.get(f"{scheme}Enable") == "1" and host else ""
