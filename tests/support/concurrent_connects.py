"""Many concurrent CONNECT requests to a proxy."""

import socket
from concurrent.futures import Future, ThreadPoolExecutor

from tests.support.closeable import Closeable


class ConcurrentConnects(Closeable):
    """Sends CONNECT requests, each on its own connection and thread."""

    def __init__(self, proxy: str, target: str, count: int) -> None:
        """Send requests for tunnels to a target, ``www.test.lan:443``."""
        host, _, port = proxy.rpartition(":")
        self._address = (host, int(port))
        self._target = target
        self._pool = ThreadPoolExecutor(count)
        self._answers: list[Future[int]] = [self._pool.submit(self._connect) for _ in range(count)]

    def close(self) -> None:
        """Wait until all requests are answered."""
        self._pool.shutdown()

    def statuses(self) -> list[int]:
        """Wait until all requests are answered; return the status codes, 0 for an early end."""
        return [answer.result(60) for answer in self._answers]

    @property
    def waiting(self) -> int:
        """The number of requests without a response so far."""
        return sum(not answer.done() for answer in self._answers)

    def _connect(self) -> int:
        with socket.create_connection(self._address, timeout=60) as connection:
            request = f"CONNECT {self._target} HTTP/1.1\r\nHost: {self._target}\r\n\r\n"
            connection.sendall(request.encode("ascii"))
            with connection.makefile("rb") as stream:
                line = stream.readline()
            return int(line.split(b" ", 2)[1]) if line else 0
