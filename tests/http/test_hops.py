"""Tests for trayproxy.http.hops (RFC 9110, section 7.6)."""

import pytest

from trayproxy.http.fields import parse_fields
from trayproxy.http.hops import forwarded_trailers, has_passed


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
def test_our_own_name_in_via_is_a_loop_r_055(via: tuple[bytes, ...], passed: bool) -> None:
    fields = parse_fields([b"Via: " + value for value in via])
    assert has_passed(fields, b"tray-5f0c") is passed


def test_trailers_that_would_change_the_message_are_dropped_r_047() -> None:
    trailers = parse_fields(
        [b"Content-Length: 9", b"Set-Cookie: t=1", b"X-Sum: 9", b"Transfer-Encoding: chunked"]
    )
    assert forwarded_trailers(trailers).lines == ((b"X-Sum", b"9"),)
