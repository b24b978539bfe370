"""How long the content of a message is (RFC 9112, section 6).

A request whose fields say it twice, or in a way that two readers may understand differently, is
refused and not repaired: that is what request smuggling is made of. Some answers of that kind are
read, as section 6.3 has it; then the connection ends with the answer, so that nothing behind it can
be taken for another one.
"""

import itertools
import re
from dataclasses import dataclass

from trayproxy.http.errors import MessageError
from trayproxy.http.fields import Fields

# 19 digits are below 2**64, where the parsers behind us end. int() alone would take signs,
# underscores and other scripts' digits.
_LENGTH = re.compile(rb"[0-9]{1,19}")

_NO_CONTENT = (204, 304)


@dataclass(frozen=True, slots=True)
class NoBody:
    """There is no content.

    Attributes:
        announced_length: The Content-Length of an answer to HEAD, or of a 304.
    """

    announced_length: int | None = None


@dataclass(frozen=True, slots=True)
class Length:
    """The content has so many octets; zero of them are content too."""

    octets: int


@dataclass(frozen=True, slots=True)
class Chunked:
    """The content comes in chunks that end by themselves."""


@dataclass(frozen=True, slots=True)
class UntilClose:
    """The content of a response ends with its connection."""


Framing = NoBody | Length | Chunked | UntilClose


def request_framing(method: bytes, minor: int, fields: Fields) -> Framing:
    """Decide how long the content of a request is.

    Args:
        method: CONNECT and TRACE have none (RFC 9110, sections 9.3.6 and 9.3.8). CONNECT may say
            that in figures: Internet Explorer sends ``Content-Length: 0`` with each.
        minor: Of the version; Transfer-Encoding in 1.0 is faulty (RFC 9112, section 6.1).
        fields: As received.

    Raises:
        MessageError: 400 the framing is faulty or ambiguous; 501 a transfer coding is unknown.
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
    """Decide how long the content of a response is (RFC 9112, section 6.3).

    Args:
        method: Of the request. A 2xx to CONNECT begins a tunnel, whatever its fields say.
        status: Of the response.
        fields: As received.

    Raises:
        MessageError: The framing is faulty or ambiguous, or has a coding that we did not ask for.
    """
    if status < 200 or status == 204 or (method == b"CONNECT" and status < 300):
        return NoBody()
    if method == b"HEAD" or status in _NO_CONTENT:
        return NoBody(_announced(fields))
    codings = fields.tokens(b"transfer-encoding")
    # What RFC 2616, section 3.6 called identity is no coding at all.
    rest = tuple(itertools.dropwhile(b"identity".__eq__, codings))
    if rest or (b"transfer-encoding" in fields and not codings):
        return _chunked(rest)  # Content-Length beside it does not count (RFC 9112, section 6.3).
    if b"content-length" in fields:
        return Length(_length(fields))
    return UntilClose()


def is_unambiguous(fields: Fields) -> bool:
    """Tell whether every reader takes the framing of a response with these fields for the same."""
    if b"transfer-encoding" not in fields:
        return True
    codings = fields.tokens(b"transfer-encoding")
    return codings == (b"chunked",) and b"content-length" not in fields


def framing_line(framing: Framing) -> tuple[tuple[bytes, bytes], ...]:
    """Return the field line that says this, if it takes one."""
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
    """Read Content-Length; equal repetitions are one (RFC 9112, section 6.3)."""
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
    """Read a Content-Length that frames nothing: if it makes no sense, it is dropped."""
    if b"transfer-encoding" in fields or b"content-length" not in fields:
        return None
    try:
        return _length(fields)
    except MessageError:
        return None
