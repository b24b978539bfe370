"""Windows: changes of the network, by ``NotifyUnicastIpAddressChange`` (netioapi.h).

Windows calls back, in a thread of its own, when an address comes, goes or changes
(learn.microsoft.com, "NotifyUnicastIpAddressChange function"). It is the successor of
``NotifyAddrChange`` that also tells which address, and knows of IPv6.

Written from this documentation and tested with functions made after it; it was not run on Windows.
Under Wine the registration and its end were run; no address changed.
"""

import asyncio
import contextlib
import ctypes
import errno
import sys
from collections.abc import Callable
from typing import Any

from trayproxy.desktop.network_change.base import Debounce, identifies_network

_AF_UNSPEC = 0
_NO_ERROR = 0
_ADDED, _DELETED = 1, 2
"""Of MIB_NOTIFICATION_TYPE; what else there is are lifetimes and the like."""
_SOCKADDR_SIZE = 28
"""Octets of MIB_UNICASTIPADDRESS_ROW that are read: its SOCKADDR_INET."""
_ADDRESS_SLICES = {2: slice(4, 8), 23: slice(8, 24)}
"""Where the address is in it, by family (AF_INET, AF_INET6)."""

_FUNCTION_TYPE: Any = getattr(ctypes, "WINFUNCTYPE", ctypes.CFUNCTYPE)
CALLBACK = _FUNCTION_TYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int)
"""PUNICAST_IPADDRESS_CHANGE_CALLBACK: context, row, kind."""


class WindowsNetworkWatch:
    """Is called back by Windows."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        on_change: Callable[[], None],
        library: Any = None,
    ) -> None:
        """Listen; see `trayproxy.desktop.network_change.base.watch_network`.

        Args:
            loop: As there.
            on_change: As there.
            library: iphlpapi.dll; None for the real one.

        Raises:
            OSError: Windows does not tell.
        """
        self._loop = loop
        self._debounce = Debounce(loop, on_change)
        self._library = library or load_library()
        # Windows keeps the address of this object: it must live as long as the registration.
        self._callback = CALLBACK(self._on_address_change)
        self._handle = ctypes.c_void_p()
        code = self._library.NotifyUnicastIpAddressChange(
            _AF_UNSPEC, self._callback, None, False, ctypes.byref(self._handle)
        )
        if code != _NO_ERROR:
            raise OSError(errno.EIO, f"NotifyUnicastIpAddressChange: error {code}")

    def close(self) -> None:
        """Hear no more. Returns when no call is under way."""
        self._library.CancelMibChangeNotify2(self._handle)
        self._debounce.close()

    def _on_address_change(self, context: int | None, row: int | None, kind: int) -> None:
        """Be called, in a thread of Windows: what it leaves to the loop's is all it does."""
        if (
            row
            and kind in (_ADDED, _DELETED)
            and is_relevant(ctypes.string_at(row, _SOCKADDR_SIZE))
        ):
            with contextlib.suppress(RuntimeError):  # The loop is closed.
                self._loop.call_soon_threadsafe(self._debounce.trigger)


def is_relevant(row: bytes) -> bool:
    """Whether an address means another network.

    Args:
        row: The start of a MIB_UNICASTIPADDRESS_ROW.
    """
    address_slice = _ADDRESS_SLICES.get(int.from_bytes(row[:2], "little"))
    return address_slice is not None and identifies_network(row[address_slice])


if sys.platform == "win32":

    def load_library() -> Any:
        """Return the library of the system that knows its network."""
        return ctypes.WinDLL("iphlpapi")

else:

    def load_library() -> Any:
        """Return the library, which this system does not have.

        Raises:
            OSError: Always.
        """
        raise OSError(errno.ENOSYS, "not Windows")
