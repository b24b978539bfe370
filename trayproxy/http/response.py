"""Parsing of response heads, and serialization of the heads sent to the client."""

import re
from dataclasses import dataclass

from trayproxy.http.errors import MessageError
from trayproxy.http.fields import Fields, parse_response_fields, write_fields
from trayproxy.http.framing import (
    Chunked,
    Framing,
    UntilClose,
    framing_line,
    is_unambiguous,
    response_framing,
)
from trayproxy.http.heads import STATUS_LINE, split_response_head
from trayproxy.http.hop_by_hop import connection_options, end_to_end, upgrade_protocols, via_line
from trayproxy.http.request import Request

_SWITCHING_PROTOCOLS = 101
_UPGRADE_REQUIRED = 426
# This pattern is rarely needed and therefore compiled on first use.
_SPACED_FRAMING = rb"(?i)\n(?:content-length|transfer-encoding)[ \t]+:"


@dataclass(frozen=True, slots=True)
class Response:
    """The head of a response, parsed and checked.

    Attributes:
        minor: The minor version received.
        status: 100 to 599.
        reason: The reason phrase as received, often empty.
        fields: The fields as received, including hop-by-hop fields.
        framing: The framing of the content.
        keep_alive: True if the upstream's connection may be reused after the content. Always False
            if another parser may see another message in the octets (see `lenient_lines`).
        opens_tunnel: True if a tunnel begins after the head: for any 2xx to CONNECT (RFC 9110,
            section 9.3.6). `framing` and `keep_alive` do not apply to a tunnel.
    """

    minor: int
    status: int
    reason: bytes
    fields: Fields
    framing: Framing
    keep_alive: bool
    opens_tunnel: bool = False

    @property
    def is_interim(self) -> bool:
        """True if another response to the same request follows (RFC 9110, section 15.2)."""
        return self.status < 200 and self.status != _SWITCHING_PROTOCOLS


def parse_response(head: bytes, method: bytes) -> Response:
    """Parse the head of a response, delimited by `heads.find_response_head`.

    The framing depends on the method of the request.

    Raises:
        MessageError: 502 the head is invalid.
    """
    try:
        return _parse(head, method)
    except MessageError as error:
        raise type(error)(502, str(error)) from None


def switches_protocols(request: Request, response: Response) -> bool:
    """Return whether this is a 101 to a protocol offered by the request (RFC 9110, section 7.8).

    Any other 101 must not be forwarded to the client.
    """
    asked = {protocol.lower() for protocol in request.upgrade}
    chosen = upgrade_protocols(response.fields, response.minor)
    return (
        response.status == _SWITCHING_PROTOCOLS
        and bool(chosen)
        and asked.issuperset(protocol.lower() for protocol in chosen)
    )


def client_framing(response: Response, client_minor: int) -> Framing:
    """Return the framing of the content for the client: HTTP/1.0 has no chunks."""
    if client_minor < 1 and isinstance(response.framing, Chunked):
        return UntilClose()
    return response.framing


def write_response(response: Response, *, via: bytes, client_minor: int, close: bool) -> bytes:
    """Return the head sent to the client. The content must follow with the `client_framing`.

    Args:
        response: The response of the upstream.
        via: The pseudonym of this proxy in Via, a token.
        client_minor: The minor version of the client's request. The response has version 1.1 in any
            case (RFC 9112, section 2.3).
        close: True if the client's connection will be closed. The close option is also sent if the
            content ends with the connection, or the client uses HTTP/1.0.
    """
    framing = client_framing(response, client_minor)
    closes = close or client_minor < 1 or isinstance(framing, UntilClose)
    # A tunnel has its own end; the close option would mislead clients.
    closes = closes and not response.opens_tunnel
    lines = [via_line(response.minor, via), *framing_line(framing)]
    lines += _connection_lines(response, closes)
    return _write(response, lines)


def write_interim(response: Response, *, via: bytes, client_minor: int) -> bytes:
    """Return an interim response; empty for an HTTP/1.0 client (RFC 9110, section 15.2)."""
    return b"" if client_minor < 1 else _write(response, [via_line(response.minor, via)])


def _parse(head: bytes, method: bytes) -> Response:
    (first, *lines), is_strict = split_response_head(head)
    match = STATUS_LINE.fullmatch(first)
    if match is None:
        raise MessageError(502, "the status line is malformed")
    minor, status = int(match[1]), int(match[2])
    fields = parse_response_fields(lines)
    framing = response_framing(method, status, fields)
    is_certain = is_strict and is_unambiguous(fields) and not _has_spaced_framing(head)
    return Response(
        minor,
        status,
        match[3] or b"",
        fields,
        framing,
        keep_alive=is_certain and _keep_alive(minor, fields, framing),
        opens_tunnel=method == b"CONNECT" and 200 <= status < 300,
    )


def _has_spaced_framing(head: bytes) -> bool:
    """Return whether there is whitespace between the name of a framing field and its colon.

    TrayProxy drops the whitespace, as a proxy must (RFC 9112, section 5.1); other parsers may drop
    the line.
    """
    has_space = b" :" in head or b"\t:" in head  # Much faster than the regular expression.
    return has_space and re.search(_SPACED_FRAMING, head) is not None


def _keep_alive(minor: int, fields: Fields, framing: Framing) -> bool:
    """Return whether the connection persists (RFC 9112, sections 6.1 and 9.3)."""
    options = connection_options(fields)
    if b"close" in options or isinstance(framing, UntilClose):
        return False
    if minor < 1:
        return b"keep-alive" in options and b"transfer-encoding" not in fields
    return True


def _connection_lines(response: Response, closes: bool) -> list[tuple[bytes, bytes]]:
    protocols: tuple[bytes, ...] = ()
    if response.status in (_SWITCHING_PROTOCOLS, _UPGRADE_REQUIRED):
        protocols = upgrade_protocols(response.fields, response.minor)
    options = [b"upgrade"] * bool(protocols) + [b"close"] * closes
    lines = [(b"Connection", b", ".join(options))] if options else []
    if protocols:
        lines.append((b"Upgrade", b", ".join(protocols)))
    return lines


def _write(response: Response, lines: list[tuple[bytes, bytes]]) -> bytes:
    return b"".join(
        (
            b"HTTP/1.1 %d %b\r\n" % (response.status, response.reason),
            write_fields(end_to_end(response.fields)),
            write_fields(lines),
            b"\r\n",
        )
    )
