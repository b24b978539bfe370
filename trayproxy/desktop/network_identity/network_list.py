"""Windows: captive portals, by the Network List Manager (netlistmgr.h, COM).

Windows checks each network by itself, and records the result as the property
``NA_InternetConnectivityV4`` of the network, a value of ``NLM_INTERNET_CONNECTIVITY``: the flag
``WEBHIJACK`` means that a captive portal answers in place of a site of Microsoft
(learn.microsoft.com, "INetworkListManager", "NLM_INTERNET_CONNECTIVITY enumeration").

Methods of COM objects are called by their position in the interface, in the order of netlistmgr.h
and oaidl.h. Written from this documentation and tested with replacements of the functions; it was
not run on Windows.
"""

import ctypes
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ctypes import c_uint32, c_void_p
from typing import Any
from uuid import UUID

from trayproxy.desktop.network_identity.base import Portal
from trayproxy.desktop.windows_library import load_library

logger = logging.getLogger(__name__)

_NETWORK_LIST_MANAGER = UUID("DCB00C01-570F-4A9B-8D69-199FDBA5723B")
_I_NETWORK_LIST_MANAGER = UUID("DCB00000-570F-4A9B-8D69-199FDBA5723B")
_I_PROPERTY_BAG = UUID("55272A00-42CB-11CE-8135-00AA004BB851")
_CLSCTX_ALL = 0x17
_NLM_ENUM_NETWORK_CONNECTED = 1
PROPERTY_NAMES = ("NA_InternetConnectivityV4", "NA_InternetConnectivityV6")
_WEBHIJACK = 0x1
_VT_I4, _VT_UI4 = 3, 19

_QUERY_INTERFACE, _RELEASE = 0, 2
_GET_NETWORKS = 7
"""The position of GetNetworks in INetworkListManager: behind the three methods of IUnknown and the
four of IDispatch."""
_NEXT = 8
"""The position of Next in IEnumNetworks: behind the same seven methods and ``_NewEnum``."""
_READ = 3
"""The position of Read in IPropertyBag: behind the three methods of IUnknown."""

CallMethod = Callable[..., int]
"""Calls a method of a COM object: the object, the position of the method, its arguments. Returns
the HRESULT."""


class Variant(ctypes.Structure):
    """The structure VARIANT with a number as its value."""

    _fields_ = (
        ("kind", ctypes.c_uint16),
        ("reserved", ctypes.c_uint16 * 3),
        ("number", c_uint32),
        ("padding", c_uint32),
        ("more", c_void_p),
    )


def call_method(com_object: c_void_p, position: int, *arguments: Any) -> int:
    """Call a method of a COM object; see `CallMethod`."""
    function_type: Any = getattr(ctypes, "WINFUNCTYPE", ctypes.CFUNCTYPE)
    table = c_void_p.from_address(com_object.value or 0).value or 0
    address = c_void_p.from_address(table + position * ctypes.sizeof(c_void_p)).value
    method = function_type(ctypes.c_long, c_void_p, *map(type, arguments))(address)
    return int(method(com_object, *arguments))


def read_portal(ole32: Any = None, call: CallMethod = call_method) -> Portal:
    """Return whether a connected network has a captive portal, as Windows says.

    Args:
        ole32: The library ``ole32``; None loads the system's.
        call: Calls a method of a COM object.
    """
    try:
        ole32 = ole32 or load_library("ole32")
    except OSError:
        return Portal.UNKNOWN
    ole32.CoInitializeEx(None, 0)  # COINIT_MULTITHREADED: this thread may be any.
    try:
        values = list(_connectivity_values(ole32, call))
    except OSError as error:
        logger.info("the Network List Manager cannot be read: %s", error)
        return Portal.UNKNOWN
    finally:
        ole32.CoUninitialize()
    if not values:
        return Portal.UNKNOWN
    return Portal.PRESENT if any(value & _WEBHIJACK for value in values) else Portal.ABSENT


def _connectivity_values(ole32: Any, call: CallMethod) -> Iterator[int]:
    manager = c_void_p()
    code = ole32.CoCreateInstance(
        _guid(_NETWORK_LIST_MANAGER),
        None,
        _CLSCTX_ALL,
        _guid(_I_NETWORK_LIST_MANAGER),
        ctypes.byref(manager),
    )
    _check(code, "CoCreateInstance")
    with _released(manager, call):
        networks = c_void_p()
        connected = ctypes.c_int(_NLM_ENUM_NETWORK_CONNECTED)
        _check(call(manager, _GET_NETWORKS, connected, ctypes.pointer(networks)), "GetNetworks")
        with _released(networks, call):
            while True:
                network, fetched = c_void_p(), c_uint32()
                arguments = (c_uint32(1), ctypes.pointer(network), ctypes.pointer(fetched))
                if call(networks, _NEXT, *arguments) != 0 or fetched.value == 0:
                    return
                with _released(network, call):
                    yield from _values_of(network, call)


def _values_of(network: c_void_p, call: CallMethod) -> Iterator[int]:
    bag = c_void_p()
    if call(network, _QUERY_INTERFACE, _guid(_I_PROPERTY_BAG), ctypes.pointer(bag)) != 0:
        return
    with _released(bag, call):
        for name in PROPERTY_NAMES:
            value = Variant()
            arguments = (ctypes.c_wchar_p(name), ctypes.pointer(value), c_void_p())
            if call(bag, _READ, *arguments) == 0 and value.kind in (_VT_I4, _VT_UI4):
                yield value.number


@contextmanager
def _released(com_object: c_void_p, call: CallMethod) -> Iterator[None]:
    try:
        yield
    finally:
        call(com_object, _RELEASE)


def _guid(value: UUID) -> Any:
    return ctypes.create_string_buffer(value.bytes_le, 16)


def _check(code: int, function: str) -> None:
    if code < 0:
        raise OSError(f"{function}: error {code & 0xFFFFFFFF:#010x}")
