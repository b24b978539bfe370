"""Framing: the length of the content of a message (RFC 9112, section 6).

A request with contradictory or ambiguous framing is refused and not repaired, because request
smuggling uses such requests. Some ambiguous responses are accepted as section 6.3 specifies. The
connection is then closed after the response, so that further octets cannot be taken for another
response.
"""

import itertools
import re
from dataclasses import dataclass

from trayproxy.http.errors import MessageError
from trayproxy.http.fields import Fields

# 19 digits are below 2**64, the limit of other parsers. int() alone would accept signs, underscores
# and non-ASCII digits.
_LENGTH = re.compile(rb"[0-9]{1,19}")

_NO_CONTENT = (204, 304)


@dataclass(frozen=True, slots=True)
class NoBody:
    """There is no content.

    Attributes:
        announced_length: The Content-Length of a response to HEAD or of a 304, which would apply to
            GET.
    """

    announced_length: int | None = None


@dataclass(frozen=True, slots=True)
class Length:
    """The content has this number of octets, possibly zero."""

    octets: int


@dataclass(frozen=True, slots=True)
class Chunked:
    """The content is in chunks, each with its size (RFC 9112, section 7.1)."""


@dataclass(frozen=True, slots=True)
class UntilClose:
    """The content of a response ends when the connection closes."""


Framing = NoBody | Length | Chunked | UntilClose


def request_framing(method: bytes, minor: int, fields: Fields) -> Framing:
    """Return the framing of a request.

    CONNECT and TRACE have no content (RFC 9110, sections 9.3.6 and 9.3.8). CONNECT may have a
    length of zero: Internet Explorer always sends ``Content-Length: 0``. Transfer-Encoding in
    HTTP/1.0 is invalid (RFC 9112, section 6.1).

    Raises:
        MessageError: 400 the framing is invalid or ambiguous; 501 a transfer coding is unknown.
    """
    framing: Framing = NoBody()
    if b"transfer-encoding" in fields:
        if b"content-length" in fields:
            raise MessageError(400, "the message has both Content-Length and Transfer-Encoding")
        if minor < 1:
            raise MessageError(400, "HTTP/1.0 has no Transfer-Encoding")
        framing = _chunked(fields.tokens(b"transfer-encoding"))
    elif b"content-length" in fields:
        framing = Length(_length(fields))
    if method in (b"CONNECT", b"TRACE"):
        if framing not in (NoBody(), Length(0)):
            raise MessageError(400, "this method has no content")
        return NoBody()
    return framing


def response_framing(method: bytes, status: int, fields: Fields) -> Framing:
    """Return the framing of a response to a request with this method (RFC 9112, section 6.3).

    A 2xx to CONNECT opens a tunnel, regardless of its fields.

    Raises:
        MessageError: The framing is invalid or ambiguous, or contains a coding that was not
            requested.
    """
    if status < 200 or status == 204 or (method == b"CONNECT" and status < 300):
        return NoBody()
    if method == b"HEAD" or status in _NO_CONTENT:
        return NoBody(_announced(fields))
    codings = fields.tokens(b"transfer-encoding")
    # RFC 2616, section 3.6 defined identity as no transformation.
    rest = tuple(itertools.dropwhile(b"identity".__eq__, codings))
    if rest or (b"transfer-encoding" in fields and not codings):
        return _chunked(rest)  # Content-Length is ignored then (RFC 9112, section 6.3).
    if b"content-length" in fields:
        return Length(_length(fields))
    return UntilClose()


def is_unambiguous(fields: Fields) -> bool:
    """Return whether every parser agrees on the framing of a response with these fields."""
    if b"transfer-encoding" not in fields:
        return True
    codings = fields.tokens(b"transfer-encoding")
    return codings == (b"chunked",) and b"content-length" not in fields


def framing_line(framing: Framing) -> tuple[tuple[bytes, bytes], ...]:
    """Return the field line for this framing, if it needs one."""
    match framing:
        case Length(octets) | NoBody(int(octets)):
            return ((b"Content-Length", b"%d" % octets),)
        case Chunked():
            return ((b"Transfer-Encoding", b"chunked"),)
        case _:
            return ()


def _chunked(codings: tuple[bytes, ...]) -> Chunked:
    if codings == (b"chunked",):
        return Chunked()
    if codings[-1:] != (b"chunked",) or codings.count(b"chunked") > 1:
        raise MessageError(400, "Transfer-Encoding does not end with chunked, once")
    raise MessageError(501, "the transfer coding is unknown")


def _length(fields: Fields) -> int:
    """Parse Content-Length; equal repetitions are accepted (RFC 9112, section 6.3)."""
    values = {
        value.strip(b" \t")
        for line in fields.get_all(b"content-length")
        for value in line.split(b",")
    }
    length = values.pop()
    if values or _LENGTH.fullmatch(length) is None:
        raise MessageError(400, "Content-Length is no number, or has several values")
    return int(length)


def _announced(fields: Fields) -> int | None:
    """Parse the Content-Length of a message without content; ignore it if it is invalid."""
    if b"transfer-encoding" in fields or b"content-length" not in fields:
        return None
    try:
        return _length(fields)
    except MessageError:
        return None
