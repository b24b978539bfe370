"""Tests for trayproxy.http.body (RFC 9112, sections 6 to 8)."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.http.feeding import feed, single_octets
from tests.http.readers import h11_request, llhttp_request
from tests.http.refusals import refusal_status
from tests.support.examples import examples
from trayproxy.http.body import (
    Body,
    request_body_reader,
    response_body_reader,
    write_chunk,
    write_last_chunk,
)
from trayproxy.http.errors import MessageError
from trayproxy.http.fields import Fields, parse_fields
from trayproxy.http.framing import Chunked, Framing, Length, NoBody, UntilClose
from trayproxy.http.limits import MessageLimits

CHUNKED_POST = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunked(*parts: bytes, limits: MessageLimits | None = None) -> tuple[Body, bytes, bytes]:
    body = request_body_reader(Chunked(), limits or MessageLimits())
    return body, *feed(body, *parts)


@pytest.mark.parametrize("framing", [NoBody(), Length(0)])
def test_no_content_is_complete_at_once(framing: Framing) -> None:
    body = request_body_reader(framing)
    assert body.done
    assert body.feed(b"next") == ([], 0)
    body.eof()


def test_counted_content_ends_after_its_length() -> None:
    body = request_body_reader(Length(5))
    assert feed(body, b"he", b"lloGET") == (b"hello", b"GET")
    assert body.done
    body.eof()


def test_a_chunk_size_may_be_split_before_octets_that_look_like_a_chunk() -> None:
    content = b"12345\r\n" + b"x" * 14
    _, data, rest = chunked(b"1", b"5\r\n" + content + b"\r\n0\r\n\r\n")
    assert (data, rest) == (content, b"")


def test_counted_content_is_not_copied() -> None:
    data = b"x" * 1000
    pieces, taken = request_body_reader(Length(10**19)).feed(data)
    assert pieces[0] is data
    assert taken == 1000


def test_unframed_content_ends_when_the_connection_closes() -> None:
    body = request_body_reader(UntilClose())
    assert feed(body, b"he", b"", b"llo") == (b"hello", b"")
    assert not body.done
    body.eof()
    assert body.done


@pytest.mark.parametrize(
    ("framing", "part"),
    [
        (Length(5), b""),
        (Length(5), b"hell"),
        (Chunked(), b""),
        (Chunked(), b"5\r\nhello"),
        (Chunked(), b"5\r\nhello\r\n"),
        (Chunked(), b"5\r\nhello\r\n0\r\n"),
    ],
)
@pytest.mark.parametrize(
    ("reader", "status"), [(request_body_reader, 400), (response_body_reader, 502)]
)
def test_an_early_end_is_an_error_r_044(
    framing: Framing, part: bytes, reader: Callable[[Framing], Body], status: int
) -> None:
    body = reader(framing)
    body.feed(part)
    with pytest.raises(MessageError, match="ended before") as refused:
        body.eof()
    assert refused.value.status == status


@pytest.mark.parametrize(
    ("data", "content"),
    [
        (b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", b"hello world"),
        (b"0\r\n\r\n", b""),
        (b"0005\r\nhello\r\n000\r\n\r\n", b"hello"),
        (b"00000000000000a\r\n0123456789\r\n0\r\n\r\n", b"0123456789"),
        (b"A\r\n0123456789\r\n0\r\n\r\n", b"0123456789"),
        (b'5;a=b;c="d;e"\r\nhello\r\n0;x\r\n\r\n', b"hello"),
        (b"5 \t; a\r\nhello\r\n0\r\n\r\n", b"hello"),
        (b"2\r\n\r\n\r\n0\r\n\r\n", b"\r\n"),
        (b"5\r\nhello\r\n0\r\nX-Sum: 9\r\nY: z\r\n\r\n", b"hello"),
    ],
)
def test_chunks_are_decoded_whole_and_octet_by_octet(data: bytes, content: bytes) -> None:
    for parts in ([data + b"GET"], [*single_octets(data), b"GET"], [memoryview(data + b"GET")]):
        body = request_body_reader(Chunked())
        assert feed(body, *parts) == (content, b"GET")
        assert body.done
        body.eof()


@pytest.mark.parametrize(
    "data",
    [
        # An invalid size, or a size of more than 16 digits.
        *(b"0x5\r\nhello\r\n", b"+5\r\nhello\r\n", b"-5\r\nhello\r\n", b"0_5\r\nhello\r\n"),
        *(b" 5\r\nhello\r\n", b"5 \r\nhello\r\n", b"5 foo\r\nhello\r\n", b"G\r\nhello\r\n"),
        *(b"\r\nhello\r\n", b";a\r\nhello\r\n", b"\xb2\r\nhe\r\n"),
        *(b"FFFFFFFFFFFFFFFFF\r\nhello", b"00000000000000005\r\nhello"),
        # A bare CR or LF, or NUL, in the line of a size.
        *(b"5\nhello\r\n", b"5\r\r\nhello\r\n", b"5\r\rhello\r\n", b"5\rX\r\nhello\r\n"),
        *(b"5;a\nb\r\nhello\r\n", b"5;a\rb\r\nhello\r\n", b"5;a\x00\r\nhello\r\n"),
        b"5\r\nhello\r\n0\n\r\n",
        # No CRLF after the data.
        *(b"5\r\nhelloX\r\n", b"5\r\nhello\n0\r\n", b"5\r\nhello\rX", b"5\r\nhello0\r\n\r\n"),
        # Invalid trailers.
        *(b"0\r\nGET http://evil.test/ HTTP/1.1\r\n\r\n", b"0\r\nX: a\r\n b\r\n\r\n"),
        *(b"0\r\nX : a\r\n\r\n", b"0\r\nX: a\n\r\n", b"0\r\n\n", b"0\r\nX: a\rb\r\n\r\n"),
    ],
)
def test_malformed_chunks_are_refused_r_002_r_003_r_046(data: bytes) -> None:
    for parts in ([data], single_octets(data)):
        assert refusal_status(chunked, *parts) == 400


def test_content_before_a_malformed_chunk_is_returned_first() -> None:
    body = response_body_reader(Chunked())
    assert feed(body, b"5\r\nhello\r\n") == (b"hello", b"")
    assert refusal_status(body.feed, b"x\r\n") == 502


def test_extensions_and_trailers_are_limited_r_046() -> None:
    limits = MessageLimits(chunk_line=20, trailers=20, lines=2)
    chunked(b"1;" + b"e" * 16 + b"\r\n", limits=limits)
    chunked(b"0\r\nX: " + b"t" * 13 + b"\r\n", b"\r\n"[:0], limits=limits)
    for data in (
        b"1;" + b"e" * 17 + b"\r\n",
        b"1;" + b"e" * 17 + b"\r\na\r\n",
        b"1;" + b"e" * 40,
        b"0\r\nX: " + b"t" * 17 + b"\r\n",
        b"0\r\nX: " + b"t" * 40,
        b"0\r\nA: 1\r\nB: 2\r\nC: 3\r\n\r\n",
        b"0\r\nA: 1\r\nA: 1\r\nA: 1\r\nA: 1\r\n",
    ):
        for parts in ([data], single_octets(data)):
            with pytest.raises(MessageError):
                chunked(*parts, limits=limits)


def test_trailers_are_kept_apart_r_047() -> None:
    body, _, _ = chunked(b"0\r\nX-Sum: 9\r\nContent-Length: 9\r\n\r\n")
    assert body.trailers.lines == ((b"X-Sum", b"9"), (b"Content-Length", b"9"))
    assert write_last_chunk(body.trailers) == b"0\r\nX-Sum: 9\r\n\r\n"


def test_data_within_a_chunk_is_not_copied() -> None:
    body, _, _ = chunked(b"100000\r\n")
    data = b"x" * 65536
    for _ in range(16):
        pieces, taken = body.feed(data)
        assert pieces[0] is data
        assert taken == len(data)
    assert feed(body, b"\r\n0\r\n\r\n") == (b"", b"")
    assert body.done


def test_an_empty_chunk_is_not_written() -> None:
    assert write_chunk(b"") == b""
    assert write_chunk(memoryview(b"0123456789")) == b"a\r\n0123456789\r\n"
    assert write_last_chunk(Fields()) == b"0\r\n\r\n"


SIZES = st.lists(st.binary(min_size=1, max_size=40), max_size=8)
EXTENSIONS = st.sampled_from([b"", b";a", b" ;a=b", b';a="b;c"', b";\xe9"])


@examples(200)
@given(SIZES, EXTENSIONS, st.lists(st.integers(1, 30), max_size=30), st.booleans())
def test_decoding_does_not_depend_on_how_octets_are_split(
    chunks: list[bytes], extension: bytes, cuts: list[int], views: bool
) -> None:
    data = b"".join(b"%x%b\r\n%b\r\n" % (len(c), extension, c) for c in chunks)
    data += b"0\r\nX-Sum: 9\r\n\r\nGET"
    body, position, content = request_body_reader(Chunked()), 0, b""
    for cut in [*cuts, len(data)]:
        part = data[position : position + cut]
        pieces, taken = body.feed(memoryview(part) if views else part)
        content += b"".join(pieces)
        position += taken
        if body.done:
            break
    assert content == b"".join(chunks)
    assert data[position:] == b"GET"
    assert body.trailers == parse_fields([b"X-Sum: 9"])


@examples(200)
@given(SIZES)
def test_written_chunks_are_accepted_by_other_parsers(chunks: list[bytes]) -> None:
    written = b"".join(map(write_chunk, chunks)) + write_last_chunk(parse_fields([b"X: y"]))
    assert feed(request_body_reader(Chunked()), written) == (b"".join(chunks), b"")
    for read in (h11_request, llhttp_request):
        assert read(CHUNKED_POST + written).body == b"".join(chunks)


@pytest.mark.parametrize("data", [b"abc", memoryview(b"abc")])
def test_the_largest_sizes_are_only_counted(data: bytes | memoryview) -> None:
    assert feed(request_body_reader(Length(10**19 - 1)), data) == (b"abc", b"")
    body, content, _ = chunked(b"FFFFFFFFFFFFFFFF\r\nabc")
    assert content == b"abc"
    assert feed(body, data) == (b"abc", b"")
