"""An upstream that does what a test tells it, octet by octet.

A *script* is a function that plays the upstream on one `ScriptedConnection`::

    def reject(peer: ScriptedConnection) -> None:
        peer.read_head()
        peer.send(CHALLENGE)

    with ScriptedUpstream(reject, answering(OK)) as upstream: ...

The first connection gets the first script, the second the second; the last stays for all others.
"""

import socket
import ssl
import struct
from collections.abc import Callable, Sequence
from contextlib import suppress
from threading import Condition, Event
from time import monotonic

from tests.support.process_output import PATIENCE
from tests.support.server import Server

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n"
"""A small answer to a GET; the connection stays open."""

ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"
"""The answer that opens a tunnel."""


def challenge(*values: str, status: str = "407 Proxy Authentication Required") -> bytes:
    """Return a 407 without a body whose connection stays open.

    Args:
        values: A line of Proxy-Authenticate for each.
        status: Its status line, without the version.
    """
    lines = [f"HTTP/1.1 {status}", *(f"Proxy-Authenticate: {value}" for value in values)]
    return ("\r\n".join(lines) + "\r\nContent-Length: 0\r\n\r\n").encode("latin-1")


class ScriptedConnection:
    """One connection of a scripted upstream, and all that came over it."""

    def __init__(self, connection: socket.socket, over: Event) -> None:
        self._connection = connection
        self._over = over
        self._waiting = b""
        self._received = bytearray()
        self._changed = Condition()

    @property
    def received(self) -> bytes:
        """All octets up to now, also those that the script has not read yet."""
        with self._changed:
            return bytes(self._received)

    def wait_for(self, octets: bytes, timeout: float = PATIENCE) -> bytes:
        """Wait, in the test, until these octets have come; return all up to now."""
        deadline = monotonic() + timeout
        with self._changed:
            while octets not in self._received:
                left = deadline - monotonic()
                assert left > 0, f"{octets!r} did not come, but {bytes(self._received)!r}"
                self._changed.wait(left)
            return bytes(self._received)

    def read_head(self) -> bytes:
        """Read up to the empty line that ends a head.

        Raises:
            EOFError: The connection ended before; it ends the script, which is no fault of it.
        """
        while b"\r\n\r\n" not in self._waiting:
            self._more()
        end = self._waiting.index(b"\r\n\r\n") + 4
        return self._take(end)

    def read(self, length: int) -> bytes:
        """Read exactly that many octets; raises as `read_head` does."""
        while len(self._waiting) < length:
            self._more()
        return self._take(length)

    def read_all(self) -> bytes:
        """Read until the other side ends its sending."""
        try:
            while True:
                self._more()
        except EOFError:
            return self._take(len(self._waiting))

    def leave_unread(self) -> None:
        """Wait until something has come, and do not read it: closing is a reset then."""
        self._connection.recv(1, socket.MSG_PEEK)

    def send(self, octets: bytes) -> None:
        """Send these octets."""
        self._connection.sendall(octets)

    def half_close(self) -> None:
        """End our sending; reading goes on."""
        self._connection.shutdown(socket.SHUT_WR)

    def say_goodbye(self) -> None:
        """End our sending inside TLS as it should be ended; the other side need not answer."""
        assert isinstance(self._connection, ssl.SSLSocket)
        self._connection.settimeout(0.0)
        with suppress(ssl.SSLWantReadError):
            self._connection.unwrap()

    def reset(self) -> None:
        """End the connection by a reset (RFC 9293, section 3.5.2), which may overtake octets."""
        self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._connection.close()

    def hang(self) -> None:
        """Neither read nor write nor close, until the test is over."""
        self._over.wait()

    def _take(self, length: int) -> bytes:
        taken, self._waiting = self._waiting[:length], self._waiting[length:]
        return taken

    def _more(self) -> None:
        octets = self._connection.recv(1 << 16)
        if not octets:
            raise EOFError
        self._waiting += octets
        with self._changed:
            self._received += octets
            self._changed.notify_all()


Script = Callable[[ScriptedConnection], None]


class ScriptedUpstream(Server):
    """An upstream that runs."""

    def __init__(self, *scripts: Script, tls: ssl.SSLContext | None = None) -> None:
        """Start it.

        Args:
            scripts: One for each connection; the last is for all further ones, too.
            tls: Speak TLS with this certificate.
        """
        self._scripts = scripts
        self._over = Event()
        self._peers: list[ScriptedConnection] = []
        self._came = Condition()
        super().__init__(self._play, tls)

    @property
    def peers(self) -> Sequence[ScriptedConnection]:
        """The connections up to now, oldest first."""
        with self._came:
            return tuple(self._peers)

    @property
    def url(self) -> str:
        """Its URL, as a person writes it into a profile."""
        return f"http://{self.host}:{self.port}"

    def peer(self, number: int, timeout: float = PATIENCE) -> ScriptedConnection:
        """Wait until that many connections were made, and return the last of them, from 1."""
        deadline = monotonic() + timeout
        with self._came:
            while len(self._peers) < number:
                left = deadline - monotonic()
                assert left > 0, f"{len(self._peers)} connections came, not {number}"
                self._came.wait(left)
            return self._peers[number - 1]

    def close(self) -> None:
        """Let no script wait any more, then end as a server does."""
        self._over.set()
        super().close()

    def _play(self, connection: socket.socket) -> None:
        peer = ScriptedConnection(connection, self._over)
        with self._came:
            script = self._scripts[min(len(self._peers), len(self._scripts) - 1)]
            self._peers.append(peer)
            self._came.notify_all()
        # The other side may leave in the middle of the script.
        with suppress(EOFError):
            script(peer)


def answering(*answers: bytes) -> Script:
    """Return a script that answers one head after the other, the last answer again and again."""

    def play(peer: ScriptedConnection) -> None:
        turn = 0
        while True:
            peer.read_head()
            peer.send(answers[min(turn, len(answers) - 1)])
            turn += 1

    return play


def silent(peer: ScriptedConnection) -> None:
    """Read all and answer nothing."""
    peer.read_all()


def hanging(peer: ScriptedConnection) -> None:
    """Not even read."""
    peer.hang()


def resetting(peer: ScriptedConnection) -> None:
    """Read a head and reset the connection."""
    peer.read_head()
    peer.reset()


def closing_early(peer: ScriptedConnection) -> None:
    """Read a head and close the connection without an answer."""
    peer.read_head()


def echoing(peer: ScriptedConnection) -> None:
    """Open a tunnel to ourselves: send back what comes, and end when the other side does."""
    peer.read_head()
    peer.send(ESTABLISHED)
    try:
        while True:
            peer.send(peer.read(1))
    except EOFError:
        peer.half_close()
