"""A SOCKS5 server (RFC 1928, RFC 1929) that records requests and connects on loopback."""

import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from threading import Condition

from tests.support.process_output import PATIENCE
from tests.support.server import LoopbackServer, relay

NO_LOGIN, PASSWORD, NO_METHOD = 0, 2, 0xFF
_BOUND = b"\x00\x01\x7f\x00\x00\x01\x00\x50"


@dataclass(frozen=True, slots=True)
class SocksRequest:
    """The target of a request.

    Attributes:
        kind: 1 for an IPv4 address, 3 for a name, 4 for an IPv6 address.
        host: The host as received.
    """

    kind: int
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class SocksLogin:
    """A received user name and password, and whether they were accepted."""

    user: str
    password: str
    accepted: bool


class SocksServer(LoopbackServer):
    """A running SOCKS5 server. It resolves every known name to 127.0.0.1."""

    def __init__(
        self,
        users: Mapping[str, str] | None = None,
        *,
        names: tuple[str, ...] = ("www.test.lan",),
        refuses: Mapping[str, int] | None = None,
        slowly: bool = False,
    ) -> None:
        """Start the server.

        Args:
            users: Passwords by user name; None if no login is required.
            refuses: Reply codes by host, for hosts to which it does not connect.
            slowly: True to send each octet separately.
        """
        self._users = users
        self._names = names
        self._refuses = refuses or {}
        self._slowly = slowly
        self._changed = Condition()
        self.offers: list[bytes] = []
        self.logons: list[SocksLogin] = []
        self.wishes: list[SocksRequest] = []
        super().__init__(self._serve_one)

    @property
    def url(self) -> str:
        """The URL of the server, as entered in a profile."""
        return f"socks5://{self.host}:{self.port}"

    # --- one connection ---

    def _serve_one(self, connection: socket.socket) -> None:
        with suppress(EOFError):
            if self._greet(connection):
                self._connect(connection)

    def _greet(self, connection: socket.socket) -> bool:
        version, count = _exactly(connection, 2)
        assert version == 5
        methods = _exactly(connection, count)
        self.offers.append(methods)
        wanted = NO_LOGIN if self._users is None else PASSWORD
        if wanted not in methods:
            self._send(connection, bytes((5, NO_METHOD)))
            return False
        self._send(connection, bytes((5, wanted)))
        return self._users is None or self._log_on(connection, self._users)

    def _log_on(self, connection: socket.socket, users: Mapping[str, str]) -> bool:
        version, size = _exactly(connection, 2)
        assert version == 1
        user = _exactly(connection, size).decode()
        password = _exactly(connection, _exactly(connection, 1)[0]).decode()
        accepted = users.get(user) == password
        with self._changed:
            self.logons.append(SocksLogin(user, password, accepted))
            self._changed.notify_all()
        self._send(connection, bytes((1, 0 if accepted else 1)))
        return accepted

    def _connect(self, connection: socket.socket) -> None:
        version, command, _, kind = _exactly(connection, 4)
        assert (version, command) == (5, 1)
        if kind == 3:
            host = _exactly(connection, _exactly(connection, 1)[0]).decode("ascii")
        else:
            family = socket.AF_INET if kind == 1 else socket.AF_INET6
            host = socket.inet_ntop(family, _exactly(connection, 4 if kind == 1 else 16))
        port = int.from_bytes(_exactly(connection, 2), "big")
        self.wishes.append(SocksRequest(kind, host, port))
        if host in self._refuses:
            self._send(connection, bytes((5, self._refuses[host])) + _BOUND)
            return
        try:
            address = "127.0.0.1" if host in self._names else host
            onward = socket.create_connection((address, port), PATIENCE)
        except OSError:
            self._send(connection, bytes((5, 4)) + _BOUND)
            return
        with onward:
            self._send(connection, bytes((5, 0)) + _BOUND)
            relay(connection, onward)

    def _send(self, connection: socket.socket, octets: bytes) -> None:
        size = 1 if self._slowly else len(octets)
        for start in range(0, len(octets), size):
            connection.sendall(octets[start : start + size])


def _exactly(connection: socket.socket, length: int) -> bytes:
    octets = b""
    while len(octets) < length:
        data = connection.recv(length - len(octets))
        if not data:
            raise EOFError
        octets += data
    return octets
