"""macOS: whether the screen is locked, by the window server's dictionary of the session.

``CGSessionCopyCurrentDictionary`` (Quartz Display Services) has ``CGSSessionScreenIsLocked`` while
it is. The distributed notifications ``com.apple.screenIsLocked`` and ``…Unlocked`` would come by
themselves, but only to the run loop of a program's main thread, which a service without windows
does not have; so the dictionary is looked at, seldom enough not to be noticed.

Written from this documentation and tested with functions made after it; it was not run on macOS.
"""

import ctypes
import logging
import threading
from dataclasses import dataclass
from typing import Any

from trayproxy.desktop.screen import Changes, Told

logger = logging.getLogger(__name__)

LOOK_EVERY_S = 5.0
"""Long for a computer, short for a person who comes back to it."""

_KEY = b"CGSSessionScreenIsLocked"
_UTF8 = 0x08000100
_STOP_S = 2.0


@dataclass(frozen=True, slots=True)
class Frameworks:
    """The frameworks of macOS that are called."""

    core_graphics: Any
    core_foundation: Any


class MacScreen:
    """Looks at the session from time to time."""

    def __init__(
        self, told: Told, frameworks: Frameworks | None = None, every_s: float = LOOK_EVERY_S
    ) -> None:
        """Look at nothing yet.

        Args:
            told: Told of each change.
            frameworks: What to call; None for the system's.
            every_s: How often to look.
        """
        self._changes = Changes(told)
        self._frameworks = frameworks
        self._every_s = every_s
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
            self._changes.now(is_locked(frameworks))
            self._stopped.wait(self._every_s)


def is_locked(frameworks: Frameworks) -> bool:
    """Return whether the screen is locked; without a session in the window server it is not."""
    graphics, foundation = frameworks.core_graphics, frameworks.core_foundation
    session = graphics.CGSessionCopyCurrentDictionary()
    if not session:
        return False
    key = foundation.CFStringCreateWithCString(None, _KEY, _UTF8)
    try:
        value = foundation.CFDictionaryGetValue(session, key)
        return bool(value) and bool(foundation.CFBooleanGetValue(value))
    finally:
        foundation.CFRelease(key)
        foundation.CFRelease(session)


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
    foundation.CFRelease.restype = None
    foundation.CFRelease.argtypes = [pointer]
    return Frameworks(graphics, foundation)
