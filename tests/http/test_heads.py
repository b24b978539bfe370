"""Tests for trayproxy.http.heads (RFC 9112, section 2)."""

import pytest

from tests.http.refusals import refusal_status
from trayproxy.http.errors import MessageError
from trayproxy.http.heads import find_head, find_response_head, split_head
from trayproxy.http.limits import DEFAULT_LIMITS, MessageLimits

GET = b"GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
SMALL = MessageLimits(request_line=40, head=120, line=80)


def find_and_split(buffer: bytes) -> list[bytes]:
    end = find_head(buffer, SMALL)
    return split_head(buffer[:end], SMALL)


def test_a_head_ends_after_its_empty_line() -> None:
    assert find_head(GET + b"surplus") == len(GET)
    assert find_response_head(OK + b"surplus") == len(OK)


def test_a_part_of_a_head_is_incomplete() -> None:
    for find, head in ((find_head, GET), (find_response_head, OK)):
        assert {find(head[:length]) for length in range(len(head))} == {None}


def test_a_message_may_begin_anywhere_in_the_buffer() -> None:
    assert find_head(GET + GET, DEFAULT_LIMITS, len(GET)) == 2 * len(GET)
    assert find_head(GET + GET[:-1], DEFAULT_LIMITS, len(GET)) is None


@pytest.mark.parametrize("count", range(9))
def test_a_few_empty_lines_are_skipped_r_004(count: int) -> None:
    buffer = b"\r\n" * count + GET
    assert find_head(buffer) == len(buffer)
    assert split_head(buffer) == split_head(GET)
    assert find_head(b"\r\n" * count) is None
    assert find_head(b"\r\n" * count + b"\r") is None


def test_many_empty_lines_are_refused_r_004() -> None:
    assert refusal_status(find_head, b"\r\n" * 9) == 400


@pytest.mark.parametrize(
    "buffer",
    [
        # Another protocol.
        *(b"\x05\x01\x00", b"\x16\x03\x01\x02\x00\x01", b"\x00", b"\xff\xd8", b" GET"),
        *(b"EHLO mail.test\r\n", b"SSH-2.0-OpenSSH_9.2\r\n", b"GET http://a/\r\n"),
        # A bare CR or LF, or NUL.
        *(b"\n", b"\rG", b"GET http://a/\r", b"GET http://a/ HTTP/1.1\n"),
        b"GET http://a/ HTTP/1.1\nHost: a",
        b"GET http://a/ HTTP/1.1\r\nHost: a\x00",
        b"GET http://a/ HTTP/1.1\r\nHost: a\rX",
        b"GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\rGET",
    ],
)
def test_octets_that_cannot_become_a_request_are_refused_at_once_r_006(buffer: bytes) -> None:
    if buffer.endswith(b"/\r"):
        buffer += b"X"
    assert refusal_status(find_head, buffer) == 400


@pytest.mark.parametrize(
    "buffer",
    [
        b"220 mail.test ESMTP\r\n",
        b"<html>",
        b"SSH-2.0",
        b"HTTP/2",
        b"ICY 200 OK",
        b"HTTP/1.1 20\r\n",
    ],
)
def test_octets_that_cannot_become_a_response_are_refused_at_once_r_006(buffer: bytes) -> None:
    if buffer == b"HTTP/2":
        assert find_response_head(buffer) is None
        buffer += b".0 200 OK\r\n"
    assert refusal_status(find_response_head, buffer) == 502


@pytest.mark.parametrize("tail", [b"", b" HTTP/1.1\r\n", b" HTTP/1.1\r\nHost: a\r\n\r\n"])
def test_a_target_that_is_too_long_is_a_414_r_009(tail: bytes) -> None:
    assert refusal_status(find_and_split, b"GET http://a/" + b"x" * 40 + tail) == 414


@pytest.mark.parametrize("tail", [b"", b" http://a/ HTTP/1.1\r\nHost: a\r\n\r\n"])
def test_a_method_that_is_too_long_is_a_501_r_009(tail: bytes) -> None:
    assert refusal_status(find_and_split, b"M" * 60 + tail) == 501


@pytest.mark.parametrize("tail", [b"", b"\r\n\r\n"])
def test_a_head_that_is_too_long_is_a_431_r_010(tail: bytes) -> None:
    head = b"GET http://a/ HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 100
    assert refusal_status(find_and_split, head + tail) == 431


def test_the_limits_themselves_are_allowed() -> None:
    line = b"GET http://a/" + b"x" * 18 + b" HTTP/1.1"
    head = line + b"\r\nHost: a\r\nX: " + b"x" * 62 + b"\r\n\r\n"
    assert (len(line), len(head)) == (SMALL.request_line, SMALL.head)
    for length in range(len(head)):
        assert find_head(head[:length], SMALL) is None
    assert find_head(head, SMALL) == len(head)
    assert split_head(head, SMALL)[0] == line


@pytest.mark.parametrize(("beyond", "status"), [(0, 431), (1, 414)])
def test_a_long_head_is_a_414_only_if_its_target_is_too_long(beyond: int, status: int) -> None:
    line = b"GET http://a/" + b"x" * (18 + beyond) + b" HTTP/1.1"
    head = line + b"\r\nHost: a\r\nX: " + b"x" * 80 + b"\r\n\r\n"
    assert refusal_status(lambda: split_head(head, SMALL)) == status


def test_empty_lines_do_not_count_as_head() -> None:
    head = b"GET http://a/ HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 80 + b"\r\n\r\n"
    assert len(head) == SMALL.head
    assert find_head(b"\r\n" * 8 + head, SMALL) == len(head) + 16


@pytest.mark.parametrize("head", [b"", b"GET", GET[:-1], b"\r\n\r\n"])
def test_only_whole_heads_are_split(head: bytes) -> None:
    with pytest.raises(MessageError, match="incomplete"):
        split_head(head)


def test_each_call_searches_only_new_octets() -> None:
    # Octets already seen are replaced by octets refused in every check. If a call searched them
    # again, its result would differ. So n single octets cost n steps. The start line is kept:
    # finding its end is a memchr over at most 16 KiB.
    line = b"GET http://a/ HTTP/1.1\r\n"
    head = line + b"".join(b"X-%d: %s\r\n" % (i, b"v" * (i % 50)) for i in range(200)) + b"\r\n"
    for length in range(1, len(head) + 1):
        seen = length - 1
        poisoned = max(len(line), seen - len(b"\r\n\r\n"))
        buffer = bytearray(head[:length])
        buffer[len(line) : poisoned] = b"\n" * (poisoned - len(line))
        end = find_head(buffer, DEFAULT_LIMITS, 0, seen)
        assert end == (length if length == len(head) else None)


@pytest.mark.parametrize("junk", [b"\rX", b"\r\r", b"a\n", b"\x00"])
@pytest.mark.parametrize("cut", range(3))
def test_invalid_octets_are_found_at_once_for_any_split_of_the_reads(junk: bytes, cut: int) -> None:
    line = b"GET http://a/ HTTP/1.1\r\nX: a"
    buffer = bytearray(line + junk[:cut])
    if cut < len(junk):
        # A final CR may still become a line end.
        assert find_head(buffer) is None
    seen = len(buffer) if cut < len(junk) else len(line)
    buffer += junk[cut:]
    assert refusal_status(find_head, buffer, DEFAULT_LIMITS, 0, seen) == 400
