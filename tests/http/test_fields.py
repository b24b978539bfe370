"""Tests for trayproxy.http.fields (RFC 9110, section 5; RFC 9112, section 5)."""

import pytest

from tests.http.refusals import refusal_status
from trayproxy.http.errors import MessageError
from trayproxy.http.fields import (
    Fields,
    is_field_value,
    parse_fields,
    parse_response_fields,
    write_fields,
)
from trayproxy.http.limits import MessageLimits


def test_repeated_lines_are_kept_separate_and_in_order_r_015() -> None:
    fields = parse_fields([b"X: 1", b"Y: a", b"x: 2", b"X: 3"])
    assert fields.lines == ((b"X", b"1"), (b"Y", b"a"), (b"x", b"2"), (b"X", b"3"))
    assert fields.get_all(b"x") == fields.get_all(b"X") == (b"1", b"2", b"3")
    assert write_fields(fields) == b"X: 1\r\nY: a\r\nx: 2\r\nX: 3\r\n"


def test_whitespace_around_a_value_is_removed() -> None:
    assert parse_fields([b"A:\t v w \t", b"B:v", b"C:", b"D: \t"]).lines == (
        (b"A", b"v w"),
        (b"B", b"v"),
        (b"C", b""),
        (b"D", b""),
    )


def test_only_space_and_tab_are_whitespace() -> None:
    assert parse_fields([b"A: \xa0v\x85"]).get_all(b"a") == (b"\xa0v\x85",)


def test_octets_above_ascii_are_forwarded_unchanged_r_014() -> None:
    assert parse_fields([b"A: caf\xe9 \xc3\xa9"]).get_all(b"a") == (b"caf\xe9 \xc3\xa9",)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"A : v", "whitespace before its colon"),
        (b"A\t: v", "whitespace before its colon"),
        (b" A: v", "folded"),
        (b"\tfolded", "folded"),
        (b"", "no colon"),
        (b"NoColon", "no colon"),
        (b": v", "character that names"),
        (b"A B: v", "character that names"),
        (b"A(: v", "character that names"),
        (b"A\xe9: v", "character that names"),
        (b"A\x85: v", "character that names"),
        (b"A\xa0: v", "character that names"),
        (b"A\x0b: v", "character that names"),
        (b"A[1]: v", "character that names"),
        (b"A: a\x00b", "control character"),
        (b"A: a\rb", "control character"),
        (b"A: a\nb", "control character"),
        (b"A: a\x01b", "control character"),
        (b"A: a\x0bb", "control character"),
        (b"A: a\x7fb", "control character"),
    ],
)
def test_a_malformed_line_is_refused_and_not_quoted_r_011_r_013(line: bytes, reason: str) -> None:
    with pytest.raises(MessageError, match=reason) as refused:
        parse_fields([b"Host: a", line])
    assert refused.value.status == 400


def test_the_space_before_a_colon_is_removed_from_a_response_r_011() -> None:
    assert parse_response_fields([b"A \t: v"]).lines == ((b"A", b"v"),)
    with pytest.raises(MessageError):
        parse_response_fields([b"A B : v"])


def test_too_many_or_too_long_lines_are_a_431_r_010() -> None:
    limits = MessageLimits(lines=2, line=10)
    assert len(parse_fields([b"A: 1", b"B: 3456789"], limits)) == 2
    for lines in ([b"A: 1"] * 3, [b"A: 34567890"]):
        assert refusal_status(parse_fields, lines, limits) == 431


def test_list_fields_are_limited_in_total_r_010() -> None:
    limits = MessageLimits(line=10)
    assert len(parse_fields([b"TE: 12345", b"Via: 12345", b"X: 1234567"], limits)) == 3
    assert refusal_status(parse_fields, [b"TE: 123456", b"Via: 12345"], limits) == 431


def test_empty_list_elements_are_removed_r_016() -> None:
    fields = parse_fields([b"Connection: ,Close,\t, Upgrade ,", b"connection: X-A"])
    assert fields.elements(b"connection") == (b"Close", b"Upgrade", b"X-A")
    assert fields.tokens(b"connection") == (b"close", b"upgrade", b"x-a")
    assert fields.tokens(b"absent") == ()


def test_without_removes_names_in_any_case() -> None:
    fields = parse_fields([b"A: 1", b"B: 2", b"a: 3"])
    assert fields.without({b"a"}) == Fields(((b"B", b"2"),))
    assert b"A" in fields
    assert b"a" not in fields.without({b"a"})


def test_values_are_not_in_the_repr() -> None:
    fields = parse_fields([b"Cookie: secret", b"Authorization: secret"])
    assert repr(fields) == "Fields(Cookie, Authorization)"


@pytest.mark.parametrize("value", [b"a\r\nb", b"a\nb", b"a\rb", b"a\x00b", b"\x7f"])
def test_a_line_end_is_not_a_field_value(value: bytes) -> None:
    assert not is_field_value(value)
    assert is_field_value(b"Basic dTpw")
