"""``trayproxy``: start the tray, or the service where the display cannot be opened."""

from collections.abc import Sequence

from trayproxy.cli.output import CommandError, print_message, printable_line
from trayproxy.desktop.display import NO_DISPLAY, display_problem
from trayproxy.paths import Paths

_RUN_HINT = "“trayproxy run” needs no tray icon: it asks in this terminal."
_PYSIDE6_MISSING = "The tray needs PySide6, which is not installed: pip install PySide6-Essentials"


def run_tray(paths: Paths, arguments: Sequence[str]) -> int:
    """Run the tray until it ends, or the service if the display cannot be opened.

    Returns:
        The exit code.

    Raises:
        CommandError: The tray cannot run on this system.
    """
    if (problem := display_problem()) == NO_DISPLAY:
        raise CommandError(f"{problem} {_RUN_HINT}")
    if problem:
        print_message(
            f"{printable_line(problem)} TrayProxy runs without a tray icon, "
            "as “trayproxy run” does."
        )
        return _run_service(paths)
    try:
        from trayproxy.ui.platform import load_error

        if found := load_error():
            raise CommandError(_libraries_missing(found))
        from trayproxy.ui.app import main
    except ImportError as error:
        if not (error.name or "").startswith(("PySide6", "shiboken6")) and ".so" not in str(error):
            raise
        if ".so" not in str(error):
            raise CommandError(_PYSIDE6_MISSING) from None
        raise CommandError(_libraries_missing(str(error))) from None
    return main(list(arguments))


def _run_service(paths: Paths) -> int:
    from trayproxy.cli.run import run
    from trayproxy.options import RunOptions

    return run(paths, RunOptions(), password_from_stdin=False, quiet=False)


def _libraries_missing(error: str) -> str:
    """Return the message with all missing libraries; `error` is the loader's about the first."""
    from trayproxy.desktop.qt_libraries import command, missing_packages

    reason = f"The tray needs system libraries that are missing ({printable_line(error)})."
    packages = missing_packages()
    return f"{reason} On Debian and Ubuntu:\n  {command(packages)}" if packages else reason
