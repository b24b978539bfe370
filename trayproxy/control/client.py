"""A face's end of the control socket: blocking, for one thread, without asyncio.

The command line calls `Client.request`. A face with its own event loop watches `Client.fileno`,
sends with `Client.send` and takes what came with `Client.receive_ready`.
"""

import contextlib
import os
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from threading import Thread
from types import TracebackType
from typing import Self

from trayproxy.control.address import control_address
from trayproxy.control.codec import LineSplitter, decode_service_message, encode
from trayproxy.control.messages import Envelope, Event, Failed, Hello, Reply, Request
from trayproxy.control.transport import NotRunningError, UntrustedPeerError
from trayproxy.paths import Paths

_CHUNK = 64 * 1024
_MAX_READY_CHUNKS = 16
"""How much one `receive_ready` reads at most, so that a window stays alive in a flood."""
_SEND_TIMEOUT_S = 5.0


class DisconnectedError(Exception):
    """The service has closed the connection, or has gone."""


class NoReplyError(Exception):
    """The service did not reply in time."""


class ServiceRefusedError(Exception):
    """The service does not talk to this face.

    Attributes:
        failed: Its reply.
    """

    def __init__(self, failed: Failed) -> None:
        super().__init__(failed.problem.title)
        self.failed = failed


class ConnectPendingError(Exception):
    """A connection is being made: call the `ThreadedConnector` again."""


class Client:
    """A connection to the service. `hello` must be the first thing said."""

    def __init__(self, connection: socket.socket) -> None:
        """Take over a connection that `Address.connect` has proven."""
        self._socket = connection
        self._lines = LineSplitter()
        self._received: deque[Envelope] = deque()
        self._number = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def hello(self, front_end: str, *, can_prompt: bool, timeout_s: float = 5.0) -> None:
        """Introduce this face; hangs up if that does not succeed.

        Args:
            face: As in `messages.Hello`.
            asks: Whether it can put questions to a person.
            timeout_s: How long to wait for the reply.

        Raises:
            ServiceRefusedError: The service is of another version.
            DisconnectedError: The connection is gone.
            NoReplyError: Nothing came in time.
        """
        try:
            reply = self.request(Hello(front_end, can_prompt, pid=os.getpid()), timeout_s)
            if isinstance(reply, Failed):
                raise ServiceRefusedError(reply)
        except BaseException:
            self.close()
            raise

    def send(self, message: Request) -> int:
        """Send a request without waiting for its reply.

        Returns:
            Its number; the reply's envelope will bear it.

        Raises:
            DisconnectedError: The connection is gone, or the service has stopped reading.
            ProtocolError: The message cannot be sent, whatever the connection.
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
        """Send a request and return its reply; what comes in between is kept for later.

        Raises:
            DisconnectedError: The connection is gone.
            NoReplyError: Nothing came in time.
            ProtocolError: The message cannot be sent, or what came was no message.
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
        """Yield events as they come; replies nobody waited for are dropped.

        Args:
            timeout_s: How long to wait for each; None: for ever. The iterator ends when it is over.

        Raises:
            DisconnectedError: The connection is gone.
            ProtocolError: What came was no message.
        """
        while True:
            deadline = None if timeout_s is None else time.monotonic() + timeout_s
            try:
                message = self._next_envelope(deadline).message
            except NoReplyError:
                return
            if isinstance(message, Event):
                yield message

    def fileno(self) -> int:
        """Return the descriptor to watch for reading; `receive_ready` may have more than it shows.

        After `request`, call `receive_ready` once: events may have come with the reply.
        """
        return self._socket.fileno()

    def receive_ready(self) -> list[Envelope]:
        """Return what has come, without waiting.

        Raises:
            DisconnectedError: The connection is gone and everything that came was returned before.
            ProtocolError: What came was no message; nothing more can be read.
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
        """Hang up; harmless when done before."""
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
        """Read once, as the socket's time limit says."""
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
    """Connect to this user's service; say `Client.hello` next.

    Raises:
        NotRunningError: No service runs (`trayproxy.control.transport`).
        UntrustedPeerError: Something of another user listens there.
    """
    return Client(control_address(paths).connect(timeout_s))


class ThreadedConnector:
    """Connects to this user's service for a thread that must not wait: that of a window.

    Connecting may take time where the address is a loopback port: nobody listens at the port of a
    service that has died, or a busy service proves late that it is the right one. So a thread of
    its own connects, and the caller comes back for the result.
    """

    def __init__(self, connect: Callable[[], Client]) -> None:
        """Connect to nothing yet.

        Args:
            connect: Makes a connection, and may wait. Called on a thread of its own.
        """
        self._connect = connect
        self._result: Future[Client] | None = None

    def __call__(self) -> Client:
        """Return the connection; the next call makes another one.

        Raises:
            ConnectPendingError: It is not known yet; the first call always raises this.
            NotRunningError: No service runs (`trayproxy.control.transport`).
            UntrustedPeerError: Something of another user listens there.
            OSError: The connection could not be made.
        """
        if self._result is None:
            self._result = Future()
            # What it waits for must not keep the program from ending.
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
            # Nothing, unless it ended in a way that nobody expects.
            result.cancel()
