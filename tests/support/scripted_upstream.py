"""An upstream whose behaviour a test defines, octet by octet.

A *script* is a function that serves one `ScriptedConnection`::

    def reject(peer: ScriptedConnection) -> None:
        peer.read_head()
        peer.send(CHALLENGE)

    with ScriptedUpstream(reject, answering(OK)) as upstream: ...

The first connection gets the first script, the second connection the second; the last script serves
all further connections.
"""

import ctypes
import socket
import ssl
import struct
from collections.abc import Callable, Sequence
from contextlib import suppress
from threading import Condition, Event

from tests.support.process_output import PATIENCE
from tests.support.server import LoopbackServer, reset_on_close

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok\n"
"""A small response to a GET; the connection stays open."""

SO_ATTACH_FILTER = 26
"""asm-generic/socket.h"""
BPF_RET = 0x06
"""linux/bpf_common.h: the number of octets of a segment to keep."""

ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"
"""The response that opens a tunnel."""


def challenge(*values: str, status: str = "407 Proxy Authentication Required") -> bytes:
    """Return a 407 with these challenges, without content; the connection stays open."""
    lines = [f"HTTP/1.1 {status}", *(f"Proxy-Authenticate: {value}" for value in values)]
    return ("\r\n".join(lines) + "\r\nContent-Length: 0\r\n\r\n").encode("latin-1")


def digest_challenge(nonce: str, realm: str = "c") -> bytes:
    """Return a 407 with a Digest challenge."""
    return challenge(f'Digest realm="{realm}", nonce="{nonce}", qop="auth"')


def closing(answer: bytes) -> bytes:
    """Return a response that announces the end of its connection."""
    return answer.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1)


class ScriptedConnection:
    """One connection of a scripted upstream, with the octets received."""

    def __init__(self, connection: socket.socket, end: Event) -> None:
        self._connection = connection
        self._end = end
        self._waiting = b""
        self._received = bytearray()
        self._changed = Condition()

    @property
    def received(self) -> bytes:
        """All octets received so far, read by the script or not."""
        with self._changed:
            return bytes(self._received)

    def wait_for(self, octets: bytes) -> bytes:
        """Wait, in the test, until these octets have arrived; return all octets so far."""
        with self._changed:
            has_arrived = self._changed.wait_for(lambda: octets in self._received, PATIENCE)
            assert has_arrived, f"{octets!r} did not arrive, but {bytes(self._received)!r}"
            return bytes(self._received)

    def read_head(self) -> bytes:
        """Read until the empty line at the end of a head.

        Raises:
            EOFError: The connection ended before. The script may let it propagate.
        """
        while b"\r\n\r\n" not in self._waiting:
            self._more()
        end = self._waiting.index(b"\r\n\r\n") + 4
        return self._take(end)

    def read(self, length: int) -> bytes:
        """Read exactly this number of octets; raises `EOFError` as `read_head` does."""
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
        """Wait for octets without reading them, so that closing resets the connection."""
        self._connection.recv(1, socket.MSG_PEEK)

    def send(self, octets: bytes) -> None:
        """Send these octets."""
        self._connection.sendall(octets)

    def half_close(self) -> None:
        """End the sending; reading stays possible."""
        self._connection.shutdown(socket.SHUT_WR)

    def close_tls(self) -> None:
        """Send a close_notify alert without waiting for that of the other side."""
        assert isinstance(self._connection, ssl.SSLSocket)
        self._connection.settimeout(0.0)
        with suppress(ssl.SSLWantReadError):
            self._connection.unwrap()

    def reset(self) -> None:
        """Reset the connection; octets in flight may be lost."""
        reset_on_close(self._connection)
        self._connection.close()

    def vanish(self) -> None:
        """Receive and acknowledge nothing more, as after a gateway has forgotten the connection.

        Only on Linux: a filter of the kernel drops all segments (SO_ATTACH_FILTER, socket(7)).
        """
        drop_all = ctypes.create_string_buffer(struct.pack("HBBI", BPF_RET, 0, 0, 0))
        program = struct.pack("HxxxxxxP", 1, ctypes.addressof(drop_all))
        self._connection.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)

    def hang(self) -> None:
        """Neither read, write nor close until the end of the test."""
        self._end.wait()

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


class ScriptedUpstream(LoopbackServer):
    """A running scripted upstream."""

    def __init__(self, *scripts: Script, tls: ssl.SSLContext | None = None) -> None:
        """Start the upstream.

        Args:
            scripts: One script for each connection; the last also serves all further connections.
            tls: The context for TLS; None for plain TCP.
        """
        self._scripts = scripts
        self._end = Event()
        self._peers: list[ScriptedConnection] = []
        self._changed = Condition()
        super().__init__(self._run_script, tls)

    @property
    def peers(self) -> Sequence[ScriptedConnection]:
        """The connections so far, oldest first."""
        with self._changed:
            return tuple(self._peers)

    @property
    def url(self) -> str:
        """The URL of the upstream, as entered in a profile."""
        return f"http://{self.host}:{self.port}"

    def peer(self, number: int) -> ScriptedConnection:
        """Wait for a connection, counted from 1; return it."""
        with self._changed:
            has_arrived = self._changed.wait_for(lambda: len(self._peers) >= number, PATIENCE)
            assert has_arrived, f"{len(self._peers)} connections arrived, not {number}"
            return self._peers[number - 1]

    def close(self) -> None:
        """End all hanging scripts, and close the server."""
        self._end.set()
        super().close()

    def _run_script(self, connection: socket.socket) -> None:
        peer = ScriptedConnection(connection, self._end)
        with self._changed:
            script = self._scripts[min(len(self._peers), len(self._scripts) - 1)]
            self._peers.append(peer)
            self._changed.notify_all()
        # The other side may close the connection during the script.
        with suppress(EOFError):
            script(peer)


def answering(*answers: bytes) -> Script:
    """Return a script that answers each head with the next response, and repeats the last one."""

    def play(peer: ScriptedConnection) -> None:
        turn = 0
        while True:
            peer.read_head()
            peer.send(answers[min(turn, len(answers) - 1)])
            turn += 1

    return play


def silent(peer: ScriptedConnection) -> None:
    """Read all octets and send no response."""
    peer.read_all()


def hanging(peer: ScriptedConnection) -> None:
    """Neither read nor respond."""
    peer.hang()


def resetting(peer: ScriptedConnection) -> None:
    """Read a head and reset the connection."""
    peer.read_head()
    peer.reset()


def closing_early(peer: ScriptedConnection) -> None:
    """Read a head and close the connection without a response."""
    peer.read_head()


def echoing(peer: ScriptedConnection) -> None:
    """Open a tunnel that returns the octets received, until the other side ends its sending."""
    peer.read_head()
    peer.send(ESTABLISHED)
    try:
        while True:
            peer.send(peer.read(1))
    except EOFError:
        peer.half_close()
