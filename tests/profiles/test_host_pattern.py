"""Tests for trayproxy.profiles.host_pattern."""

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import assume, event, given
from hypothesis import strategies as st

from trayproxy.profiles.host_pattern import Address, Host, HostPattern, Wildcard, parse_address
from trayproxy.profiles.profile import ProfileError

LABELS = st.from_regex(r"[a-z]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)
NAMES = st.lists(LABELS, min_size=1, max_size=5).map(".".join)
ADDRESSES = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6))
PORTS = st.integers(1, 65535)


def is_direct(rule: str, host: str, port: int = 80, addresses: tuple[str, ...] = ()) -> bool:
    known = [ip_address(text) for text in addresses]
    return HostPattern.parse(rule).matches(Host.parse(host, known), port)


def pairs(hosts: Mapping[str, Iterable[str]]) -> list[tuple[str, str]]:
    """Return each rule with each of its hosts."""
    return [(rule, host) for rule in hosts for host in hosts[rule]]


MATCHED = {
    "intranet": ["intranet"],
    "intranet.corp.example": ["intranet.corp.example", "intranet.corp.example."],
    "Intranet.Corp.Example": ["INTRANET.corp.example"],
    "intranet.corp.example.": ["intranet.corp.example"],
    ".corp.example": ["www.corp.example", "a.b.corp.example"],
    "*.corp.example": ["a.b.corp.example"],
    "*corp.example": ["corp.example", "notcorp.example"],
    "dev-*.corp.example": ["dev-7.corp.example", "dev-.corp.example"],
    "www.*.example": ["www.a.b.example"],
    "*a*b*": ["xaxbx"],
    "*": ["anything.example", "10.1.2.3", "fd00::1"],
    "192.168.*": ["192.168.7.1"],
    "10.1.2.3": ["10.1.2.3", "10.1.2.3."],
    "10.0.0.0/8": ["10.255.0.1"],
    "10.9.9.9/8": ["10.255.0.1"],
    "0.0.0.0/0": ["203.0.113.9"],
    "::1": ["::1"],
    "[::1]": ["[::1]"],
    "[0:0::1]": ["::1"],
    "fd00::/8": ["fd12::9"],
    "[fd00::]/8": ["fd12::9"],
    "[fd00::/8]": ["[fd12::9]"],
    "fe80::/10": ["fe80::1%eth0"],
    "<local>": ["intranet"],
    "<LOCAL>": ["intranet."],
    "Bücher.example": ["xn--bcher-kva.example"],
    "xn--bcher-kva.example": ["BÜCHER.example"],
    ".bücher.example": ["www.xn--bcher-kva.example"],
    "büro\u3002example": ["xn--bro-hoa.example"],
    "_ldap.corp.example": ["_ldap.corp.example"],
    "  intranet ": ["intranet"],
}


@pytest.mark.parametrize(("rule", "host"), pairs(MATCHED))
def test_a_rule_matches_a_host(rule: str, host: str) -> None:
    assert is_direct(rule, host)


NOT_MATCHED = {
    "intranet": ["intranet.corp.example"],
    "corp.example": ["www.corp.example"],
    ".corp.example": ["corp.example", "notcorp.example", "corp.example.evil.example"],
    "*.corp.example": ["corp.example"],
    "dev-*.corp.example": ["dev.corp.example"],
    "*a*a": ["a"],
    "ab*ba": ["aba"],
    "10.0.0.0/8": ["11.0.0.1", "10.example", "fd00::1"],
    "fd00::/8": ["fe80::1"],
    "::/0": ["10.0.0.1"],
    "<local>": ["intranet.corp.example", "10.0.0.1", "::1", "2130706433", "0x7f000001"],
    "localhost": ["127.0.0.1"],
    # No name is resolved.
    "127.0.0.1": ["localhost"],
    "127.0.0.0/8": ["localhost"],
}


@pytest.mark.parametrize(("rule", "host"), pairs(NOT_MATCHED))
def test_a_rule_does_not_match_other_hosts(rule: str, host: str) -> None:
    assert not is_direct(rule, host)


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "127.0.0.1.", "127.1", "127.0.1", "0177.0.0.1", "0x7f.1", "2130706433"),
        *("0x7F000001", "[::ffff:127.0.0.1]", "::ffff:7f00:1"),
    ],
)
def test_every_notation_of_loopback_is_matched_as_loopback(host: str) -> None:
    assert is_direct("127.0.0.0/8", host)
    assert is_direct("127.0.0.1", host)


@pytest.mark.parametrize("host", ["127.0.0.0.1", "127.0.0.256", "256.1", "08.0.0.1", "1..2", ""])
def test_an_almost_valid_address_is_a_name(host: str) -> None:
    assert parse_address(host) is None


@pytest.mark.parametrize(
    ("rule", "port", "expected"),
    [
        ("intranet:8080", 8080, True),
        ("intranet:8080", 80, False),
        (".corp.example:443", 443, True),
        ("10.0.0.0/8:8080", 8080, True),
        ("10.0.0.0/8:8080", 80, False),
        ("[fd00::/8]:8080", 8080, True),
        ("[fd00::]/8:8080", 80, False),
        ("<local>:8080", 8080, True),
        ("*:8080", 8080, True),
        ("*:8080", 80, False),
    ],
)
def test_a_port_restricts_a_rule(rule: str, port: int, expected: bool) -> None:
    host = {"1": "10.0.0.1", "[": "fd00::1", ".": "www.corp.example"}.get(rule[0], "intranet")
    assert is_direct(rule, host, port) is expected


def test_known_addresses_match_rules_about_addresses() -> None:
    assert is_direct("10.0.0.0/8", "intranet.corp.example", addresses=("192.0.2.1", "10.0.0.1"))
    assert is_direct("10.0.0.0/8", "intranet.corp.example", addresses=("::ffff:10.0.0.1",))
    assert not is_direct("10.0.0.0/8", "intranet.corp.example", addresses=("192.0.2.1",))


def test_known_addresses_of_a_name_do_not_match_a_pattern() -> None:
    assert not is_direct("10.*", "intranet.corp.example", addresses=("10.0.0.1",))


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        ("", "This rule is empty. Write a host, such as intranet.corp.example."),
        ("   ", "This rule is empty. Write a host, such as intranet.corp.example."),
        ("a b", "“a b” is more than one host. Write one rule for each."),
        ("a,b", "“a,b” is more than one host. Write one rule for each."),
        ("10.0.0.0/33", "“10.0.0.0/33”: the number after the slash is 0 to 32."),
        ("fd00::/129", "“fd00::/129”: the number after the slash is 0 to 128."),
        ("10.0.0.0/", "“10.0.0.0/”: the number after the slash is 0 to 32."),
        ("10.0.0.0/255.0.0.0", "“10.0.0.0/255.0.0.0”: the number after the slash is 0 to 32."),
        ("a/8", "“a/8” is not a range of addresses. Write one such as 10.0.0.0/8."),
        ("10/8", "“10/8” is not a range of addresses. Write one such as 10.0.0.0/8."),
        ("300.1.1.1", "“300.1.1.1” is not an address. Write one such as 10.1.2.3."),
        ("a:0", "“a:0”: a port is a number from 1 to 65535."),
        ("a:65536", "“a:65536”: a port is a number from 1 to 65535."),
        ("a:", "“a:”: a port is a number from 1 to 65535."),
        ("a:http", "“a:http”: a port is a number from 1 to 65535."),
        (":80", "“:80” names no host. Write *:80 for every host."),
        ("[::1", "“[::1” lacks a closing bracket. Write [::1]."),
        ("[10.0.0.1]:80", "“[10.0.0.1]:80”: brackets are for IPv6 addresses. Leave them out."),
        ("fd00::g", "“fd00::g” is not an IPv6 address. Write one such as fd00::1."),
        ("<-loopback>", "“<-loopback>” is not known. <local> means names without a dot."),
        ("a..b", "“a..b” has an empty part between dots."),
        (".", "“.” has an empty part between dots."),
        ("a!b", "“a!b” is not a valid host name."),
        ("a" * 64, f"“{'a' * 60}…” is not a valid host name."),
        ("a.b" * 90, f"“{('a.b' * 90)[:60]}…” is too long for a host."),
        (
            "*bücher.example",
            "“*bücher.example”: together with *, write the ASCII form of a name, which begins with "
            "xn--.",
        ),
    ],
)
def test_an_invalid_rule_is_refused_with_the_valid_form(rule: str, text: str) -> None:
    with pytest.raises(ProfileError) as refused:
        HostPattern.parse(rule)
    assert str(refused.value) == text


@pytest.mark.parametrize("rule", ["http://u:canary@proxy/", "u:canary@proxy", "https://canary"])
def test_a_refused_address_with_a_password_is_not_quoted(rule: str) -> None:
    with pytest.raises(ProfileError) as refused:
        HostPattern.parse(rule)
    assert "canary" not in str(refused.value)


@given(st.text(max_size=40))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    try:
        HostPattern.parse(text)
    except ProfileError as refused:
        event(str(refused).partition("”")[2])


@given(st.text(max_size=40), st.text(max_size=300), PORTS)
def test_any_host_is_matched_without_an_exception(rule: str, host: str, port: int) -> None:
    try:
        pattern = HostPattern.parse(rule)
    except ProfileError:
        pattern = HostPattern.parse("*.a*")
    assert pattern.matches(Host.parse(host), port) in (True, False)


@given(NAMES, PORTS)
def test_a_name_as_a_rule_matches_only_itself(name: str, port: int) -> None:
    assert is_direct(name, name.upper() + ".", port)
    assert not is_direct(name, "www." + name, port)


@given(NAMES, NAMES)
def test_a_domain_matches_exactly_its_subdomains(name: str, domain: str) -> None:
    expected = name.endswith("." + domain)
    assert is_direct("." + domain, name) is expected
    assert is_direct("*." + domain, name) is expected
    assert is_direct("." + domain, f"{name}.{domain}")


@given(NAMES, PORTS, PORTS)
def test_a_port_in_a_rule_matches_exactly_this_port(name: str, port: int, other: int) -> None:
    assert is_direct(f"{name}:{port}", name, other) is (port == other)


@given(ADDRESSES, ADDRESSES, st.integers(0, 128))
def test_a_range_matches_exactly_its_addresses(base: Address, host: Address, length: int) -> None:
    assume_plain(base, host)
    length = min(length, base.max_prefixlen)
    network = ip_network((base, length), strict=False)
    assert is_direct(f"{base}/{length}", str(host)) is (host in network)
    assert is_direct(str(network), str(base))


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_is_equal_in_every_notation(address: IPv4Address) -> None:
    number = int(address)
    short = f"0{oct(address.packed[0])[2:]}.{number & 0xFFFFFF}"
    notations = (str(number), hex(number), f"::ffff:{address}", short)
    assert {parse_address(notation) for notation in notations} == {address}


@given(
    st.lists(st.text("ab.", max_size=3), min_size=2, max_size=5),
    st.text("ab.", min_size=1, max_size=12).filter(lambda text: not text.endswith(".")),
)
def test_a_pattern_matches_like_fnmatch(parts: list[str], name: str) -> None:
    assert (Host(name) in Wildcard(tuple(parts))) is fnmatchcase(name, "*".join(parts))


def assume_plain(*addresses: Address) -> None:
    """Exclude IPv4-mapped addresses: they are compared as IPv4 by design."""
    for address in addresses:
        assume(not isinstance(address, IPv6Address) or address.ipv4_mapped is None)
