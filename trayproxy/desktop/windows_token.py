"""Windows: the user of a process, from the process's access token.

``OpenProcessToken`` and ``GetTokenInformation`` report the user of a process as a SID
(learn.microsoft.com, processthreadsapi.h and securitybaseapi.h). Windows does not let a process
open the processes of other users, unless it runs as an administrator.

Written from this documentation and run under Wine; it was not run on Windows.
"""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from trayproxy.desktop.windows_library import load_library

_PROCESS_QUERY_LIMITED_INFORMATION = 0x1000
_TOKEN_QUERY = 0x0008
_TOKEN_USER = 1


@dataclass(frozen=True, slots=True)
class TokenLibraries:
    """The libraries of Windows with the functions for access tokens; tests replace them."""

    kernel32: Any
    advapi32: Any


class ProcessTokens:
    """Reads the access tokens of processes. The libraries are loaded at the first use."""

    def __init__(self, libraries: TokenLibraries | None = None) -> None:
        self._loaded = libraries

    def user_of_process(self, process: int) -> str | None:
        """Return the user of a process as a SID, ``S-1-5-21-…``.

        None if the process has ended or may not be opened.

        Raises:
            OSError: This is not Windows.
        """
        with self.open_process(process) as handle:
            return self.user_of_handle(handle) if handle else None

    @contextmanager
    def open_process(self, process: int) -> Iterator[int | None]:
        """Open a process for the duration of a ``with`` block.

        While the handle is open, Windows gives the process id to no other process. The handle is
        None if the process has ended or may not be opened.

        Raises:
            OSError: This is not Windows.
        """
        kernel = self._libraries.kernel32
        handle = kernel.OpenProcess(_PROCESS_QUERY_LIMITED_INFORMATION, False, process)
        try:
            yield handle or None
        finally:
            if handle:
                kernel.CloseHandle(handle)

    def user_of_handle(self, handle: int) -> str | None:
        """Return the user of an open process as a SID; None if its token cannot be read."""
        token = ctypes.c_void_p()
        try:
            advapi = self._libraries.advapi32
            if not advapi.OpenProcessToken(handle, _TOKEN_QUERY, ctypes.byref(token)):
                return None
            return self._user_of_token(token)
        finally:
            if token:
                self._libraries.kernel32.CloseHandle(token)

    @property
    def _libraries(self) -> TokenLibraries:
        if self._loaded is None:
            self._loaded = _load_libraries()
        return self._loaded

    def _user_of_token(self, token: ctypes.c_void_p) -> str | None:
        advapi = self._libraries.advapi32
        length = ctypes.c_uint32()
        # This call fails, and reports the size of the buffer that is needed.
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
            self._libraries.kernel32.LocalFree(text)


def _load_libraries() -> TokenLibraries:
    """Load the libraries of Windows for tokens, and declare the types of their pointers."""
    libraries = TokenLibraries(load_library("kernel32"), load_library("advapi32"))
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
