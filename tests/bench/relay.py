"""What Python itself costs: about the least that a forwarding proxy can do.

    python relay.py PORT UPSTREAM_PORT asyncio|uvloop

One upstream connection for each client connection, the credentials (a line of standard input) put
into every request head, all else passed on unread, with back-pressure. A yardstick and no proxy: no
407, no bodies of requests, no field is looked at.
"""

import asyncio
import sys
from asyncio import Transport
from typing import cast


class Side(asyncio.Protocol):
    """One side of a relayed connection; what it gets, the other sends.

    Attributes:
        other: The other side.
        transport: Its own connection, None before it is made.
    """

    other: "Side"
    transport: Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # It is one, but uvloop's are no subclass of it.
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


class Client(Side):
    """The client's side, which reads heads until the one of a CONNECT.

    It connects when the first octets are there, as whoever decides by them where to has to, and
    reads no more until then.
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
    """Relay for ever."""
    field = f"Proxy-Authorization: Basic {credentials}\r\n\r\n".encode()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: Client(upstream_port, field), "127.0.0.1", port, backlog=1024
    )
    await server.serve_forever()


if __name__ == "__main__":
    running = relay(int(sys.argv[1]), int(sys.argv[2]), sys.stdin.readline().strip())
    if sys.argv[3] == "uvloop":
        import uvloop

        uvloop.run(running)
    else:
        asyncio.run(running)
