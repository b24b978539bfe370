"""`SocketStream` without an engine."""

import socket
from contextlib import closing

import pytest

from trayproxy.engine.net.socket_stream import SocketStream


class RecordingSocket(socket.socket):
    """A socket with a given peer address, which records the options set on it."""

    def __init__(self, peer: object) -> None:
        super().__init__(socket.AF_INET, socket.SOCK_STREAM)
        self.peer = peer
        self.options_set: list[tuple[object, ...]] = []

    def getpeername(self) -> object:
        if isinstance(self.peer, OSError):
            raise self.peer
        return self.peer

    def setsockopt(self, *args: object) -> None:
        self.options_set.append(args)


@pytest.mark.unix
@pytest.mark.parametrize(
    ("peer", "is_pacing_disabled"),
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
def test_pacing_is_disabled_only_within_this_computer(
    peer: object, is_pacing_disabled: bool
) -> None:
    with closing(RecordingSocket(peer)) as connection:
        stream = SocketStream(connection)
        connection.options_set.clear()
        stream.prepare_for_bulk()
        options = [args[1] for args in connection.options_set]
        assert options == [socket.TCP_CONGESTION] * is_pacing_disabled
