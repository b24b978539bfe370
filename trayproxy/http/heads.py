"""Where the head of a message ends (RFC 9112, section 2), and what can be refused before that.

A *head* is the start line, the field lines and the empty line behind them. Some empty lines, at
most `MessageLimits.empty_lines`, may stand in front of it (section 2.2). They stay part of the
octets that `find_head` delimits, and `split_head` skips them again.
"""

import re
from dataclasses import dataclass

from trayproxy.http.errors import MessageError, TooLargeError
from trayproxy.http.lenient_lines import is_strict, to_strict_lines
from trayproxy.http.limits import DEFAULT_LIMITS, MessageLimits

TCHAR = rb"!#$%&'*+\-.^_`|~0-9A-Za-z"
"""The inside of a character class: what a token is made of (RFC 9110, section 5.6.2)."""

REQUEST_LINE = re.compile(rb"([%b]+) ([\x21-\x7e\x80-\xff]+) HTTP/([0-9])\.([0-9])" % TCHAR)
"""Method, request-target, major and minor version. Exactly one SP between them: RFC 9112, section 3
allows readers to be lenient here and warns that this lets requests be smuggled. Octets above ASCII
are in the URLs of many programs, and no reader takes one of them for a separator."""

STATUS_LINE = re.compile(rb"HTTP/1\.([0-9]) ([1-5][0-9][0-9])(?: ([^\x00-\x08\x0a-\x1f\x7f]*))?")
"""Minor version, status, reason. The space behind the status is missing so often when there is no
reason that every client tolerates it."""

_OWN_LIMIT = "which is TrayProxy's own limit"

_END = b"\r\n\r\n"
_REQUEST_ENDS = (_END,)
_RESPONSE_ENDS = (b"\n\r\n", b"\n\n")
_MAX_END_LENGTH = len(_END)


@dataclass(frozen=True, slots=True)
class _HeadSyntax:
    """How the heads of requests, or of responses, are read.

    Attributes:
        opening: Their first octets, as far as they are here.
        start_line: Their first line, without its line end.
        ends: What a head may end with; the one that comes first counts.
        invalid: What is in no head: NUL, a CR without its LF, and in requests the reverse.
    """

    opening: re.Pattern[bytes]
    start_line: re.Pattern[bytes]
    ends: tuple[bytes, ...]
    invalid: re.Pattern[bytes]


_REQUEST = _HeadSyntax(
    re.compile(rb"[%b]|\r?\Z" % TCHAR),
    REQUEST_LINE,
    _REQUEST_ENDS,
    re.compile(rb"[^\r]\n|\r[^\n]|\x00"),
)
_RESPONSE = _HeadSyntax(
    re.compile(rb"HTTP/|(?:HTTP|HTT|HT|H|\r)?\Z"),
    STATUS_LINE,
    _RESPONSE_ENDS,
    re.compile(rb"\r[^\n]|\x00"),
)


def find_head(
    buffer: bytes | bytearray, limits: MessageLimits = DEFAULT_LIMITS, start: int = 0, seen: int = 0
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
    buffer: bytes | bytearray, limits: MessageLimits = DEFAULT_LIMITS, start: int = 0, seen: int = 0
) -> int | None:
    """Find the end of a response's head; as `find_head`, but every MessageError is a 502.

    Lines may end with a bare LF: see `lenient`.
    """
    try:
        return _find(buffer, _RESPONSE, limits, start, seen)
    except MessageError as error:
        raise type(error)(502, str(error)) from None


def split_head(head: bytes, limits: MessageLimits = DEFAULT_LIMITS) -> list[bytes]:
    """Split a whole head into its start line and field lines, without line ends.

    Args:
        head: What `find_head` delimited, with the empty line at its end.
        limits: How long it may be.

    Raises:
        MessageError: 400 it is not one whole head; 414, 431, 501 it is too long.
    """
    begin = _skip_empty_lines(head, 0, _REQUEST, limits)
    return _split(head[begin:], limits)


def split_response_head(
    head: bytes, limits: MessageLimits = DEFAULT_LIMITS
) -> tuple[list[bytes], bool]:
    """Split the whole head of a response into its status line and field lines, without line ends.

    Args:
        head: What `find_response_head` delimited, with the empty line at its end.
        limits: How long it may be.

    Returns:
        The lines, and whether they were already in the form that the grammar has: no bare LF, and
        no folded line. Folded lines are joined.

    Raises:
        MessageError: It is not one whole head, or it is too long.
    """
    head = head[_skip_empty_lines(head, 0, _RESPONSE, limits) :]
    _check_count(head, limits)  # Before it is made tidy, which takes memory for each line, too.
    if is_strict(head):
        return _split(head, limits), True
    return _split(to_strict_lines(head, has_start_line=True), limits), False


def header_too_large(limits: MessageLimits) -> TooLargeError:
    """Return the error for a header, or trailers, with too many field lines or a too long one.

    The text says whose limit it is, so that nobody looks for it at the proxy or the site.
    """
    figures = f"{limits.lines} lines of {limits.line // 1024} KiB"
    return TooLargeError(431, f"its header is larger than {figures}, {_OWN_LIMIT}")


def _split(head: bytes, limits: MessageLimits) -> list[bytes]:
    """Split a head without empty lines in front of it."""
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
    """Check how many lines there are before they are split, which takes memory for each.

    Raises:
        TooLargeError: There are too many.
    """
    if head.count(b"\n") > limits.lines + 2:  # The start line and the empty line.
        raise header_too_large(limits)


def _find(
    buffer: bytes | bytearray, syntax: _HeadSyntax, limits: MessageLimits, start: int, seen: int
) -> int | None:
    begin = _skip_empty_lines(buffer, start, syntax, limits)
    end = _end_of_head(buffer, syntax.ends, max(begin, seen - _MAX_END_LENGTH + 1))
    if (end or len(buffer)) - begin > limits.head:
        raise _too_long(buffer, begin, limits)
    if not end:
        _check_incomplete(buffer, syntax, limits, begin, seen)
    return end or None


def _end_of_head(buffer: bytes | bytearray, ends: tuple[bytes, ...], start: int) -> int:
    """Return the index behind the first of these ends, 0 if there is none."""
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
    """Check what has come of an incomplete head since the last look."""
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
    """Say which part of a head is too long."""
    stop = begin + limits.request_line
    if buffer.find(b"\n", begin, stop + 2) >= 0:
        return header_too_large(limits)
    if buffer.find(b" ", begin, stop) >= 0:
        kib = limits.request_line // 1024
        return TooLargeError(414, f"its first line is longer than {kib} KiB, {_OWN_LIMIT}")
    return TooLargeError(501, f"its method is longer than any, {_OWN_LIMIT}")
