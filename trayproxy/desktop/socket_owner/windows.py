"""Windows: the owner of a socket, by the table of TCP connections and the token of a process.

``GetExtendedTcpTable`` reports the process of each connection (learn.microsoft.com, iphlpapi.h:
MIB_TCPTABLE_OWNER_PID and MIB_TCP6TABLE_OWNER_PID), and `trayproxy.desktop.windows_token` reads the
user of a process. The processes of other users cannot be opened, unless this process runs as an
administrator: their owner is `UNKNOWN_USER`, who differs from every user.

A connection without a process is listed with process id 0, or with the id of an ended process.
Windows may reuse a process id between the two queries. So the table is read again while the process
is open: Windows does not reuse the id of a process to which a handle exists.

Written from this documentation and tested with replacements of the functions; it was not run on
Windows. Wine reports the user of a process, but process id 0 for each connection.
`trayproxy.desktop.socket_owner.factory.open_owner_lookup` makes a test connection to check the
look-up.
"""

import ctypes
import errno
import socket
import struct
from typing import Any

from trayproxy.desktop.socket_owner.base import Endpoint, SocketOwner
from trayproxy.desktop.users import User
from trayproxy.desktop.windows_library import load_library
from trayproxy.desktop.windows_token import ProcessTokens

_TCP_TABLE_OWNER_PID_LISTENER, _TCP_TABLE_OWNER_PID_CONNECTIONS = 3, 4
_AF_INET, _AF_INET6 = 2, 23
_NO_ERROR, _INSUFFICIENT_BUFFER = 0, 122
_LISTEN, _ESTABLISHED, _FIN_WAIT1, _FIN_WAIT2, _CLOSE_WAIT = 2, 5, 6, 7, 8
_CONNECTED = frozenset({_ESTABLISHED, _FIN_WAIT1, _FIN_WAIT2, _CLOSE_WAIT})
"""The states (MIB_TCP_STATE) of a connected socket, half-closed or not."""

_COUNT = struct.Struct("<I")
# State, local address, local port, remote address, remote port, process id. Ports are in network
# byte order in the lower half of a DWORD.
_ROW = struct.Struct("<I 4s 2s2x 4s 2s2x I")
# Local address, scope, port; remote address, scope, port; state, process id.
_ROW6 = struct.Struct("<16s 4x 2s2x 16s 4x 2s2x I I")

_SPARE_SIZE = 16_384
"""Octets for connections opened between the queries for the size and for the table."""
_ATTEMPTS = 4
UNKNOWN_USER = ""
"""The user of an inaccessible process."""


class WindowsOwnerLookup:
    """A look-up in the table of TCP connections of Windows."""

    def __init__(self, iphlpapi: Any = None, tokens: ProcessTokens | None = None) -> None:
        self._iphlpapi = iphlpapi
        self._tokens = tokens or ProcessTokens()

    def owner_of(self, local: Endpoint, peer: Endpoint, family: int) -> SocketOwner | None:
        """Return the owner of the other end; see `OwnerLookup.owner_of`."""
        process = find_process(self._table(family), local, peer, family)
        if process is None:
            return None
        if process == 0:
            return SocketOwner(UNKNOWN_USER, is_open=False)
        with self._tokens.open_process(process) as handle:
            user = self._tokens.user_of_handle(handle) if handle else None
            if find_process(self._table(family), local, peer, family) != process:
                return None
        return SocketOwner(UNKNOWN_USER if user is None else user, is_open=True)

    def user_listening(self, address: Endpoint, family: int) -> User | None:
        """Return the user of the program listening at an address.

        None if no program listens there, or its process cannot be opened.

        Raises:
            OSError: The table cannot be read.
        """
        table = self._table(family, _TCP_TABLE_OWNER_PID_LISTENER)
        any_address = "::" if family == socket.AF_INET6 else "0.0.0.0"
        for at in (address, (any_address, address[1])):
            process = find_process(table, (any_address, 0), at, family, frozenset({_LISTEN}))
            if process:
                return self._tokens.user_of_process(process)
        return None

    def close(self) -> None:
        """Do nothing."""

    def _table(self, family: int, kind: int = _TCP_TABLE_OWNER_PID_CONNECTIONS) -> bytes:
        if self._iphlpapi is None:
            self._iphlpapi = load_library("iphlpapi")
        of_family = _AF_INET6 if family == socket.AF_INET6 else _AF_INET
        size = ctypes.c_uint32(_SPARE_SIZE)
        code = _INSUFFICIENT_BUFFER
        for _ in range(_ATTEMPTS):
            buffer = ctypes.create_string_buffer(size.value + _SPARE_SIZE)
            size.value = len(buffer)
            code = self._iphlpapi.GetExtendedTcpTable(
                buffer, ctypes.byref(size), False, of_family, kind, 0
            )
            if code == _NO_ERROR:
                return buffer.raw
            if code != _INSUFFICIENT_BUFFER:
                break
        raise OSError(errno.EIO, f"GetExtendedTcpTable returned {code}")


def find_process(
    table: bytes, local: Endpoint, peer: Endpoint, family: int, states: frozenset[int] = _CONNECTED
) -> int | None:
    """Return the process id of the other end from the octets of a MIB_TCPTABLE_OWNER_PID or
    MIB_TCP6TABLE_OWNER_PID. See `OwnerLookup.owner_of`.

    Returns:
        0 if no process holds the other end, or its state is not one of `states`; None if the table
        has no such connection.
    """
    peer_end = socket.inet_pton(family, peer[0]), peer[1].to_bytes(2, "big")
    local_end = socket.inet_pton(family, local[0]), local[1].to_bytes(2, "big")
    layout = _ROW6 if family == socket.AF_INET6 else _ROW
    (count,) = _COUNT.unpack_from(table)
    for row in layout.iter_unpack(table[_COUNT.size : _COUNT.size + count * layout.size]):
        if family == socket.AF_INET6:
            address, port, to, to_port, state, process = row
        else:
            state, address, port, to, to_port, process = row
        if (address, port) != peer_end or (state != _LISTEN and (to, to_port) != local_end):
            continue
        if state in states:
            return int(process)
        if state != _LISTEN:
            return 0
    return None
