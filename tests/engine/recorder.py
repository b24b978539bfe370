"""An upstream which records all octets, parses requests with h11, and answers every request."""

import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Condition
from time import monotonic

import h11

from tests.http.readers import with_ascii_targets
from tests.support.process_output import PATIENCE
from tests.support.server import LoopbackServer

MARK = b"X-Upstream: yes\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\n" + MARK + b"Content-Length: 2\r\n\r\nok"
NO_CONTENT = b"HTTP/1.1 200 OK\r\n" + MARK + b"Content-Length: 2\r\n\r\n"
ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n" + MARK + b"\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


@dataclass
class RecordedRequest:
    """A request received by the recorder.

    Attributes:
        head: The octets of the head.
        method: The method, such as ``GET``.
        target: The request target, unchanged.
        fields: The fields, with names in lower case.
        body: The content, without framing.
        whole: True if the request was received completely.
        connection: The number of the connection, from 1.
    """

    head: bytes
    method: bytes
    target: bytes
    fields: tuple[tuple[bytes, bytes], ...]
    connection: int
    body: bytes = b""
    whole: bool = False

    def values(self, name: bytes) -> list[bytes]:
        """Return the values of a field. The name is in lower case."""
        return [value for found, value in self.fields if found == name]


@dataclass
class RecordedConnection:
    """The record of one connection.

    Attributes:
        octets: All octets received.
        offence: The error of h11; empty if there was none.
        ended: True if the engine closed the connection.
    """

    octets: bytearray = field(default_factory=bytearray)
    offence: str = ""
    ended: bool = False


class Recorder(LoopbackServer):
    """A running upstream which records its requests."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        """Start the upstream, with TLS if there is a certificate."""
        self._changed = Condition()
        self._records: list[RecordedConnection] = []
        self._requests: list[RecordedRequest] = []
        super().__init__(self._record, tls)

    @property
    def requests(self) -> Sequence[RecordedRequest]:
        """The requests received so far."""
        with self._changed:
            return tuple(self._requests)

    @property
    def records(self) -> Sequence[RecordedConnection]:
        """The connections accepted so far."""
        with self._changed:
            return tuple(self._records)

    @property
    def octets(self) -> bytes:
        """All octets received on all connections."""
        with self._changed:
            return b"".join(bytes(record.octets) for record in self._records)

    def forget(self) -> None:
        """Discard all records."""
        with self._changed:
            self._records.clear()
            self._requests.clear()

    def request(self, number: int) -> RecordedRequest:
        """Wait for this number of complete requests, and return the last of them."""
        deadline = monotonic() + PATIENCE
        with self._changed:
            while len(self._requests) < number or not self._requests[number - 1].whole:
                left = deadline - monotonic()
                assert left > 0, f"{len(self._requests)} requests came, not {number}"
                self._changed.wait(left)
            return self._requests[number - 1]

    def _record(self, connection: socket.socket) -> None:
        record = RecordedConnection()
        with self._changed:
            self._records.append(record)
            number = len(self._records)
        try:
            _RecordedConnection(self, connection, record, number).run()
        except h11.RemoteProtocolError as error:
            record.offence = str(error)
        finally:
            record.ended = True

    def take_note(self, record: RecordedConnection, data: bytes) -> None:
        with self._changed:
            record.octets += data
            self._changed.notify_all()

    def add(self, request: RecordedRequest) -> None:
        with self._changed:
            self._requests.append(request)
            self._changed.notify_all()

    def complete(self, request: RecordedRequest) -> None:
        with self._changed:
            request.whole = True
            self._changed.notify_all()


class _RecordedConnection:
    """One connection of the recorder."""

    def __init__(
        self, owner: Recorder, connection: socket.socket, record: RecordedConnection, number: int
    ) -> None:
        self._owner = owner
        self._connection = connection
        self._record = record
        self._number = number
        self._reader = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 18)
        self._request: RecordedRequest | None = None
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
        self._request = RecordedRequest(head, event.method, event.target, fields, self._number)
        self._owner.add(self._request)

    def _answer(self) -> bool:
        """Answer a complete request. Return whether the connection continues with HTTP."""
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
