"""Windows: whose a connection is, by the table of TCP connections and the token of a process.

``GetExtendedTcpTable`` tells the process of each connection (learn.microsoft.com, iphlpapi.h:
MIB_TCPTABLE_OWNER_PID and MIB_TCP6TABLE_OWNER_PID); ``OpenProcessToken`` and
``GetTokenInformation`` tell the user of a process, as a SID. Processes of other users refuse to be
opened, unless we are an administrator: such an owner has no name, and is not us.

A connection that nobody holds is listed with process 0 or with one that has ended. A process id may
come to belong to another process between both questions, so the table is read again while the
process is held: as long as somebody has a handle of it, its id belongs to no other one.

Written from this documentation and tested with functions made after it; it was not run on Windows.
Wine tells the user of a process, and of each connection that it is process 0's. `open_owners` tries
this on a connection of our own before it is believed.
"""

import ctypes
import errno
import socket
import struct
import sys
from typing import Any

from trayproxy.desktop.socket_owner.base import Endpoint, SocketOwner
from trayproxy.desktop.users import User
from trayproxy.desktop.windows_token import ProcessTokens

_TCP_TABLE_OWNER_PID_LISTENER, _TCP_TABLE_OWNER_PID_CONNECTIONS = 3, 4
_AF_INET, _AF_INET6 = 2, 23
_NO_ERROR, _INSUFFICIENT_BUFFER = 0, 122
_LISTEN, _ESTABLISHED, _FIN_WAIT1, _FIN_WAIT2, _CLOSE_WAIT = 2, 5, 6, 7, 8
_CONNECTED = frozenset({_ESTABLISHED, _FIN_WAIT1, _FIN_WAIT2, _CLOSE_WAIT})
"""The states (MIB_TCP_STATE) of an end that is connected to us, half-closed or not."""

_COUNT = struct.Struct("<I")
# state, local address, local port, remote address, remote port, process. Ports are in network order
# in the lower half of a DWORD.
_ROW = struct.Struct("<I 4s 2s2x 4s 2s2x I")
# local address, scope, port; remote address, scope, port; state, process.
_ROW6 = struct.Struct("<16s 4x 2s2x 16s 4x 2s2x I I")

_SPARE_SIZE = 16_384
"""Octets for connections that begin between asking for the size and for the table."""
_ATTEMPTS = 4
UNKNOWN_USER = ""
"""The user of a process that does not tell."""


class WindowsOwnerLookup:
    """Asks Windows."""

    def __init__(self, iphlpapi: Any = None, tokens: ProcessTokens | None = None) -> None:
        """Open nothing.

        Args:
            iphlpapi: The library ``iphlpapi``; None to load the system's.
            tokens: The tokens of processes; None for the system's.
        """
        self._iphlpapi = iphlpapi
        self._tokens = tokens or ProcessTokens()

    def owner_of(self, local: Endpoint, peer: Endpoint, family: int) -> SocketOwner | None:
        """Return who is at the other end; see `Owners`."""
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
        """Return whose program listens at an address; None if none does, or it does not tell."""
        table = self._table(family, _TCP_TABLE_OWNER_PID_LISTENER)
        any_address = "::" if family == socket.AF_INET6 else "0.0.0.0"
        for at in (address, (any_address, address[1])):
            process = find_process(table, (any_address, 0), at, family, frozenset({_LISTEN}))
            if process:
                return self._tokens.user_of_process(process)
        return None

    def close(self) -> None:
        """Nothing is held."""

    def _table(self, family: int, kind: int = _TCP_TABLE_OWNER_PID_CONNECTIONS) -> bytes:
        if self._iphlpapi is None:
            self._iphlpapi = load_iphlpapi()
        of_family = _AF_INET6 if family == socket.AF_INET6 else _AF_INET
        size = ctypes.c_uint32(_SPARE_SIZE)
        code = _INSUFFICIENT_BUFFER
        for _ in range(_ATTEMPTS):
            buffer = ctypes.create_string_buffer(size.value + _SPARE_SIZE)
            size.value = len(buffer)
            code = self._iphlpapi.GetExtendedTcpTable(
                *(buffer, ctypes.byref(size), False),
                *(of_family, kind, 0),
            )
            if code == _NO_ERROR:
                return buffer.raw
            if code != _INSUFFICIENT_BUFFER:
                break
        raise OSError(errno.EIO, f"GetExtendedTcpTable returned {code}")


def find_process(
    table: bytes, local: Endpoint, peer: Endpoint, family: int, states: frozenset[int] = _CONNECTED
) -> int | None:
    """Return the process of the end that is our peer, as a table tells; 0 if none holds it or it is
    not connected; None if there is no such end.

    Args:
        table: What Windows gave.
        local: Our end.
        peer: The other one.
        family: Of our socket.
        states: In which the end counts as held.
    """
    theirs = socket.inet_pton(family, peer[0]), peer[1].to_bytes(2, "big")
    ours = socket.inet_pton(family, local[0]), local[1].to_bytes(2, "big")
    layout = _ROW6 if family == socket.AF_INET6 else _ROW
    (count,) = _COUNT.unpack_from(table)
    for row in layout.iter_unpack(table[_COUNT.size : _COUNT.size + count * layout.size]):
        if family == socket.AF_INET6:
            address, port, to, to_port, state, process = row
        else:
            state, address, port, to, to_port, process = row
        if (address, port) != theirs or (state != _LISTEN and (to, to_port) != ours):
            continue
        if state in states:
            return int(process)
        if state != _LISTEN:
            return 0
    return None


if sys.platform == "win32":

    def load_iphlpapi() -> Any:
        """Return the system's library for the tables of connections."""
        return ctypes.WinDLL("iphlpapi")

else:

    def load_iphlpapi() -> Any:
        """Return the library, which this system does not have.

        Raises:
            OSError: Always.
        """
        raise OSError(errno.ENOSYS, "not Windows")
