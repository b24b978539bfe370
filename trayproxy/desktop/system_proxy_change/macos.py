"""macOS: changes of the proxy settings in the dynamic store of the system configuration.

``configd`` keeps the settings of the network in the dynamic store. A session of the store calls a
function after changes of the keys of ``SCDynamicStoreSetNotificationKeys``
(developer.apple.com, "SCDynamicStore", and SCDynamicStore.h). The watch names two:

- the key of ``SCDynamicStoreKeyCreateProxies``: the proxies in use, those of the primary service;
- ``Setup:/Network/Service/ID/Proxies`` for every ID (kSCCompAnyRegex, SCSchemaDefinitions.h): the
  stored settings of each network service, since TrayProxy sets every service.

``SCDynamicStoreCreateRunLoopSource`` delivers the calls to a run loop, which the watch runs in a
thread of its own. A second source of the run loop stops it: unlike ``CFRunLoopStop``, its signal is
also received by a run loop that starts later (CFRunLoop.h). ``SCDynamicStoreSetDispatchQueue``
needs no thread, but it is not documented when its last call has returned;
``SCDynamicStoreNotifyFileDescriptor`` is not public.

Written from this documentation and tested with replacements of the functions; it was not run on
macOS.
"""

import asyncio
import ctypes
import errno
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from trayproxy.desktop.system_proxy_change.base import ThreadedSystemProxyWatch

SERVICES_PATTERN = b"Setup:/Network/Service/[^/]+/Proxies"
"""A regular expression (regex(3)) for the keys of the settings of all services."""

_NAME = b"TrayProxy"
_UTF8 = 0x08000100

CALLBACK = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)
"""The type of the function called after changes (``SCDynamicStoreCallBack``); its arguments are the
store, the changed keys and the info."""
PERFORM = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
"""The type of the function that a run-loop source calls after its signal, with the info."""


class SourceContext(ctypes.Structure):
    """``CFRunLoopSourceContext`` (CFRunLoop.h) of version 0."""

    _fields_ = (
        ("version", ctypes.c_long),
        ("info", ctypes.c_void_p),
        # retain, release, copyDescription, equal, hash, schedule, cancel: all of them optional.
        ("unused", ctypes.c_void_p * 7),
        ("perform", PERFORM),
    )


@dataclass(frozen=True, slots=True)
class StoreFrameworks:
    """The frameworks of macOS called by this module; tests replace them.

    Attributes:
        core_foundation: The library CoreFoundation.
        system_configuration: The library SystemConfiguration.
        array_callbacks: The address of ``kCFTypeArrayCallBacks``, with which an array retains its
            values.
        default_mode: ``kCFRunLoopDefaultMode``, a CFString.
    """

    core_foundation: Any
    system_configuration: Any
    array_callbacks: int | None
    default_mode: int | None


class MacSystemProxyWatch(ThreadedSystemProxyWatch):
    """A watch whose thread runs a run loop."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        on_change: Callable[[], None],
        frameworks: StoreFrameworks | None = None,
    ) -> None:
        """Start the watch.

        Args:
            loop: The running event loop; it calls `on_change`.
            on_change: Called after changes, at most twice a second.
            frameworks: The frameworks to call; None loads those of the system.

        Raises:
            OSError: The system refuses the watch, or this is not macOS.
        """
        super().__init__(loop, on_change)
        self._frameworks = frameworks or _load()
        # The system calls these objects' addresses: they must exist as long as the thread.
        self._callback = CALLBACK(self._on_store_change)
        self._stop_context = SourceContext(perform=PERFORM(self._stop_run_loop))
        self._owned: list[Any] = []
        self._run_loop: Any = None
        self._has_run_loop = threading.Event()
        try:
            self._changes = self._create_changes_source()
            self._stop = self._own(
                "CFRunLoopSourceCreate",
                self._frameworks.core_foundation.CFRunLoopSourceCreate(
                    None, 0, ctypes.byref(self._stop_context)
                ),
            )
        except OSError:
            self._release()
            raise
        self._thread.start()
        self._has_run_loop.wait()

    def _create_changes_source(self) -> Any:
        """Return a run-loop source that calls `_on_store_change` after changes."""
        functions = self._frameworks.system_configuration
        name = self._own("CFStringCreateWithCString", self._text(_NAME))
        store = self._own(
            "SCDynamicStoreCreate", functions.SCDynamicStoreCreate(None, name, self._callback, None)
        )
        key = self._own(
            "SCDynamicStoreKeyCreateProxies", functions.SCDynamicStoreKeyCreateProxies(None)
        )
        pattern = self._own("CFStringCreateWithCString", self._text(SERVICES_PATTERN))
        keys, patterns = self._array(key), self._array(pattern)
        if not functions.SCDynamicStoreSetNotificationKeys(store, keys, patterns):
            raise self._error("SCDynamicStoreSetNotificationKeys")
        return self._own(
            "SCDynamicStoreCreateRunLoopSource",
            functions.SCDynamicStoreCreateRunLoopSource(None, store, 0),
        )

    def _text(self, octets: bytes) -> Any:
        return self._frameworks.core_foundation.CFStringCreateWithCString(None, octets, _UTF8)

    def _array(self, value: Any) -> Any:
        """Return an array of one value."""
        values = (ctypes.c_void_p * 1)(value)
        array = self._frameworks.core_foundation.CFArrayCreate(
            None, values, 1, self._frameworks.array_callbacks
        )
        return self._own("CFArrayCreate", array)

    def _own(self, function: str, created: Any) -> Any:
        """Return a created object, which `_release` releases; raise `OSError` if it is NULL."""
        if not created:
            raise self._error(function)
        self._owned.append(created)
        return created

    def _error(self, function: str) -> OSError:
        code = self._frameworks.system_configuration.SCError()
        return OSError(errno.EIO, f"{function}: error {code}")

    def _run(self) -> None:
        foundation, mode = self._frameworks.core_foundation, self._frameworks.default_mode
        # The run loop exists as long as its thread.
        self._run_loop = foundation.CFRunLoopGetCurrent()
        for source in (self._changes, self._stop):
            foundation.CFRunLoopAddSource(self._run_loop, source, mode)
        self._has_run_loop.set()
        foundation.CFRunLoopRun()
        for source in (self._changes, self._stop):
            # Removes the source from the run loop; the store ends its notifications.
            foundation.CFRunLoopSourceInvalidate(source)

    def _interrupt(self) -> None:
        self._frameworks.core_foundation.CFRunLoopSourceSignal(self._stop)
        self._frameworks.core_foundation.CFRunLoopWakeUp(self._run_loop)

    def _stop_run_loop(self, info: int | None) -> None:
        """Let `CFRunLoopRun` return. The run loop calls this in the thread of the watch."""
        self._frameworks.core_foundation.CFRunLoopStop(self._run_loop)

    def _release(self) -> None:
        while self._owned:
            self._frameworks.core_foundation.CFRelease(self._owned.pop())

    def _on_store_change(self, store: int, keys: int, info: int | None) -> None:
        """Report the change. The run loop calls this in the thread of the watch.

        The list of changed keys is empty if ``configd`` was restarted (SCDynamicStore.h).
        """
        self._report()


def _load() -> StoreFrameworks:
    """Load the frameworks of the system, and declare the types of their functions.

    Raises:
        OSError: The frameworks cannot be loaded, or lack a function.
    """
    folder = "/System/Library/StoreFrameworks"
    foundation: Any = ctypes.CDLL(f"{folder}/CoreFoundation.framework/CoreFoundation")
    configuration: Any = ctypes.CDLL(f"{folder}/SystemConfiguration.framework/SystemConfiguration")
    pointer, text, encoding = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_uint32
    index, boolean = ctypes.c_long, ctypes.c_ubyte
    declarations = (
        (foundation, "CFStringCreateWithCString", pointer, pointer, text, encoding),
        (foundation, "CFArrayCreate", pointer, pointer, pointer, index, pointer),
        (foundation, "CFRelease", None, pointer),
        (foundation, "CFRunLoopGetCurrent", pointer),
        (foundation, "CFRunLoopAddSource", None, pointer, pointer, pointer),
        (foundation, "CFRunLoopRun", None),
        (foundation, "CFRunLoopStop", None, pointer),
        (foundation, "CFRunLoopWakeUp", None, pointer),
        (foundation, "CFRunLoopSourceCreate", pointer, pointer, index, pointer),
        (foundation, "CFRunLoopSourceSignal", None, pointer),
        (foundation, "CFRunLoopSourceInvalidate", None, pointer),
        (configuration, "SCDynamicStoreCreate", pointer, pointer, pointer, CALLBACK, pointer),
        (configuration, "SCDynamicStoreKeyCreateProxies", pointer, pointer),
        (configuration, "SCDynamicStoreSetNotificationKeys", boolean, pointer, pointer, pointer),
        (configuration, "SCDynamicStoreCreateRunLoopSource", pointer, pointer, pointer, index),
        (configuration, "SCError", ctypes.c_int),
    )
    try:
        for library, name, result, *arguments in declarations:
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
        callbacks = ctypes.addressof(ctypes.c_char.in_dll(foundation, "kCFTypeArrayCallBacks"))
        mode = pointer.in_dll(foundation, "kCFRunLoopDefaultMode").value
    except (AttributeError, ValueError) as error:
        raise OSError(errno.ENOSYS, str(error)) from None
    return StoreFrameworks(foundation, configuration, callbacks, mode)
