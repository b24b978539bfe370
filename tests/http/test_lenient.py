"""Responses accepted leniently, like other proxies, and serialized strictly."""

from collections.abc import Callable
from itertools import product

import pytest

from tests.http.feeding import feed, single_octets
from tests.http.readers import h11_response, llhttp_response
from tests.http.refusals import refusal_status
from trayproxy.http.body import (
    request_body_reader,
    response_body_reader,
    write_chunk,
    write_last_chunk,
)
from trayproxy.http.errors import MessageError, TooLargeError
from trayproxy.http.framing import Chunked, Length
from trayproxy.http.heads import find_head, find_response_head
from trayproxy.http.lenient_lines import is_strict, to_strict_lines
from trayproxy.http.limits import DEFAULT_LIMITS
from trayproxy.http.request import parse_request
from trayproxy.http.response import Response, parse_response, write_response

VIA = b"tray-5f0c"


def read(octets: bytes, method: bytes = b"GET") -> tuple[Response, bytes]:
    """Return a response and the octets after its head, for any split of the octets."""
    end = find_response_head(octets)
    buffer, found = bytearray(), None
    for octet in octets:
        buffer.append(octet)
        found = found or find_response_head(buffer, DEFAULT_LIMITS, 0, len(buffer) - 1)
    assert end == found
    assert end is not None
    return parse_response(octets[:end], method), octets[end:]


def written(response: Response) -> bytes:
    return write_response(response, via=VIA, client_minor=1, close=False)


ENDS = (b"\r\n", b"\n")


@pytest.mark.parametrize("ends", list(product(ENDS, repeat=4)))
def test_each_line_of_a_response_may_end_with_a_bare_lf_r_003(ends: tuple[bytes, ...]) -> None:
    lines = (b"HTTP/1.1 200 OK", b"X-A: b", b"Content-Length: 2", b"")
    octets = b"".join(line + end for line, end in zip(lines, ends, strict=True)) + b"ok\n\n"
    response, rest = read(octets)
    assert response.fields.lines == ((b"X-A", b"b"), (b"Content-Length", b"2"))
    assert (response.framing, rest) == (Length(2), b"ok\n\n")
    assert response.keep_alive is (b"\n" not in ends)
    assert written(response) == (
        b"HTTP/1.1 200 OK\r\nX-A: b\r\nVia: 1.1 tray-5f0c\r\nContent-Length: 2\r\n\r\n"
    )


def test_the_first_empty_line_ends_the_head_with_any_line_end() -> None:
    for first, second in ((b"\n\n", b"\r\n\r\n"), (b"\r\n\n", b"\n\n"), (b"\n\r\n", b"\n\n")):
        response, rest = read(b"HTTP/1.1 200 OK\r\nX: a" + first + b"Y: b" + second)
        assert response.fields.lines == ((b"X", b"a"),)
        assert rest == b"Y: b" + second
        assert not response.keep_alive


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("blanks", [b" ", b"\t", b" \t  "])
def test_a_folded_line_is_joined_r_012(end: bytes, blanks: bytes) -> None:
    octets = end.join(
        (
            b"HTTP/1.1 407 No",
            b'Proxy-Authenticate: Digest realm="a",',
            blanks + b'nonce="b",',
            blanks + b'qop="auth"',
            blanks,
            b"Content-Length: 0",
            b"",
            b"",
        )
    )
    response, _ = read(octets)
    value = response.fields.get_all(b"proxy-authenticate")
    assert value == (b'Digest realm="a", nonce="b", qop="auth"',)
    assert response.framing == Length(0)
    assert not response.keep_alive


def test_a_folded_line_hides_no_framing() -> None:
    fields = b"X: a\r\n Content-Length: 7\r\nContent-Length: 2\r\n"
    response, _ = read(b"HTTP/1.1 200 OK\r\n" + fields + b"\r\n")
    assert response.framing == Length(2)
    assert b"\r\nX: a Content-Length: 7\r\n" in written(response)


@pytest.mark.parametrize("octet", [1, 8, 0x0B, 0x0C, 0x1B, 0x1F, 0x7F])
def test_a_control_octet_in_a_value_becomes_a_space_r_013(octet: int) -> None:
    octets = b"HTTP/1.1 200 OK\r\nA%b: a%bb\r\nContent-Length: 0\r\n\r\n"
    for blank in (b"", b" "):
        response, _ = read(octets % (blank, bytes((octet,))))
        assert response.fields.get_all(b"A") == (b"a b",)
        assert response.framing == Length(0)
        assert b"A: a b\r\n" in written(response)


@pytest.mark.parametrize(
    "line",
    [
        b"Content-Length: 0\x01",
        b"Content-Length : 0\x01",
        b"Transfer-Encoding: chunked\x0b",
        b"Connection: close\x7f",
        b"A\x01: b",
        b"A: a\x00b",
        b"A: a\rb",
    ],
)
def test_other_control_octets_are_a_502_r_013(line: bytes) -> None:
    assert refusal_status(read, b"HTTP/1.1 200 OK\r\n" + line + b"\r\n\r\n") == 502


@pytest.mark.parametrize("octet", [1, 0x0B, 0x7F])
def test_a_control_octet_in_a_value_of_a_request_is_a_400_r_013(octet: int) -> None:
    head = b"GET http://a.test/ HTTP/1.1\r\nHost: a.test\r\nA: a%bb\r\n\r\n" % bytes((octet,))
    assert refusal_status(parse_request, head) == 400


def test_nothing_continues_the_status_line_r_005() -> None:
    with pytest.raises(MessageError, match="folded"):
        read(b"HTTP/1.1 200 OK\r\n X: a\r\n\r\n")


@pytest.mark.parametrize("octets", [b"HTTP/1.1 200 OK\r\nX: a\rb\n\n", b"HTTP/1.1 200 OK\r\r\n\n"])
def test_a_bare_cr_is_still_refused_r_002(octets: bytes) -> None:
    with pytest.raises(MessageError):
        read(octets)


def test_a_few_empty_lines_before_a_response_may_be_bare_lf() -> None:
    assert read(b"\n\r\n\nHTTP/1.1 204 No Content\n\n")[0].status == 204
    assert find_response_head(b"\n" * DEFAULT_LIMITS.empty_lines) is None
    with pytest.raises(MessageError, match="empty lines"):
        find_response_head(b"\n" * (DEFAULT_LIMITS.empty_lines + 1))


@pytest.mark.parametrize("octets", [b"\n", b"GET http://a/ HTTP/1.1\nHost: a\n\n"])
def test_requests_are_still_parsed_strictly_r_003(octets: bytes) -> None:
    with pytest.raises(MessageError):
        find_head(octets)


@pytest.mark.parametrize("line", [b"X: a\n", b"X: a\r\n b\r\n"])
def test_a_request_with_a_bare_lf_or_a_folded_line_is_refused(line: bytes) -> None:
    octets = b"GET http://a/ HTTP/1.1\r\nHost: a\r\n" + line + b"\r\n"
    with pytest.raises(MessageError):
        parse_request(octets)


@pytest.mark.parametrize(
    ("octets", "is_unambiguous"),
    [
        (b"2\r\nok\r\n0\r\nX: y\r\n\r\n", True),
        (b"2;a=b\r\nok\r\n0\r\nX: y\r\n\r\n", True),
        (b"2 \r\nok\r\n0\r\nX: y\r\n\r\n", False),
        (b"2\t \r\nok\r\n0\r\nX: y\r\n\r\n", False),
        (b"2\r\nok\r\n0    \r\nX: y\r\n\r\n", False),
        (b"2 ; a\nok\r\n0\r\nX: y\r\n\r\n", False),
        (b"2\nok\r\n0\r\nX: y\r\n\r\n", False),
        (b"2\r\nok\n0\r\nX: y\r\n\r\n", False),
        (b"2\r\nok\r\n0\nX: y\r\n\r\n", False),
        (b"2\r\nok\r\n0\r\nX: y\n\r\n", False),
        (b"2\r\nok\r\n0\r\nX: y\r\n\n", False),
        (b"2\r\nok\r\n0\r\nX:\r\n y\r\n\r\n", False),
        (b"2\nok\n0\nX:\n\ty\n\n", False),
    ],
)
def test_chunks_of_a_response_may_have_blanks_and_bare_lf(
    octets: bytes, is_unambiguous: bool
) -> None:
    for parts in ([octets + b"HTTP/"], single_octets(octets + b"HTTP/")):
        body = response_body_reader(Chunked())
        content, surplus = feed(body, *parts)
        assert (content, surplus, body.done) == (b"ok", b"HTTP/", True)
        assert body.trailers.lines == ((b"X", b"y"),)
        assert body.is_unambiguous is is_unambiguous
        again = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        again += write_chunk(content) + write_last_chunk(body.trailers)
        assert h11_response(again).body == llhttp_response(again).body == b"ok"
    if not is_unambiguous:
        with pytest.raises(MessageError):
            request_body_reader(Chunked()).feed(octets)


@pytest.mark.parametrize(
    "octets",
    [
        b" 2\r\nok\r\n",
        b"2 x\r\nok\r\n",
        b"2 1\r\nok\r\n",
        b"2\r\r\nok\r\n",
        b"2\r\nok\r0\r\n\r\n",
        b"2\r\nok \r\n0\r\n\r\n",
        b"2\r\nok\r\r\n0\r\n\r\n",
        b"2\r\nok\r\n0\r\n X: y\r\n\r\n",
        b"2\r\nok\r\n0\r\nX: y\rz\r\n\r\n",
        b"\n2\r\nok\r\n",
    ],
)
def test_octets_refused_by_every_parser_are_a_502(octets: bytes) -> None:
    for parts in ([octets], single_octets(octets)):
        body = response_body_reader(Chunked())
        with pytest.raises(MessageError) as refused:
            list(map(body.feed, parts))
        assert refused.value.status == 502


def test_strict_lines_are_not_changed() -> None:
    for section in (b"", b"A: b\r\n", b"A: b\r\nC: d\r\n\r\n"):
        assert is_strict(section)
        assert to_strict_lines(section, has_start_line=False) == section
    for section in (b"A: b\n", b"A:\r\n b\r\n", b"A:\r\n\tb\r\n", b"A: b\r\nC: d\n"):
        assert not is_strict(section)
        assert is_strict(to_strict_lines(section, has_start_line=False))


# --- limits -------------------------------------------------------------------------------------


def request_with(*lines: bytes) -> bytes:
    return b"\r\n".join((b"GET http://a/ HTTP/1.1", b"Host: a", *lines, b"", b""))


def response_with(*lines: bytes) -> bytes:
    return b"\r\n".join((b"HTTP/1.1 200 OK", *lines, b"", b""))


@pytest.mark.parametrize("octets", [48_000, 64_000, 65_536])
def test_a_field_may_have_64_kib_both_ways_r_010(octets: int) -> None:
    line = b"Authorization: Negotiate ".ljust(octets, b"A")
    request = request_with(line)
    assert find_head(request) == len(request)
    assert parse_request(request).fields.lines[1][1] == line[len(b"Authorization: ") :]
    response = response_with(line.replace(b"Authorization", b"WWW-Authenticate"))
    assert find_response_head(response) == len(response)
    assert len(parse_response(response, b"GET").fields.lines) == 1


READ = 20_000
"""The octets of a read, less than a field has."""


def test_there_may_be_512_fields_of_64_kib_in_small_reads_and_in_linear_time_r_010() -> None:
    # The linear time is tested in test_heads; this test is about the sizes.
    line = b"X: ".ljust(65_536, b"x")
    for head, find in (
        (request_with(*[line] * 511), find_head),
        (response_with(*[line] * 512), find_response_head),
    ):
        buffer, end = bytearray(), None
        for begin in range(0, len(head), READ):
            seen = len(buffer)
            buffer += head[begin : begin + READ]
            end = find(buffer, DEFAULT_LIMITS, 0, seen)
        assert end == len(head)
    assert len(parse_response(head, b"GET").fields) == 512
    folded = response_with(b"X: " + b"\r\n ".join([b"x" * 100] * 500))
    assert len(parse_response(folded, b"GET").fields) == 1


TOO_LARGE = [
    (b"X: ".ljust(70_000, b"x"),),
    (b"X: y",) * 513,
    (b"Connection: ".ljust(65_536, b","),) * 2,
    (b"X: ".ljust(60_000, b"x"), b"Via: ".ljust(40_000, b","), b"Connection: ".ljust(40_000, b",")),
]


@pytest.mark.parametrize("lines", TOO_LARGE)
def test_above_the_limit_the_text_names_the_limit_of_trayproxy_r_010(
    lines: tuple[bytes, ...],
) -> None:
    with pytest.raises(TooLargeError, match="TrayProxy's own limit") as refused:
        parse_request(request_with(*lines))
    assert refused.value.status == 431
    with pytest.raises(TooLargeError, match="TrayProxy's own limit") as refused:
        parse_response(response_with(*lines), b"GET")
    assert refused.value.status == 502


@pytest.mark.parametrize(
    ("find", "start"),
    [(find_head, b"GET http://a/ HTTP/1.1\r\n"), (find_response_head, b"HTTP/1.1 200 OK\r\n")],
)
@pytest.mark.parametrize("empty", [0, DEFAULT_LIMITS.empty_lines])
def test_a_line_above_the_limit_is_refused_before_its_end_after_any_empty_lines(
    find: Callable[[bytes], int | None], start: bytes, empty: int
) -> None:
    longest = b"\r\n" * empty + start + b"X: ".ljust(DEFAULT_LIMITS.line, b"x") + b"\r\n"
    assert find(longest) is None
    assert find(longest[:-2] + b"x\r\n\r\n") is not None  # The parser of the lines refuses it.
    # Without a line end, the line is too long as soon as no line end could make it valid.
    endless = b"\r\n" * empty + start + b"x" * (DEFAULT_LIMITS.line + 1)
    assert find(endless) is None
    with pytest.raises(TooLargeError):
        find(endless + b"x")


def test_a_folded_line_counts_as_several_lines() -> None:
    with pytest.raises(TooLargeError):
        parse_response(response_with(b"X: a" + b"\r\n b" * 600), b"GET")
    with pytest.raises(TooLargeError):
        parse_response(response_with(b"X: a" + b"\r\n bbbbbbbbb".ljust(40_000, b"b") * 2), b"GET")
