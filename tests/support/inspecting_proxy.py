"""An upstream that inspects TLS, like the gateway of a company."""

import socket
from contextlib import suppress
from threading import Lock

from tests.support.scripted_upstream import ESTABLISHED, OK
from tests.support.server import LoopbackServer
from tests.support.tls import Certificate, CertificateAuthority


class InspectingProxy(LoopbackServer):
    """Answers every request itself: with TLS for a CONNECT, and a certificate for the host.

    A host without a certificate gets a new one from the authority of the company.

    Attributes:
        certificates: The certificates by host.
        refused: The hosts to which it does not connect.
        heads: The heads of all requests, those inside TLS included.
    """

    def __init__(self, authority: CertificateAuthority) -> None:
        self.certificates: dict[str, Certificate] = {}
        self.refused: set[str] = set()
        self.heads: list[str] = []
        self._authority = authority
        self._lock = Lock()
        super().__init__(self._serve_client)

    @property
    def url(self) -> str:
        """The URL of the upstream, as entered in a profile."""
        return f"http://{self.host}:{self.port}"

    def _serve_client(self, connection: socket.socket) -> None:
        while head := self._read_head(connection):
            method, target, _ = head.split(" ", 2)
            host = target.rpartition(":")[0]
            if method != "CONNECT":
                connection.sendall(OK)
            elif host in self.refused:
                connection.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
            else:
                connection.sendall(ESTABLISHED)
                self._inspect(connection, host)
                return

    def _inspect(self, connection: socket.socket, host: str) -> None:
        with self._lock:
            if host not in self.certificates:
                self.certificates[host] = self._authority.issue(host)
            context = self.certificates[host].context()
        # The client may refuse the certificate.
        with suppress(OSError), context.wrap_socket(connection, server_side=True) as secure:
            while self._read_head(secure):
                secure.sendall(OK)

    def _read_head(self, connection: socket.socket) -> str:
        """Return the next head; empty at the end of the connection."""
        octets = b""
        while b"\r\n\r\n" not in octets:
            piece = connection.recv(1 << 16)
            if not piece:
                return ""
            octets += piece
        head = octets.decode("latin-1")
        with self._lock:
            self.heads.append(head)
        return head
