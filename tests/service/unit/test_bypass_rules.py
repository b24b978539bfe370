"""Bypass rules of a profile as values for the targets of the system proxy."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trayproxy.desktop.system_proxy.base import BypassKind, BypassRule
from trayproxy.profiles.host_pattern import HostPattern
from trayproxy.profiles.profile import ProfileError
from trayproxy.service.system_proxy.bypass_rules import bypass_rules

RULES: dict[str, tuple[BypassKind, str, int | None]] = {
    "intranet": (BypassKind.NAME, "intranet", None),
    "Wiki.Corp.Example.": (BypassKind.NAME, "wiki.corp.example", None),
    "intranet:8080": (BypassKind.NAME, "intranet", 8080),
    "bücher.example": (BypassKind.NAME, "xn--bcher-kva.example", None),
    ".corp.example": (BypassKind.SUBDOMAINS, "corp.example", None),
    "*.corp.example": (BypassKind.SUBDOMAINS, "corp.example", None),
    "*.corp.example:443": (BypassKind.SUBDOMAINS, "corp.example", 443),
    "*": (BypassKind.PATTERN, "*", None),
    "*corp.example": (BypassKind.PATTERN, "*corp.example", None),
    "dev-*.corp.example": (BypassKind.PATTERN, "dev-*.corp.example", None),
    "*.dev-*.corp.example": (BypassKind.PATTERN, "*.dev-*.corp.example", None),
    "10.1.2.3": (BypassKind.ADDRESS, "10.1.2.3", None),
    "10.1.2.3:80": (BypassKind.ADDRESS, "10.1.2.3", 80),
    "10.1.2.3/32": (BypassKind.ADDRESS, "10.1.2.3", None),
    "FD00::1": (BypassKind.ADDRESS, "fd00::1", None),
    "[fd00::1]": (BypassKind.ADDRESS, "fd00::1", None),
    "[fd00::1]:80": (BypassKind.ADDRESS, "fd00::1", 80),
    "fe80::1%eth0": (BypassKind.ADDRESS, "fe80::1", None),
    "10.1.2.3/8": (BypassKind.NETWORK, "10.0.0.0/8", None),
    "10.0.0.0/8:80": (BypassKind.NETWORK, "10.0.0.0/8", 80),
    "fd00::/8": (BypassKind.NETWORK, "fd00::/8", None),
    "[fd00::/8]:80": (BypassKind.NETWORK, "fd00::/8", 80),
    "[fd00::]/8": (BypassKind.NETWORK, "fd00::/8", None),
    "<local>": (BypassKind.LOCAL, "<local>", None),
    "<LOCAL>:80": (BypassKind.LOCAL, "<local>", 80),
}


@pytest.mark.parametrize("text", RULES)
def test_a_rule_becomes_a_value(text: str) -> None:
    assert bypass_rules([text]) == (BypassRule(text, *RULES[text]),)


@given(st.text("ab.*:/[]0123456789<>localx-é", max_size=20))
def test_the_value_matches_the_hosts_of_the_rule(text: str) -> None:
    try:
        [rule] = bypass_rules([text])
    except ProfileError:
        return
    subject = rule.subject
    if rule.kind is BypassKind.SUBDOMAINS:
        subject = f"*.{subject}"
    elif ":" in subject:
        subject = f"[{subject}]"
    assert HostPattern.parse(f"{subject}{rule.port_suffix}") == HostPattern.parse(text)


def test_an_invalid_rule_is_refused() -> None:
    with pytest.raises(ProfileError):
        bypass_rules(["a b"])


@pytest.mark.parametrize(
    ("text", "network"),
    [("10.1.2.3", "10.1.2.3/32"), ("fd00::1", "fd00::1/128"), ("10.0.0.0/8", "10.0.0.0/8")],
)
def test_an_address_as_a_network(text: str, network: str) -> None:
    assert bypass_rules([text])[0].network == network
