"""macOS: the lock of the screen, by the session dictionary of the window server.

The result of ``CGSessionCopyCurrentDictionary`` (Quartz Display Services) contains the key
``CGSSessionScreenIsLocked`` while the screen is locked. Apple documents neither this key nor the
type of its value. The documented Boolean keys of the dictionary, such as
``kCGSessionOnConsoleKey``, have a CFBoolean (CGSession.h). The type of the value is therefore
checked first, since CFBooleanGetValue is undefined for other types; a CFNumber is read as a number.

The distributed notifications ``com.apple.screenIsLocked`` and ``com.apple.screenIsUnlocked`` are
delivered only to the run loop of a program's main thread, and a service without windows runs none.
So the watch polls the dictionary, at an interval that needs no noticeable CPU time.

Written from this documentation and tested with replacements of the functions; it was not run on
macOS.
"""

import ctypes
import logging
import threading
from dataclasses import dataclass
from typing import Any

from trayproxy.desktop.screen_lock.base import OnLockChange, ThreadedScreenLockWatch

logger = logging.getLogger(__name__)

POLL_INTERVAL_S = 5.0
"""Seconds between two polls: rare for the computer, soon enough for a person who unlocks it."""

_NUMBER_INT = 9
"""``kCFNumberIntType`` (CFNumber.h): a C int."""

_KEY = b"CGSSessionScreenIsLocked"
_UTF8 = 0x08000100


@dataclass(frozen=True, slots=True)
class Frameworks:
    """The frameworks of macOS called by this module."""

    core_graphics: Any
    core_foundation: Any


class MacScreenLock(ThreadedScreenLockWatch):
    """A watch that polls the session dictionary."""

    def __init__(
        self,
        on_change: OnLockChange,
        frameworks: Frameworks | None = None,
        interval_s: float = POLL_INTERVAL_S,
    ) -> None:
        super().__init__(on_change)
        self._frameworks = frameworks
        self._interval_s = interval_s
        self._stopped = threading.Event()

    def _interrupt(self) -> None:
        self._stopped.set()

    def _run(self) -> None:
        try:
            frameworks = self._frameworks or _load()
        except (OSError, AttributeError) as error:
            logger.info("the lock of the screen is not reported: %s", error)
            return
        while not self._stopped.is_set():
            self._update(is_locked(frameworks))
            self._stopped.wait(self._interval_s)


def is_locked(frameworks: Frameworks) -> bool:
    """Return whether the screen is locked; False if this process has no session in the window
    server."""
    graphics, foundation = frameworks.core_graphics, frameworks.core_foundation
    session = graphics.CGSessionCopyCurrentDictionary()
    if not session:
        return False
    key = foundation.CFStringCreateWithCString(None, _KEY, _UTF8)
    try:
        value = foundation.CFDictionaryGetValue(session, key)
        return bool(value) and _is_true(foundation, value)
    finally:
        foundation.CFRelease(key)
        foundation.CFRelease(session)


def _is_true(foundation: Any, value: int) -> bool:
    """Return True if a value of Core Foundation is a true CFBoolean or a CFNumber other than 0."""
    kind = foundation.CFGetTypeID(value)
    if kind == foundation.CFBooleanGetTypeID():
        return bool(foundation.CFBooleanGetValue(value))
    if kind == foundation.CFNumberGetTypeID():
        number = ctypes.c_int()
        # For a number that does not fit an int, it returns false and stores the nearest int.
        foundation.CFNumberGetValue(value, _NUMBER_INT, ctypes.byref(number))
        return number.value != 0
    return False


def _load() -> Frameworks:
    """Load the frameworks of the system, and declare the types of their functions.

    Raises:
        OSError: The frameworks cannot be loaded.
        AttributeError: A framework lacks a function.
    """
    folder = "/System/Library/Frameworks"
    graphics: Any = ctypes.CDLL(f"{folder}/CoreGraphics.framework/CoreGraphics")
    foundation: Any = ctypes.CDLL(f"{folder}/CoreFoundation.framework/CoreFoundation")
    pointer = ctypes.c_void_p
    graphics.CGSessionCopyCurrentDictionary.restype = pointer
    graphics.CGSessionCopyCurrentDictionary.argtypes = []
    foundation.CFStringCreateWithCString.restype = pointer
    foundation.CFStringCreateWithCString.argtypes = [pointer, ctypes.c_char_p, ctypes.c_uint32]
    foundation.CFDictionaryGetValue.restype = pointer
    foundation.CFDictionaryGetValue.argtypes = [pointer, pointer]
    foundation.CFBooleanGetValue.restype = ctypes.c_ubyte
    foundation.CFBooleanGetValue.argtypes = [pointer]
    for name in ("CFBooleanGetTypeID", "CFNumberGetTypeID", "CFGetTypeID"):
        # CFTypeID is an unsigned long.
        getattr(foundation, name).restype = ctypes.c_ulong
        getattr(foundation, name).argtypes = []
    foundation.CFGetTypeID.argtypes = [pointer]
    foundation.CFNumberGetValue.restype = ctypes.c_ubyte
    foundation.CFNumberGetValue.argtypes = [pointer, ctypes.c_long, pointer]
    foundation.CFRelease.restype = None
    foundation.CFRelease.argtypes = [pointer]
    return Frameworks(graphics, foundation)
