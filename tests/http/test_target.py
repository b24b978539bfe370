"""Tests for trayproxy.http.target (RFC 9112, section 3.2; RFC 9110, sections 4.2 and 9.3.6)."""

import pytest

from tests.http.refusals import refusal_status
from trayproxy.http.target import (
    Authority,
    Form,
    absolute_form,
    host_field,
    is_host_field,
    parse_target,
)


@pytest.mark.parametrize(
    ("raw", "host", "port", "path"),
    [
        (b"http://origin.test/", "origin.test", 80, b"/"),
        (b"http://origin.test", "origin.test", 80, b""),
        (b"http://origin.test?x=1", "origin.test", 80, b"?x=1"),
        (b"HTTP://ORIGIN.test/A?B", "origin.test", 80, b"/A?B"),
        (b"http://origin.test:80/", "origin.test", 80, b"/"),
        (b"http://origin.test:/", "origin.test", 80, b"/"),
        (b"http://origin.test:08080/", "origin.test", 8080, b"/"),
        (b"http://origin.test./", "origin.test.", 80, b"/"),
        (b"http://a_b.test/", "a_b.test", 80, b"/"),
        (b"http://%b/" % (b"a" * 255), "a" * 255, 80, b"/"),
        (b"http://10.1.2.3:65535/", "10.1.2.3", 65535, b"/"),
        (b"http://[2001:DB8::1]/", "2001:db8::1", 80, b"/"),
        (b"http://[::ffff:1.2.3.4]:81/", "::ffff:1.2.3.4", 81, b"/"),
        (b'http://a/b//c/../d;e?f=/?&%0d%zz|{}[]^`"<>\\', "a", 80, None),
        (b"http://a/@b:c", "a", 80, b"/@b:c"),
        (b"http://a/http://b/", "a", 80, b"/http://b/"),
    ],
)
def test_absolute_form_is_split_and_its_path_unchanged_r_020_r_025(
    raw: bytes, host: str, port: int, path: bytes | None
) -> None:
    target = parse_target(b"GET", raw)
    assert target.form is Form.ABSOLUTE
    assert target.authority == Authority(host, port)
    assert target.path == (raw[len(b"http://a") :] if path is None else path)
    assert target.raw == raw


INVALID_TARGETS = (
    # No host.
    b"http:///path http://:80/ http:// http://?q ftp:///path ftp://me@/path file:///etc/passwd "
    # No authority, or no scheme.
    b"http:/origin.test/ http:origin.test/ https:/origin.test/ urn:isbn:0451450523 "
    b"mailto:me@origin.test javascript:alert(1) origin.test:80 origin.test * ?q \\\\origin.test\\ "
    b"1ftp://origin.test/ "
    # User information that the scheme does not have, or that is malformed.
    b"http://user@origin.test/ http://user:pass@origin.test/ http://@origin.test/ "
    b"http://trusted.test@evil.test/ https://user@origin.test/ ws://user@origin.test/ "
    b"ftp://a@b@origin.test/ ftp://evil.test\\@origin.test/ ftp://a%2@origin.test/ "
    # An invalid port.
    b"ftp://origin.test:0/ http://origin.test:0/ http://origin.test:99999/ "
    b"http://origin.test:000080/ http://origin.test:+80/ http://origin.test:-80/ "
    b"http://origin.test:8_0/ http://origin.test:80:80/ http://origin.test:http/ "
    b"http://origin.test:80\\/ "
    # An invalid host name.
    b"http://ori\\gin.test/ http://origin.test\\@evil.test/ http://a^b.test/ http://a%62.test/ "
    b"http://a%00.test/ http://a,b.test/ http://a;b.test/ http://.a.test/ http://a..test/ "
    # An invalid IPv6 address.
    b"http://[::1/ http://::1/ http://[::1]x/ http://[]/ http://[::1::2]/ http://[v1.x]/ "
    b"http://[fe80::1%25eth0]/ http://[fe80::1%eth0]/ http://[127.0.0.1]/ http://[origin.test]/ "
    # A fragment.
    b"http://origin.test/a#b /a#b"
)


@pytest.mark.parametrize("raw", [*INVALID_TARGETS.split(), b"http://%b/" % (b"a" * 256)])
def test_other_targets_are_a_400_r_023_r_024_r_029_r_030(raw: bytes) -> None:
    assert refusal_status(parse_target, b"GET", raw) == 400


@pytest.mark.parametrize(
    ("raw", "host", "port", "field"),
    [
        (b"origin.test:443", "origin.test", 443, b"origin.test:443"),
        (b"Origin.test:80", "origin.test", 80, b"origin.test:80"),
        (b"[::1]:443", "::1", 443, b"[::1]:443"),
    ],
)
def test_connect_has_host_and_port(raw: bytes, host: str, port: int, field: bytes) -> None:
    target = parse_target(b"CONNECT", raw)
    assert target.form is Form.AUTHORITY
    assert target.authority == Authority(host, port)
    assert host_field(target) == str(target.authority).encode() == field


INVALID_AUTHORITIES = (
    b"origin.test origin.test: :443 origin.test:0 origin.test:65536 origin.test:+443 "
    b"origin.test:4_43 origin.test:0x1bb origin.test:443:443 origin.test:443/ "
    b"http://origin.test:443/ user@origin.test:443 2001:db8::1:443 [::1]443 / * "
    b"origin.test%0d%0a:443 origin.test:443#"
)


@pytest.mark.parametrize("raw", INVALID_AUTHORITIES.split())
def test_connect_to_anything_else_is_a_400_r_030(raw: bytes) -> None:
    assert refusal_status(parse_target, b"CONNECT", raw) == 400


def test_origin_form_and_asterisk_form_have_no_authority_r_028() -> None:
    origin = parse_target(b"GET", b"/proxy.pac?x")
    assert (origin.form, origin.authority, origin.path) == (Form.ORIGIN, None, b"/proxy.pac?x")
    assert parse_target(b"GET", b"//origin.test/").form is Form.ORIGIN
    assert parse_target(b"OPTIONS", b"*").form is Form.ASTERISK


@pytest.mark.parametrize(
    ("raw", "host"),
    [
        (b"http://a/", b"a"),
        (b"http://a:80/", b"a"),
        (b"http://a:8080/", b"a:8080"),
        (b"http://a:180/", b"a:180"),
        (b"http://[::1]/", b"[::1]"),
        (b"http://[::80]/", b"[::80]"),
        (b"http://[::1]:8080/", b"[::1]:8080"),
    ],
)
def test_the_default_port_is_not_written(raw: bytes, host: bytes) -> None:
    target = parse_target(b"GET", raw)
    assert host_field(target) == host
    assert absolute_form(target, target.path) == b"http://" + host + b"/"


@pytest.mark.parametrize("value", [b"", b"a", b"A.test:80", b"a:", b"[::1]", b"[::1]:80", b":80"])
def test_a_host_with_an_optional_port_is_a_valid_host(value: bytes) -> None:
    assert is_host_field(value)


@pytest.mark.parametrize(
    "value", [b"a, b", b"http://a", b"u@a", b"a:b", b"a b", b"a/", b"a:1:2", b"::1", b"a:65536"]
)
def test_anything_else_is_an_invalid_host_r_022(value: bytes) -> None:
    assert not is_host_field(value)


def test_path_and_query_are_not_in_the_repr() -> None:
    assert "secret" not in repr(parse_target(b"GET", b"http://a/secret?secret"))
