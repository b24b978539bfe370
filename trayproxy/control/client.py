"""The client side of the control protocol: blocking, for one thread, without asyncio.

The command line calls `Client.request`. A front end with its own event loop watches
`Client.fileno`, sends with `Client.send` and reads with `Client.receive_ready`.
"""

import contextlib
import os
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from threading import Thread
from typing import Self

from trayproxy.control.address import control_address
from trayproxy.control.codec import LineSplitter, decode_service_message, encode
from trayproxy.control.messages import Envelope, Event, Failed, Hello, Reply, Request
from trayproxy.control.transport import ControlError, NotRunningError, UntrustedPeerError
from trayproxy.paths import Paths

_CHUNK = 64 * 1024
_MAX_READY_CHUNKS = 16
"""The maximum number of reads in one call of `receive_ready`, to keep a window responsive
when many messages arrive."""
_SEND_TIMEOUT_S = 5.0


class DisconnectedError(ControlError):
    """The service has closed the connection or has ended."""


class NoReplyError(ControlError):
    """The service did not reply before the timeout."""


class ServiceRefusedError(ControlError):
    """The service has rejected this front end's `Hello` with the reply `failed`."""

    def __init__(self, failed: Failed) -> None:
        super().__init__(failed.problem.title)
        self.failed = failed


class ConnectPendingError(Exception):
    """The connection is not complete yet: call the `ThreadedConnector` again."""


class Client:
    """A connection to the service. Call `hello` before any other method.

    A method that sends or receives raises `DisconnectedError` if the connection is closed. A method
    that receives raises `ProtocolError` if a received line is not a message; the stream cannot be
    read any further.
    """

    def __init__(self, connection: socket.socket) -> None:
        """Use a connection opened and checked by `ControlAddress.connect`."""
        self._socket = connection
        self._lines = LineSplitter()
        self._received: deque[Envelope] = deque()
        self._number = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def hello(self, front_end: str, *, can_prompt: bool, timeout_s: float = 5.0) -> None:
        """Send `messages.Hello` and wait for the reply; close the connection if that fails.

        Raises:
            ServiceRefusedError: The service uses another version of the protocol.
            NoReplyError: No reply arrived before the timeout.
        """
        try:
            reply = self.request(Hello(front_end, can_prompt, pid=os.getpid()), timeout_s)
            if isinstance(reply, Failed):
                raise ServiceRefusedError(reply)
        except BaseException:
            self.close()
            raise

    def send(self, message: Request) -> int:
        """Send a request; return its number, which the envelope of its reply repeats.

        Raises:
            DisconnectedError: The connection is closed, or the service has stopped reading.
            ProtocolError: The message cannot be encoded.
        """
        self._number += 1
        line = encode(Envelope(message, self._number))
        try:
            self._socket.settimeout(_SEND_TIMEOUT_S)
            self._socket.sendall(line)
        except OSError as error:
            raise DisconnectedError(str(error)) from None
        return self._number

    def request(self, message: Request, timeout_s: float = 10.0) -> Reply:
        """Send a request and return its reply; other received messages are queued.

        Raises:
            NoReplyError: No reply arrived before the timeout.
            ProtocolError: The request cannot be encoded, or a received line is not a message.
        """
        number = self.send(message)
        deadline = time.monotonic() + timeout_s
        others: deque[Envelope] = deque()
        try:
            while True:
                envelope = self._next_envelope(deadline)
                if envelope.number == number:
                    reply = envelope.message
                    assert isinstance(reply, Reply)
                    return reply
                others.append(envelope)
        finally:
            self._received.extendleft(reversed(others))

    def events(self, timeout_s: float | None = None) -> Iterator[Event]:
        """Yield events as they arrive, until none arrives for `timeout_s`; discard replies."""
        while True:
            deadline = None if timeout_s is None else time.monotonic() + timeout_s
            try:
                message = self._next_envelope(deadline).message
            except NoReplyError:
                return
            if isinstance(message, Event):
                yield message

    def fileno(self) -> int:
        """Return the descriptor to watch for reading.

        After `request`, call `receive_ready` once even if the descriptor is not readable: events
        may have arrived together with the reply.
        """
        return self._socket.fileno()

    def receive_ready(self) -> list[Envelope]:
        """Return the received messages, without waiting.

        Raises:
            DisconnectedError: The connection is closed, and all messages have been returned before.
        """
        self._socket.settimeout(0)
        disconnected: DisconnectedError | None = None
        with contextlib.suppress(BlockingIOError):
            for _ in range(_MAX_READY_CHUNKS):
                try:
                    self._read()
                except DisconnectedError as error:
                    disconnected = error
                    break
        received = list(self._received)
        self._received.clear()
        if disconnected is not None and not received:
            raise disconnected
        return received

    def close(self) -> None:
        """Close the connection; harmless if it is closed."""
        self._socket.close()

    def _next_envelope(self, deadline: float | None) -> Envelope:
        while not self._received:
            wait_s = None if deadline is None else deadline - time.monotonic()
            if wait_s is not None and wait_s <= 0:
                raise NoReplyError("TrayProxy did not reply in time")
            self._socket.settimeout(wait_s)
            try:
                self._read()
            except TimeoutError:
                raise NoReplyError("TrayProxy did not reply in time") from None
        return self._received.popleft()

    def _read(self) -> None:
        """Read once, within the socket's timeout."""
        try:
            octets = self._socket.recv(_CHUNK)
        except (BlockingIOError, TimeoutError):
            raise
        except OSError as error:
            raise DisconnectedError(str(error)) from None
        if not octets:
            raise DisconnectedError("TrayProxy has closed the connection")
        self._received.extend(map(decode_service_message, self._lines.feed(octets)))


def connect(paths: Paths, timeout_s: float = 5.0) -> Client:
    """Connect to this user's service; the caller must call `Client.hello` next.

    Raises:
        NotRunningError: No service is running (`trayproxy.control.transport`).
        UntrustedPeerError: A process of another user listens at the address.
    """
    return Client(control_address(paths).connect(timeout_s))


class ThreadedConnector:
    """Connects to this user's service for a thread that must not block, such as the Qt main thread.

    Connecting to a loopback port may take time: the service may have died and left a closed port,
    or a busy service may be slow to prove that it knows the key. A separate thread connects, and
    the caller polls for the result.
    """

    def __init__(self, connect: Callable[[], Client]) -> None:
        """Store the connect function, which may block; no connection is opened."""
        self._connect = connect
        self._result: Future[Client] | None = None

    def __call__(self) -> Client:
        """Return the connection, and forget it: the next call starts another attempt.

        Raises:
            ConnectPendingError: The attempt is not complete; the first call always raises this.
            ControlError: The attempt failed, see `connect`.
            OSError: The connection could not be opened.
        """
        if self._result is None:
            self._result = Future()
            # A daemon thread: a blocked attempt must not keep the program from ending.
            Thread(target=self._run, args=(self._result,), name="connect", daemon=True).start()
        if not self._result.done():
            raise ConnectPendingError
        result, self._result = self._result, None
        return result.result()

    def _run(self, result: "Future[Client]") -> None:
        try:
            result.set_result(self._connect())
        except (NotRunningError, UntrustedPeerError, OSError) as error:
            result.set_exception(error)
        finally:
            # No effect unless the attempt ended with an unexpected exception.
            result.cancel()
