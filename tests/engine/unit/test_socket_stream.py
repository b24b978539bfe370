"""`SocketStream` without an engine."""

import socket
import struct
from contextlib import ExitStack, closing
from typing import Any

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


class OptionSocket(socket.socket):
    """A socket with given values of the options SO_ERROR and TCP_INFO."""

    def __init__(self, error: int | OSError, info: bytes) -> None:
        super().__init__()
        self.error, self._info = error, info

    def getsockopt(self, level: int, option: int, length: int = 0) -> Any:
        if isinstance(self.error, OSError):
            raise self.error
        return self.error if option == socket.SO_ERROR else self._info


ESTABLISHED, FIN_WAIT, CLOSE_WAIT = 1, 4, 8  # net/tcp_states.h


def tcp_info(
    unacknowledged: int, state: int = CLOSE_WAIT, retransmits: int = 0, last_ack_ms: int = 0
) -> bytes:
    """Return the begin of Linux's ``struct tcp_info`` with this number of segments."""
    return struct.pack("BxB21xI28xI", state, retransmits, unacknowledged, last_ack_ms)


@pytest.mark.unix
@pytest.mark.parametrize(
    ("error", "info", "expected"),
    [
        (104, b"", True),
        (0, tcp_info(2), True),
        (0, tcp_info(1), True),
        (0, tcp_info(0), False),
        (0, tcp_info(1)[:-1], False),
        (0, tcp_info(1, FIN_WAIT), False),
        (OSError(9, "Bad file descriptor"), b"", False),
    ],
)
@pytest.mark.parametrize("has_info", [True, False])
def test_octets_are_unread_after_a_reset_or_an_end_without_an_acknowledgement(
    monkeypatch: pytest.MonkeyPatch,
    error: int | OSError,
    info: bytes,
    expected: bool,
    has_info: bool,
) -> None:
    if not has_info:
        monkeypatch.delattr(socket, "TCP_INFO")
    with closing(OptionSocket(error, info)) as connection:
        is_known = has_info or error == 104
        assert SocketStream(connection).last_data_was_unread is (expected and is_known)


@pytest.mark.unix
@pytest.mark.parametrize(
    ("info", "expected"),
    [
        (tcp_info(1, ESTABLISHED, 4, 3000), True),
        (tcp_info(0, ESTABLISHED, 4, 3000), False),
        (tcp_info(1, ESTABLISHED, 3, 3000), False),
        (tcp_info(1, ESTABLISHED, 4, 2999), False),
        (b"", False),
    ],
    ids=["stalled", "nothing sent", "just sent", "just acknowledged", "unknown"],
)
def test_a_connection_is_stalled_without_an_acknowledgement_for_seconds(
    info: bytes, expected: bool
) -> None:
    with closing(OptionSocket(0, info)) as connection:
        assert SocketStream(connection).is_stalled is expected
    with closing(OptionSocket(0, info)) as connection:
        connection.error = OSError(9, "Bad file descriptor")
        assert not SocketStream(connection).is_stalled


@pytest.mark.parametrize(
    ("state", "expected"),
    [("open", True), ("data", False), ("end", False), ("inbox", False), ("closed", False)],
)
def test_a_quiet_connection_is_open_and_has_no_octets(
    stack: ExitStack, state: str, expected: bool
) -> None:
    near, far = (stack.enter_context(end) for end in socket.socketpair())
    stream = SocketStream(near)
    if state == "data":
        far.send(b"unasked")
    elif state == "end":
        far.close()
    elif state == "inbox":
        stream.inbox += b"unasked"
    elif state == "closed":
        near.close()
    assert stream.is_quiet() is expected
    assert bytes(stream.inbox) == (b"unasked" if state == "inbox" else b"")
