"""macOS: removes the icon of a process from the Dock.

``-[NSApplication setActivationPolicy:]`` with ``NSApplicationActivationPolicyAccessory`` has the
same effect on a running process as the key ``LSUIElement`` in the ``Info.plist`` of an application
bundle (developer.apple.com, NSApplication.ActivationPolicy, "accessory"). The windows of the
process can still be shown and activated.

Written from this documentation and tested with replacements of the functions; it was not run on
macOS.
"""

import ctypes
import logging
from typing import Any

logger = logging.getLogger(__name__)

_ACCESSORY = 1
"""The policy of a program without an icon in the Dock: ``NSApplicationActivationPolicyAccessory``
(NSRunningApplication.h), an NSInteger."""


def become_accessory(runtime: Any = None) -> bool:
    """Remove the icon of this process from the Dock. Return True on success.

    `runtime` is the Objective-C runtime to call (objc/runtime.h); None for the system's.
    """
    try:
        runtime = runtime or _Runtime()
    except (OSError, AttributeError) as error:
        logger.info("the icon cannot be removed from the Dock: %s", error)
        return False
    application = runtime.send(
        runtime.objc_getClass(b"NSApplication"), runtime.sel_registerName(b"sharedApplication")
    )
    if not application:
        return False
    policy = runtime.sel_registerName(b"setActivationPolicy:")
    return bool(runtime.send_number(application, policy, _ACCESSORY))


class _Runtime:
    """The Objective-C runtime of the system, with the types of its functions declared.

    Raises:
        OSError: The library cannot be loaded.
        AttributeError: The library lacks a function.
    """

    def __init__(self) -> None:
        library: Any = ctypes.CDLL("/usr/lib/libobjc.A.dylib")
        pointer = ctypes.c_void_p
        self.objc_getClass = library.objc_getClass
        self.sel_registerName = library.sel_registerName
        for function in (self.objc_getClass, self.sel_registerName):
            function.restype, function.argtypes = pointer, [ctypes.c_char_p]
        # On Apple's processors, objc_msgSend must be called with the signature of the method, not
        # as a variadic function.
        self.send: Any = ctypes.CFUNCTYPE(pointer, pointer, pointer)(("objc_msgSend", library))
        self.send_number: Any = ctypes.CFUNCTYPE(ctypes.c_bool, pointer, pointer, ctypes.c_long)(
            ("objc_msgSend", library)
        )
