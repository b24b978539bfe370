"""An upstream proxy that answers without an origin, for many connections at a time."""

import asyncio
from hashlib import sha256
from threading import Thread
from typing import Self

ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"
LAST_WORDS = b"after your end"


def body(size: int) -> bytes:
    """Return the body of ``/bytes/SIZE``."""
    return bytes(range(256)) * (size // 256) + bytes(size % 256)


class WindowsUpstream:
    """Answers a GET of ``/bytes/N`` with `body`, and a POST with the SHA-256 of its body.

    A tunnel sends received octets back, and `LAST_WORDS` after the client has ended its sending.
    The port is on 127.0.0.1.
    """

    def __init__(self) -> None:
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name="upstream")

    def __enter__(self) -> Self:
        self._thread.start()
        starting = asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=500)
        server = asyncio.run_coroutine_threadsafe(starting, self._loop).result(20)
        self.port = server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *error: object) -> None:
        asyncio.run_coroutine_threadsafe(self._cancel_all(), self._loop).result(20)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _cancel_all(self) -> None:
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._answer(reader, writer):
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        method, target, _ = head.split(" ", 2)
        if method == "CONNECT":
            writer.write(ESTABLISHED)
            while octets := await reader.read(65536):
                writer.write(octets)
                await writer.drain()
            writer.write(LAST_WORDS)
            await writer.drain()
            return False
        if method == "POST":
            size = int(head.lower().partition("content-length:")[2].split("\r\n", 1)[0])
            answer = sha256(await reader.readexactly(size)).hexdigest().encode()
        else:
            answer = body(int(target.rpartition("/")[2]))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(answer) + answer)
        return True
