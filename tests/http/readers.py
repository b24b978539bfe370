"""Two independent HTTP/1.1 parsers, h11 and llhttp, with a common interface."""

import re
from dataclasses import dataclass, field

import h11
import httptools


class RefusedError(Exception):
    """The parser refuses the octets, or the message is incomplete."""


@dataclass(frozen=True, slots=True)
class Reading:
    """The result of a parser: parts of the start line, fields in lower case, content."""

    start: tuple[bytes, ...]
    fields: tuple[tuple[bytes, bytes], ...]
    body: bytes


_REQUEST_LINE = re.compile(rb"(?m)^([!-~]+ )([^\r\n ]*)( HTTP/1\.[01]\r)$")
_ABOVE_ASCII = re.compile(rb"[\x80-\xff]")


def with_ascii_targets(octets: bytes) -> bytes:
    """Return the octets with ``~`` in place of octets above ASCII in request-targets.

    Browsers send such octets and servers accept them, but these two parsers refuse them.
    """
    return _REQUEST_LINE.sub(
        lambda line: line[1] + _ABOVE_ASCII.sub(b"~", line[2]) + line[3], octets
    )


def _original_target(octets: bytes, target: bytes) -> bytes:
    """Return the target from before `with_ascii_targets`."""
    line = _REQUEST_LINE.search(octets)
    return line[2] if line and _ABOVE_ASCII.sub(b"~", line[2]) == target else target


def h11_request(octets: bytes) -> Reading:
    """Parse a single request with h11."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 18)
    connection.receive_data(with_ascii_targets(octets))
    event = _h11_next(connection)
    if not isinstance(event, h11.Request):
        raise RefusedError("incomplete")
    start = (event.method, _original_target(octets, event.target))
    return Reading(start, tuple(event.headers), _h11_body(connection))


def h11_response(octets: bytes, method: bytes = b"GET") -> Reading:
    """Parse a response to this method with h11; the connection ends after it."""
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 18)
    # h11 accepts a 101 only if the request has an Upgrade.
    fields = [(b"Host", b"a"), (b"Connection", b"upgrade"), (b"Upgrade", b"websocket")]
    connection.send(h11.Request(method=method, target=b"/", headers=fields))
    connection.send(h11.EndOfMessage())
    connection.receive_data(octets)
    event = _h11_next(connection)
    if not isinstance(event, h11.Response | h11.InformationalResponse):
        raise RefusedError("incomplete")
    start = (b"%d" % event.status_code, event.reason)
    if isinstance(event, h11.InformationalResponse):
        return Reading(start, tuple(event.headers), b"")
    connection.receive_data(b"")
    return Reading(start, tuple(event.headers), _h11_body(connection))


def _h11_next(connection: h11.Connection) -> object:
    try:
        return connection.next_event()
    except h11.RemoteProtocolError as error:
        raise RefusedError(str(error)) from error


def _h11_body(connection: h11.Connection) -> bytes:
    body = b""
    while True:
        event = _h11_next(connection)
        if isinstance(event, h11.Data):
            body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage) or event is h11.PAUSED:
            return body
        else:
            raise RefusedError("incomplete")


@dataclass(slots=True)
class _Events:
    """The callbacks of llhttp."""

    target: bytes = b""
    reason: bytes = b""
    fields: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""
    heads: int = 0
    complete: bool = False

    def on_url(self, octets: bytes) -> None:
        self.target += octets

    def on_status(self, octets: bytes) -> None:
        self.reason += octets

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.heads:
            self.fields.append((name.lower(), value.strip(b" \t")))

    def on_headers_complete(self) -> None:
        self.heads += 1

    def on_body(self, octets: bytes) -> None:
        self.body += octets

    def on_message_complete(self) -> None:
        self.complete = True


def llhttp_request(octets: bytes) -> Reading:
    """Parse a single request with llhttp."""
    events = _Events()
    parser = httptools.HttpRequestParser(events)
    _llhttp_feed(parser, with_ascii_targets(octets))
    if not events.complete:
        raise RefusedError("incomplete")
    start = (parser.get_method(), _original_target(octets, events.target))
    return Reading(start, tuple(events.fields), events.body)


def llhttp_response(octets: bytes) -> Reading:
    """Parse a response to a method other than HEAD and CONNECT with llhttp.

    The connection ends after the response.
    """
    events = _Events()
    parser = httptools.HttpResponseParser(events)
    _llhttp_feed(parser, octets)
    framed = any(n in (b"content-length", b"transfer-encoding") for n, _ in events.fields)
    if not events.complete and (framed or not events.heads):
        raise RefusedError("incomplete")
    start = (b"%d" % parser.get_status_code(), events.reason)
    return Reading(start, tuple(events.fields), events.body)


def _llhttp_feed(
    parser: httptools.HttpRequestParser | httptools.HttpResponseParser, octets: bytes
) -> None:
    try:
        parser.feed_data(octets)
    except httptools.HttpParserUpgrade:
        return
    except httptools.HttpParserError as error:
        raise RefusedError(str(error)) from error
