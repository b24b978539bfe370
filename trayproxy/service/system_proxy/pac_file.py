"""The PAC file that TrayProxy serves: programs use TrayProxy, and connect directly without it.

A PAC file is JavaScript with the function ``FindProxyForURL(url, host)`` (Netscape, "Proxy
Client Autoconfig File Format", 1996; documented by Mozilla: "Proxy Auto-Configuration (PAC) file").
``PROXY host:port; DIRECT`` names a fallback: programs connect directly while the proxy refuses
connections.
"""

import json
from collections.abc import Iterable
from ipaddress import IPv4Network, ip_network

from trayproxy.desktop.system_proxy.base import BypassKind, BypassRule, endpoint

_TEMPLATE = """\
function FindProxyForURL(url, host) {{
  host = host.toLowerCase().replace(/\\.$/, "");
  var isAddress = /^[0-9.]+$/.test(host);
  if ({conditions}) return "DIRECT";
  return "PROXY {proxy}; DIRECT";
}}
"""
_LOOPBACK = (
    'host === "localhost"',
    'host === "::1"',
    'host === "[::1]"',
    '(isAddress && isInNet(host, "127.0.0.0", "255.0.0.0"))',
)


def pac_file(host: str, port: int, bypass: Iterable[BypassRule]) -> str:
    """Return the text of the PAC file, ASCII.

    Loopback is always direct. The file never resolves a name: a rule about addresses applies to
    hosts that are addresses. Rules that PAC cannot express lead to TrayProxy, which connects
    directly itself.

    Args:
        host: The local address without brackets.
        port: The local port.
        bypass: The bypass rules of the active profile.
    """
    conditions = [*_LOOPBACK, *filter(None, map(_condition, bypass))]
    return _TEMPLATE.format(conditions="\n      || ".join(conditions), proxy=endpoint(host, port))


def _condition(rule: BypassRule) -> str:
    """Return the JavaScript condition for a rule; empty if the rule cannot be expressed."""
    if rule.port is not None:
        return ""
    match rule.kind:
        case BypassKind.LOCAL:
            return '(isPlainHostName(host) && host.indexOf(":") < 0 && !isAddress)'
        case BypassKind.NAME:
            return f"host === {json.dumps(rule.subject)}"
        case BypassKind.SUBDOMAINS:
            return f"shExpMatch(host, {json.dumps('*.' + rule.subject)})"
        case BypassKind.PATTERN:
            return f"shExpMatch(host, {json.dumps(rule.subject)})"
    network = ip_network(rule.subject)
    if not isinstance(network, IPv4Network):
        return ""
    arguments = f'"{network.network_address}", "{network.netmask}"'
    return f"(isAddress && isInNet(host, {arguments}))"
