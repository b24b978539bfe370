"""An origin server behind the proxies.

=================== ==============================================================================
``/hello``          a short text
``/page``           a short HTML page with text from a script
``/echo``           the head of the request, as JSON
``/sha256``         length and SHA-256 of the content of the request, with any method
``/bytes/N``        N octets (`tests.support.octets`)
``/chunked/N``      the same in chunks, with a trailer
``/until-close/N``  the same, delimited by the end of the connection
``/gate/NAME/N``    the same; the second half waits until the test opens the gate
``/refuse``         403 without reading the content; the connection is closed
``/status/N``       an empty response with this status
``/websocket``      RFC 6455: each frame is returned
``/git/…``          the repositories below a directory, served by Git's ``http-backend``
=================== ==============================================================================
"""

import json
import socket
import subprocess
from base64 import b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha1, sha256
from pathlib import Path
from threading import Event, Lock
from typing import TYPE_CHECKING

from tests.support.exchange import Exchange, Reader, ReceivedHead
from tests.support.octets import digest, octets
from tests.support.process_output import PATIENCE
from tests.support.processes import Home
from tests.support.server import LoopbackServer

if TYPE_CHECKING:
    from tests.support.tls import Certificate

_PAGE = b"""<!doctype html><title>Origin</title><p id=said></p>
<script>document.getElementById("said").textContent = ["hello", "browser"].join(" ")</script>"""
_TEXT, _HTML = [("Content-Type", "text/plain")], [("Content-Type", "text/html")]
_CLOSE = [("Connection", "close")]
_WEBSOCKET = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_BACKEND = "/usr/lib/git-core/git-http-backend"


@dataclass(frozen=True, slots=True)
class Gate:
    """Holds back the second half of responses.

    Attributes:
        reached: Set when a response waits at the gate.
        opened: Set by the test to let responses continue.
    """

    reached: Event = field(default_factory=Event)
    opened: Event = field(default_factory=Event)


class Origin(LoopbackServer):
    """A running origin server, reached by proxies under the host name `name`."""

    def __init__(
        self,
        name: str = "www.test.lan",
        *,
        certificate: "Certificate | None" = None,
        repositories: Home | None = None,
    ) -> None:
        """Start the server.

        Args:
            name: The host name by which proxies reach it.
            certificate: The certificate for TLS; None for plain HTTP.
            repositories: The folder of the Git repositories, and the home of Git.
        """
        self.name = name
        self._scheme = "https" if certificate else "http"
        self._repositories = repositories
        self._gates: dict[str, Gate] = {}
        self._received: list[ReceivedHead] = []
        self._state = Lock()
        super().__init__(self._serve, certificate.context() if certificate else None)

    def close(self) -> None:
        """Open all gates, and close the server."""
        with self._state:
            for gate in self._gates.values():
                gate.opened.set()
        super().close()

    def url(self, path: str) -> str:
        """Return the URL of a path for clients of a proxy."""
        return f"{self._scheme}://{self.name}:{self.port}{path}"

    @property
    def authority(self) -> str:
        """``www.test.lan:8080``, the target of a CONNECT."""
        return f"{self.name}:{self.port}"

    @property
    def received(self) -> Sequence[ReceivedHead]:
        """The heads of all received requests, oldest first."""
        with self._state:
            return tuple(self._received)

    def gate(self, name: str) -> Gate:
        """Return the gate with this name, created if missing."""
        with self._state:
            return self._gates.setdefault(name, Gate())

    def _serve(self, connection: socket.socket) -> None:
        with Reader(connection) as reader:
            while head := reader.head():
                with self._state:
                    self._received.append(head)
                exchange = Exchange(connection, head, reader)
                if not self._answer(exchange):
                    return
                for _ in exchange.body():
                    pass
                if head.value("connection").lower() == "close":
                    return

    def _answer(self, exchange: Exchange) -> bool:
        """Answer a request; return True if the connection can be reused."""
        _, page, *rest = exchange.head.path.split("/")
        answer = _PAGES.get(page)
        if page == "gate":
            self._wait_at_gate(exchange, *rest)
        elif page == "git" and self._repositories:
            _run_git(exchange, self._repositories)
        elif answer:
            answer(exchange, *rest)
        else:
            exchange.respond(404)
        return page not in ("refuse", "until-close", "websocket")

    def _wait_at_gate(self, exchange: Exchange, name: str, size: str) -> None:
        gate = self.gate(name)
        blocks = list(octets(int(size)))
        middle = len(blocks) // 2
        exchange.begin(200, [("Content-Length", size)])
        exchange.stream(blocks[:middle])
        gate.reached.set()
        gate.opened.wait(PATIENCE)
        exchange.stream(blocks[middle:])


def _echo(exchange: Exchange) -> None:
    head = exchange.head
    request = {"method": head.method, "target": head.target, "fields": head.fields}
    exchange.respond(200, json.dumps(request).encode(), [("Content-Type", "application/json")])


def _digest(exchange: Exchange) -> None:
    length, found = 0, sha256()
    for piece in exchange.body():
        length += len(piece)
        found.update(piece)
    exchange.respond(200, f"{length} {found.hexdigest()}\n".encode())


def _bytes(exchange: Exchange, size: str) -> None:
    exchange.begin(200, [("Content-Length", size)])
    exchange.stream(octets(int(size)))


def _chunked(exchange: Exchange, size: str) -> None:
    exchange.begin(200, [("Transfer-Encoding", "chunked"), ("Trailer", "Checksum")])
    exchange.stream_chunked(octets(int(size)), f"Checksum: {digest(int(size))}")


def _until_close(exchange: Exchange, size: str) -> None:
    exchange.begin(200, _CLOSE)
    exchange.stream(octets(int(size)))


def _websocket(exchange: Exchange) -> None:
    """Send each frame back, unmasked as a server must (RFC 6455, section 5.1)."""
    key = exchange.head.value("sec-websocket-key").encode("ascii")
    accept = b64encode(sha1(key + _WEBSOCKET, usedforsecurity=False).digest()).decode("ascii")
    upgrade = [("Upgrade", "websocket"), ("Connection", "Upgrade")]
    exchange.respond(101, fields=[*upgrade, ("Sec-WebSocket-Accept", accept)])
    opcode = 0
    while opcode != 8:
        first, second = exchange.reader.exactly(2)
        opcode, length = first & 0x0F, second & 0x7F
        if length >= 126:
            length = int.from_bytes(exchange.reader.exactly(2 if length == 126 else 8), "big")
        mask = exchange.reader.exactly(4)
        payload = exchange.reader.exactly(length)
        plain = bytes(octet ^ mask[at % 4] for at, octet in enumerate(payload))
        exchange.connection.sendall(_frame(first, plain))


def _frame(first: int, payload: bytes) -> bytes:
    length = len(payload)
    if length < 126:
        return bytes((first, length)) + payload
    if length < 1 << 16:
        return bytes((first, 126)) + length.to_bytes(2, "big") + payload
    return bytes((first, 127)) + length.to_bytes(8, "big") + payload


def _run_git(exchange: Exchange, repositories: Home) -> None:
    """Answer with Git's CGI program (RFC 3875)."""
    head = exchange.head
    environment = repositories.environment(
        GIT_PROJECT_ROOT=str(repositories.root),
        GIT_HTTP_EXPORT_ALL="1",
        REQUEST_METHOD=head.method,
        PATH_INFO=head.path.removeprefix("/git"),
        QUERY_STRING=head.target.partition("?")[2],
        CONTENT_TYPE=head.value("content-type"),
        HTTP_CONTENT_ENCODING=head.value("content-encoding"),
        GIT_PROTOCOL=head.value("git-protocol"),
    )
    body = b"".join(exchange.body())
    ran = subprocess.run([_BACKEND], env=environment, input=body, capture_output=True, check=True)
    head_lines, _, content = ran.stdout.partition(b"\r\n\r\n")
    fields = [line.split(": ", 1) for line in head_lines.decode("latin-1").split("\r\n")]
    status = next((value for name, value in fields if name == "Status"), "200")
    kept = [(name, value) for name, value in fields if name not in ("Status", "Content-Length")]
    exchange.respond(int(status[:3]), content, kept)


_PAGES: dict[str, Callable[..., None]] = {
    "hello": partial(Exchange.respond, status=200, body=b"hello\n", fields=_TEXT),
    "page": partial(Exchange.respond, status=200, body=_PAGE, fields=_HTML),
    "echo": _echo,
    "sha256": _digest,
    "bytes": _bytes,
    "chunked": _chunked,
    "until-close": _until_close,
    "refuse": partial(Exchange.respond, status=403, body=b"no\n", fields=_CLOSE),
    "status": lambda exchange, status: exchange.respond(int(status)),
    "websocket": _websocket,
}


def make_repository(repositories: Home, name: str, content: Path) -> None:
    """Create a bare repository, named ``demo.git``, with one commit of one file."""
    bare = repositories.root / name
    work = repositories.path("work")
    environment = repositories.environment(
        GIT_CONFIG_NOSYSTEM="1",
        GIT_AUTHOR_NAME="Test",
        GIT_AUTHOR_EMAIL="test@test.lan",
        GIT_COMMITTER_NAME="Test",
        GIT_COMMITTER_EMAIL="test@test.lan",
    )
    (work / content.name).write_bytes(content.read_bytes())
    for command in (
        ("init", "--quiet", "--bare", "--initial-branch=main", str(bare)),
        # Every client may push.
        ("--git-dir", str(bare), "config", "http.receivepack", "true"),
        ("--git-dir", str(bare), "--work-tree", str(work), "add", content.name),
        ("--git-dir", str(bare), "--work-tree", str(work), "commit", "--quiet", "-m", "first"),
    ):
        subprocess.run(
            ["git", *command], env=environment, cwd=work, check=True, capture_output=True
        )
