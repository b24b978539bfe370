"""The demonstration's upstream proxy: asks for a sign-in, and keeps a log (RFC 9110, section 11.7).

It speaks Basic (RFC 7617), passes plain requests and tunnels, and reaches invented hosts only. What
passed keeps its connection to the end, so each passed request costs one; a refused one does not.
"""

import asyncio
import contextlib
import hmac
from base64 import b64encode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from urllib.parse import urlsplit

from trayproxy.auth.login import Login
from trayproxy.demo.wire import (
    LOOPBACK,
    DemoRequestHead,
    DemoStream,
    read_head,
    relay,
    write_response,
)


class ProxyDecision(Enum):
    """What the proxy thought of a request."""

    CHALLENGED = auto()
    """It brought no credentials: 407."""
    REJECTED = auto()
    """It brought the wrong ones: 407. In a company, a step towards a locked account."""
    PASSED = auto()


@dataclass(frozen=True, slots=True)
class ProxyLogEntry:
    """A line of the proxy's log.

    Attributes:
        proxy: The proxy's name.
        decision: What became of the request.
        request: Its method and target. Untrusted.
    """

    proxy: str
    decision: ProxyDecision
    request: str


@dataclass(frozen=True, slots=True)
class DemoProxy:
    """An upstream proxy.

    Attributes:
        name: Its realm, and its name in the log.
        login: Who may pass, None: everyone.
        hosts: The port on loopback of each host and port that can be reached through it.
        log: Called with every request, on the loop's thread.
    """

    name: str
    login: Login | None
    hosts: Mapping[tuple[str, int], int]
    log: Callable[[ProxyLogEntry], None]

    async def serve(self, stream: DemoStream) -> None:
        """Serve a client's connection: challenge as often as needed, then pass one request."""
        while (head := await read_head(stream.reader)) is not None:
            decision = self._decide(head)
            self.log(ProxyLogEntry(self.name, decision, f"{head.method} {head.target}"))
            if decision is ProxyDecision.PASSED:
                await self._pass(head, stream)
                return
            stream.writer.write(self._challenge(head))
            await stream.writer.drain()
            if head.has_body:
                # The body would be read as the next request.
                return

    def _decide(self, head: DemoRequestHead) -> ProxyDecision:
        credentials = head.value("proxy-authorization")
        if self.login is None:
            return ProxyDecision.PASSED
        if not credentials:
            return ProxyDecision.CHALLENGED
        # The scheme's name is case-insensitive, the token is not (RFC 9110, section 11.1).
        scheme, _, token = credentials.partition(" ")
        expected = b64encode(f"{self.login.user}:{self.login.password}".encode())
        if scheme.lower() == "basic" and hmac.compare_digest(token.encode(), expected):
            return ProxyDecision.PASSED
        return ProxyDecision.REJECTED

    def _challenge(self, head: DemoRequestHead) -> bytes:
        fields = [f'Proxy-Authenticate: Basic realm="{self.name}", charset="UTF-8"']
        if head.has_body:
            fields.append("Connection: close")
        return write_response(
            "407 Proxy Authentication Required",
            f"The proxy “{self.name}” wants you to sign in.\n",
            fields,
            head_only=head.method == "HEAD",
        )

    async def _pass(self, head: DemoRequestHead, client: DemoStream) -> None:
        port = self.hosts.get(_destination(head))
        if port is None:
            refusal = f"“{self.name}” leads to the demonstration's web site only.\n"
            client.writer.write(write_response("403 Forbidden", refusal, ("Connection: close",)))
            await client.writer.drain()
            return
        origin = DemoStream(*await asyncio.open_connection(LOOPBACK, port))
        try:
            if head.method == "CONNECT":
                await _tunnel(client, origin)
            else:
                await _forward(head, client, origin)
        finally:
            origin.close()


def _destination(head: DemoRequestHead) -> tuple[str, int]:
    url = f"//{head.target}" if head.method == "CONNECT" else head.target
    with contextlib.suppress(ValueError):
        parts = urlsplit(url)
        return parts.hostname or "", parts.port or 80
    return "", 0


async def _tunnel(client: DemoStream, origin: DemoStream) -> None:
    client.writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
    async with asyncio.TaskGroup() as both_ways:
        both_ways.create_task(relay(client.reader, origin.writer))
        both_ways.create_task(relay(origin.reader, client.writer))


async def _forward(head: DemoRequestHead, client: DemoStream, origin: DemoStream) -> None:
    """Send the request on its own connection to the origin, whose end is the response's end."""
    origin.writer.write(_rewritten(head))
    body = asyncio.create_task(relay(client.reader, origin.writer))
    await relay(origin.reader, client.writer)
    body.cancel()
    await asyncio.gather(body, return_exceptions=True)


_CONNECTION_FIELDS = ("connection", "keep-alive", "proxy-authorization", "proxy-connection")


def _rewritten(head: DemoRequestHead) -> bytes:
    parts = urlsplit(head.target)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    kept = [f"{name}: {value}" for name, value in head.fields if name not in _CONNECTION_FIELDS]
    lines = [f"{head.method} {path} HTTP/1.1", *kept, "Connection: close", "", ""]
    return "\r\n".join(lines).encode("latin-1")
