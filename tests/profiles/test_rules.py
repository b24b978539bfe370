"""Routing rules: their text, and the requests they match."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.values import OFFICE
from trayproxy.profiles.consistency import check_profile
from trayproxy.profiles.host_pattern import Host
from trayproxy.profiles.pac_source import PacKind, PacSource
from trayproxy.profiles.profile import ProfileError, ProxyScheme, SignIn, Upstream
from trayproxy.profiles.rules import MAX_RULES, RoutingRule, RuleSet, RuleUse, check_rules

LAB = Upstream("lab.example", 3128)


def matches(rule: str, host: str, port: int = 443, program: str = "") -> bool:
    return RoutingRule.parse(rule).matches(Host.parse(host), port, program)


@pytest.mark.parametrize(
    ("text", "canonical", "use"),
    [
        ("*.lab.example -> lab.example:3128", "*.lab.example -> http://lab.example:3128", LAB),
        (" intranet->DIRECT ", "intranet -> direct", RuleUse.DIRECT),
        ("*:25 -> Block", "*:25 -> block", RuleUse.BLOCK),
        ("program:git   10.0.0.0/8 -> direct", "program:git 10.0.0.0/8 -> direct", RuleUse.DIRECT),
        ("10.0.0.0/8 program:git -> direct", "10.0.0.0/8 program:git -> direct", RuleUse.DIRECT),
        (
            'program:"Microsoft Teams" -> socks5://lab.example:1080',
            'program:"Microsoft Teams" -> socks5://lab.example:1080',
            Upstream("lab.example", 1080, ProxyScheme.SOCKS5),
        ),
        (
            "[fd00::/8]:80 -> https://[2001:db8::1]:443",
            "[fd00::/8]:80 -> https://[2001:db8::1]:443",
            Upstream("2001:db8::1", 443, ProxyScheme.HTTPS),
        ),
        (
            "x -> http://[fe80::1%eth0]:8",
            "x -> http://[fe80::1%eth0]:8",
            Upstream("fe80::1%eth0", 8),
        ),
    ],
)
def test_a_rule_has_a_canonical_form(text: str, canonical: str, use: object) -> None:
    rule = RoutingRule.parse(text)
    assert (str(rule), rule.use) == (canonical, use)
    assert str(RoutingRule.parse(canonical)) == canonical


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "A rule has an arrow"),
        ("*.lab.example lab:3128", "A rule has an arrow"),
        ("a -> b -> direct", "A rule has one arrow"),
        ("-> direct", "A rule names a host or a program"),
        ("a b -> direct", "A rule has one host and one program"),
        ("program:a program:b -> direct", "A rule has one host and one program"),
        ("program: -> direct", "Write a program such as program:git"),
        ("10.0.0.0/64 -> direct", "the number after the slash is 0 to 32"),
        ("a:0 -> direct", "a port is a number from 1 to 65535"),
        ("a -> ", "After the arrow: direct, block or a proxy. "),
        ("a -> directly please", "After the arrow: direct, block or a proxy. "),
        ("a -> ftp://lab.example:21", "After the arrow: direct, block or a proxy. "),
        ("a\u202eb -> direct", "too long or contains invisible characters"),
        ("a" * 2000 + " -> direct", "too long or contains invisible characters"),
    ],
)
def test_a_rule_that_cannot_be_read_is_refused_with_a_reason(text: str, reason: str) -> None:
    with pytest.raises(ProfileError) as error:
        RoutingRule.parse(text)
    assert reason in str(error.value)


def test_a_password_in_a_rule_is_refused_and_not_quoted() -> None:
    with pytest.raises(ProfileError) as error:
        RoutingRule.parse("*.lab.example -> http://jdoe:hunter2@lab.example:3128")
    assert "hunter2" not in str(error.value)


@pytest.mark.parametrize(
    ("rule", "host", "port", "program", "expected"),
    [
        ("*.lab.example -> direct", "a.lab.example", 443, "", True),
        ("*.lab.example -> direct", "lab.example", 443, "", False),
        ("*:25 -> block", "mail.example", 25, "", True),
        ("*:25 -> block", "mail.example", 443, "", False),
        ("program:git -> direct", "x.example", 443, "git", True),
        ("program:git -> direct", "x.example", 443, "GIT.exe", True),
        ("program:Git.EXE -> direct", "x.example", 443, "git", True),
        ("program:git -> direct", "x.example", 443, "git-lfs", False),
        ("program:git* -> direct", "x.example", 443, "git-lfs", True),
        ("program:* -> direct", "x.example", 443, "", True),
        ("program:git -> direct", "x.example", 443, "", False),
        ('program:"two words" -> direct', "x.example", 443, "Two Words", True),
        ("program:git 10.0.0.0/8 -> direct", "10.1.2.3", 22, "git", True),
        ("program:git 10.0.0.0/8 -> direct", "10.1.2.3", 22, "ssh", False),
        ("program:git 10.0.0.0/8 -> direct", "11.1.2.3", 22, "git", False),
    ],
)
def test_a_rule_matches_host_port_and_program(
    rule: str, host: str, port: int, program: str, expected: bool
) -> None:
    assert matches(rule, host, port, program) is expected


def test_the_first_match_decides_after_the_bypass_list() -> None:
    rules = RuleSet.of(
        replace(
            OFFICE,
            bypass=("intranet",),
            rules=("intranet -> block", "*.a.example -> block", "*.example -> direct"),
        )
    )
    decided = {
        host: None if rule is None else str(rule)
        for host in ("intranet", "x.a.example", "x.example", "other")
        for rule in [rules.deciding(host, 80)]
    }
    assert decided == {
        "intranet": "intranet -> direct",
        "x.a.example": "*.a.example -> block",
        "x.example": "*.example -> direct",
        "other": None,
    }


def test_a_profile_may_have_a_limited_number_of_rules() -> None:
    rules = [f"h{number} -> direct" for number in range(MAX_RULES)]
    assert len(check_rules(rules)) == MAX_RULES
    with pytest.raises(ProfileError, match="at most"):
        check_rules([*rules, "more -> direct"])


def test_the_proxies_of_rules_are_upstreams_of_the_profile() -> None:
    rules = ("a -> http://lab.example:3128", "b -> direct", "c -> lab.example:3128")
    profile = check_profile(replace(OFFICE, rules=rules))
    assert profile.upstreams == (OFFICE.upstream, LAB)
    assert profile.default_upstreams == (OFFICE.upstream,)
    only = profile.with_only(str(LAB))
    assert (only.upstream, only.upstreams) == (LAB, (LAB,))


@pytest.mark.parametrize("pattern", ["*.corp.example:8080", "*.corp.example:*", "192.0.2.7:*"])
def test_the_login_of_several_proxies_is_found_by_its_key(pattern: str) -> None:
    pac = PacSource(PacKind.SYSTEM)
    profile = replace(OFFICE, upstream=None, pac=pac, shared_sign_in=(pattern,))
    proxy = Upstream(pattern.rpartition(":")[0].replace("*", "a"), 8080, ProxyScheme.HTTPS)
    key = profile.login_key(proxy)
    only = profile.with_only(key)
    assert only.upstream is not None
    assert only.login_key(only.upstream) == key == f"https://{pattern}"


def test_the_own_sign_in_is_not_possible_with_a_socks_proxy_of_a_rule() -> None:
    profile = replace(OFFICE, sign_in=SignIn.SSO, rules=("a -> socks5://lab.example:1080",))
    with pytest.raises(ProfileError, match="SOCKS5"):
        check_profile(profile)


@given(st.text(max_size=60))
def test_any_text_is_a_rule_or_refused_with_words(text: str) -> None:
    try:
        rule = RoutingRule.parse(text)
    except ProfileError:
        return
    assert str(RoutingRule.parse(str(rule))) == str(rule)


@pytest.mark.parametrize(
    "upstream",
    [
        LAB,
        Upstream("10.0.0.1", 1, ProxyScheme.SOCKS5),
        Upstream("::1", 3128),
        Upstream("fe80::1%eth0", 3128),
        Upstream("fe80::1%25", 3128),
        Upstream("fe80::1%250", 3128, ProxyScheme.HTTPS),
    ],
)
def test_an_upstream_is_read_back_from_its_url(upstream: Upstream) -> None:
    assert Upstream.from_url(str(upstream)) == upstream


@pytest.mark.parametrize(
    ("patterns", "upstream", "key"),
    [
        ((), LAB, "http://lab.example:3128"),
        (("*.example:3128",), LAB, "http://*.example:3128"),
        (("*.example:*",), LAB, "http://*.example:*"),
        (("http://*.example:3128",), LAB, "http://*.example:3128"),
        (("https://*.example:3128",), LAB, "http://lab.example:3128"),
        (
            ("https://*.example:3128",),
            replace(LAB, scheme=ProxyScheme.HTTPS),
            "https://*.example:3128",
        ),
        (("*.other:3128", "lab.*:3128"), LAB, "http://lab.*:3128"),
    ],
)
def test_proxies_of_a_pattern_share_a_login(
    patterns: tuple[str, ...], upstream: Upstream, key: str
) -> None:
    profile = replace(OFFICE, shared_sign_in=patterns)
    assert profile.login_key(upstream) == key
    assert profile.is_vouched_for(upstream) is (key != str(upstream))
    # The own sign-in has no login to share.
    assert replace(profile, sign_in=SignIn.SSO).login_key(upstream) == str(upstream)
