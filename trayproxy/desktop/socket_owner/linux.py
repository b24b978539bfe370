"""Linux: whose a connection is, by NETLINK_SOCK_DIAG or by the tables below ``/proc/net``.

sock_diag(7): one message with the four ends of the connection, one answer at once; it needs no
privilege, and its cost does not depend on how many connections there are. Measured: 6 to 13 µs,
against 1.2 ms for reading ``/proc/net/tcp`` on an idle system and 12 ms beside 4,000 connections.

Both tell the inode of the socket. It is 0 as soon as no process holds the socket, together with a
user id of 0 (measured on Linux 6.18, whose `sk_set_socket` says so, too; older kernels derive both
from the socket's file). A half-closed socket that is held has its inode and its true user.

Both tell the state of the socket, too. Only an end that has been connected is believed: while our
end is still that of a client that has left, the same ends may be those of a program that is just
connecting (``SYN_SENT``), and that program is not our peer.
"""

import errno
import socket
import struct
import sys
from functools import lru_cache
from pathlib import Path

from trayproxy.desktop.socket_owner.base import Endpoint, SocketOwner
from trayproxy.desktop.users import User

_NETLINK_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_NLMSG_ERROR = 2
_NLM_F_REQUEST = 1

# Requests: struct nlmsghdr in two parts, with its number between them, then struct inet_diag_req_v2
# (linux/inet_diag.h), with the one port that differs in it.
_REQUEST = struct.Struct("=8sI12sH46s")
_HEADER_START = struct.Struct("=IHH")
_SENDER_AND_FAMILY = struct.Struct("=IBBBBI")
# The interface, and no cookie. The kernel looks a socket up as for a packet that comes in by this
# interface: it finds those bound to it (SO_BINDTODEVICE) and those bound to none. Connections
# between programs of one computer pass the loopback interface, which is always the first one of a
# network namespace (LOOPBACK_IFINDEX in include/net/flow.h).
_LOOPBACK = 1
_LOOPBACK_AND_ANY_COOKIE = struct.pack("=III", _LOOPBACK, 0xFFFFFFFF, 0xFFFFFFFF)
_EVERY_STATE = 0xFFFFFFFF

# Answers: of struct nlmsghdr the type and the number; of struct inet_diag_msg the state, the two
# ports, the user and the inode.
_HEADER = struct.Struct("=4xH2xI4x")
_ERROR = struct.Struct("=i")
_RESPONSE = struct.Struct("=17xB2xHH56xII")

_ESTABLISHED, _FIN_WAIT1, _FIN_WAIT2, _CLOSE_WAIT, _LISTEN = 1, 4, 5, 8, 10
_CONNECTED = frozenset({_ESTABLISHED, _FIN_WAIT1, _FIN_WAIT2, _CLOSE_WAIT})
"""The states (include/net/tcp_states.h) of an end that is connected to us, half-closed or not."""


class SockDiagLookup:
    """Asks the kernel, on one netlink socket that stays open."""

    def __init__(self) -> None:
        self._socket: socket.socket | None = None
        self._sequence = 0

    def owner_of(self, local: Endpoint, peer: Endpoint, family: int) -> SocketOwner | None:
        """Return who is at the other end; see `Owners`."""
        found = self._look_up(local, peer, family)
        if found is None:
            return None
        user, inode, state = found
        return _shared_owner(user, inode != 0 and state in _CONNECTED)

    def inode_of(self, local: Endpoint, peer: Endpoint, family: int) -> int:
        """Return the inode of the socket at the other end, by which a process holds it.

        Args:
            local: Our end.
            peer: The other end, on this computer.
            family: ``AF_INET`` or ``AF_INET6``.

        Returns:
            0 if no process holds it, or there is none.

        Raises:
            OSError: The kernel does not tell.
        """
        found = self._look_up(local, peer, family)
        return 0 if found is None else found[1]

    def user_listening(self, address: Endpoint, family: int) -> User | None:
        """Return whose program listens at an address; None if none does.

        Raises:
            OSError: The kernel does not tell.
        """
        any_end = "::" if family == socket.AF_INET6 else "0.0.0.0", 0
        start, kind, ends, _ = _request_parts(any_end, address[0], family)
        sequence = self._sequence = (self._sequence + 1) & 0xFFFFFFFF
        port = socket.htons(address[1])
        response = self._send_request(_REQUEST.pack(start, sequence, kind, port, ends), sequence)
        if response is None:
            return None
        state, _, _, user, _ = _RESPONSE.unpack_from(response)
        return int(user) if state == _LISTEN else None

    def _look_up(self, local: Endpoint, peer: Endpoint, family: int) -> tuple[int, int, int] | None:
        """Return the user, the inode and the state of the socket at the other end, whose own
        address is our peer. This is asked for every connection."""
        start, kind, ends, ours = _request_parts(local, peer[0], family)
        theirs = socket.htons(peer[1])
        sequence = self._sequence = (self._sequence + 1) & 0xFFFFFFFF
        try:
            response = self._send_request(
                _REQUEST.pack(start, sequence, kind, theirs, ends), sequence
            )
            if response is None:
                return None
            state, their_port, our_port, user, inode = _RESPONSE.unpack_from(response)
        except (OSError, struct.error) as error:
            # Whatever state it is in: the next one begins anew.
            self.close()
            raise OSError(getattr(error, "errno", None) or errno.EPROTO, "sock_diag") from error
        # Without such a connection the kernel offers a listener at that address instead.
        return (user, inode, state) if (their_port, our_port) == (theirs, ours) else None

    def close(self) -> None:
        """Close the netlink socket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send_request(self, request: bytes, sequence: int) -> bytes | None:
        """Return the answer to a message of this number; None: there is no such connection."""
        if self._socket is None:
            self._socket = _connect()
        self._socket.send(request)
        while True:
            # The kernel answers before `send` returns: this never waits.
            response = self._socket.recv(4096)
            kind, replied = _HEADER.unpack_from(response)
            if replied != sequence:
                continue
            if kind == _SOCK_DIAG_BY_FAMILY:
                return response
            code = -_ERROR.unpack_from(response, _HEADER.size)[0] if kind == _NLMSG_ERROR else 0
            if code != errno.ENOENT:
                raise OSError(code or errno.EPROTO, "sock_diag")
            return None


def _connect() -> socket.socket:
    connection = socket.socket(
        socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, _NETLINK_SOCK_DIAG
    )
    try:
        # To the kernel, so that it alone can answer (netlink(7)).
        connection.connect((0, 0))
    except OSError:
        connection.close()
        raise
    return connection


@lru_cache(maxsize=16)
def _request_parts(local: Endpoint, peer: str, family: int) -> tuple[bytes, bytes, bytes, int]:
    """Return the parts of the message that stay the same: before its number, before the port of the
    other end, and behind that; and our port, in the order of the network."""
    ours = socket.htons(local[1])
    return (
        _HEADER_START.pack(_REQUEST.size, _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST),
        _SENDER_AND_FAMILY.pack(0, family, socket.IPPROTO_TCP, 0, 0, _EVERY_STATE),
        b"".join(
            (
                struct.pack("=H", ours),
                socket.inet_pton(family, peer).ljust(16, b"\0"),
                socket.inet_pton(family, local[0]).ljust(16, b"\0"),
                _LOOPBACK_AND_ANY_COOKIE,
            )
        ),
        ours,
    )


@lru_cache(maxsize=64)
def _shared_owner(user: int, is_open: bool) -> SocketOwner:
    return SocketOwner(user, is_open=is_open)


class ProcNetLookup:
    """Reads the tables of all connections (proc_net_tcp.rst of the kernel's documentation)."""

    def __init__(self, folder: Path = Path("/proc/net")) -> None:
        self._folder = folder

    def owner_of(self, local: Endpoint, peer: Endpoint, family: int) -> SocketOwner | None:
        """Return who is at the other end; see `Owners`."""
        ends = [(_table_format(peer, family), _table_format(local, family), family)]
        if family == socket.AF_INET:
            # A socket for both versions is in the other table, even when it speaks IPv4.
            ends.append((_ipv4_mapped(ends[0][0]), _ipv4_mapped(ends[0][1]), socket.AF_INET6))
        for theirs, ours, of_family in ends:
            table = self._folder / ("tcp6" if of_family == socket.AF_INET6 else "tcp")
            if (of_family != family and not table.exists()) or not theirs:
                continue
            if (found := _find(table.read_bytes(), theirs, ours)) is not None:
                return found
        return None

    def close(self) -> None:
        """Nothing is held."""


def _find(table: bytes, theirs: str, ours: str) -> SocketOwner | None:
    """Return the owner of the socket with these ends.

    Sockets that are bound to different interfaces may have the same ends, and the table does not
    tell which of them is our peer: such a socket is nobody's.
    """
    ends = f" {theirs} {ours} ".encode()
    found: set[SocketOwner] = set()
    at = table.find(ends)
    while at >= 0:
        columns = table[at : table.find(b"\n", at)].split()
        # local, remote, state, queues, timer, retransmissions, user, timeout, inode.
        is_open = columns[8] != b"0" and int(columns[2], 16) in _CONNECTED
        found.add(SocketOwner(int(columns[6]), is_open=is_open))
        at = table.find(ends, at + len(ends))
    return next(iter(found)) if len(found) == 1 else None


def _table_format(end: Endpoint, family: int) -> str:
    """Return an end as the tables have it: words of 32 bits in the order of this processor."""
    octets = socket.inet_pton(family, end[0])
    words = (octets[at : at + 4] for at in range(0, len(octets), 4))
    address = "".join(f"{int.from_bytes(word, sys.byteorder):08X}" for word in words)
    return f"{address}:{end[1]:04X}"


def _ipv4_mapped(written: str) -> str:
    """Return an IPv4 end in IPv6 (RFC 4291, section 2.5.5.2), as the tables have it."""
    prefix = f"{int.from_bytes(bytes([0, 0, 255, 255]), sys.byteorder):08X}"
    return f"{0:016X}{prefix}{written}"
