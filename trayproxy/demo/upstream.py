"""The upstream proxy of the demonstration: it requires a sign-in, and keeps a log (RFC 9110,
section 11.7).

The proxy supports Basic (RFC 7617), forwards plain requests and tunnels, and reaches invented hosts
only. It closes the connection after each forwarded request; after a challenge the connection stays
open.
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
from trayproxy.demo import wire
from trayproxy.demo.wire import LOOPBACK, DemoRequestHead, DemoStream


class ProxyDecision(Enum):
    """The decision of the proxy about a request."""

    CHALLENGED = auto()
    """The request had no credentials: 407."""
    REJECTED = auto()
    """The request had wrong credentials: 407. At a company proxy, such requests may lock the
    account."""
    PASSED = auto()


@dataclass(frozen=True, slots=True)
class ProxyLogEntry:
    """An entry of the proxy's log, with the untrusted method and target of the request."""

    proxy: str
    decision: ProxyDecision
    request: str


@dataclass(frozen=True, slots=True)
class DemoProxy:
    """An upstream proxy.

    Attributes:
        name: The proxy's realm, and its name in the log.
        login: The login that the proxy accepts, None to accept all requests.
        hosts: The loopback port for each host and port that can be reached through the proxy.
        log: Called with every request, on the loop's thread.
    """

    name: str
    login: Login | None
    hosts: Mapping[tuple[str, int], int]
    log: Callable[[ProxyLogEntry], None]

    async def serve(self, stream: DemoStream) -> None:
        """Serve a client connection: send challenges until a request is accepted, then forward the
        request."""
        while (head := await wire.read_head(stream.reader)) is not None:
            decision = self._decide(head)
            self.log(ProxyLogEntry(self.name, decision, f"{head.method} {head.target}"))
            if decision is ProxyDecision.PASSED:
                await self._pass(head, stream)
                return
            stream.writer.write(self._challenge(head))
            await stream.writer.drain()
            if head.has_body:
                # The body was not read, and would be parsed as the next request.
                return

    def _decide(self, head: DemoRequestHead) -> ProxyDecision:
        credentials = head.value("proxy-authorization")
        if self.login is None:
            return ProxyDecision.PASSED
        if not credentials:
            return ProxyDecision.CHALLENGED
        # The scheme's name is case-insensitive; the token is not (RFC 9110, section 11.1).
        scheme, _, token = credentials.partition(" ")
        expected = b64encode(f"{self.login.user}:{self.login.password}".encode())
        if scheme.lower() == "basic" and hmac.compare_digest(token.encode(), expected):
            return ProxyDecision.PASSED
        return ProxyDecision.REJECTED

    def _challenge(self, head: DemoRequestHead) -> bytes:
        fields = [f'Proxy-Authenticate: Basic realm="{self.name}", charset="UTF-8"']
        if head.has_body:
            fields.append("Connection: close")
        return wire.write_response(
            "407 Proxy Authentication Required",
            f"The proxy “{self.name}” wants you to sign in.\n",
            fields,
            head_only=head.method == "HEAD",
        )

    async def _pass(self, head: DemoRequestHead, client: DemoStream) -> None:
        port = self.hosts.get(_destination(head))
        if port is None:
            refusal = f"“{self.name}” leads to the demonstration's web site only.\n"
            client.writer.write(
                wire.write_response("403 Forbidden", refusal, ("Connection: close",))
            )
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
        both_ways.create_task(wire.relay(client.reader, origin.writer))
        both_ways.create_task(wire.relay(origin.reader, client.writer))


async def _forward(head: DemoRequestHead, client: DemoStream, origin: DemoStream) -> None:
    """Forward the request on a new connection to the origin; the response ends with the
    connection."""
    origin.writer.write(_rewritten(head))
    body = asyncio.create_task(wire.relay(client.reader, origin.writer))
    await wire.relay(origin.reader, client.writer)
    body.cancel()
    await asyncio.gather(body, return_exceptions=True)


_CONNECTION_FIELDS = ("connection", "keep-alive", "proxy-authorization", "proxy-connection")


def _rewritten(head: DemoRequestHead) -> bytes:
    parts = urlsplit(head.target)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    kept = [f"{name}: {value}" for name, value in head.fields if name not in _CONNECTION_FIELDS]
    lines = [f"{head.method} {path} HTTP/1.1", *kept, "Connection: close", "", ""]
    return "\r\n".join(lines).encode("latin-1")
