"""The end of the head of a message (RFC 9112, section 2), and checks of incomplete heads.

A *head* is the start line, the field lines and the empty line after them. Up to
`MessageLimits.empty_lines` empty lines may precede the head (section 2.2). They are part of the
octets delimited by `find_head`, and `split_head` skips them.
"""

import re
from dataclasses import dataclass

from trayproxy.http.errors import MessageError, TooLargeError
from trayproxy.http.lenient_lines import is_strict, to_strict_lines
from trayproxy.http.limits import DEFAULT_LIMITS, MessageLimits

TCHAR = rb"!#$%&'*+\-.^_`|~0-9A-Za-z"
"""The characters of a token, for use in a character class (RFC 9110, section 5.6.2)."""

REQUEST_LINE = re.compile(rb"([%b]+) ([\x21-\x7e\x80-\xff]+) HTTP/([0-9])\.([0-9])" % TCHAR)
"""Method, request-target, major and minor version, separated by exactly one SP: RFC 9112, section 3
allows lenient separators but warns of request smuggling. Many programs send octets above ASCII in
URLs, and no parser takes such an octet for a separator."""

STATUS_LINE = re.compile(rb"HTTP/1\.([0-9]) ([1-5][0-9][0-9])(?: ([^\x00-\x08\x0a-\x1f\x7f]*))?")
"""Minor version, status, reason. The space after the status is optional if there is no reason:
servers omit it so often that every client accepts its absence."""

_OWN_LIMIT = "which is TrayProxy's own limit"

_END = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class _HeadSyntax:
    """The syntax of the heads of requests, or of responses.

    Attributes:
        opening: The first octets of a head, complete or not.
        start_line: The start line, without its line end.
        ends: The possible ends of a head; the first occurrence counts.
        invalid: Octets not allowed in a head: NUL, a CR without LF, and in requests an LF without
            CR.
    """

    opening: re.Pattern[bytes]
    start_line: re.Pattern[bytes]
    ends: tuple[bytes, ...]
    invalid: re.Pattern[bytes]


_REQUEST = _HeadSyntax(
    re.compile(rb"[%b]|\r?\Z" % TCHAR), REQUEST_LINE, (_END,), re.compile(rb"[^\r]\n|\r[^\n]|\x00")
)
_RESPONSE = _HeadSyntax(
    re.compile(rb"HTTP/|(?:HTTP|HTT|HT|H|\r)?\Z"),
    STATUS_LINE,
    (b"\n\r\n", b"\n\n"),
    re.compile(rb"\r[^\n]|\x00"),
)


def find_head(
    buffer: bytes | bytearray, limits: MessageLimits = DEFAULT_LIMITS, start: int = 0, seen: int = 0
) -> int | None:
    """Return the end of the head of a request.

    Complete heads are only delimited here; `parse_request` checks them. Incomplete heads are
    checked as far as possible, so that a peer with another protocol is refused early (R-006).

    Args:
        buffer: The octets received.
        limits: See `MessageLimits`.
        start: The index in the buffer at which the message begins.
        seen: The length of the buffer at the previous call for this message. With it, a head that
            arrives octet by octet takes linear time.

    Returns:
        The index after the empty line; None while the head is incomplete.

    Raises:
        MessageError: 400 the octets cannot become a request; 414, 431, 501 the head is too long.
    """
    return _find(buffer, _REQUEST, limits, start, seen)


def find_response_head(
    buffer: bytes | bytearray, limits: MessageLimits = DEFAULT_LIMITS, start: int = 0, seen: int = 0
) -> int | None:
    """Return the end of the head of a response; like `find_head`, but every MessageError is a 502.

    Lines may end with a bare LF: see `lenient_lines`.
    """
    try:
        return _find(buffer, _RESPONSE, limits, start, seen)
    except MessageError as error:
        raise type(error)(502, str(error)) from None


def split_head(head: bytes, limits: MessageLimits = DEFAULT_LIMITS) -> list[bytes]:
    """Split a head delimited by `find_head` into its start line and field lines, without line ends.

    Raises:
        MessageError: 400 the octets are not exactly one complete head; 414, 431, 501 the head is
            too long.
    """
    begin = _skip_empty_lines(head, 0, _REQUEST, limits)
    return _split(head[begin:], limits)


def split_response_head(
    head: bytes, limits: MessageLimits = DEFAULT_LIMITS
) -> tuple[list[bytes], bool]:
    """Split a head delimited by `find_response_head` into its status line and field lines.

    Returns:
        The lines without line ends, with folded lines joined, and whether the head had the strict
        form: no bare LF and no folded line.

    Raises:
        MessageError: The octets are not exactly one complete head, or the head is too long.
    """
    head = head[_skip_empty_lines(head, 0, _RESPONSE, limits) :]
    _check_count(head, limits)  # Before the conversion, which takes memory for each line.
    if is_strict(head):
        return _split(head, limits), True
    return _split(to_strict_lines(head, has_start_line=True), limits), False


def header_too_large(limits: MessageLimits) -> TooLargeError:
    """Return the error for field lines or trailers above the limits.

    The text names TrayProxy as the origin of the limit, to distinguish it from the proxy and the
    site.
    """
    figures = f"{limits.lines} lines of {limits.line // 1024} KiB"
    return TooLargeError(431, f"its header is larger than {figures}, {_OWN_LIMIT}")


def _split(head: bytes, limits: MessageLimits) -> list[bytes]:
    """Split a head without preceding empty lines."""
    if not head.endswith(_END):
        raise MessageError(400, "the head is incomplete")
    _check_count(head, limits)
    if len(head) > limits.head:
        raise _too_long(head, 0, limits)
    lines = head[: -len(_END)].split(b"\r\n")
    if len(lines[0]) > limits.request_line:
        raise _too_long(head, 0, limits)
    return lines


def _check_count(head: bytes, limits: MessageLimits) -> None:
    """Check the number of lines before splitting, which takes memory for each line."""
    if head.count(b"\n") > limits.lines + 2:  # Plus the start line and the empty line.
        raise header_too_large(limits)


def _find(
    buffer: bytes | bytearray, syntax: _HeadSyntax, limits: MessageLimits, start: int, seen: int
) -> int | None:
    begin = _skip_empty_lines(buffer, start, syntax, limits)
    end = _end_of_head(buffer, syntax.ends, max(begin, seen - len(_END) + 1))
    if (end or len(buffer)) - begin > limits.head:
        raise _too_long(buffer, begin, limits)
    if not end:
        _check_incomplete(buffer, syntax, limits, begin, seen)
    return end or None


def _end_of_head(buffer: bytes | bytearray, ends: tuple[bytes, ...], start: int) -> int:
    """Return the index behind the first end of a head in the buffer; 0 if there is none."""
    first = 0
    for end in ends:
        found = buffer.find(end, start, first or len(buffer)) + len(end)
        if found >= len(end):
            first = found
    return first


def _skip_empty_lines(
    buffer: bytes | bytearray, start: int, syntax: _HeadSyntax, limits: MessageLimits
) -> int:
    begin, count = start, 0
    while True:
        if buffer.startswith(b"\r\n", begin):
            begin += 2
        elif syntax is _RESPONSE and buffer.startswith(b"\n", begin):
            begin += 1
        else:
            return begin
        count += 1
        if count > limits.empty_lines:
            raise MessageError(400, "too many empty lines before the message")


def _check_incomplete(
    buffer: bytes | bytearray, syntax: _HeadSyntax, limits: MessageLimits, begin: int, seen: int
) -> None:
    """Check the octets of an incomplete head received since the previous call."""
    if syntax.invalid.search(buffer, max(begin, seen - 1)):
        raise MessageError(400, "the head has a line end or an octet that no head has")
    longest = limits.line + len(b"\r\n")
    if buffer.rfind(b"\n", max(begin, len(buffer) - longest)) < 0 < len(buffer) - begin - longest:
        raise _too_long(buffer, begin, limits)
    line_end = buffer.find(b"\n", begin, begin + limits.request_line + 2)
    if line_end < 0:
        if len(buffer) - begin > limits.request_line + 1:
            raise _too_long(buffer, begin, limits)
        if seen < begin + len(b"HTTP/") and not syntax.opening.match(buffer, begin):
            raise MessageError(400, "this is not HTTP")
        return
    is_whole = buffer[line_end - 1 : line_end] == b"\r"
    if line_end >= seen and not syntax.start_line.fullmatch(buffer, begin, line_end - is_whole):
        raise MessageError(400, "the first line is malformed")


def _too_long(buffer: bytes | bytearray, begin: int, limits: MessageLimits) -> MessageError:
    """Return the error for the part of a head that is too long."""
    stop = begin + limits.request_line
    if buffer.find(b"\n", begin, stop + 2) >= 0:
        return header_too_large(limits)
    if buffer.find(b" ", begin, stop) >= 0:
        kib = limits.request_line // 1024
        return TooLargeError(414, f"its first line is longer than {kib} KiB, {_OWN_LIMIT}")
    return TooLargeError(501, "its method is longer than TrayProxy's own limit")
