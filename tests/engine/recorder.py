"""An upstream that records every octet, reads it as strictly as h11, and answers everything."""

import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Condition
from time import monotonic

import h11

from tests.http.readers import with_ascii_targets
from tests.support.lines import PATIENCE
from tests.support.server import Server

MARK = b"X-Upstream: yes\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\n" + MARK + b"Content-Length: 2\r\n\r\nok"
NO_CONTENT = b"HTTP/1.1 200 OK\r\n" + MARK + b"Content-Length: 2\r\n\r\n"
ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n" + MARK + b"\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


@dataclass
class Seen:
    """A request as it came.

    Attributes:
        head: Its octets.
        method: ``GET``.
        target: As it came.
        fields: Names in lower case.
        body: Without its framing.
        whole: All of it came.
        connection: On which connection, from 1.
    """

    head: bytes
    method: bytes
    target: bytes
    fields: tuple[tuple[bytes, bytes], ...]
    connection: int
    body: bytes = b""
    whole: bool = False

    def values(self, name: bytes) -> list[bytes]:
        """Return the values of a field, whose name is given in lower case."""
        return [value for found, value in self.fields if found == name]


@dataclass
class Record:
    """One connection.

    Attributes:
        octets: All that came.
        offence: What h11 refused, if it did.
        ended: The engine closed it.
    """

    octets: bytearray = field(default_factory=bytearray)
    offence: str = ""
    ended: bool = False


class Recorder(Server):
    """An upstream that runs."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        """Start it, with TLS if there is a certificate."""
        self._changed = Condition()
        self._records: list[Record] = []
        self._requests: list[Seen] = []
        super().__init__(self._record, tls)

    @property
    def requests(self) -> Sequence[Seen]:
        """The requests up to now."""
        with self._changed:
            return tuple(self._requests)

    @property
    def records(self) -> Sequence[Record]:
        """The connections up to now."""
        with self._changed:
            return tuple(self._records)

    @property
    def octets(self) -> bytes:
        """All that came on all connections."""
        with self._changed:
            return b"".join(bytes(record.octets) for record in self._records)

    def forget(self) -> None:
        """Begin a new record."""
        with self._changed:
            self._records.clear()
            self._requests.clear()

    def request(self, number: int) -> Seen:
        """Wait until that many requests have come whole, and return the last of them, from 1."""
        deadline = monotonic() + PATIENCE
        with self._changed:
            while len(self._requests) < number or not self._requests[number - 1].whole:
                left = deadline - monotonic()
                assert left > 0, f"{len(self._requests)} requests came, not {number}"
                self._changed.wait(left)
            return self._requests[number - 1]

    def _record(self, connection: socket.socket) -> None:
        record = Record()
        with self._changed:
            self._records.append(record)
            number = len(self._records)
        try:
            _Session(self, connection, record, number).run()
        except h11.RemoteProtocolError as error:
            record.offence = str(error)
        finally:
            record.ended = True

    def take_note(self, record: Record, data: bytes) -> None:
        with self._changed:
            record.octets += data
            self._changed.notify_all()

    def add(self, request: Seen) -> None:
        with self._changed:
            self._requests.append(request)
            self._changed.notify_all()

    def complete(self, request: Seen) -> None:
        with self._changed:
            request.whole = True
            self._changed.notify_all()


class _Session:
    """One connection, read request by request."""

    def __init__(
        self, owner: Recorder, connection: socket.socket, record: Record, number: int
    ) -> None:
        self._owner = owner
        self._connection = connection
        self._record = record
        self._number = number
        self._reader = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 18)
        self._request: Seen | None = None
        self._position = 0

    def run(self) -> None:
        while True:
            event = self._reader.next_event()
            if event is h11.NEED_DATA:
                if self._reader.they_are_waiting_for_100_continue:
                    self._connection.sendall(CONTINUE)
                    self._reader.send(h11.InformationalResponse(status_code=100, headers=[]))
                if not self._receive():
                    return
            elif isinstance(event, h11.Request):
                self._begin(event)
            elif isinstance(event, h11.Data):
                assert self._request is not None
                self._request.body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                if not self._answer():
                    return
            else:
                return

    def _receive(self) -> bool:
        data = self._connection.recv(1 << 16)
        if data:
            self._owner.take_note(self._record, data)
            self._reader.receive_data(with_ascii_targets(data))
        return bool(data)

    def _begin(self, event: h11.Request) -> None:
        start = bytes(self._record.octets).find(event.method + b" ", self._position)
        end = bytes(self._record.octets).find(b"\r\n\r\n", start) + 4
        self._position = end
        head = bytes(self._record.octets[start:end])
        fields = tuple((bytes(name), bytes(value)) for name, value in event.headers)
        self._request = Seen(head, event.method, event.target, fields, self._number)
        self._owner.add(self._request)

    def _answer(self) -> bool:
        """Answer the request that is complete. Return whether the connection goes on as HTTP."""
        assert self._request is not None
        self._owner.complete(self._request)
        if self._request.method == b"CONNECT":
            self._connection.sendall(ESTABLISHED)
            self._echo()
            return False
        self._connection.sendall(NO_CONTENT if self._request.method == b"HEAD" else ANSWER)
        fields = [(b"Content-Length", b"2")]
        self._reader.send(h11.Response(status_code=200, headers=fields))
        if self._request.method != b"HEAD":
            self._reader.send(h11.Data(data=b"ok"))
        self._reader.send(h11.EndOfMessage())
        if self._reader.our_state is not h11.DONE:
            return False
        self._reader.start_next_cycle()
        return True

    def _echo(self) -> None:
        early, _ = self._reader.trailing_data
        self._connection.sendall(early)
        while data := self._connection.recv(1 << 16):
            self._owner.take_note(self._record, data)
            self._connection.sendall(data)
