"""Whether windows can be shown at all."""

import os
import sys
from collections.abc import Mapping


def has_display(environ: Mapping[str, str] = os.environ) -> bool:
    """Return whether Qt would find a display; without one it ends the process when it starts.

    Args:
        environ: Where X11 and Wayland tell of themselves, and where Qt may be told to do without.
    """
    if sys.platform in ("win32", "darwin"):
        return True
    return any(environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM"))
