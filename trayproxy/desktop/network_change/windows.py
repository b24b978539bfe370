"""Windows: changes of the network, by ``NotifyUnicastIpAddressChange`` (netioapi.h).

Windows calls a function, in a thread of its own, when an address is added, removed or changed
(learn.microsoft.com, "NotifyUnicastIpAddressChange function"). Unlike its predecessor
``NotifyAddrChange``, it reports the address, and supports IPv6.

Written from this documentation and tested with replacements of the functions; it was not run on
Windows. Registration and deregistration were run under Wine, where no address changed.
"""

import asyncio
import contextlib
import ctypes
import errno
from collections.abc import Callable
from typing import Any

from trayproxy.desktop.network_change.base import Debounce, identifies_network
from trayproxy.desktop.windows_library import load_library

_AF_UNSPEC = 0
_NO_ERROR = 0
_ADDED, _DELETED = 1, 2
"""Values of MIB_NOTIFICATION_TYPE. The other values report changed parameters, such as
lifetimes, and the initial notification."""
_SOCKADDR_SIZE = 28
"""Octets of SOCKADDR_INET, with which MIB_UNICASTIPADDRESS_ROW begins."""
_ADDRESS_SLICES = {2: slice(4, 8), 23: slice(8, 24)}
"""The octets of the IP address in SOCKADDR_INET, by family (AF_INET, AF_INET6)."""

_FUNCTION_TYPE: Any = getattr(ctypes, "WINFUNCTYPE", ctypes.CFUNCTYPE)
CALLBACK = _FUNCTION_TYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int)
"""PUNICAST_IPADDRESS_CHANGE_CALLBACK: context, row, notification type."""


class WindowsNetworkWatch:
    """A watch notified by Windows through a callback."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, on_change: Callable[[], None], library: Any = None
    ) -> None:
        """Register for notifications with the library ``iphlpapi``; None loads the system's.

        Raises:
            OSError: Windows refuses the registration, or this is not Windows.
        """
        self._loop = loop
        self._debounce = Debounce(loop, on_change)
        self._library = library or load_library("iphlpapi")
        # Windows calls this object's address: the object must exist as long as the registration.
        self._callback = CALLBACK(self._on_address_change)
        self._handle = ctypes.c_void_p()
        code = self._library.NotifyUnicastIpAddressChange(
            _AF_UNSPEC, self._callback, None, False, ctypes.byref(self._handle)
        )
        if code != _NO_ERROR:
            raise OSError(errno.EIO, f"NotifyUnicastIpAddressChange: error {code}")

    def close(self) -> None:
        """Deregister. Windows waits here until a running callback has returned."""
        self._library.CancelMibChangeNotify2(self._handle)
        self._debounce.close()

    def _on_address_change(self, context: int | None, row: int | None, kind: int) -> None:
        """Trigger the debounce in the event loop. Windows calls this in a thread of its own."""
        if (
            row
            and kind in (_ADDED, _DELETED)
            and is_relevant(ctypes.string_at(row, _SOCKADDR_SIZE))
        ):
            with contextlib.suppress(RuntimeError):  # The loop is closed.
                self._loop.call_soon_threadsafe(self._debounce.trigger)


def is_relevant(row: bytes) -> bool:
    """Return True if the address in a MIB_UNICASTIPADDRESS_ROW identifies a network."""
    address_slice = _ADDRESS_SLICES.get(int.from_bytes(row[:2], "little"))
    return address_slice is not None and identifies_network(row[address_slice])
