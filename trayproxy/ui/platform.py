"""Checks whether Qt can load a platform plugin; otherwise Qt aborts the process."""

import os
from pathlib import Path

from PySide6.QtCore import QLibraryInfo, QPluginLoader

_PLUGINS = {"WAYLAND_DISPLAY": "libqwayland.so", "DISPLAY": "libqxcb.so"}
"""File names of platform plugins, by the environment variable that names the display."""


def load_error() -> str:
    """Load the platform plugin; return the error of the dynamic loader, empty for a loaded plugin.

    Qt tries all plugins, so a single loadable plugin is sufficient. A plugin chosen by the user
    with ``QT_QPA_PLATFORM`` is not checked. The error names a missing library.
    """
    if os.environ.get("QT_QPA_PLATFORM"):
        return ""
    folder = Path(QLibraryInfo.path(QLibraryInfo.LibraryPath.PluginsPath), "platforms")
    error = ""
    for variable, name in _PLUGINS.items():
        # Windows and macOS set neither variable; older Qt releases use another file name for
        # Wayland.
        if not os.environ.get(variable) or not (folder / name).exists():
            continue
        loader = QPluginLoader(str(folder / name))
        if loader.load():
            return ""
        error = loader.errorString()
    return error
