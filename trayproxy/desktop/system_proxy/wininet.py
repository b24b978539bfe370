"""The calls of WinINET, RAS and the registry with which Windows stores its proxy settings.

Written from learn.microsoft.com ("INTERNET_PER_CONN_OPTION_LIST structure",
"INTERNET_PER_CONN_OPTION structure", "Option Flags (Wininet.h)", "RasEnumEntriesW function") and
tested with replacements of the functions. The calls for the LAN connection were run under Wine;
nothing was run on Windows.
"""

import ctypes
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from trayproxy.desktop.windows_library import load_library
from trayproxy.system_settings.entries import TargetError

FLAGS, SERVER, BYPASS, SCRIPT, FLAGS_UI = 1, 2, 3, 4, 10
"""INTERNET_PER_CONN_FLAGS, _PROXY_SERVER, _PROXY_BYPASS, _AUTOCONFIG_URL, _FLAGS_UI."""

_PER_CONNECTION_OPTION = 75
_PROXY_SETTINGS_CHANGED, _SETTINGS_CHANGED, _REFRESH = 95, 39, 37
_ERROR_BUFFER_TOO_SMALL = 603
_ERROR_SUCCESS = 0
_RAS_NAME_SIZE = 256 + 1
_MAX_PATH = 260
"""RAS_MaxEntryName + 1 and MAX_PATH (ras.h, minwindef.h), in characters."""


class _Value(ctypes.Union):
    _fields_ = (
        ("number", ctypes.c_uint32),
        ("text", ctypes.c_void_p),
        ("time", ctypes.c_uint32 * 2),
    )


class Option(ctypes.Structure):
    """The structure INTERNET_PER_CONN_OPTIONW: one proxy setting of a connection."""

    _fields_ = (("option", ctypes.c_uint32), ("value", _Value))


class OptionList(ctypes.Structure):
    """The structure INTERNET_PER_CONN_OPTION_LISTW: a connection and its proxy settings."""

    _fields_ = (
        ("size", ctypes.c_uint32),
        ("connection", ctypes.c_wchar_p),
        ("count", ctypes.c_uint32),
        ("error", ctypes.c_uint32),
        ("options", ctypes.POINTER(Option)),
    )


class RasEntry(ctypes.Structure):
    """The structure RASENTRYNAMEW: the name of a dial-up or VPN connection."""

    _fields_ = (
        ("size", ctypes.c_uint32),
        ("name", ctypes.c_wchar * _RAS_NAME_SIZE),
        ("flags", ctypes.c_uint32),
        ("phonebook", ctypes.c_wchar * (_MAX_PATH + 1)),
    )


@dataclass(frozen=True, slots=True)
class Libraries:
    """The functions of Windows that `WinInet` calls.

    Attributes:
        query_option: ``InternetQueryOptionW``.
        set_option: ``InternetSetOptionW``.
        free: ``GlobalFree``.
        enumerate_ras: ``RasEnumEntriesW``; None without RAS.
        last_error: Returns the error code of the last call.
    """

    query_option: Callable[..., int]
    set_option: Callable[..., int]
    free: Callable[..., Any]
    enumerate_ras: Callable[..., int] | None
    last_error: Callable[[], int]


@dataclass(frozen=True, slots=True)
class ConnectionSettings:
    """The proxy settings of a connection.

    Attributes:
        flags: PROXY_TYPE_DIRECT (1), _PROXY (2), _AUTO_PROXY_URL (4) and _AUTO_DETECT (8).
        server: The proxy, ``proxy:8080`` or ``http=proxy:8080;https=…``; None if unset.
        bypass: The hosts without proxy, with semicolons; None if unset.
        script: The URL of the PAC file; None if unset.
    """

    flags: int
    server: str | None
    bypass: str | None
    script: str | None


class WinInet:
    """Reads and writes the proxy settings of connections."""

    def __init__(self, libraries: Libraries) -> None:
        """Set the functions to call."""
        self._libraries = libraries

    def read(self, connection: str) -> ConnectionSettings:
        """Return the settings of a connection.

        Args:
            connection: The name of the connection; empty for the LAN.

        Raises:
            TargetError: Windows refuses the request.
        """
        try:
            # With FLAGS, Windows hides the user's choice "Automatically detect settings" when the
            # last detection has failed; restored later, the choice would be lost.
            return self._query(connection, FLAGS_UI)
        except TargetError:
            return self._query(connection, FLAGS)

    def write(self, connection: str, changes: Mapping[int, int | str | None]) -> None:
        """Change settings of a connection in one call.

        Args:
            connection: The name of the connection; empty for the LAN.
            changes: The new values by `FLAGS`, `SERVER`, `BYPASS` and `SCRIPT`; None unsets a text.

        Raises:
            TargetError: Windows refuses the change.
        """
        options = (Option * len(changes))()
        buffers = []
        for option, (number, value) in zip(options, changes.items(), strict=True):
            option.option = number
            if isinstance(value, int):
                option.value.number = value
            elif value is not None:
                buffer = ctypes.create_unicode_buffer(value)
                buffers.append(buffer)  # The memory must exist during the call.
                option.value.text = ctypes.addressof(buffer)
        request = _request(connection, options)
        called = self._libraries.set_option(
            None, _PER_CONNECTION_OPTION, ctypes.byref(request), ctypes.sizeof(request)
        )
        if not called:
            raise TargetError(f"InternetSetOption: error {self._libraries.last_error()}")

    def notify(self) -> None:
        """Tell running programs that the settings have changed."""
        for option in (_SETTINGS_CHANGED, _PROXY_SETTINGS_CHANGED, _REFRESH):
            self._libraries.set_option(None, option, None, 0)

    def ras_connections(self) -> tuple[str, ...]:
        """Return the names of the dial-up and VPN connections in the phone books."""
        enumerate_ras = self._libraries.enumerate_ras
        if enumerate_ras is None:
            return ()
        count = 1
        while True:
            entries = (RasEntry * count)()
            entries[0].size = ctypes.sizeof(RasEntry)
            size = ctypes.c_uint32(ctypes.sizeof(entries))
            found = ctypes.c_uint32()
            code = enumerate_ras(None, None, entries, ctypes.byref(size), ctypes.byref(found))
            if code == _ERROR_SUCCESS:
                return tuple(entry.name for entry in entries[: found.value])
            needed = -(-size.value // ctypes.sizeof(RasEntry))
            if code != _ERROR_BUFFER_TOO_SMALL or needed <= count:
                return ()
            count = needed

    def _query(self, connection: str, flags: int) -> ConnectionSettings:
        numbers = (flags, SERVER, BYPASS, SCRIPT)
        options = (Option * len(numbers))(*(Option(number) for number in numbers))
        request = _request(connection, options)
        size = ctypes.c_uint32(ctypes.sizeof(request))
        called = self._libraries.query_option(
            None, _PER_CONNECTION_OPTION, ctypes.byref(request), ctypes.byref(size)
        )
        if not called:
            raise TargetError(f"InternetQueryOption: error {self._libraries.last_error()}")
        server, bypass, script = (self._take_text(option) for option in options[1:])
        return ConnectionSettings(options[0].value.number, server, bypass, script)

    def _take_text(self, option: Option) -> str | None:
        """Return the text of an option, and free its memory; None for a missing or empty text."""
        address = option.value.text
        if not address:
            return None
        text = ctypes.wstring_at(address)
        self._libraries.free(ctypes.c_void_p(address))
        return text or None


def _request(connection: str, options: "ctypes.Array[Option]") -> OptionList:
    return OptionList(ctypes.sizeof(OptionList), connection or None, len(options), 0, options)


def load_libraries() -> Libraries:
    """Return the Windows functions for proxy settings.

    Raises:
        OSError: This is not Windows.
    """
    wininet, kernel32 = load_library("wininet"), load_library("kernel32")
    try:
        enumerate_ras = load_library("rasapi32").RasEnumEntriesW
    except OSError:
        enumerate_ras = None
    # ctypes would pass a pointer as a C int, and cut it off.
    kernel32.GlobalFree.argtypes = (ctypes.c_void_p,)
    last_error: Any = getattr(ctypes, "GetLastError", lambda: 0)
    return Libraries(
        wininet.InternetQueryOptionW,
        wininet.InternetSetOptionW,
        kernel32.GlobalFree,
        enumerate_ras,
        last_error,
    )
