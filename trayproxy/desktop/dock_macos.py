"""macOS: a program without an icon in the Dock, as ``LSUIElement`` makes one that has a bundle.

``-[NSApplication setActivationPolicy:]`` with ``NSApplicationActivationPolicyAccessory`` does the
same for a process that runs (developer.apple.com, NSApplication.ActivationPolicy, "accessory": it
corresponds to the key in the application's Info.plist being 1). Its windows can be shown and
activated.

Written from this documentation and tested with functions made after it; it was not run on macOS.
"""

import ctypes
import logging
from typing import Any

logger = logging.getLogger(__name__)

_ACCESSORY = 1
"""``NSApplicationActivationPolicyAccessory`` (NSRunningApplication.h), an NSInteger."""


def become_accessory(runtime: Any = None) -> bool:
    """Take this process's icon out of the Dock; return whether the system did so.

    Args:
        runtime: The Objective-C runtime to call (objc/runtime.h); None for the system's.
    """
    try:
        runtime = runtime or _load()
    except (OSError, AttributeError) as error:
        logger.info("the icon stays in the Dock: %s", error)
        return False
    application = runtime.send(
        runtime.objc_getClass(b"NSApplication"), runtime.sel_registerName(b"sharedApplication")
    )
    if not application:
        return False
    policy = runtime.sel_registerName(b"setActivationPolicy:")
    return bool(runtime.send_number(application, policy, _ACCESSORY))


class _Runtime:
    """The system's Objective-C runtime, its functions with their types."""

    def __init__(self) -> None:
        library: Any = ctypes.CDLL("/usr/lib/libobjc.A.dylib")
        pointer = ctypes.c_void_p
        self.objc_getClass = library.objc_getClass
        self.sel_registerName = library.sel_registerName
        for function in (self.objc_getClass, self.sel_registerName):
            function.restype, function.argtypes = pointer, [ctypes.c_char_p]
        # On Apple's processors objc_msgSend must be called as what the method is, not as variadic.
        self.send: Any = ctypes.CFUNCTYPE(pointer, pointer, pointer)(("objc_msgSend", library))
        self.send_number: Any = ctypes.CFUNCTYPE(ctypes.c_bool, pointer, pointer, ctypes.c_long)(
            ("objc_msgSend", library)
        )


def _load() -> _Runtime:
    """Return the system's runtime.

    Raises:
        OSError: There is none.
        AttributeError: It has other functions.
    """
    return _Runtime()
