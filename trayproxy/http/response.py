"""The head of a response: reading it, and writing the one that goes to the client."""

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
from trayproxy.http.limits import DEFAULT_LIMITS, MessageLimits
from trayproxy.http.request import Request

_SWITCHING_PROTOCOLS = 101
_UPGRADE_REQUIRED = 426
# Compiled when it is needed first, which is seldom.
_SPACED_FRAMING = rb"(?i)\n(?:content-length|transfer-encoding)[ \t]+:"


@dataclass(frozen=True, slots=True)
class Response:
    """The head of a response, checked.

    Attributes:
        minor: Of the version received.
        status: 100 to 599.
        reason: As received, often empty.
        fields: As received, hop-by-hop ones too.
        framing: How long its content is.
        keep_alive: Whether the upstream's connection may be used again after the content. Never if
            another reader may see another message in these octets (see `lenient`).
        opens_tunnel: Whether a tunnel begins behind the head: any 2xx to CONNECT (RFC 9110, section
            9.3.6). Neither `framing` nor `keep_alive` says anything about it.
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
        """Whether another response to the same request follows (RFC 9110, section 15.2)."""
        return self.status < 200 and self.status != _SWITCHING_PROTOCOLS


def parse_response(head: bytes, method: bytes, limits: MessageLimits = DEFAULT_LIMITS) -> Response:
    """Read the head of a response.

    Args:
        head: What `heads.find_response_head` delimited.
        method: Of the request that it answers; the framing depends on it.
        limits: How long it may be.

    Raises:
        MessageError: 502, whatever the matter is.
    """
    try:
        return _parse(head, method, limits)
    except MessageError as error:
        raise type(error)(502, str(error)) from None


def switches_protocols(request: Request, response: Response) -> bool:
    """Tell whether this is a 101 to a protocol that the request named (RFC 9110, section 7.8).

    A 101 of which this is not true must not reach the client.
    """
    asked = {protocol.lower() for protocol in request.upgrade}
    chosen = upgrade_protocols(response.fields, response.minor)
    return (
        response.status == _SWITCHING_PROTOCOLS
        and bool(chosen)
        and asked.issuperset(protocol.lower() for protocol in chosen)
    )


def client_framing(response: Response, client_minor: int) -> Framing:
    """Return how the content is to be framed for the client: 1.0 does not know chunks."""
    if client_minor < 1 and isinstance(response.framing, Chunked):
        return UntilClose()
    return response.framing


def write_response(response: Response, *, via: bytes, client_minor: int, close: bool) -> bytes:
    """Write the head that goes to the client.

    Args:
        response: What the upstream sent. The content must follow as `client_framing` says.
        via: Our pseudonym in Via, a token.
        client_minor: Of the version of the client's request. The answer is 1.1 all the same (RFC
            9112, section 2.3).
        close: Whether we shall close the client's connection. We say so on our own account when
            the content ends with it, or the client is of 1.0.
    """
    framing = client_framing(response, client_minor)
    closes = close or client_minor < 1 or isinstance(framing, UntilClose)
    # A tunnel ends by itself; the option would only lead clients astray.
    closes = closes and not response.opens_tunnel
    lines = [via_line(response.minor, via), *framing_line(framing)]
    lines += _connection_lines(response, closes)
    return _write(response, lines)


def write_interim(response: Response, *, via: bytes, client_minor: int) -> bytes:
    """Write an interim response; nothing for a client of 1.0 (RFC 9110, section 15.2)."""
    return b"" if client_minor < 1 else _write(response, [via_line(response.minor, via)])


def _parse(head: bytes, method: bytes, limits: MessageLimits) -> Response:
    (first, *lines), is_strict = split_response_head(head, limits)
    match = STATUS_LINE.fullmatch(first)
    if match is None:
        raise MessageError(502, "the status line is malformed")
    minor, status = int(match[1]), int(match[2])
    fields = parse_response_fields(lines, limits)
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
    """Tell whether whitespace stands between the name of a framing field and its colon.

    We drop the whitespace, as a proxy must (RFC 9112, section 5.1); others may drop the line.
    """
    has_space = b" :" in head or b"\t:" in head  # The regular expression takes much longer.
    return has_space and re.search(_SPACED_FRAMING, head) is not None


def _keep_alive(minor: int, fields: Fields, framing: Framing) -> bool:
    """Tell whether the connection persists (RFC 9112, sections 6.1 and 9.3)."""
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
