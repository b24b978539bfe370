"""Readers of content (RFC 9112, sections 6 and 7), which keep no content.

There is a class for each framing, with the interface `Body`. The pieces of content returned are
slices of the input wherever possible: use the pieces before reusing the buffer of the input.
"""

import enum
import re
from typing import Protocol

from trayproxy.http.errors import MessageError, TooLargeError
from trayproxy.http.fields import Fields, parse_fields, write_fields
from trayproxy.http.framing import Chunked, Framing, Length, NoBody
from trayproxy.http.hop_by_hop import forwarded_trailers
from trayproxy.http.lenient_lines import is_strict, to_strict_lines
from trayproxy.http.limits import DEFAULT_LIMITS, MessageLimits

Octets = bytes | memoryview

# Sixteen digits are 64 bits. Extensions are ignored. Whitespace is accepted only before an
# extension, as in the grammar ("bad" whitespace, RFC 9112, section 7.1.1).
_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})(?:[ \t]*;[^\x00-\x08\x0a-\x1f\x7f]*)?\r\n")
# Servers pad the size to a fixed width, or send a bare LF. This pattern is rarely needed and
# therefore compiled on first use.
_LENIENT_SIZE_LINE = rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;[^\x00-\x08\x0a-\x1f\x7f]*)?\r?\n"
_CRLF = b"\r\n"


class Body(Protocol):
    """A reader of the content of a message.

    Attributes:
        done: True if the content is complete.
        trailers: The trailers as received, available when `done` is True.
        is_unambiguous: False if another reader may parse a part of the content differently. The
            connection must then not be reused.
    """

    done: bool
    trailers: Fields
    is_unambiguous: bool

    def feed(self, data: Octets) -> tuple[list[Octets], int]:
        """Parse octets from the connection.

        Returns:
            The pieces of content in the octets, and the number of octets parsed. The remaining
            octets belong to the next message, or are surplus.

        Raises:
            MessageError: The framing is invalid. The pieces returned before may have been forwarded
                already; the forwarded message must be cut off so that its receiver notices.
        """

    def eof(self) -> None:
        """Handle the end of the connection.

        Raises:
            MessageError: The content is incomplete (RFC 9112, section 8).
        """


def request_body_reader(framing: Framing, limits: MessageLimits = DEFAULT_LIMITS) -> Body:
    """Return a reader for the content of a request. Its MessageErrors have status 400."""
    return _reader(framing, limits, 400)


def response_body_reader(framing: Framing) -> Body:
    """Return a reader for the content of a response. Its MessageErrors have status 502.

    The reader also accepts common violations of the chunk grammar by servers: see `ChunkedBody`.
    """
    return _reader(framing, DEFAULT_LIMITS, 502)


def _reader(framing: Framing, limits: MessageLimits, status: int) -> Body:
    match framing:
        case NoBody():
            return FixedLengthBody(0, status)
        case Length(octets):
            return FixedLengthBody(octets, status)
        case Chunked():
            return ChunkedBody(limits, status, lenient=status == 502)
        case _:
            return UntilCloseBody()


class FixedLengthBody:
    """A reader of content of known length, which may be zero."""

    is_unambiguous = True

    def __init__(self, octets: int, status: int = 400) -> None:
        self.done = octets == 0
        self.trailers = Fields()
        self._remaining = octets
        self._status = status

    def feed(self, data: Octets) -> tuple[list[Octets], int]:
        """Parse octets; see `Body`."""
        piece = data[: self._remaining]
        self._remaining -= len(piece)
        self.done = self._remaining == 0
        return ([piece] if piece else []), len(piece)

    def eof(self) -> None:
        """Handle the end of the connection; see `Body`."""
        if not self.done:
            raise _incomplete(self._status)


class UntilCloseBody:
    """A reader of content up to the end of the connection. Truncation cannot be detected."""

    is_unambiguous = True

    def __init__(self) -> None:
        self.done = False
        self.trailers = Fields()

    def feed(self, data: Octets) -> tuple[list[Octets], int]:
        """Parse octets; see `Body`."""
        return ([data] if data else []), len(data)

    def eof(self) -> None:
        """Handle the end of the connection; see `Body`."""
        self.done = True


class _State(enum.Enum):
    """The next part of chunked content."""

    SIZE = enum.auto()
    DATA = enum.auto()
    DATA_END = enum.auto()
    TRAILERS = enum.auto()


class ChunkedBody:
    """A reader of chunked content (RFC 9112, section 7.1).

    It buffers at most a line of `MessageLimits.chunk_line` octets, or the trailers.
    """

    def __init__(
        self, limits: MessageLimits = DEFAULT_LIMITS, status: int = 400, *, lenient: bool = False
    ) -> None:
        """Create a reader whose MessageErrors have this status.

        A lenient reader accepts blanks after a size, a bare LF as a line end, and folded trailers.
        """
        self.done = False
        self.is_unambiguous = True
        self.trailers = Fields()
        self._lenient = lenient
        self._limits = limits
        self._status = status
        self._state = _State.SIZE
        self._remaining = 0
        self._line = bytearray()
        self._trailer_lines: list[bytes] = []
        self._trailer_limit = limits.trailers

    def feed(self, data: Octets) -> tuple[list[Octets], int]:
        """Parse octets; see `Body`."""
        if 0 < len(data) <= self._remaining:
            # Fast path: all octets are inside a chunk, so nothing is copied or searched.
            self._count(len(data))
            return [data], len(data)
        octets = bytes(data)
        view = memoryview(octets)
        pieces: list[Octets] = []
        position = 0
        while position < len(octets) and not self.done:
            match self._state:
                case _State.SIZE:
                    position = self._read_whole_chunks(octets, view, position, pieces)
                    position = self._read_size(octets, position)
                case _State.DATA:
                    pieces.append(view[position : position + self._remaining])
                    position += self._count(len(pieces[-1]))
                case _State.DATA_END:
                    position = self._read_data_end(octets, position)
                case _State.TRAILERS:
                    position = self._read_trailers(octets, position)
        return pieces, position

    def eof(self) -> None:
        """Handle the end of the connection; see `Body`."""
        if not self.done:
            raise _incomplete(self._status)

    # The following methods read from the octets at a position and return the position after it.

    def _read_whole_chunks(
        self, octets: bytes, view: memoryview, position: int, pieces: list[Octets]
    ) -> int:
        """Read chunks that are complete in the octets; the other methods read all others.

        For a message of one-octet chunks, this takes a third of the time of the state machine.
        """
        while not self._line and (line := _SIZE_LINE.match(octets, position)):
            begin = line.end()
            end = begin + int(line[1], 16)
            is_whole = begin < end and octets.startswith(_CRLF, end)
            if not is_whole or begin - position > self._limits.chunk_line:
                break
            pieces.append(view[begin:end])
            position = end + len(_CRLF)
        return position

    def _read_size(self, octets: bytes, position: int) -> int:
        line, position = self._read_line(octets, position, self._limits.chunk_line)
        if line is None:
            return position
        match = _SIZE_LINE.fullmatch(line)
        if match is None and self._lenient:
            self.is_unambiguous = False
            match = re.fullmatch(_LENIENT_SIZE_LINE, line)
        if match is None:
            raise MessageError(self._status, "a chunk size is malformed")
        self._remaining = int(match[1], 16)
        self._state = _State.DATA if self._remaining else _State.TRAILERS
        return position

    def _count(self, octets: int) -> int:
        self._remaining -= octets
        if not self._remaining:
            self._state = _State.DATA_END
        return octets

    def _read_data_end(self, octets: bytes, position: int) -> int:
        if self._lenient and not self._line and octets.startswith(b"\n", position):
            self.is_unambiguous = False
            self._state = _State.SIZE
            return position + 1
        expected = _CRLF[len(self._line) :]
        found = octets[position : position + len(expected)]
        if not expected.startswith(found):
            raise MessageError(self._status, "a chunk is longer than its size")
        self._line += found
        if len(self._line) == len(_CRLF):
            self._line.clear()
            self._state = _State.SIZE
        return position + len(found)

    def _read_trailers(self, octets: bytes, position: int) -> int:
        line, position = self._read_line(octets, position, self._trailer_limit)
        if line is None:
            return position
        if not line.endswith(_CRLF) and not self._lenient:
            raise MessageError(self._status, "the trailers are malformed")
        if line not in (_CRLF, b"\n"):
            self._trailer_limit -= len(line)
            self._trailer_lines.append(line)
            return position
        self.is_unambiguous = self.is_unambiguous and line == _CRLF
        try:
            self.trailers = self._parse_trailers(b"".join(self._trailer_lines))
        except MessageError as error:
            raise type(error)(self._status, str(error)) from None
        self.done = True
        return position

    def _parse_trailers(self, section: bytes) -> Fields:
        if self._lenient and not is_strict(section):
            self.is_unambiguous = False
            section = to_strict_lines(section, has_start_line=False)
        return parse_fields(section.split(_CRLF)[:-1], self._limits)

    def _read_line(self, octets: bytes, position: int, room: int) -> tuple[bytes | None, int]:
        """Read octets up to a line feed; the line is None until the line feed arrives."""
        left = room - len(self._line)
        end = octets.find(b"\n", position, position + left) + 1
        taken = octets[position : end or position + left]
        self._line += taken
        position += len(taken)
        if end:
            line = bytes(self._line)
            self._line.clear()
            return line, position
        if len(taken) == left:
            raise TooLargeError(
                self._status, "a chunk size or the trailers are longer than TrayProxy's own limit"
            )
        return None, position


def write_chunk(data: Octets) -> bytes:
    """Return a chunk; empty for no octets, because an empty chunk would end the content."""
    return b"".join((b"%x\r\n" % len(data), data, _CRLF)) if data else b""


def write_last_chunk(trailers: Fields) -> bytes:
    """Return the end of chunked content.

    Args:
        trailers: The trailers as received. Fields not allowed in trailers are removed.
    """
    return b"0\r\n%b\r\n" % write_fields(forwarded_trailers(trailers))


def _incomplete(status: int) -> MessageError:
    return MessageError(status, "the connection ended before the message did")
