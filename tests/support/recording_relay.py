"""A wire to an upstream that writes down who signs in, and how that ends.

For upstreams whose own log does not say it: tinyproxy tells nothing about logins, proxy.py nothing
about who. What passes is passed on as it is, ends and resets included.
"""

import re
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import zip_longest
from threading import Lock, Thread

from tests.support.process_output import PATIENCE
from tests.support.server import Server

_REQUEST = re.compile(rb"(?<![^\n])[A-Z]{3,10} \S+ HTTP/1\.[01]\r\n(.*?)\r\n\r\n", re.DOTALL)
_RESPONSE = re.compile(rb"HTTP/1\.[01] (\d{3})[^\r\n]*\r\n(?=[A-Za-z-]+:|\r\n)")
_SIGNED = re.compile(rb"^proxy-authorization:[ \t]*(\S+)", re.IGNORECASE | re.MULTILINE)
_REFUSED = (401, 407)
"""401 is what tinyproxy says to a wrong password."""


@dataclass(frozen=True, slots=True)
class SignInAttempt:
    """A request that brought credentials.

    Attributes:
        scheme: By its name, in lower case.
        status: What it was answered; 0 if the connection ended before.
        stale: Whether the answer says that the nonce was too old, and the login not looked at.
    """

    scheme: str
    status: int
    stale: bool

    @property
    def refused(self) -> bool:
        """Whether the login was looked at and not accepted."""
        return self.status in _REFUSED and not self.stale


@dataclass(slots=True)
class _RelayedConnection:
    """One connection, and all that came over it, in both directions."""

    out: bytearray = field(default_factory=bytearray)
    back: bytearray = field(default_factory=bytearray)

    def logins(self) -> list[SignInAttempt]:
        heads = [match[1] for match in _REQUEST.finditer(bytes(self.out))]
        back = bytes(self.back)
        answers = [
            (int(m[1]), back[m.start() : m.start() + 2000]) for m in _RESPONSE.finditer(back)
        ]
        final = [(status, head) for status, head in answers if status >= 200]
        found = []
        for head, (status, answer) in zip_longest(heads, final, fillvalue=(0, b"")):
            signed = _SIGNED.search(head) if isinstance(head, bytes) else None
            if signed:
                stale = b"stale=true" in answer.lower()
                found.append(SignInAttempt(signed[1].decode("ascii").lower(), status, stale))
        return found


class RecordingRelay(Server):
    """A wire that is up."""

    def __init__(self, port: int) -> None:
        """Lead to a port of 127.0.0.1.

        Args:
            port: Where the upstream listens.
        """
        self._port = port
        self._wires: list[_RelayedConnection] = []
        self._state = Lock()
        self._upstreams: set[socket.socket] = set()
        super().__init__(self._lead)

    @property
    def url(self) -> str:
        """Its URL, as a person writes that of the upstream into a profile."""
        return f"http://{self.host}:{self.port}"

    def logins(self) -> list[SignInAttempt]:
        """Return all requests that brought credentials, connection by connection."""
        with self._state:
            return [login for wire in self._wires for login in wire.logins()]

    def lead_to(self, port: int) -> None:
        """Lead to another port from now on, and cut what leads to the last one."""
        self._port = port
        self._cut_upstreams()

    def close(self) -> None:
        """Take it down."""
        self._cut_upstreams()
        super().close()

    def _cut_upstreams(self) -> None:
        with self._state:
            for upstream in self._upstreams:
                with suppress(OSError):
                    upstream.shutdown(socket.SHUT_RDWR)

    def failed_logons(self) -> int:
        """Return how many logins were looked at and not accepted."""
        return sum(login.refused for login in self.logins())

    def failed_socks_logons(self) -> int:
        """Return how many logins a SOCKS server did not accept (RFC 1929, section 2)."""
        with self._state:
            said = [bytes(wire.back[:4]) for wire in self._wires]
        return sum(s[:2] == b"\5\2" and len(s) == 4 and s[3] != 0 for s in said)

    def describe(self) -> str:
        """Return the logins, without credentials, for the report of a failed test."""
        return "\n".join(map(str, self.logins()))

    def _lead(self, client: socket.socket) -> None:
        wire = _RelayedConnection()
        with self._state:
            self._wires.append(wire)
        with socket.create_connection((self.host, self._port), PATIENCE) as upstream:
            upstream.settimeout(None)
            with self._state:
                self._upstreams.add(upstream)
            upstream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            back = Thread(target=self._answer, args=(upstream, client, wire.back), daemon=True)
            back.start()
            self._pass_on(client, upstream, wire.out)
            # Whoever cannot send any more may still have an answer to read.
            back.join()

    def _answer(self, upstream: socket.socket, client: socket.socket, seen: bytearray) -> None:
        if not self._pass_on(upstream, client, seen):
            # Who still sends has nothing to wait for.
            with suppress(OSError):
                client.shutdown(socket.SHUT_RDWR)

    def _pass_on(self, source: socket.socket, sink: socket.socket, seen: bytearray) -> bool:
        """Pass on all octets, and how they end; return whether that was in order."""
        try:
            while octets := source.recv(1 << 16):
                with self._state:
                    seen += octets
                sink.sendall(octets)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            # When these are closed, their other sides learn of it as we have.
            for end in (source, sink):
                with suppress(OSError):
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return False
        return True
