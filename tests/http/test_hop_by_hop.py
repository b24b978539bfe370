"""Tests for trayproxy.http.hop_by_hop (RFC 9110, section 7.6)."""

import pytest

from trayproxy.http.fields import parse_fields
from trayproxy.http.hop_by_hop import (
    connection_options,
    end_to_end,
    forwarded_trailers,
    is_loop,
    upgrade_protocols,
    via_line,
)


@pytest.mark.parametrize(
    ("via", "passed"),
    [
        ((b"1.1 tray-5f0c",), True),
        ((b"HTTP/1.1 TRAY-5F0C (comment)",), True),
        ((b"1.0 a, 1.1 tray-5f0c , 1.1 b",), True),
        ((b"1.1 a", b"1.1 tray-5f0c"), True),
        ((), False),
        ((b"1.1 a (tray-5f0c)",), False),
        ((b"1.1 tray-5f0c.test",), False),
        ((b"tray-5f0c",), False),
    ],
)
def test_the_own_pseudonym_in_via_is_a_loop_r_055(via: tuple[bytes, ...], passed: bool) -> None:
    fields = parse_fields([b"Via: " + value for value in via])
    assert is_loop(fields, b"tray-5f0c") is passed


def test_trailers_that_would_change_the_message_are_dropped_r_047() -> None:
    trailers = parse_fields(
        [b"Content-Length: 9", b"Set-Cookie: t=1", b"X-Sum: 9", b"Transfer-Encoding: chunked"]
    )
    assert forwarded_trailers(trailers).lines == ((b"X-Sum", b"9"),)


HOP_BY_HOP = (
    b"Connection Proxy-Connection Keep-Alive TE Transfer-Encoding Upgrade Proxy-Authorization "
    b"Proxy-Authenticate Proxy-Authentication-Info Content-Length"
).split()
"""RFC 9110, sections 7.6.1, 11.7.1 to 11.7.3 and 8.6: fields that are never forwarded unchanged."""

NOT_IN_TRAILERS = (
    b"Authorization Cache-Control Content-Encoding Content-Range Content-Type Cookie Expect Host "
    b"Location Max-Forwards Range Set-Cookie Trailer Via WWW-Authenticate"
).split()
"""RFC 9110, section 6.5.1: framing, routing, request modifiers, authentication, content."""


@pytest.mark.parametrize("name", [*HOP_BY_HOP, *NOT_IN_TRAILERS])
def test_each_forbidden_trailer_is_dropped_r_047(name: bytes) -> None:
    for spelt in (name, name.lower(), name.upper()):
        trailers = parse_fields([b"X-Before: 1", spelt + b": x", b"X-After: 2"])
        assert forwarded_trailers(trailers).lines == ((b"X-Before", b"1"), (b"X-After", b"2"))


@pytest.mark.parametrize("name", [b"ETag", b"Server-Timing", b"Digest", b"Expires", b"X-Sum"])
def test_other_trailers_are_forwarded(name: bytes) -> None:
    assert forwarded_trailers(parse_fields([name + b": x"])).lines == ((name, b"x"),)


@pytest.mark.parametrize("name", HOP_BY_HOP)
def test_each_hop_by_hop_field_is_removed_r_050(name: bytes) -> None:
    for spelt in (name, name.lower(), name.upper()):
        fields = parse_fields([b"A: 1", spelt + b": x", b"B: 2"])
        assert end_to_end(fields) == [(b"A", b"1"), (b"B", b"2")]


def test_only_fields_named_by_connection_are_removed_in_addition() -> None:
    fields = parse_fields([b"Connection: a, ,B", b"A: 1", b"b: 2", b"C: 3", b"D: 4", b"Via: 5"])
    assert end_to_end(fields) == [(b"C", b"3"), (b"D", b"4"), (b"Via", b"5")]
    assert end_to_end(fields, frozenset({b"d"})) == [(b"C", b"3"), (b"Via", b"5")]


def test_connection_options_come_from_both_fields_in_lower_case() -> None:
    fields = parse_fields([b"Connection: Close, x", b"Proxy-Connection: Keep-Alive"])
    assert connection_options(fields) == {b"close", b"x", b"keep-alive"}
    assert connection_options(parse_fields([])) == frozenset()


@pytest.mark.parametrize(
    ("lines", "minor", "protocols"),
    [
        ((b"Connection: upgrade", b"Upgrade: websocket"), 1, (b"websocket",)),
        ((b"Connection: x, UPGRADE", b"Upgrade: a/1, b"), 1, (b"a/1", b"b")),
        ((b"Connection: upgrade", b"Upgrade: h2c, a"), 1, (b"a",)),
        ((b"Connection: upgrade", b"Upgrade: H2C"), 1, ()),
        ((b"Connection: upgrade", b"Upgrade: websocket"), 0, ()),
        ((b"Proxy-Connection: upgrade", b"Upgrade: websocket"), 1, ()),
        ((b"Upgrade: websocket",), 1, ()),
        ((b"Connection: upgrade",), 1, ()),
    ],
)
def test_upgrade_needs_the_connection_option_and_http_1_1_r_060(
    lines: tuple[bytes, ...], minor: int, protocols: tuple[bytes, ...]
) -> None:
    assert upgrade_protocols(parse_fields(lines), minor) == protocols


def test_via_names_the_received_version() -> None:
    assert via_line(0, b"me") == (b"Via", b"1.0 me")
    assert via_line(1, b"me") == (b"Via", b"1.1 me")
