"""The wire format of the control protocol: one JSON object per line.

::

    {"type": "UseProfile", "number": 3, "message": {"profile_id": "office"}}

``type`` is the name of a class in `trayproxy.control.messages`. Unknown members of a message are
ignored, so that a newer front end may send additional members; a message with any other type
mismatch is rejected as a whole. JSON escapes line feeds inside strings, so a line feed always ends
a message.
"""

from collections.abc import Iterator
from types import UnionType
from typing import Any, get_args

import msgspec

from trayproxy.control.messages import Envelope, Event, Reply, Request
from trayproxy.control.transport import ControlError

MAX_LINE = 1024 * 1024
"""The maximum length of a line with its line feed, in octets. The largest real message is a
`Status` with many profiles."""

Message = Request | Reply | Event


class ProtocolError(ControlError):
    """Received octets are not a message. The text contains none of them: they may be a password.

    Attributes:
        number: The number of the request if it could be decoded, else 0.
    """

    def __init__(self, reason: str, number: int = 0) -> None:
        super().__init__(reason)
        self.number = number


class _Wire(msgspec.Struct, frozen=True):
    type: str
    number: int
    message: Message


class _Head(msgspec.Struct, frozen=True):
    type: str
    message: msgspec.Raw
    number: int = 0


def _types_by_name(union: UnionType) -> dict[str, Any]:
    return {kind.__name__: kind for kind in get_args(union)}


_REQUESTS = _types_by_name(Request)
_SERVICE_MESSAGES = _types_by_name(Reply | Event)


def encode(envelope: Envelope) -> bytes:
    """Return a message as a line with its line feed.

    Raises:
        ProtocolError: The message is too long, or a text in it is not valid Unicode (a lone
            surrogate).
    """
    wire = _Wire(type(envelope.message).__name__, envelope.number, envelope.message)
    try:
        line = msgspec.json.encode(wire) + b"\n"
    except UnicodeEncodeError:
        raise ProtocolError("a text is not valid Unicode", envelope.number) from None
    if len(line) > MAX_LINE:
        raise ProtocolError(f"a message of {len(line)} octets is too long", envelope.number)
    return line


def decode_request(line: bytes) -> tuple[Request, int]:
    """Return the request in a line, and its number; raise `ProtocolError` for another line."""
    return _decode(line, _REQUESTS)


def decode_service_message(line: bytes) -> Envelope:
    """Return the reply or event in a line; raise `ProtocolError` for another line."""
    return Envelope(*_decode(line, _SERVICE_MESSAGES))


def _decode(line: bytes, kinds: dict[str, Any]) -> tuple[Any, int]:
    # `from None` in each case: msgspec's errors may quote the octets.
    try:
        head = msgspec.json.decode(line, type=_Head)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ProtocolError("a line is not a message") from None
    kind = kinds.get(head.type)
    if kind is None:
        raise ProtocolError("a message of an unknown type", head.number)
    try:
        return msgspec.json.decode(head.message, type=kind), head.number
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ProtocolError(f"not a {kind.__name__}", head.number) from None


class LineSplitter:
    """Splits the octets of a stream into lines."""

    def __init__(self, limit: int = MAX_LINE) -> None:
        """Start with an empty buffer.

        `limit` is the maximum length of a line with its line feed, in octets.
        """
        self._limit = limit
        self._rest = bytearray()

    def feed(self, octets: bytes) -> Iterator[bytes]:
        """Yield each complete line, without its line feed.

        Raises:
            ProtocolError: A line is too long; the stream cannot be read any further.
        """
        start = 0
        while (end := octets.find(b"\n", start)) >= 0:
            if len(self._rest) + end + 1 - start > self._limit:
                raise ProtocolError("a line is too long")
            line = bytes(self._rest) + octets[start:end]
            self._rest.clear()
            start = end + 1
            yield line
        self._rest += octets[start:]
        if len(self._rest) >= self._limit:
            raise ProtocolError("a line is too long")
