r"""Windows: changes of the registry key with the proxy settings of the user.

WinINET keeps the settings of all connections below ``HKEY_CURRENT_USER\Software\Microsoft\Windows\
CurrentVersion\Internet Settings``. ``RegNotifyChangeKeyValue`` (winreg.h) signals an event once,
after the next change below a key (learn.microsoft.com, "RegNotifyChangeKeyValue function"); it is
called again after each signal, before the change is reported: the settings are read afterwards, so
that no change is missed. A thread waits for the event (``WaitForMultipleObjects``, synchapi.h).
Changes of the machine's policies (``HKEY_LOCAL_MACHINE``) are not watched.

Written from this documentation and tested with replacements of the functions. The watch was run
under Wine; it was not run on Windows.
"""

import asyncio
import ctypes
import errno
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from trayproxy.desktop.system_proxy_change.base import ThreadedSystemProxyWatch
from trayproxy.desktop.windows_library import load_library

logger = logging.getLogger(__name__)

KEY = r"Software\Microsoft\Windows\CurrentVersion\Internet Settings"

HKEY_CURRENT_USER = 0x80000001 - (1 << 32)
"""A negative number, because 64-bit systems extend the sign of the 32-bit constant (winreg.h)."""
KEY_NOTIFY = 0x10
FILTER = 0x1 | 0x4 | 0x10000000
"""REG_NOTIFY_CHANGE_NAME: keys are added or deleted; REG_NOTIFY_CHANGE_LAST_SET: values are added,
changed or deleted; REG_NOTIFY_THREAD_AGNOSTIC: the request does not end with the calling thread."""

_INFINITE = 0xFFFFFFFF
_ERROR_SUCCESS = 0
_STOPPED, _CHANGED = 0, 1
"""The results of the wait: the index of the event, added to WAIT_OBJECT_0, which is 0."""


@dataclass(frozen=True, slots=True)
class RegistryLibraries:
    """The libraries of Windows called by this module; tests replace them."""

    advapi32: Any
    kernel32: Any


class WindowsSystemProxyWatch(ThreadedSystemProxyWatch):
    """A watch whose thread waits for changes of the registry."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        on_change: Callable[[], None],
        libraries: RegistryLibraries | None = None,
    ) -> None:
        """Start the watch.

        Args:
            loop: The running event loop; it calls `on_change`.
            on_change: Called after changes, at most twice a second.
            libraries: The libraries to call; None loads those of the system.

        Raises:
            OSError: Windows refuses the watch, or this is not Windows.
        """
        super().__init__(loop, on_change)
        self._libraries = libraries or _load()
        self._key = ctypes.c_void_p()
        self._events: list[int] = []
        try:
            self._open()
        except OSError:
            self._release()
            raise
        self._thread.start()

    def _open(self) -> None:
        """Open the key, create both events, and request the first notification."""
        code = self._libraries.advapi32.RegOpenKeyExW(
            HKEY_CURRENT_USER, KEY, 0, KEY_NOTIFY, ctypes.byref(self._key)
        )
        if code != _ERROR_SUCCESS:
            raise OSError(errno.EIO, f"RegOpenKeyEx: error {code}")
        for _ in (_STOPPED, _CHANGED):
            # Without a name, not signalled, and reset by the wait that it ends.
            event = self._libraries.kernel32.CreateEventW(None, False, False, None)
            if not event:
                raise OSError(errno.EIO, "CreateEvent: no event was created")
            self._events.append(event)
        code = self._request_notification()
        if code != _ERROR_SUCCESS:
            raise OSError(errno.EIO, f"RegNotifyChangeKeyValue: error {code}")

    def _request_notification(self) -> int:
        """Request the event's signal after the next change; return the error code."""
        code: int = self._libraries.advapi32.RegNotifyChangeKeyValue(
            self._key, True, FILTER, self._events[_CHANGED], True
        )
        return code

    def _run(self) -> None:
        handles = (ctypes.c_void_p * len(self._events))(*self._events)
        while True:
            found = self._libraries.kernel32.WaitForMultipleObjects(
                len(handles), handles, False, _INFINITE
            )
            if found == _STOPPED:
                return
            code = self._request_notification() if found == _CHANGED else None
            self._report()
            if code != _ERROR_SUCCESS:
                # For example, another program has deleted the key.
                logger.info("changes of the system proxy are not reported any more: %s", code)
                return

    def _interrupt(self) -> None:
        self._libraries.kernel32.SetEvent(self._events[_STOPPED])

    def _release(self) -> None:
        # Windows signals the event when the key is closed, so the key comes first.
        if self._key:
            self._libraries.advapi32.RegCloseKey(self._key)
        for event in self._events:
            self._libraries.kernel32.CloseHandle(event)


def _load() -> RegistryLibraries:
    """Load the libraries of the system, and declare the types of their functions.

    Raises:
        OSError: The libraries cannot be loaded, or this is not Windows.
    """
    advapi32, kernel32 = load_library("advapi32"), load_library("kernel32")
    handle, number, boolean = ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int
    advapi32.RegOpenKeyExW.argtypes = [handle, ctypes.c_wchar_p, number, number, handle]
    advapi32.RegNotifyChangeKeyValue.argtypes = [handle, boolean, number, handle, boolean]
    advapi32.RegCloseKey.argtypes = [handle]
    kernel32.CreateEventW.restype = handle
    kernel32.CreateEventW.argtypes = [handle, boolean, boolean, ctypes.c_wchar_p]
    kernel32.SetEvent.argtypes = [handle]
    kernel32.CloseHandle.argtypes = [handle]
    kernel32.WaitForMultipleObjects.restype = number
    kernel32.WaitForMultipleObjects.argtypes = [number, handle, boolean, number]
    return RegistryLibraries(advapi32, kernel32)
