"""A TCP relay to an upstream that records sign-ins and their results.

It serves upstreams whose own log is not sufficient: tinyproxy logs no logins, proxy.py no user
names. Octets, ends and resets are relayed unchanged.
"""

import re
import socket
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import zip_longest
from threading import Lock, Thread

from tests.support.process_output import PATIENCE
from tests.support.server import LoopbackServer, reset_on_close

_REQUEST = re.compile(rb"(?<![^\n])[A-Z]{3,10} \S+ HTTP/1\.[01]\r\n(.*?)\r\n\r\n", re.DOTALL)
_RESPONSE = re.compile(rb"HTTP/1\.[01] (\d{3})[^\r\n]*\r\n(?=[A-Za-z-]+:|\r\n)")
_CREDENTIALS = re.compile(rb"^proxy-authorization:[ \t]*(\S+)", re.IGNORECASE | re.MULTILINE)
_REFUSED = (401, 407)
"""tinyproxy answers a wrong password with 401."""


@dataclass(frozen=True, slots=True)
class SignInAttempt:
    """A request with credentials.

    Attributes:
        scheme: The name of the scheme, in lower case.
        status: The status of the response; 0 if the connection ended before.
        stale: True if the response reports an old nonce: the login was not checked.
    """

    scheme: str
    status: int
    stale: bool

    @property
    def refused(self) -> bool:
        """True if the login was checked and rejected."""
        return self.status in _REFUSED and not self.stale


@dataclass(slots=True)
class _RelayedConnection:
    """One connection, with the octets of both directions."""

    out: bytearray = field(default_factory=bytearray)
    back: bytearray = field(default_factory=bytearray)

    def attempts(self) -> list[SignInAttempt]:
        heads = [match[1] for match in _REQUEST.finditer(bytes(self.out))]
        back = bytes(self.back)
        answers = [
            (int(m[1]), back[m.start() : m.start() + 2000]) for m in _RESPONSE.finditer(back)
        ]
        final = [(status, head) for status, head in answers if status >= 200]
        found = []
        for head, (status, answer) in zip_longest(heads, final, fillvalue=(0, b"")):
            signed = _CREDENTIALS.search(head) if isinstance(head, bytes) else None
            if signed:
                stale = b"stale=true" in answer.lower()
                found.append(SignInAttempt(signed[1].decode("ascii").lower(), status, stale))
        return found


class RecordingRelay(LoopbackServer):
    """A running relay."""

    def __init__(self, port: int) -> None:
        """Start a relay to a port of 127.0.0.1."""
        self._port = port
        self._connections_seen: list[_RelayedConnection] = []
        self._state = Lock()
        self._upstreams: set[socket.socket] = set()
        super().__init__(self._relay)

    @property
    def url(self) -> str:
        """The URL of the relay, as entered in a profile."""
        return f"http://{self.host}:{self.port}"

    def attempts(self) -> list[SignInAttempt]:
        """Return all requests with credentials, grouped by connection."""
        with self._state:
            return [
                attempt
                for connection in self._connections_seen
                for attempt in connection.attempts()
            ]

    def relay_to(self, port: int) -> None:
        """Relay to another port from now on, and cut the connections to the previous port."""
        self._port = port
        self._cut_upstreams()

    def close(self) -> None:
        """Cut all connections and stop the relay."""
        self._cut_upstreams()
        super().close()

    def _cut_upstreams(self) -> None:
        with self._state:
            for upstream in self._upstreams:
                with suppress(OSError):
                    upstream.shutdown(socket.SHUT_RDWR)

    def failed_logons(self) -> int:
        """Return the number of rejected logins."""
        return sum(attempt.refused for attempt in self.attempts())

    def failed_socks_logons(self) -> int:
        """Return the number of logins rejected by a SOCKS server (RFC 1929, section 2)."""
        with self._state:
            replies = [bytes(connection.back[:4]) for connection in self._connections_seen]
        return sum(s[:2] == b"\5\2" and len(s) == 4 and s[3] != 0 for s in replies)

    def describe(self) -> str:
        """Return the attempts, without credentials, for the report of a failed test."""
        return "\n".join(map(str, self.attempts()))

    def _relay(self, client: socket.socket) -> None:
        connection = _RelayedConnection()
        with self._state:
            self._connections_seen.append(connection)
        with socket.create_connection((self.host, self._port), PATIENCE) as upstream:
            upstream.settimeout(None)
            with self._state:
                self._upstreams.add(upstream)
            upstream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            back = Thread(
                target=self._relay_back, args=(upstream, client, connection.back), daemon=True
            )
            back.start()
            self._copy(client, upstream, connection.out)
            # A client that has ended its sending may still read the response.
            back.join()

    def _relay_back(self, upstream: socket.socket, client: socket.socket, seen: bytearray) -> None:
        if not self._copy(upstream, client, seen):
            # A client that still sends has no response to expect.
            with suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)

    def _copy(self, source: socket.socket, sink: socket.socket, seen: bytearray) -> bool:
        """Relay all octets and the end of the stream; return True if it ended in order."""
        try:
            while octets := source.recv(1 << 16):
                with self._state:
                    seen += octets
                sink.sendall(octets)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            # Closing the sockets resets both connections.
            for end in (source, sink):
                with suppress(OSError):
                    reset_on_close(end)
            return False
        return True
