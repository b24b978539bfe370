"""The limits of trayproxy.http.limits: the limit is allowed, the next larger size is refused."""

from collections.abc import Callable

import pytest

from trayproxy.http.body import request_body_reader
from trayproxy.http.errors import MessageError
from trayproxy.http.fields import parse_fields
from trayproxy.http.framing import Chunked
from trayproxy.http.heads import find_head, split_head
from trayproxy.http.limits import DEFAULT_LIMITS


def first_line(octets: int) -> None:
    line = b"GET http://a/" + b"x" * (octets - 22) + b" HTTP/1.1"
    assert len(line) == octets
    split_head(line + b"\r\nHost: a\r\n\r\n")


def field_line(octets: int) -> None:
    parse_fields([b"X: ".ljust(octets, b"x")])


def field_lines(count: int) -> None:
    parse_fields([b"X: y"] * count)


def empty_lines(count: int) -> None:
    find_head(b"\r\n" * count + b"GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n")


def chunk_size_line(octets: int) -> None:
    """Feed a chunk size line with an extension, including its line end."""
    request_body_reader(Chunked()).feed(b"1;".ljust(octets - 2, b"x") + b"\r\na\r\n0\r\n\r\n")


def trailer_section(octets: int) -> None:
    """Feed trailers of this number of octets, including the empty line after them."""
    half = octets // 2
    lines = b"X: ".ljust(half - 2, b"x") + b"\r\n" + b"Y: ".ljust(octets - half - 4, b"y") + b"\r\n"
    assert len(lines + b"\r\n") == octets
    request_body_reader(Chunked()).feed(b"0\r\n" + lines + b"\r\n")


@pytest.mark.parametrize(
    ("use", "most"),
    [
        (first_line, 16_384),
        (field_line, 66_560),
        (field_lines, 512),
        (empty_lines, 8),
        (chunk_size_line, 4_096),
        (trailer_section, 66_560),
    ],
)
def test_the_limit_is_allowed_and_the_next_larger_size_is_refused_r_009_r_010(
    use: Callable[[int], None], most: int
) -> None:
    use(most)
    with pytest.raises(MessageError):
        use(most + 1)


def test_a_head_has_room_for_the_maximum_number_of_lines_of_maximum_length() -> None:
    assert DEFAULT_LIMITS.head == 16_384 + 512 * 66_560
