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
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from trayproxy.desktop.socket_owner.base import Endpoint, SocketOwner
from trayproxy.desktop.users import User

_TCP_TABLE_OWNER_PID_LISTENER, _TCP_TABLE_OWNER_PID_CONNECTIONS = 3, 4
_AF_INET, _AF_INET6 = 2, 23
_NO_ERROR, _INSUFFICIENT_BUFFER = 0, 122
_PROCESS_QUERY_LIMITED_INFORMATION = 0x1000
_TOKEN_QUERY = 0x0008
_TOKEN_USER = 1
_LISTEN, _ESTABLISHED, _FIN_WAIT1, _FIN_WAIT2, _CLOSE_WAIT = 2, 5, 6, 7, 8
_CONNECTED = frozenset({_ESTABLISHED, _FIN_WAIT1, _FIN_WAIT2, _CLOSE_WAIT})
"""The states (MIB_TCP_STATE) of an end that is connected to us, half-closed or not."""

_COUNT = struct.Struct("<I")
# state, local address, local port, remote address, remote port, process. Ports are in network order
# in the lower half of a DWORD.
_ROW = struct.Struct("<I 4s 2s2x 4s 2s2x I")
# local address, scope, port; remote address, scope, port; state, process.
_ROW6 = struct.Struct("<16s 4x 2s2x 16s 4x 2s2x I I")

_SPARE = 16_384
"""Octets for connections that begin between asking for the size and for the table."""
_TRIES = 4
UNKNOWN_USER = ""
"""The user of a process that does not tell."""


@dataclass(frozen=True, slots=True)
class OwnerLibraries:
    """The libraries of Windows that are called."""

    iphlpapi: Any
    kernel32: Any
    advapi32: Any


class WindowsOwnerLookup:
    """Asks Windows."""

    def __init__(self, libraries: OwnerLibraries | None = None) -> None:
        """Open nothing.

        Args:
            libraries: What to call; None for the system's.
        """
        self._libraries = libraries

    def owner_of(self, local: Endpoint, peer: Endpoint, family: int) -> SocketOwner | None:
        """Return who is at the other end; see `Owners`."""
        process = find_process(self._table(family), local, peer, family)
        if process is None:
            return None
        if process == 0:
            return SocketOwner(UNKNOWN_USER, is_open=False)
        with self._held(process) as handle:
            user = self._user_of_handle(handle) if handle else None
            if find_process(self._table(family), local, peer, family) != process:
                return None
        return SocketOwner(UNKNOWN_USER if user is None else user, is_open=True)

    def user_listening(self, address: Endpoint, family: int) -> User | None:
        """Return whose program listens at an address; None if none does, or it does not tell."""
        table = self._table(family, _TCP_TABLE_OWNER_PID_LISTENER)
        anywhere = "::" if family == socket.AF_INET6 else "0.0.0.0"
        for at in (address, (anywhere, address[1])):
            process = find_process(table, (anywhere, 0), at, family, frozenset({_LISTEN}))
            if process:
                return self.user_of_process(process)
        return None

    def close(self) -> None:
        """Nothing is held."""

    def user_of_process(self, process: int) -> str | None:
        """Return the user of a process, ``S-1-5-21-…``; None if it has ended or does not tell."""
        with self._held(process) as handle:
            return self._user_of_handle(handle) if handle else None

    @contextmanager
    def _held(self, process: int) -> Iterator[int | None]:
        """Hold a process, so that its id stays its own; None if it has ended or does not allow
        it."""
        kernel = self._called.kernel32
        handle = kernel.OpenProcess(_PROCESS_QUERY_LIMITED_INFORMATION, False, process)
        try:
            yield handle or None
        finally:
            if handle:
                kernel.CloseHandle(handle)

    def _user_of_handle(self, handle: int) -> str | None:
        """Return the user of a process that is held; None if it does not tell."""
        token = ctypes.c_void_p()
        try:
            advapi = self._called.advapi32
            if not advapi.OpenProcessToken(handle, _TOKEN_QUERY, ctypes.byref(token)):
                return None
            return self._user_of_token(token)
        finally:
            if token:
                self._called.kernel32.CloseHandle(token)

    @property
    def _called(self) -> OwnerLibraries:
        if self._libraries is None:
            self._libraries = load_libraries()
        return self._libraries

    def _user_of_token(self, token: ctypes.c_void_p) -> str | None:
        advapi = self._called.advapi32
        length = ctypes.c_uint32()
        # Fails, and tells how much room it needs.
        advapi.GetTokenInformation(token, _TOKEN_USER, None, 0, ctypes.byref(length))
        # TOKEN_USER begins with a pointer to the SID, which follows in the same buffer.
        buffer = ctypes.create_string_buffer(max(length.value, ctypes.sizeof(ctypes.c_void_p)))
        size = ctypes.c_uint32(len(buffer))
        if not advapi.GetTokenInformation(token, _TOKEN_USER, buffer, size, ctypes.byref(length)):
            return None
        sid = ctypes.c_void_p.from_buffer(buffer)
        text = ctypes.c_wchar_p()
        if not advapi.ConvertSidToStringSidW(sid, ctypes.byref(text)):
            return None
        try:
            return text.value
        finally:
            self._called.kernel32.LocalFree(text)

    def _table(self, family: int, kind: int = _TCP_TABLE_OWNER_PID_CONNECTIONS) -> bytes:
        of_family = _AF_INET6 if family == socket.AF_INET6 else _AF_INET
        size = ctypes.c_uint32(_SPARE)
        code = _INSUFFICIENT_BUFFER
        for _ in range(_TRIES):
            buffer = ctypes.create_string_buffer(size.value + _SPARE)
            size.value = len(buffer)
            code = self._called.iphlpapi.GetExtendedTcpTable(
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

    def load_libraries() -> OwnerLibraries:
        """Return the system's libraries, with the types of what is not an int."""
        libraries = OwnerLibraries(
            *(ctypes.WinDLL(name) for name in ("iphlpapi", "kernel32", "advapi32"))
        )
        pointer = ctypes.c_void_p
        libraries.kernel32.OpenProcess.restype = pointer
        libraries.kernel32.CloseHandle.argtypes = [pointer]
        libraries.kernel32.LocalFree.argtypes = [pointer]
        token_of = libraries.advapi32.OpenProcessToken
        token_of.argtypes = [pointer, ctypes.c_uint32, pointer]
        information = libraries.advapi32.GetTokenInformation
        information.argtypes = [pointer, ctypes.c_int, pointer, ctypes.c_uint32, pointer]
        libraries.advapi32.ConvertSidToStringSidW.argtypes = [pointer, pointer]
        return libraries

else:

    def load_libraries() -> OwnerLibraries:
        """Return the libraries, which this system does not have.

        Raises:
            OSError: Always.
        """
        raise OSError(errno.ENOSYS, "not Windows")
