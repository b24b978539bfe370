"""Check whether a display can be opened: without a display, Qt would abort the process."""

import ctypes
import os
import socket
import sys
from collections.abc import Mapping
from contextlib import closing

NO_DISPLAY = "There is no display."
"""The problem if the environment names no display."""


def display_problem(environ: Mapping[str, str] = os.environ) -> str:
    """Return why Qt cannot open a display, as a sentence; empty if Qt can open one.

    This function opens and closes each display that Qt would try. Qt tries both Wayland and X11,
    so a single usable display is enough. QT_QPA_PLATFORM may select another Qt platform, such as
    ``offscreen``.
    """
    if sys.platform in ("win32", "darwin"):
        return ""
    problems = []
    for platform in (environ.get("QT_QPA_PLATFORM") or "wayland;xcb").split(";"):
        # The other platforms need no display, or there is no way to check it.
        check = _CHECKS.get(platform.partition(":")[0].partition("-")[0])
        if check is None or (problem := check(environ)) == "":
            return ""
        problems.append(problem)
    # A display that is named but cannot be opened is the more useful problem to report.
    return min(problems, key=lambda problem: problem == NO_DISPLAY)


def _x11(environ: Mapping[str, str]) -> str:
    name = environ.get("DISPLAY", "")
    if not name:
        return NO_DISPLAY
    try:
        # Qt's plugin uses this library, which handles display addresses and authorisation.
        library = ctypes.CDLL("libxcb.so.1")
    except OSError:
        return ""  # The start of the tray reports missing libraries.
    library.xcb_connect.restype = ctypes.c_void_p
    library.xcb_connect.argtypes = [ctypes.c_char_p, ctypes.c_void_p]
    library.xcb_connection_has_error.argtypes = [ctypes.c_void_p]
    library.xcb_disconnect.argtypes = [ctypes.c_void_p]
    connection = library.xcb_connect(os.fsencode(name), None)
    failed = library.xcb_connection_has_error(connection)
    library.xcb_disconnect(connection)
    return f"The display {name} cannot be opened." if failed else ""


def _wayland(environ: Mapping[str, str]) -> str:
    if environ.get("WAYLAND_SOCKET"):
        return ""  # The compositor has opened this connection; it can be used only once.
    name = environ.get("WAYLAND_DISPLAY", "")
    if not name:
        return NO_DISPLAY
    # XDG_RUNTIME_DIR does not apply to an absolute path (wl_display_connect).
    path = os.path.join(environ.get("XDG_RUNTIME_DIR", ""), name)
    with closing(socket.socket(socket.AF_UNIX)) as connection:
        try:
            connection.connect(path)
        except OSError:
            return f"The display {name} cannot be opened."
    return ""


_CHECKS = {"xcb": _x11, "wayland": _wayland}
