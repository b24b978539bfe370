"""Where the head of a message ends (RFC 9112, section 2), and what can be refused before that.

A *head* is the start line, the field lines and the empty line behind them. Some empty lines, at
most `Limits.empty_lines`, may stand in front of it (section 2.2). They stay part of the octets that
`find_head` delimits, and `split_head` skips them again.
"""

import re
from dataclasses import dataclass

from trayproxy.http.errors import MessageError
from trayproxy.http.limits import LIMITS, Limits

TCHAR = rb"!#$%&'*+\-.^_`|~0-9A-Za-z"
"""The inside of a character class: what a token is made of (RFC 9110, section 5.6.2)."""

REQUEST_LINE = re.compile(rb"([%b]+) ([\x21-\x7e]+) HTTP/([0-9])\.([0-9])" % TCHAR)
"""Method, request-target, major and minor version. Exactly one SP between them: RFC 9112, section 3
allows readers to be lenient here and warns that this lets requests be smuggled."""

STATUS_LINE = re.compile(rb"HTTP/1\.([0-9]) ([1-5][0-9][0-9])(?: ([^\x00-\x08\x0a-\x1f\x7f]*))?")
"""Minor version, status, reason. The space behind the status is missing so often when there is no
reason that every client tolerates it."""

_END = b"\r\n\r\n"
# A line feed without its carriage return, the reverse, or NUL: in no head of ours.
_JUNK = re.compile(rb"[^\r]\n|\r[^\n]|\x00")


@dataclass(frozen=True, slots=True)
class _Kind:
    """What a head starts with: `opening` its first octets, as far as they are here."""

    opening: re.Pattern[bytes]
    start_line: re.Pattern[bytes]


_REQUEST = _Kind(re.compile(rb"[%b]|\r?\Z" % TCHAR), REQUEST_LINE)
_RESPONSE = _Kind(re.compile(rb"HTTP/|(?:HTTP|HTT|HT|H|\r)?\Z"), STATUS_LINE)


def find_head(
    buffer: bytes | bytearray, limits: Limits = LIMITS, start: int = 0, seen: int = 0
) -> int | None:
    """Find the end of a request's head.

    Whole heads are only delimited here; `parse_request` checks them. Incomplete ones are checked as
    far as they go, so that a peer that speaks something else need not be waited for (R-006).

    Args:
        buffer: What has been received.
        limits: How long a head may be.
        start: Where in the buffer the message begins.
        seen: How much of the buffer an earlier call for this message has looked at: the length it
            had then. With it, a head that comes octet by octet takes linear time.

    Returns:
        The index behind the empty line; None while the head is incomplete.

    Raises:
        MessageError: 400 what is here cannot become a request; 414, 431, 501 it is too long.
    """
    return _find(buffer, _REQUEST, limits, start, seen)


def find_response_head(
    buffer: bytes | bytearray, limits: Limits = LIMITS, start: int = 0, seen: int = 0
) -> int | None:
    """Find the end of a response's head; as `find_head`, but every MessageError is a 502."""
    try:
        return _find(buffer, _RESPONSE, limits, start, seen)
    except MessageError as error:
        raise MessageError(502, str(error)) from None


def split_head(head: bytes, limits: Limits = LIMITS) -> list[bytes]:
    """Split a whole head into its start line and field lines, without line ends.

    Args:
        head: What `find_head` delimited, with the empty line at its end.
        limits: How long it may be.

    Raises:
        MessageError: 400 it is not one whole head; 414, 431, 501 it is too long.
    """
    begin = _skip_empty_lines(head, 0, limits)
    if not head.endswith(_END, begin):
        raise MessageError(400, "the head is incomplete")
    if len(head) - begin > limits.head:
        raise _too_long(head, begin, limits)
    lines = head[begin : -len(_END)].split(b"\r\n")
    if len(lines[0]) > limits.request_line:
        raise _too_long(head, begin, limits)
    return lines


def _find(
    buffer: bytes | bytearray, kind: _Kind, limits: Limits, start: int, seen: int
) -> int | None:
    begin = _skip_empty_lines(buffer, start, limits)
    end = buffer.find(_END, max(begin, seen - len(_END) + 1))
    size = (len(buffer) if end < 0 else end + len(_END)) - begin
    if size > limits.head:
        raise _too_long(buffer, begin, limits)
    if end >= 0:
        return end + len(_END)
    _check_part(buffer, kind, limits, begin, seen)
    return None


def _skip_empty_lines(buffer: bytes | bytearray, start: int, limits: Limits) -> int:
    begin = start
    while buffer.startswith(b"\r\n", begin):
        begin += 2
        if begin - start > 2 * limits.empty_lines:
            raise MessageError(400, "too many empty lines before the message")
    return begin


def _check_part(
    buffer: bytes | bytearray, kind: _Kind, limits: Limits, begin: int, seen: int
) -> None:
    """Check what has come of an incomplete head since the last look."""
    if _JUNK.search(buffer, max(begin, seen - 1)):
        raise MessageError(400, "the head has a line end or an octet that no head has")
    line_end = buffer.find(b"\n", begin, begin + limits.request_line + 2)
    if line_end < 0:
        if len(buffer) - begin > limits.request_line + 1:
            raise _too_long(buffer, begin, limits)
        if seen < begin + len(b"HTTP/") and not kind.opening.match(buffer, begin):
            raise MessageError(400, "this is not HTTP")
    elif line_end >= seen and not kind.start_line.fullmatch(buffer, begin, line_end - 1):
        raise MessageError(400, "the first line is malformed")


def _too_long(buffer: bytes | bytearray, begin: int, limits: Limits) -> MessageError:
    """Say which part of a head is too long."""
    stop = begin + limits.request_line
    if buffer.find(b"\r\n", begin, stop + 2) >= 0:
        return MessageError(431, "the header section is too large")
    if buffer.find(b" ", begin, stop) >= 0:
        return MessageError(414, "the first line is too long")
    return MessageError(501, "the method is too long")
