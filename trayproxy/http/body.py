"""Content as it arrives (RFC 9112, sections 6 and 7), without keeping any of it.

One class for each framing, all with the interface `Body`. Octets that are handed in come out again
as slices of what was handed in where that is possible: take them before the buffer is used again.
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

# Sixteen digits are 64 bits. Extensions are read over; whitespace only where they begin, as the
# grammar has it ("bad" whitespace, RFC 9112, section 7.1.1).
_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})(?:[ \t]*;[^\x00-\x08\x0a-\x1f\x7f]*)?\r\n")
# What servers pad the size with to fill a field of fixed width, and bare LF.
# Compiled when it is needed first, which is seldom.
_LENIENT_SIZE_LINE = rb"([0-9A-Fa-f]{1,16})[ \t]*(?:;[^\x00-\x08\x0a-\x1f\x7f]*)?\r?\n"
_CRLF = b"\r\n"


class Body(Protocol):
    """Reads the content of one message.

    Attributes:
        done: Whether the content is complete.
        trailers: As received, once it is.
        is_unambiguous: Nothing of it was in a form that another reader may understand otherwise. If
            something was, the connection must not be used again.
    """

    done: bool
    trailers: Fields
    is_unambiguous: bool

    def feed(self, data: Octets) -> tuple[list[Octets], int]:
        """Take octets from the connection.

        Returns:
            The content in them, in pieces, and how many of them belong to this message. The others
            are the next message's, or surplus.

        Raises:
            MessageError: The framing is broken. What was returned before may have been passed on;
                the message must be cut short so that its receiver notices.
        """

    def eof(self) -> None:
        """Take the end of the connection.

        Raises:
            MessageError: The content is incomplete (RFC 9112, section 8).
        """


def request_body_reader(framing: Framing, limits: MessageLimits = DEFAULT_LIMITS) -> Body:
    """Return a reader for the content of a request; a MessageError of it says 400.

    Args:
        framing: Of the request.
        limits: How long chunk sizes and trailers may be.
    """
    return _reader(framing, limits, 400)


def response_body_reader(framing: Framing, limits: MessageLimits = DEFAULT_LIMITS) -> Body:
    """Return a reader for the content of a response; a MessageError of it says 502.

    It also reads chunks that many servers write and the grammar does not allow: see `ChunkedBody`.
    """
    return _reader(framing, limits, 502)


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
    """Content of a known length, also of none."""

    is_unambiguous = True

    def __init__(self, octets: int, status: int = 400) -> None:
        self.done = octets == 0
        self.trailers = Fields()
        self._remaining = octets
        self._status = status

    def feed(self, data: Octets) -> tuple[list[Octets], int]:
        """Take octets; see `Body`."""
        piece = data[: self._remaining]
        self._remaining -= len(piece)
        self.done = self._remaining == 0
        return ([piece] if piece else []), len(piece)

    def eof(self) -> None:
        """Take the end of the connection; see `Body`."""
        if not self.done:
            raise _incomplete(self._status)


class UntilCloseBody:
    """Content that ends with its connection: nobody can tell whether all of it came."""

    is_unambiguous = True

    def __init__(self) -> None:
        self.done = False
        self.trailers = Fields()

    def feed(self, data: Octets) -> tuple[list[Octets], int]:
        """Take octets; see `Body`."""
        return ([data] if data else []), len(data)

    def eof(self) -> None:
        """Take the end of the connection; see `Body`."""
        self.done = True


class _State(enum.Enum):
    """Which part of chunked content comes next."""

    SIZE = enum.auto()
    DATA = enum.auto()
    DATA_END = enum.auto()
    TRAILERS = enum.auto()


class ChunkedBody:
    """Content in chunks (RFC 9112, section 7.1).

    Holds at most one line of `MessageLimits.chunk_line` octets, or the trailers.
    """

    def __init__(
        self, limits: MessageLimits = DEFAULT_LIMITS, status: int = 400, *, lenient: bool = False
    ) -> None:
        """Begin in front of the first chunk.

        Args:
            limits: How long chunk sizes and trailers may be.
            status: What a MessageError says.
            lenient: Take blanks behind a size, a bare LF as the end of a line, and folded trailers.
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
        """Take octets; see `Body`."""
        if 0 < len(data) <= self._remaining:
            # Within a chunk, where most octets of a large message are: nothing to copy or to find.
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
        """Take the end of the connection; see `Body`."""
        if not self.done:
            raise _incomplete(self._status)

    # What follows takes what it can from the octets at a position and returns the one behind it.

    def _read_whole_chunks(
        self, octets: bytes, view: memoryview, position: int, pieces: list[Octets]
    ) -> int:
        """Take the chunks that have come in one piece; the others are for the other methods.

        A message of chunks of one octet costs a third of what it costs state by state.
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
        """Take octets up to a line feed; the line is None as long as that has not come."""
        left = room - len(self._line)
        end = octets.find(b"\n", position, position + left) + 1
        taken = octets[position : end or position + left]
        self._line += taken
        if not end and len(taken) == left:
            raise TooLargeError(
                self._status, "a chunk size or the trailers are longer than TrayProxy's own limit"
            )
        line = bytes(self._line) if end else None
        if end:
            self._line.clear()
        return line, position + len(taken)


def write_chunk(data: Octets) -> bytes:
    """Write one chunk; nothing for no octets, as that would be the last one."""
    return b"".join((b"%x\r\n" % len(data), data, _CRLF)) if data else b""


def write_last_chunk(trailers: Fields) -> bytes:
    """Write the end of chunked content.

    Args:
        trailers: As received; those that must not be sent as trailers are left out.
    """
    return b"0\r\n%b\r\n" % write_fields(forwarded_trailers(trailers))


def _incomplete(status: int) -> MessageError:
    return MessageError(status, "the connection ended before the message did")
