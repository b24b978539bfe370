"""Whether Qt can load the plugin that shows windows here; without one Qt aborts the process."""

import os
from collections.abc import Mapping
from pathlib import Path

from PySide6.QtCore import QLibraryInfo, QPluginLoader

_PLUGINS = {"WAYLAND_DISPLAY": "libqwayland.so", "DISPLAY": "libqxcb.so"}
"""File names of platform plugins, by the variable that says that there is such a display."""


def load_error(environ: Mapping[str, str] = os.environ) -> str:
    """Load the platform plugin and return why none can be loaded, empty if one was.

    Qt falls back from one plugin to another, so that one is enough. A plugin that the person has
    chosen by ``QT_QPA_PLATFORM`` is not checked.

    Args:
        environ: Where X11 and Wayland tell of themselves.

    Returns:
        What the dynamic loader says, with the name of a missing library; or an empty string.
    """
    if environ.get("QT_QPA_PLATFORM"):
        return ""
    folder = Path(QLibraryInfo.path(QLibraryInfo.LibraryPath.PluginsPath), "platforms")
    error = ""
    for variable, name in _PLUGINS.items():
        # Windows and macOS have neither; older releases of Qt name the one for Wayland differently.
        if not environ.get(variable) or not (folder / name).exists():
            continue
        loader = QPluginLoader(str(folder / name))
        if loader.load():
            return ""
        error = loader.errorString()
    return error
