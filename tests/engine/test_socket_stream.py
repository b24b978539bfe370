"""A socket that never blocks, by itself."""

import socket
from contextlib import closing

import pytest

from trayproxy.engine.net.socket_stream import SocketStream


class Recorded(socket.socket):
    """A socket that says whom it is connected to, and remembers what was set on it."""

    def __init__(self, peer: object) -> None:
        super().__init__(socket.AF_INET, socket.SOCK_STREAM)
        self.peer = peer
        self.set: list[tuple[object, ...]] = []

    def getpeername(self) -> object:
        if isinstance(self.peer, OSError):
            raise self.peer
        return self.peer

    def setsockopt(self, *args: object) -> None:
        self.set.append(args)


@pytest.mark.parametrize(
    ("peer", "is_unpaced"),
    [
        (("127.0.0.1", 1), True),
        (("127.9.9.9", 1), True),
        (("::1", 1, 0, 0), True),
        (("192.0.2.1", 1), False),
        (("2001:db8::1", 1, 0, 0), False),
        ("/run/user/socket", False),
        (OSError(107, "not connected"), False),
    ],
)
def test_only_what_stays_on_this_computer_is_sent_unpaced(peer: object, is_unpaced: bool) -> None:
    with closing(Recorded(peer)) as connection:
        stream = SocketStream(connection)
        connection.set.clear()
        stream.prepare_for_bulk()
        options = [args[1] for args in connection.set]
        assert options == [socket.TCP_CONGESTION] * is_unpaced
