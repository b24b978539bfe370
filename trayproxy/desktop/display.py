"""Whether windows can be shown at all: Qt ends the process when it cannot open a display."""

import ctypes
import os
import socket
import sys
from collections.abc import Mapping
from contextlib import closing

NO_DISPLAY = "There is no display."
"""The problem where nothing in the environment tells of one."""


def display_problem(environ: Mapping[str, str] = os.environ) -> str:
    """Return why Qt cannot open a display, as a sentence; empty if it can.

    What Qt would open is opened, and closed again. Qt tries X11 and Wayland when both are there, so
    that one is enough.

    Args:
        environ: Where X11 and Wayland tell of themselves, and where a person may have chosen a
            platform of Qt, such as ``offscreen``.
    """
    if sys.platform in ("win32", "darwin"):
        return ""
    problems = []
    for platform in (environ.get("QT_QPA_PLATFORM") or "wayland;xcb").split(";"):
        # Others need no display, or tell no way to find out.
        check = _CHECKS.get(platform.partition(":")[0].partition("-")[0])
        if check is None or (problem := check(environ)) == "":
            return ""
        problems.append(problem)
    # One that is there has more to tell than one that is not.
    return min(problems, key=lambda problem: problem == NO_DISPLAY)


def _x11(environ: Mapping[str, str]) -> str:
    name = environ.get("DISPLAY", "")
    if not name:
        return NO_DISPLAY
    try:
        # The library that Qt's own plugin is linked with; it knows about addresses and keys.
        library = ctypes.CDLL("libxcb.so.1")
    except OSError:
        return ""  # Qt says which libraries are missing.
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
        return ""  # A connection that was opened for us, and can be used once.
    name = environ.get("WAYLAND_DISPLAY", "")
    if not name:
        return NO_DISPLAY
    # An absolute path stands alone (wl_display_connect).
    path = os.path.join(environ.get("XDG_RUNTIME_DIR", ""), name)
    with closing(socket.socket(socket.AF_UNIX)) as connection:
        try:
            connection.connect(path)
        except OSError:
            return f"The display {name} cannot be opened."
    return ""


_CHECKS = {"xcb": _x11, "wayland": _wayland}
