"""``trayproxy``: the tray, where there can be one."""

from collections.abc import Sequence

from trayproxy.cli.words import EndError
from trayproxy.desktop.display import has_display

_NO_DISPLAY = (
    "There is no display to show a tray icon on. “trayproxy run” does without: it asks at this "
    "terminal."
)

_APT = "apt install libegl1 libgl1 libxcb-cursor0 libxkbcommon-x11-0 libdbus-1-3 libfontconfig1"


def tray(arguments: Sequence[str]) -> int:
    """Run the tray until it ends.

    Args:
        arguments: What the command line had.

    Returns:
        The exit code.

    Raises:
        EndError: There can be no tray here.
    """
    if not has_display():
        raise EndError(_NO_DISPLAY)
    try:
        from trayproxy.ui.app import main
    except ImportError as error:
        if not (error.name or "").startswith(("PySide6", "shiboken6")) and ".so" not in str(error):
            raise
        raise EndError(_missing(error)) from None
    return main(list(arguments))


def _missing(error: ImportError) -> str:
    """Say what to install: the package, or the library of the system that it is linked with."""
    if ".so" not in str(error):
        return "The tray needs PySide6, which is not installed: pip install PySide6-Essentials"
    library = str(error).partition(":")[0]
    return f"The tray needs the system library {library}. On Debian and Ubuntu: {_APT}"
