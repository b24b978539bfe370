"""The libraries of Windows (DLLs)."""

import ctypes
import errno
from typing import Any


def load_library(name: str) -> Any:
    """Load a library of Windows.

    Raises:
        OSError: There is no such library, or this is not Windows.
    """
    load: Any = getattr(ctypes, "WinDLL", None)
    if load is None:
        raise OSError(errno.ENOSYS, "not Windows")
    return load(name)
