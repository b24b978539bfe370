"""The cost of Python itself: a minimal forwarding proxy.

    python relay.py PORT UPSTREAM_PORT asyncio|uvloop

Each client connection has one upstream connection. The credentials (a line of standard input) are
added to each request head; all other octets are relayed unread, with back-pressure. This is a
reference and no real proxy: it handles neither 407, content of requests nor fields.
"""

import asyncio
import sys
from asyncio import Transport
from typing import cast


class Side(asyncio.Protocol):
    """One side of a relayed connection; the other side sends the octets received here.

    Attributes:
        other: The other side.
        transport: The transport; None before the connection is established.
    """

    other: "Side"
    transport: Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # The transports of uvloop are no subclass of this class.
        self.transport = cast(Transport, transport)

    def data_received(self, data: bytes) -> None:
        assert self.other.transport is not None
        self.other.transport.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.other.transport is not None:
            self.other.transport.close()

    def pause_writing(self) -> None:
        if self.other.transport is not None:
            self.other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self.other.transport is not None:
            self.other.transport.resume_reading()


class ClientSide(Side):
    """The client's side, which reads heads up to that of a CONNECT.

    It connects to the upstream after the first octets, like a proxy that chooses by the target, and
    reads no more octets until then.
    """

    def __init__(self, upstream_port: int, field: bytes) -> None:
        self._upstream_port = upstream_port
        self._field = field
        self._waiting = b""
        self._blind = False
        self._dialling: asyncio.Task[None] | None = None
        self.other = Side()
        self.other.other = self

    async def _dial(self) -> None:
        loop = asyncio.get_running_loop()
        await loop.create_connection(lambda: self.other, "127.0.0.1", self._upstream_port)
        assert self.transport is not None
        assert self.other.transport is not None
        if self.transport.is_closing():
            self.other.transport.close()
        else:
            self._pass_heads_on()
            self.transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        if self._blind:
            super().data_received(data)
            return
        self._waiting += data
        if self.other.transport is not None:
            self._pass_heads_on()
        elif self._dialling is None:
            assert self.transport is not None
            self.transport.pause_reading()
            self._dialling = asyncio.get_running_loop().create_task(self._dial())

    def _pass_heads_on(self) -> None:
        assert self.other.transport is not None
        while not self._blind and (end := self._waiting.find(b"\r\n\r\n") + 2) > 1:
            head, self._waiting = self._waiting[:end], self._waiting[end + 2 :]
            self.other.transport.write(head + self._field)
            self._blind = head.startswith(b"CONNECT ")
        if self._blind and self._waiting:
            self.other.transport.write(self._waiting)


async def relay(port: int, upstream_port: int, credentials: str) -> None:
    """Relay until the process is killed."""
    field = f"Proxy-Authorization: Basic {credentials}\r\n\r\n".encode()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: ClientSide(upstream_port, field), "127.0.0.1", port, backlog=1024
    )
    await server.serve_forever()


if __name__ == "__main__":
    running = relay(int(sys.argv[1]), int(sys.argv[2]), sys.stdin.readline().strip())
    if sys.argv[3] == "uvloop":
        import uvloop

        uvloop.run(running)
    else:
        asyncio.run(running)
