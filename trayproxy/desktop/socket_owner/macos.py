"""macOS: the owner of a socket, by the kernel's table of TCP connections.

The table is ``net.inet.tcp.pcblist_n`` (sysctl(3)), which netstat(1) reads, too. A record begins
with its length and its kind, and is padded to 8 octets. Each connection has a group of records: the
first contains its ends, others describe its socket (xnu: bsd/netinet/in_pcb.h, `xinpcb_n`, and
bsd/sys/socketvar.h, `xsocket_n`, both packed to 4 octets). Since the records are parsed by length
and kind, fields appended by newer kernels do no harm.

A connection without a process stays in the table, with the user who opened it, until the kernel has
delivered its remaining octets; its `so_state` then contains `SS_NOFDREF` (bsd/kern/uipc_socket.c,
`soclose_locked`). After the delivery the connection has no socket, and `xso_so` and `so_uid` are 0
(bsd/netinet/in_pcblist.c, `sotoxsocket_n`). The last record of a group contains the state of the
connection (bsd/netinet/tcp_var.h, `xtcpcb_n`; bsd/netinet/tcp_fsm.h).

Written from these headers and tested with tables built from them; it was not run on macOS.
`trayproxy.desktop.socket_owner.factory.open_owner_lookup` checks it with a test connection.
"""

import ctypes
import errno
import os
import socket
import struct
from typing import Any

from trayproxy.desktop.socket_owner.base import Endpoint, SocketOwner
from trayproxy.desktop.users import User

_NAME = b"net.inet.tcp.pcblist_n"
_XSO_SOCKET = 0x001
_XSO_INPCB = 0x010
_XSO_TCPCB = 0x020
_INP_IPV4 = 0x1

_LENGTH = struct.Struct("=I")
_LENGTH_AND_KIND = struct.Struct("=II")
# `xinpcb_n`: foreign and local port at 16, flags of the IP version at 44, foreign and local address
# at 48 and 64; an IPv4 address is in the last four octets.
_INPCB = struct.Struct("!16x HH 24x B 3x 16s16s")
# `xsocket_n`: handle of the socket at 8, its flags at 26, user id at 64.
_SOCKET = struct.Struct("=8x Q 10x H 36x I")
_SS_NOFDREF = 0x0001
# `xtcpcb_n`: state at 36.
_TCPCB = struct.Struct("=36x i")
_LISTEN, _ESTABLISHED, _CLOSE_WAIT, _FIN_WAIT_1, _FIN_WAIT_2 = 1, 4, 5, 6, 9
_CONNECTED = frozenset({_ESTABLISHED, _CLOSE_WAIT, _FIN_WAIT_1, _FIN_WAIT_2})
"""The states of a connected socket, half-closed or not."""

_SPARE_SIZE = 16_384
"""Octets for connections opened between the queries for the size and for the table."""
_ATTEMPTS = 4


class MacOwnerLookup:
    """A look-up in the kernel's table of TCP connections."""

    def __init__(self, libc: Any = None) -> None:
        self._libc = libc

    def owner_of(self, local: Endpoint, peer: Endpoint, family: int) -> SocketOwner | None:
        """Return the owner of the other end; see `OwnerLookup.owner_of`."""
        return find_owner(self._table(), local, peer, family)

    def user_listening(self, address: Endpoint, family: int) -> User | None:
        """Return the user of the program listening at an address; None if no program does.

        Raises:
            OSError: The table cannot be read.
        """
        any_address = "::" if family == socket.AF_INET6 else "0.0.0.0"
        for at in (address, (any_address, address[1])):
            found = find_owner(self._table(), (any_address, 0), at, family, frozenset({_LISTEN}))
            if found is not None and found.is_open:
                return found.user
        return None

    def close(self) -> None:
        """Do nothing."""

    def _table(self) -> bytes:
        if self._libc is None:
            self._libc = ctypes.CDLL(None, use_errno=True)
        length = ctypes.c_size_t()
        for _ in range(_ATTEMPTS):
            if self._libc.sysctlbyname(_NAME, None, ctypes.byref(length), None, 0):
                break
            buffer = ctypes.create_string_buffer(length.value + _SPARE_SIZE)
            length.value = len(buffer)
            if not self._libc.sysctlbyname(_NAME, buffer, ctypes.byref(length), None, 0):
                return buffer.raw[: length.value]
            if ctypes.get_errno() != errno.ENOMEM:
                break
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def find_owner(
    table: bytes, local: Endpoint, peer: Endpoint, family: int, states: frozenset[int] = _CONNECTED
) -> SocketOwner | None:
    """Return the owner of the other end from the octets of ``net.inet.tcp.pcblist_n``.

    The other end counts as open if its state is one of `states`; see `OwnerLookup.owner_of`.
    Raises:
        OSError: The table is malformed.
    """
    is_peer = False
    user, is_held = 0, False
    try:
        at = _padded(_LENGTH.unpack_from(table)[0])
        while at + _LENGTH_AND_KIND.size <= len(table):
            length, kind = _LENGTH_AND_KIND.unpack_from(table, at)
            if length < _LENGTH_AND_KIND.size:
                raise OSError(errno.EPROTO, "pcblist_n")
            if kind == _XSO_INPCB:
                is_peer = _record_ends(table, at) == _peer_ends(local, peer, family)
            elif kind == _XSO_SOCKET and is_peer:
                handle, flags, user = _SOCKET.unpack_from(table, at)
                is_held = handle != 0 and not flags & _SS_NOFDREF
            elif kind == _XSO_TCPCB and is_peer:
                (state,) = _TCPCB.unpack_from(table, at)
                return SocketOwner(user, is_open=is_held and state in states)
            at += _padded(length)
    except struct.error:
        raise OSError(errno.EPROTO, "pcblist_n") from None
    return None


def _padded(length: int) -> int:
    return (length + 7) & ~7


def _record_ends(table: bytes, at: int) -> tuple[int, int, bytes, bytes]:
    """Return the foreign port, local port, foreign address and local address of a record."""
    foreign_port, local_port, version, foreign, local = _INPCB.unpack_from(table, at)
    if version & _INP_IPV4:
        return foreign_port, local_port, foreign[12:], local[12:]
    return foreign_port, local_port, foreign, local


def _peer_ends(local: Endpoint, peer: Endpoint, family: int) -> tuple[int, int, bytes, bytes]:
    """Return the values that `_record_ends` returns for the record of the peer's socket.

    In this record, the foreign end is the end of this process.
    """
    return (
        local[1],
        peer[1],
        socket.inet_pton(family, local[0]),
        socket.inet_pton(family, peer[0]),
    )
