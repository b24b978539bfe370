"""TrayProxy's parsers compared with h11 and llhttp, and with themselves.

Messages are composed of well-formed and malformed parts. If both other parsers refuse a message,
TrayProxy must refuse it. If both accept it, TrayProxy must parse it equally, or refuse it because
of a rule in `STRICTER_RULES`.
"""

from collections.abc import Callable

from hypothesis import example, given
from hypothesis import strategies as st

from tests.http.feeding import feed
from tests.http.readers import (
    Reading,
    RefusedError,
    h11_request,
    h11_response,
    llhttp_request,
    llhttp_response,
)
from tests.support.examples import examples
from trayproxy.http.body import (
    Body,
    ChunkedBody,
    request_body_reader,
    response_body_reader,
    write_chunk,
    write_last_chunk,
)
from trayproxy.http.errors import MessageError
from trayproxy.http.fields import Fields
from trayproxy.http.heads import find_head, find_response_head
from trayproxy.http.request import parse_request, write_request
from trayproxy.http.response import Response, parse_response, write_response

VIA = b"tray-5f0c"
STRICTER_RULES = {
    "Host is invalid",
    "Max-Forwards is invalid",
    "the HTTP version is not 1.0 or 1.1",
    "the expectation is unknown",
    "the host or its port is invalid",
    "the message has no Host",
    "the message has several Host lines",
    "the port is out of range",
    "the request-target has a fragment",
    "the request-target has no host",
    "the request-target is not a URL with a host",
    "this method has no content",
    "a chunk size is malformed",
}

Reader = Callable[[bytes], Reading]


def read_request(octets: bytes) -> Reading:
    """Parse a single request with TrayProxy."""
    end = find_head(octets)
    if end is None:
        raise RefusedError("incomplete")
    request = parse_request(octets[:end])
    body = request_body_reader(request.framing)
    content, _ = feed(body, octets[end:])
    body.eof()
    fields = tuple((name.lower(), value) for name, value in request.fields)
    return Reading((request.method, request.target.raw), fields, content)


def read_response(octets: bytes) -> Reading:
    """Parse a response to a GET with TrayProxy; the connection ends after it."""
    response, body, content = parsed_response(octets)
    body.eof()
    fields = tuple((name.lower(), value) for name, value in response.fields)
    return Reading((b"%d" % response.status, response.reason), fields, content)


def parsed_response(octets: bytes) -> tuple[Response, Body, bytes]:
    """Return a response to a GET, the reader of its content and the content."""
    end = find_response_head(octets)
    if end is None:
        raise RefusedError("incomplete")
    response = parse_response(octets[:end], b"GET")
    body = response_body_reader(response.framing)
    content, _ = feed(body, octets[end:])
    return response, body, content


def is_connection_reused(octets: bytes) -> bool:
    """Return whether the connection would be reused after this response to a GET."""
    response, body, _ = parsed_response(octets)
    return response.keep_alive and body.is_unambiguous


def rewritten(octets: bytes) -> bytes:
    """Return the octets sent to the client for this response to a GET."""
    response, body, content = parsed_response(octets)
    if isinstance(body, ChunkedBody):
        content = write_chunk(content) + write_last_chunk(Fields())
    return write_response(response, via=VIA, client_minor=1, close=False) + content


def reading_of(read: Reader, octets: bytes) -> Reading | None:
    try:
        return read(octets)
    except RefusedError:
        return None


def compare(read: Reader, octets: bytes, others: tuple[Reader, Reader]) -> None:
    """Check that TrayProxy agrees with the other parsers wherever these agree."""
    first, second = (reading_of(other, octets) for other in others)
    refusal = ""
    try:
        ours = read(octets)
    except (MessageError, RefusedError) as error:
        refusal = str(error)
    if first is None and second is None:
        assert refusal
    elif first == second and not refusal:
        assert ours == first
    elif first == second:
        assert refusal in STRICTER_RULES


METHODS = st.sampled_from([b"GET", b"POST"] * 5 + [b"OPTIONS", b"TRACE", b"G(T", b"", b" GET"])
TARGETS = st.sampled_from(
    [
        *[b"http://a/", b"http://a/b?c"] * 6,
        *b"http://A:8080 http://[::1]/ http://u@a/ https://a/ http://a/#b http://a:b/".split(),
        *(b"http://a/\x00", b"http://a/ b", b"http://a/caf\xc3\xa9?\xff", b"http://caf\xe9/"),
        *(b"ftp://u@a/", b"urn:a:b", b"/b", b"*", b""),
    ]
)
VERSIONS = st.sampled_from(
    [b"HTTP/1.1"] * 12 + [b"HTTP/1.0", b"HTTP/2.0", b"HTTP/1.", b"HTTP/1.1 "]
)
LINES = st.sampled_from(
    (
        b"Host: a|Content-Length: 5|Content-Length: 05|Content-Length: 6|Content-Length: +5|"
        b"Content-Length: 5, 5|Content-Length: 5 5|Content-Length: |"
        b"Content-Length: 18446744073709551616|"
        b"Transfer-Encoding: chunked|Transfer-Encoding: identity|Transfer-Encoding: gzip, chunked|"
        b"Transfer-Encoding: chunked, chunked|Transfer-Encoding: chunked\x0b|"
        b"Transfer-Encoding : chunked|Expect: 100-continue|"
        b"X: caf\xe9|X:|X\t: y|X y: z| folded|nocolon|: y|X: a\rb|X: a\nb|X: a\x00b|X(: y"
    ).split(b"|")
)
ENDS = st.sampled_from([b"\r\n"] * 60 + [b"\n", b"\r", b"\r\r\n", b""])
BODIES = st.sampled_from(
    [
        b"",
        b"hello",
        b"hell",
        b"5\r\nhello\r\n0\r\n\r\n",
        b"5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n",
        b"05\r\nhello\r\n00\r\n\r\n",
        b"5\r\nhello\r\n0\r\n",
        b"5\r\nhelloX\r\n0\r\n\r\n",
        b"+5\r\nhello\r\n0\r\n\r\n",
        b"-5\r\nhello\r\n0\r\n\r\n",
        b"0x5\r\nhello\r\n0\r\n\r\n",
        b"5\nhello\r\n0\r\n\r\n",
        b"5\r\nhello\r\n0\r\nX: a\r\n b\r\n\r\n",
        b"5\r\nhello\r\n0\r\nX : a\r\n\r\n",
        b"5 \r\nhello\r\n0 \r\n\r\n",
        b"5\nhello\n0\nX: y\n\n",
    ]
)


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    line = b" ".join((draw(METHODS), draw(TARGETS), draw(VERSIONS)))
    return message(draw, line)


@st.composite
def responses(draw: st.DrawFn) -> bytes:
    # Not 204 and 304: TrayProxy does not parse framing fields of responses without content.
    status = draw(st.sampled_from([b"200", b"404"] * 5 + [b"20", b"-20", b"2000", b"2x0"]))
    reason = draw(st.sampled_from([b" OK", b" ", b" caf\xe9"] * 3 + [b" a\x00", b"OK"]))
    version = draw(
        st.sampled_from([b"HTTP/1.1"] * 8 + [b"HTTP/1.0", b"HTTP/2", b"ICY", b"http/1.1"])
    )
    return message(draw, version + b" " + status + reason)


def message(draw: st.DrawFn, start: bytes) -> bytes:
    lines = [b"Host: a", *draw(st.lists(LINES, max_size=3))]
    parts = [line + draw(ENDS) for line in (start, *lines)]
    return b"".join(parts) + b"\r\n" + draw(BODIES)


@examples(500)
@given(requests())
@example(b"POST http://a/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
def test_requests_are_parsed_like_h11_and_llhttp(octets: bytes) -> None:
    compare(read_request, octets, (h11_request, llhttp_request))


@examples(500)
@given(responses())
@example(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
def test_responses_are_parsed_like_h11_and_llhttp(octets: bytes) -> None:
    if b" :" in octets or b"\t:" in octets:
        return  # Only a proxy removes that space (RFC 9112, section 5.1).
    others = (h11_response, llhttp_response)
    theirs = [reading for other in others if (reading := reading_of(other, octets)) is not None]
    try:
        ours = read_response(octets)
    except (MessageError, RefusedError):
        ours = None
    if ours is None or theirs:
        compare(read_response, octets, others)
        return
    # Accepted only by TrayProxy's lenient parser: the connection is not reused, and every parser
    # agrees on the octets sent to the client.
    assert not is_connection_reused(octets)
    written = rewritten(octets)
    for other in others:
        reading = other(written)
        assert (reading.start, reading.body) == (ours.start, ours.body)


HOSTS = st.sampled_from([b"a", b"A.test", b"[::1]", b"10.1.2.3"])
PORTS = st.sampled_from([b"", b":", b":80", b":8080"])
VCHARS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="#"))
TOKENS = st.text(st.sampled_from("!#$%&'*+-.^_`|~09AZaz"), min_size=1, max_size=12)
VALUES = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"))
KNOWN = st.sampled_from(
    [
        (b"Content-Length", b"5"),
        (b"Transfer-Encoding", b"chunked"),
        (b"Connection", b"x-a, upgrade"),
        (b"Upgrade", b"websocket"),
        (b"Expect", b"100-continue"),
        (b"Max-Forwards", b"3"),
        (b"Via", b"1.0 b"),
        (b"Proxy-Authorization", b"Basic dTpw"),
        (b"TE", b"trailers"),
    ]
)
FIELDS = st.lists(
    KNOWN | st.tuples(TOKENS.map(str.encode), VALUES.map(lambda v: v.encode("latin-1"))), max_size=6
)


@st.composite
def well_formed_requests(draw: st.DrawFn) -> bytes:
    method = draw(st.sampled_from([b"GET", b"POST", b"OPTIONS", b"TRACE", b"PROPFIND"]))
    path = draw(st.just("") | st.sampled_from("/?").flatmap(lambda s: VCHARS.map(s.__add__)))
    url = b"http://" + draw(HOSTS) + draw(PORTS) + path.encode()
    lines = [b"%b %b HTTP/1.%d" % (method, url, draw(st.integers(0, 1))), b"Host: a"]
    lines += [b"%b: %b" % field for field in draw(FIELDS)]
    return b"\r\n".join((*lines, b"", b""))


@examples(500)
@given(well_formed_requests(), st.booleans())
def test_a_written_request_is_accepted_by_other_parsers_and_stable(
    octets: bytes, direct: bool
) -> None:
    try:
        request = parse_request(octets)
    except MessageError:
        return
    written = write_request(request, via=VIA, credentials=b"Basic dTpw", direct=direct)
    for read in (h11_request, llhttp_request):
        assert_head_is_accepted(read, written)
    if direct:
        return
    again = parse_request(written)
    assert (again.method, again.framing) == (request.method, request.framing)
    assert again.target.authority == request.target.authority
    assert again.expects_continue == request.expects_continue
    assert again.upgrade == request.upgrade
    if again.has_max_forwards_zero:
        return
    twice = parse_request(write_request(again, via=VIA, credentials=b"Basic dTpw"))
    assert twice.target == again.target
    assert twice.framing == again.framing
    assert end_to_end_lines(twice.fields.lines) == end_to_end_lines(again.fields.lines)


def assert_head_is_accepted(read: Reader, head: bytes) -> None:
    """Check that a parser accepts the head and waits only for its content."""
    end = b""
    if b"\r\nTransfer-Encoding: chunked\r\n" in head:
        end = b"0\r\n\r\n"
    elif b"\r\nContent-Length: 5\r\n" in head:
        end = b"hello"
    assert read(head + end)


def end_to_end_lines(lines: tuple[tuple[bytes, bytes], ...]) -> list[tuple[bytes, bytes]]:
    """Return the lines except those that a proxy changes by design."""
    changing = {b"via", b"max-forwards"}
    return [line for line in lines if line[0].lower() not in changing]


@st.composite
def well_formed_responses(draw: st.DrawFn) -> bytes:
    status = draw(st.sampled_from([200, 206, 299, 301, 404, 407, 599]))
    reason = draw(VALUES).encode("latin-1")
    lines = [b"HTTP/1.%d %d %b" % (draw(st.integers(0, 1)), status, reason)]
    lines += [b"%b: %b" % field for field in draw(FIELDS)]
    return b"\r\n".join((*lines, b"", b""))


@examples(500)
@given(well_formed_responses(), st.integers(0, 1), st.booleans())
def test_a_written_response_is_accepted_by_other_parsers_and_stable(
    octets: bytes, client_minor: int, close: bool
) -> None:
    try:
        response = parse_response(octets, b"GET")
    except MessageError:
        return
    written = write_response(response, via=VIA, client_minor=client_minor, close=close)
    for read in (h11_response, llhttp_response):
        assert_head_is_accepted(read, written)
    again = parse_response(written, b"GET")
    assert (again.status, again.reason) == (response.status, response.reason)
    twice = write_response(again, via=VIA, client_minor=1, close=not again.keep_alive)
    assert end_to_end_lines(parse_response(twice, b"GET").fields.lines) == end_to_end_lines(
        again.fields.lines
    )


@examples(500)
@given(requests() | responses(), st.lists(st.tuples(st.integers(0, 200), st.binary(max_size=3))))
def test_any_octets_raise_only_message_errors(
    octets: bytes, edits: list[tuple[int, bytes]]
) -> None:
    for position, inserted in edits:
        octets = octets[:position] + inserted + octets[position + 1 :]
    for read in (read_request, read_response):
        try:
            read(octets)
        except (MessageError, RefusedError):
            continue
