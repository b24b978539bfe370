"""Tests for trayproxy.profiles.validate."""

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.values import OFFICE, upstream_of
from trayproxy.profiles.consistency import check_profile, make_id
from trayproxy.profiles.profile import Method, Profile, ProfileError, ProxyScheme, SignIn, Upstream
from trayproxy.profiles.validate import (
    check_ca_file,
    check_host,
    check_name,
    check_proxy_pattern,
    check_rule,
    check_spn,
    check_upstream,
    check_user,
    parse_listen,
    parse_rules,
    parse_upstream,
    parse_upstreams,
)

SECRET = "canary-77"


@pytest.mark.parametrize(
    ("text", "upstream"),
    [
        ("proxy.corp:8080", Upstream("proxy.corp", 8080)),
        (" http://Proxy.Corp:8080/ ", Upstream("proxy.corp", 8080)),
        ("HTTP://proxy:1", Upstream("proxy", 1)),
        ("https://proxy.corp:443", Upstream("proxy.corp", 443, ProxyScheme.HTTPS)),
        ("HTTPS://[::1]:443/", Upstream("::1", 443, ProxyScheme.HTTPS)),
        ("socks5://proxy.corp:1080", Upstream("proxy.corp", 1080, ProxyScheme.SOCKS5)),
        ("socks5h://proxy.corp:1080", Upstream("proxy.corp", 1080, ProxyScheme.SOCKS5)),
        ("proxy.corp.:65535", Upstream("proxy.corp.", 65535)),
        ("10.0.0.41:3128", Upstream("10.0.0.41", 3128)),
        ("[::1]:3128", Upstream("::1", 3128)),
        ("http://[2001:DB8:0::1]:80", Upstream("2001:db8::1", 80)),
        ("bücher.example:80", Upstream("xn--bcher-kva.example", 80)),
        ("proxy_1.corp:80", Upstream("proxy_1.corp", 80)),
        ("xn--bcher-kva.example:80", Upstream("xn--bcher-kva.example", 80)),
    ],
)
def test_an_upstream_address_is_parsed(text: str, upstream: Upstream) -> None:
    assert parse_upstream(text) == upstream


@pytest.mark.parametrize(
    "text",
    [
        # No host or no port.
        *("", " ", "http://", "proxy.corp", "proxy.corp:", ":8080", "https://proxy.corp", "[::1]"),
        # An invalid port.
        *("proxy.corp:0", "proxy.corp:65536", "proxy.corp:+80", "proxy.corp:\uff18\uff10"),
        # A path, a query or a fragment.
        *("proxy.corp:80/proxy.pac", "proxy.corp:80?x", "proxy.corp:80#x"),
        # An unknown scheme.
        *("ftp://proxy.corp:21", "socks4://proxy.corp:1080", "https+x://proxy.corp:443"),
        "//proxy.corp:80",
        # Missing or wrong brackets.
        *("::1:3128", "[::1:3128", "[proxy.corp]:80", "[10.0.0.1]:80"),
        # An invalid zone.
        *("[fe80::1%]:80", "[fe80::1%eth0%eth1]:80", "[fe80::1%eth 0]:80"),
        *("[10.0.0.1%eth0]:80", "10.0.0.1%eth0:80"),
        # An invalid name.
        *("pro xy:80", "pro\nxy:80", "proxy\0:80", "-proxy:80", "proxy-:80", "a..b:80", ".:80"),
        # A number that is not an address in full.
        *("127.1:80", "0x7f000001:80", "2130706433:80", "256.1.1.1:80"),
        "faß.example:80",
        f"{'a' * 64}.example:80",
        f"{'a.' * 127}aa:80",
        "\ud800.example:80",
    ],
)
def test_an_invalid_address_is_refused(text: str) -> None:
    with pytest.raises(ProfileError, match=r"\.$"):
        parse_upstream(text)


@pytest.mark.parametrize(
    ("text", "host", "written"),
    [
        ("[fe80::1%eth0]:80", "fe80::1%eth0", "http://[fe80::1%eth0]:80"),
        ("[FE80:0::1%25eth0]:80", "fe80::1%eth0", "http://[fe80::1%eth0]:80"),
        ("[fe80::1%3]:80", "fe80::1%3", "http://[fe80::1%3]:80"),
        ("[fe80::1%25]:80", "fe80::1%25", "http://[fe80::1%25]:80"),
        ("[fe80::1%25250]:80", "fe80::1%250", "http://[fe80::1%25250]:80"),
    ],
)
def test_an_ipv6_address_may_have_a_zone(text: str, host: str, written: str) -> None:
    upstream = parse_upstream(text)
    assert (upstream.host, str(upstream)) == (host, written)
    assert parse_upstream(written) == upstream == check_upstream(upstream)


@pytest.mark.parametrize("text", [f"http://jdoe:{SECRET}@proxy:80", f"{SECRET}@proxy:80"])
def test_a_password_in_an_address_is_refused_and_not_quoted(text: str) -> None:
    with pytest.raises(ProfileError, match="keyring") as caught:
        parse_upstream(text)
    assert SECRET not in str(caught.value)


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        upstream = parse_upstream(text)
    except ProfileError:
        return
    assert parse_upstream(str(upstream)) == upstream
    assert str(upstream).isascii()


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:3128", ("127.0.0.1", 3128)),
        ("localhost:0", ("127.0.0.1", 0)),
        ("[::1]:80", ("::1", 80)),
        (":3128", ("127.0.0.1", 3128)),
        ("3128", ("127.0.0.1", 3128)),
        ("127.0.0.2:1", ("127.0.0.2", 1)),
    ],
)
def test_a_local_address_is_parsed(text: str, address: tuple[str, int]) -> None:
    assert parse_listen(text) == address


@pytest.mark.parametrize(
    "text", ["", "0.0.0.0:80", "[::]:80", "10.0.0.1:80", "proxy:80", "127.0.0.1", "::1:80", "x:y"]
)
def test_an_address_reachable_from_other_computers_is_refused(text: str) -> None:
    with pytest.raises(ProfileError):
        parse_listen(text)


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "a\u202eb", "a\u200bb", "\ud800", "x" * 101])
def test_an_invalid_name_is_refused(name: str) -> None:
    with pytest.raises(ProfileError):
        check_name(name)


def test_blanks_around_a_name_are_removed() -> None:
    assert check_name("  Büro & <Lab>_1 ") == "Büro & <Lab>_1"


def test_a_user_name_is_kept_as_typed() -> None:
    assert check_user("CORP\\jdoe ü") == "CORP\\jdoe ü"
    assert check_user("") == ""
    for wrong in ("a\0", "a\r\nb", "x" * 257):
        with pytest.raises(ProfileError):
            check_user(wrong)


def test_rules_are_separated_by_commas_or_blanks() -> None:
    assert parse_rules(" localhost, *.corp.example\n10.0.0.0/8,,") == (
        "localhost",
        "*.corp.example",
        "10.0.0.0/8",
    )
    for wrong in ("", "a b", "a\u202eb", "x" * 256):
        with pytest.raises(ProfileError):
            check_rule(wrong)


def test_a_profile_is_returned_in_its_canonical_form() -> None:
    rough = Profile(
        "office", " Office ", Upstream("Proxy.Example", 8080), SignIn.NONE, "", (" a ",)
    )
    checked = Profile("office", "Office", Upstream("proxy.example", 8080), SignIn.NONE, "", ("a",))
    assert check_profile(rough) == checked
    for wrong in (
        Profile("Office", "Office", OFFICE.upstream),
        Profile("", "Office", OFFICE.upstream),
        Profile("../x", "Office", OFFICE.upstream),
        Profile("office", "", OFFICE.upstream),
        Profile("office", "Office", Upstream("pro xy", 80)),
        Profile("office", "Office", Upstream("proxy", 0)),
        Profile("direct", "Office", OFFICE.upstream),
        Profile("office", "connect Directly", OFFICE.upstream),
        replace(OFFICE, fallbacks=(upstream_of(OFFICE),)),
        replace(OFFICE, fallbacks=(Upstream("b", 80), Upstream("B", 80))),
        replace(OFFICE, fallbacks=(Upstream("b c", 80),)),
        replace(OFFICE, fallbacks=tuple(Upstream("b", port) for port in range(1, 10))),
        replace(OFFICE, ca_file="company.pem"),
        replace(OFFICE, sign_in=SignIn.SSO, method=Method.BASIC),
        replace(OFFICE, sign_in=SignIn.SSO, method=Method.DIGEST),
        replace(OFFICE, sign_in=SignIn.SSO, upstream=Upstream("b", 80, ProxyScheme.SOCKS5)),
        replace(OFFICE, sign_in=SignIn.SSO, fallbacks=(Upstream("b", 80, ProxyScheme.SOCKS5),)),
    ):
        with pytest.raises(ProfileError):
            check_profile(wrong)


def test_the_own_sign_in_excludes_methods_with_a_password() -> None:
    for method in (Method.AUTOMATIC, Method.NEGOTIATE, Method.NTLM):
        own = replace(OFFICE, sign_in=SignIn.SSO, method=method)
        assert check_profile(own) == own


def test_every_upstream_of_a_profile_is_returned_in_its_canonical_form() -> None:
    rough = replace(
        OFFICE, fallbacks=(Upstream("B.Example", 443, ProxyScheme.HTTPS),), ca_file=" /ca "
    )
    checked = check_profile(rough)
    assert checked.fallbacks == (Upstream("b.example", 443, ProxyScheme.HTTPS),)
    assert checked.upstreams == (OFFICE.upstream, *checked.fallbacks)
    assert checked.ca_file == "/ca"


def test_several_proxies_are_separated_by_commas_or_blanks() -> None:
    assert parse_upstreams("b:1, https://c:2\n") == (
        Upstream("b", 1),
        Upstream("c", 2, ProxyScheme.HTTPS),
    )
    assert parse_upstreams(" ") == ()
    with pytest.raises(ProfileError):
        parse_upstreams("b:1, c")


@pytest.mark.parametrize(
    "path", ["", "/etc/company.pem", "C:\\Company\\ca.pem", "\\\\server\\ca.pem"]
)
def test_the_path_of_a_ca_file_must_be_absolute(path: str) -> None:
    assert check_ca_file(path) == path


@pytest.mark.parametrize(
    "path", ["company.pem", "~/company.pem", "./ca", "/a\0b", "/" + "x" * 4096]
)
def test_an_invalid_path_of_a_ca_file_is_refused(path: str) -> None:
    with pytest.raises(ProfileError):
        check_ca_file(path)


@pytest.mark.parametrize(
    ("text", "spn"),
    [
        ("", ""),
        (" ", ""),
        ("HTTP/Proxy.Corp.Example", "HTTP/proxy.corp.example"),
        (" http/proxy ", "http/proxy"),
        ("HTTP/proxy.corp.example:8080", "HTTP/proxy.corp.example:8080"),
    ],
)
def test_a_service_name_has_a_canonical_form(text: str, spn: str) -> None:
    assert check_spn(text) == spn


@pytest.mark.parametrize(
    "text",
    [
        "proxy",
        "/proxy",
        "HTTP/",
        "HTTP/a/b",
        "HTTP/a@CORP",
        "HTTP/a b",
        "H P/a",
        "HTTP/a:x",
        "HTTP@a",
    ],
)
def test_an_invalid_service_name_is_refused(text: str) -> None:
    with pytest.raises(ProfileError):
        check_spn(text)


@pytest.mark.parametrize(
    ("name", "taken", "made"),
    [
        ("Office", [], "office"),
        ("Office", ["office"], "office-2"),
        ("Office", ["office", "office-2"], "office-3"),
        ("Büro München", [], "buro-munchen"),
        ("東京", [], "profile"),
        ("--", ["profile"], "profile-2"),
        ("Direct", [], "direct-2"),
    ],
)
def test_an_id_is_made_from_the_name(name: str, taken: list[str], made: str) -> None:
    assert make_id(name, taken) == made


@given(st.text(max_size=120), st.sets(st.text("abc-2", max_size=5)))
def test_every_name_gives_a_new_id(name: str, taken: set[str]) -> None:
    made = make_id(name, taken)
    assert re.fullmatch(r"[a-z0-9][a-z0-9-]{0,63}", made)
    assert made not in taken


def test_a_host_has_a_canonical_form() -> None:
    assert check_host("PROXY.Corp") == check_host("proxy.corp") == "proxy.corp"
    assert check_host("0:0::1") == "::1"


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        (" *.Proxy.corp.example:8080 ", "*.proxy.corp.example:8080"),
        ("proxy-*.corp.example:*", "proxy-*.corp.example:*"),
        ("proxy.corp.example:08080", "proxy.corp.example:8080"),
        ("proxy:3128", "proxy:3128"),
        ("HTTPS://*.proxy.corp.example:443", "https://*.proxy.corp.example:443"),
        ("192.0.2.7:3128", "192.0.2.7:3128"),
    ],
)
def test_a_pattern_of_proxies_names_proxies_of_one_owner(text: str, pattern: str) -> None:
    assert check_proxy_pattern(text) == pattern


@pytest.mark.parametrize(
    "text",
    [
        *("", "*:8080", "*", "*.com:8080", "*.*.example:1", "corp.*:1", "proxy*:1"),
        *("*example.com:1", "ftp://proxy.corp.example:1", "a@b.example:1", "a b.c.d:1"),
        *("proxy.corp.example", "a.example:0"),
    ],
)
def test_a_pattern_that_could_match_proxies_of_others_is_refused(text: str) -> None:
    with pytest.raises(ProfileError):
        check_proxy_pattern(text)
