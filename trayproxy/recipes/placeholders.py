"""The placeholders in the texts of recipes, such as ``{url}``, and their values."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from trayproxy.desktop.system_proxy.base import BypassKind, BypassRule
from trayproxy.desktop.system_proxy.bypass_rules import exception_list
from trayproxy.desktop.system_proxy.environment_d import no_proxy
from trayproxy.recipes.formats.setting import Setting, Value
from trayproxy.recipes.recipe import SettingTemplate

LOOPBACK = ("localhost", "127.0.0.1", "::1")
"""The hosts of this computer, which no program should reach through a proxy."""

NAMES = (
    "address",
    "ca",
    "ca_double_quoted",
    "ca_fish",
    "ca_powershell",
    "ca_sh",
    "container_hint",
    "container_url",
    "host",
    "no_proxy",
    "no_proxy_java",
    "no_proxy_stars",
    "port",
    "port_number",
    "trayproxy",
    "url",
)
"""The placeholders. ``{port_number}`` is a whole value, a number; ``{trayproxy}`` is for OpenSSH.
The variants of ``{ca}`` are for texts between apostrophes, or between double quotes, because a path
may contain any character."""

CA_NAMES = frozenset(name for name in NAMES if name.startswith("ca"))
"""The placeholders of the file with certificates."""

_CONTAINER_HOST = "host.docker.internal"
"""The name of this computer inside a container of Docker Desktop (docs.docker.com, "Networking on
Docker Desktop")."""

_SEPARATORS: Mapping[Value, str] = {
    "{no_proxy}": ",",
    "{no_proxy_stars}": ",",
    "{no_proxy_java}": "|",
}
"""The placeholders whose value is a list of hosts in one text, with the list's separator."""

_PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")


@dataclass(frozen=True, slots=True)
class PlaceholderValues:
    """The values of the placeholders on this computer.

    Attributes:
        address: TrayProxy's local address, ``127.0.0.1:3128``.
        bypass: The bypass rules of the profile.
        ca: The path of a file with the certificates that programs must trust; empty if programs
            need none.
        program: The command that runs TrayProxy.
        container_address: The address at which containers and WSL on this computer reach TrayProxy,
            ``172.17.0.1:3128``; empty if TrayProxy does not serve them.
    """

    address: str
    bypass: tuple[BypassRule, ...] = ()
    ca: str = ""
    program: str = "trayproxy"
    container_address: str = ""

    @property
    def inexpressible(self) -> tuple[str, ...]:
        """The bypass rules that programs do not understand; TrayProxy itself connects directly to
        these hosts."""
        return no_proxy(self.bypass).inexpressible


def names_in(text: str) -> list[str]:
    """Return the names of the placeholders in a text, known and unknown."""
    return _PLACEHOLDER.findall(text)


def fill(text: str, values: PlaceholderValues) -> str:
    """Replace the placeholders in a text by their values."""
    return _PLACEHOLDER.sub(lambda match: _text(match[1], values), text)


def fill_setting(template: SettingTemplate, values: PlaceholderValues) -> Setting:
    """Replace the placeholders in the path and the value of a setting by their values.

    The value ``"{port_number}"`` becomes a number. A list with the only item ``"{no_proxy}"``, or
    another list of hosts, becomes the list of hosts.
    """
    path = tuple(fill(key, values) for key in template.path)
    separator = _SEPARATORS.get(template.value, "")
    return Setting(path, _value(template.value, values), separator)


def _value(value: Value, values: PlaceholderValues) -> Value:
    match value:
        case "{port_number}":
            return int(_text("port", values))
        case ("{no_proxy}" | "{no_proxy_stars}" | "{no_proxy_java}" as only,):
            return _hosts(only[1:-1], values.bypass)
        case tuple():
            return tuple(fill(item, values) for item in value)
        case str():
            return fill(value, values)
    return value


def _text(name: str, values: PlaceholderValues) -> str:
    host, _, port = values.address.rpartition(":")
    match name:
        case "no_proxy_java":
            return "|".join(_hosts(name, values.bypass))
        case "no_proxy" | "no_proxy_stars":
            return ",".join(_hosts(name, values.bypass))
    return {
        "address": values.address,
        "ca": values.ca,
        "ca_double_quoted": re.sub(r'[\\"]', r"\\\g<0>", values.ca),
        "ca_fish": re.sub(r"[\\']", r"\\\g<0>", values.ca),
        "ca_powershell": values.ca.replace("'", "''"),
        "ca_sh": values.ca.replace("'", "'\\''"),
        "container_hint": _container_hint(values.container_address),
        "container_url": f"http://{values.container_address or f'{_CONTAINER_HOST}:{port}'}",
        "host": host.removeprefix("[").removesuffix("]"),
        "port": port,
        "port_number": port,
        # In ssh_config, % begins a token.
        "trayproxy": values.program.replace("%", "%%"),
        "url": f"http://{values.address}",
    }[name]


def _container_hint(address: str) -> str:
    """Return a sentence about containers with a network of their own."""
    if address:
        return f"Containers with a network of their own reach TrayProxy at http://{address}."
    how = "trayproxy containers on"
    return f"Containers with a network of their own reach TrayProxy only after: {how}."


def _hosts(notation: str, bypass: Sequence[BypassRule]) -> tuple[str, ...]:
    hosts: tuple[str, ...] = (*LOOPBACK, *no_proxy(bypass).entries)
    match notation:
        case "no_proxy_java":
            # docs.oracle.com, "Java Networking and Proxies": patterns with * at one end.
            hosts = ("localhost", "127.*", "[::1]", *_starred(bypass))
        case "no_proxy_stars":
            hosts = (*LOOPBACK, *_starred(bypass))
    return tuple(dict.fromkeys(hosts))


def _starred(bypass: Sequence[BypassRule]) -> tuple[str, ...]:
    """Return the bypass rules that every program understands: names, addresses, ``*.domain``."""

    def entry(rule: BypassRule) -> str | None:
        match rule.kind:
            case BypassKind.SUBDOMAINS if rule.port is None:
                return f"*.{rule.subject}"
            case BypassKind.NAME | BypassKind.ADDRESS if rule.port is None:
                return rule.subject
        return None

    return exception_list(bypass, entry, lambda rule: True).entries
