"""The bypass rules of a profile, as values for the targets of the system proxy."""

from collections.abc import Iterable

from trayproxy.desktop.system_proxy.base import BypassKind, BypassRule
from trayproxy.profiles.host_pattern import (
    AddressRange,
    ExactName,
    HostPattern,
    LocalNames,
    Wildcard,
)


def bypass_rules(texts: Iterable[str]) -> tuple[BypassRule, ...]:
    """Return the rules of a profile; raise `ProfileError` for an invalid rule.

    Rules for ``localhost`` are left out, because every target excludes it
    (`trayproxy.desktop.system_proxy.base.LOOPBACK_EXCEPTIONS`).
    """
    rules = (_bypass_rule(text, HostPattern.parse(text)) for text in texts)
    return tuple(
        rule for rule in rules if (rule.kind, rule.subject) != (BypassKind.NAME, "localhost")
    )


def _bypass_rule(text: str, rule: HostPattern) -> BypassRule:
    match rule.hosts:
        case ExactName(name):
            return BypassRule(text, BypassKind.NAME, name, rule.port)
        case Wildcard(("", domain)) if domain.startswith("."):
            return BypassRule(text, BypassKind.SUBDOMAINS, domain[1:], rule.port)
        case Wildcard(parts):
            return BypassRule(text, BypassKind.PATTERN, "*".join(parts), rule.port)
        case AddressRange(network) if network.num_addresses == 1:
            address = str(network.network_address)
            return BypassRule(text, BypassKind.ADDRESS, address, rule.port)
        case AddressRange(network):
            return BypassRule(text, BypassKind.NETWORK, str(network), rule.port)
        case LocalNames():
            return BypassRule(text, BypassKind.LOCAL, "<local>", rule.port)
    raise AssertionError(rule.hosts)
