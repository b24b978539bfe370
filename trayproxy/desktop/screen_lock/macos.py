"""macOS: whether the screen is locked, by the window server's dictionary of the session.

``CGSessionCopyCurrentDictionary`` (Quartz Display Services) has ``CGSSessionScreenIsLocked`` while
it is. Apple documents neither this key nor the type of its value; the documented keys of the
dictionary whose values are truths, such as ``kCGSessionOnConsoleKey``, have a CFBoolean
(CGSession.h). So the value is asked for its type first: CFBooleanGetValue of anything else is
undefined, and a CFNumber is read as a number.

The distributed notifications ``com.apple.screenIsLocked`` and ``…Unlocked`` would come by
themselves, but only to the run loop of a program's main thread, which a service without windows
does not have; so the dictionary is looked at, seldom enough not to be noticed.

Written from this documentation and tested with functions made after it; it was not run on macOS.
"""

import ctypes
import logging
import threading
from dataclasses import dataclass
from typing import Any

from trayproxy.desktop.screen_lock.base import ChangeFilter, OnLockChange

logger = logging.getLogger(__name__)

POLL_INTERVAL_S = 5.0
"""Long for a computer, short for a person who comes back to it."""

_NUMBER_INT = 9
"""``kCFNumberIntType`` (CFNumber.h): a C int."""

_KEY = b"CGSSessionScreenIsLocked"
_UTF8 = 0x08000100
_STOP_S = 2.0


@dataclass(frozen=True, slots=True)
class Frameworks:
    """The frameworks of macOS that are called."""

    core_graphics: Any
    core_foundation: Any


class MacScreenLock:
    """Looks at the session from time to time."""

    def __init__(
        self,
        on_change: OnLockChange,
        frameworks: Frameworks | None = None,
        interval_s: float = POLL_INTERVAL_S,
    ) -> None:
        """Look at nothing yet.

        Args:
            on_change: Told of each change.
            frameworks: What to call; None for the system's.
            interval_s: How often to look.
        """
        self._changes = ChangeFilter(on_change)
        self._frameworks = frameworks
        self._interval_s = interval_s
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="screen", daemon=True)

    def start(self) -> None:
        """Watch from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Watch no more."""
        self._stopped.set()
        if self._thread.ident is not None:
            self._thread.join(_STOP_S)

    def _run(self) -> None:
        try:
            frameworks = self._frameworks or _load()
        except (OSError, AttributeError) as error:
            logger.info("whether the screen is locked is not known: %s", error)
            return
        while not self._stopped.is_set():
            self._changes.update(is_locked(frameworks))
            self._stopped.wait(self._interval_s)


def is_locked(frameworks: Frameworks) -> bool:
    """Return whether the screen is locked; without a session in the window server it is not."""
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
    """Return whether a value of Core Foundation is true, or a number other than 0."""
    kind = foundation.CFGetTypeID(value)
    if kind == foundation.CFBooleanGetTypeID():
        return bool(foundation.CFBooleanGetValue(value))
    if kind == foundation.CFNumberGetTypeID():
        number = ctypes.c_int()
        # It returns false for a number that does not fit an int, and gives its nearest int then.
        foundation.CFNumberGetValue(value, _NUMBER_INT, ctypes.byref(number))
        return number.value != 0
    return False


def _load() -> Frameworks:
    """Return the system's frameworks with their types.

    Raises:
        OSError: There are none.
        AttributeError: They have other functions.
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
