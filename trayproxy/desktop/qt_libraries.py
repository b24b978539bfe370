"""The system libraries that PySide6's wheels for Linux need but do not contain.

This is the only list of these libraries. The program names their packages when it cannot start the
tray, packaging/setup.sh runs this file to install them, and tests/desktop/test_qt_libraries.py
compares the list with the README and with the libraries that the wheels are linked against. This
module imports only the standard library, because setup.sh runs it with the system's Python.
"""

import ctypes
import sys
from collections.abc import Callable

PACKAGES = {
    "libEGL.so.1": "libegl1",
    "libGL.so.1": "libgl1",
    "libX11-xcb.so.1": "libx11-xcb1",
    "libX11.so.6": "libx11-6",
    "libdbus-1.so.3": "libdbus-1-3",
    "libfontconfig.so.1": "libfontconfig1",
    "libfreetype.so.6": "libfreetype6",
    "libglib-2.0.so.0": "libglib2.0-0",
    "libgthread-2.0.so.0": "libglib2.0-0",
    "libwayland-client.so.0": "libwayland-client0",
    "libwayland-cursor.so.0": "libwayland-cursor0",
    "libwayland-egl.so.1": "libwayland-egl1",
    "libxcb-cursor.so.0": "libxcb-cursor0",
    "libxcb-glx.so.0": "libxcb-glx0",
    "libxcb-icccm.so.4": "libxcb-icccm4",
    "libxcb-image.so.0": "libxcb-image0",
    "libxcb-keysyms.so.1": "libxcb-keysyms1",
    "libxcb-randr.so.0": "libxcb-randr0",
    "libxcb-render-util.so.0": "libxcb-render-util0",
    "libxcb-render.so.0": "libxcb-render0",
    "libxcb-shape.so.0": "libxcb-shape0",
    "libxcb-shm.so.0": "libxcb-shm0",
    "libxcb-sync.so.1": "libxcb-sync1",
    "libxcb-util.so.1": "libxcb-util1",
    "libxcb-xfixes.so.0": "libxcb-xfixes0",
    "libxcb-xkb.so.1": "libxcb-xkb1",
    "libxcb.so.1": "libxcb1",
    "libxkbcommon-x11.so.0": "libxkbcommon-x11-0",
    "libxkbcommon.so.0": "libxkbcommon0",
}
"""The Debian package of each library, by the library's soname.

The names are those of Debian 12. If a later release renames a package, the new package provides the
old name, and apt-get accepts it. So the check for a library tries to load the library and does not
look for the package.
"""
FONTS = "fonts-dejavu-core"
"""A package with fonts. Without any font, Qt draws empty boxes."""


def can_load(library: str) -> bool:
    """Return whether the dynamic loader can load a library and its dependencies."""
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def missing_packages(is_there: Callable[[str], bool] = can_load) -> tuple[str, ...]:
    """Return the sorted Debian packages of the missing libraries, and `FONTS` if any is missing."""
    missing = {package for library, package in PACKAGES.items() if not is_there(library)}
    return tuple(sorted(missing | {FONTS})) if missing else ()


def command(packages: tuple[str, ...]) -> str:
    """Return the shell command that installs packages on Debian and Ubuntu."""
    return f"sudo apt-get install {' '.join(packages)}"


if __name__ == "__main__":
    sys.stdout.write(" ".join(missing_packages()))
