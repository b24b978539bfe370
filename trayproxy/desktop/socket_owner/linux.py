"""Linux: the owner of a socket, by sock_diag(7) or by the tables ``/proc/net/tcp`` and ``tcp6``.

With sock_diag(7), a look-up is one request with the addresses and ports of the connection, and one
response. It needs no privilege, and its duration does not depend on the number of connections.
Measured: 6 to 13 µs; reading ``/proc/net/tcp`` takes 1.2 ms on an idle system, and 12 ms with 4,000
connections.

Both sources report the inode of the socket. When no process holds the socket any more, the inode
and the user id are 0 (measured on Linux 6.18, and visible in its `sk_set_socket`; older kernels
derive both from the file of the socket). A half-closed socket held by a process has its inode and
its true user id.

Both sources report the state of the socket. Only the states of a connected socket are accepted:
after a client has reset its connection, another program may be connecting (``SYN_SENT``) from the
same address and port without being the peer.
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

# Requests: struct nlmsghdr in two parts, with the sequence number between them, then struct
# inet_diag_req_v2 (linux/inet_diag.h), with the source port between two parts: only the sequence
# number and this port differ between requests.
_REQUEST = struct.Struct("=8sI12sH46s")
_HEADER_START = struct.Struct("=IHH")
_SENDER_AND_FAMILY = struct.Struct("=IBBBBI")
# The interface, and no cookie. The kernel looks up the socket that would receive a packet from this
# interface: sockets that are bound to the interface (SO_BINDTODEVICE) or to none. Connections
# within one computer use the loopback interface, whose index is 1 in every network namespace
# (LOOPBACK_IFINDEX in include/net/flow.h).
_LOOPBACK = 1
_LOOPBACK_AND_ANY_COOKIE = struct.pack("=III", _LOOPBACK, 0xFFFFFFFF, 0xFFFFFFFF)
_EVERY_STATE = 0xFFFFFFFF

# Responses: type and sequence number of struct nlmsghdr; state, ports, user id and inode of struct
# inet_diag_msg.
_HEADER = struct.Struct("=4xH2xI4x")
_ERROR = struct.Struct("=i")
_RESPONSE = struct.Struct("=17xB2xHH56xII")

_ESTABLISHED, _FIN_WAIT1, _FIN_WAIT2, _CLOSE_WAIT, _LISTEN = 1, 4, 5, 8, 10
_CONNECTED = frozenset({_ESTABLISHED, _FIN_WAIT1, _FIN_WAIT2, _CLOSE_WAIT})
"""The states (include/net/tcp_states.h) of a connected socket, half-closed or not."""


class SockDiagLookup:
    """A look-up by sock_diag(7), on a persistent netlink socket."""

    def __init__(self) -> None:
        self._socket: socket.socket | None = None
        self._sequence = 0

    def owner_of(self, local: Endpoint, peer: Endpoint, family: int) -> SocketOwner | None:
        """Return the owner of the other end; see `OwnerLookup`."""
        found = self._look_up(local, peer, family)
        if found is None:
            return None
        user, inode, state = found
        return _shared_owner(user, inode != 0 and state in _CONNECTED)

    def inode_of(self, local: Endpoint, peer: Endpoint, family: int) -> int:
        """Return the inode of the socket at the other end; see `OwnerLookup.owner_of`.

        0 if no process holds the socket, or there is no such socket.
        """
        found = self._look_up(local, peer, family)
        return 0 if found is None else found[1]

    def user_listening(self, address: Endpoint, family: int) -> User | None:
        """Return the user of the program listening at an address; None if no program does.

        Raises:
            OSError: The kernel refuses the request.
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
        """Return the user id, the inode and the state of the socket at the other end.

        This is on the path of every accepted connection.
        """
        start, kind, ends, local_port = _request_parts(local, peer[0], family)
        peer_port = socket.htons(peer[1])
        sequence = self._sequence = (self._sequence + 1) & 0xFFFFFFFF
        try:
            response = self._send_request(
                _REQUEST.pack(start, sequence, kind, peer_port, ends), sequence
            )
            if response is None:
                return None
            state, found_peer_port, found_local_port, user, inode = _RESPONSE.unpack_from(response)
        except (OSError, struct.error) as error:
            # A response may still be pending on the socket: the next look-up opens a new socket.
            self.close()
            raise OSError(getattr(error, "errno", None) or errno.EPROTO, "sock_diag") from error
        # If there is no such connection, the kernel returns a listener at the address instead.
        if (found_peer_port, found_local_port) != (peer_port, local_port):
            return None
        return user, inode, state

    def close(self) -> None:
        """Close the netlink socket."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send_request(self, request: bytes, sequence: int) -> bytes | None:
        """Send a request, and return its response; None if there is no such socket."""
        if self._socket is None:
            self._socket = _connect()
        self._socket.send(request)
        while True:
            # The kernel has queued the response before `send` returns, so `recv` never waits.
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
        # Connected to the kernel, the socket receives messages from no other sender (netlink(7)).
        connection.connect((0, 0))
    except OSError:
        connection.close()
        raise
    return connection


@lru_cache(maxsize=16)
def _request_parts(local: Endpoint, peer: str, family: int) -> tuple[bytes, bytes, bytes, int]:
    """Return the octets of a request before the sequence number, between the sequence number and
    the port of the other end, and after that port; and this process's port in network byte order.
    """
    local_port = socket.htons(local[1])
    return (
        _HEADER_START.pack(_REQUEST.size, _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST),
        _SENDER_AND_FAMILY.pack(0, family, socket.IPPROTO_TCP, 0, 0, _EVERY_STATE),
        b"".join(
            (
                struct.pack("=H", local_port),
                socket.inet_pton(family, peer).ljust(16, b"\0"),
                socket.inet_pton(family, local[0]).ljust(16, b"\0"),
                _LOOPBACK_AND_ANY_COOKIE,
            )
        ),
        local_port,
    )


@lru_cache(maxsize=64)
def _shared_owner(user: int, is_open: bool) -> SocketOwner:
    return SocketOwner(user, is_open=is_open)


class ProcNetLookup:
    """A look-up in the tables of all connections (proc_net_tcp.rst in the kernel documentation)."""

    def __init__(self, folder: Path = Path("/proc/net")) -> None:
        self._folder = folder

    def owner_of(self, local: Endpoint, peer: Endpoint, family: int) -> SocketOwner | None:
        """Return the owner of the other end; see `OwnerLookup.owner_of`."""
        ends = [(_table_format(peer, family), _table_format(local, family), family)]
        if family == socket.AF_INET:
            # A dual-stack socket is in the table of IPv6, even for a connection over IPv4.
            ends.append((_ipv4_mapped(ends[0][0]), _ipv4_mapped(ends[0][1]), socket.AF_INET6))
        for peer_end, local_end, of_family in ends:
            table = self._folder / ("tcp6" if of_family == socket.AF_INET6 else "tcp")
            if (of_family != family and not table.exists()) or not peer_end:
                continue
            if (found := _find(table.read_bytes(), peer_end, local_end)) is not None:
                return found
        return None

    def close(self) -> None:
        """Do nothing."""


def _find(table: bytes, peer_end: str, local_end: str) -> SocketOwner | None:
    """Return the owner of the socket with these two ends, in the format of the table.

    Sockets bound to different interfaces may have the same ends, and the table does not show which
    of them is the peer. None is returned if their owners differ.
    """
    ends = f" {peer_end} {local_end} ".encode()
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
    """Return an end in the format of the tables: 32-bit words in the processor's byte order."""
    octets = socket.inet_pton(family, end[0])
    words = (octets[at : at + 4] for at in range(0, len(octets), 4))
    address = "".join(f"{int.from_bytes(word, sys.byteorder):08X}" for word in words)
    return f"{address}:{end[1]:04X}"


def _ipv4_mapped(end: str) -> str:
    """Return an IPv4 end as an IPv4-mapped IPv6 address (RFC 4291, section 2.5.5.2); both in the
    format of the tables."""
    prefix = f"{int.from_bytes(bytes([0, 0, 255, 255]), sys.byteorder):08X}"
    return f"{0:016X}{prefix}{end}"
