"""Finds the command with which other programs start this installation of TrayProxy."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

_TIMEOUT_S = 20.0
_OWN_FILE = "trayproxy/__init__.py"


class InstallationError(Exception):
    """Other programs cannot start this TrayProxy; the text is the reason, a clause."""


@dataclass(frozen=True, slots=True)
class InstalledProgram:
    """A program that is TrayProxy, or runs TrayProxy.

    Attributes:
        path: The absolute path of the program.
        arguments: The arguments with which the program runs TrayProxy, before the arguments for
            TrayProxy: ``("-P", "-m", "trayproxy")`` for an interpreter, otherwise empty.
    """

    path: str
    arguments: tuple[str, ...] = ()

    @property
    def argv(self) -> tuple[str, ...]:
        """The command line without arguments for TrayProxy."""
        return (self.path, *self.arguments)


def installed_program(
    *, has_console: bool = True, environ: Mapping[str, str] = os.environ
) -> InstalledProgram:
    """Return the program of this installation, which needs no variable of this environment.

    It is the script that pip has installed, or else the interpreter: a script can be listed by
    package managers and is removed with TrayProxy. An AppImage is named by its own path, because
    the path inside the image changes with each start.

    Args:
        has_console: False to return, on Windows, the program that opens no console window.
        environ: The environment, with ``APPIMAGE`` inside an AppImage.

    Raises:
        InstallationError: TrayProxy runs from a source folder that is not installed.
    """
    if getattr(sys, "frozen", False):
        return InstalledProgram(os.path.abspath(environ.get("APPIMAGE") or sys.executable))
    is_windowed = sys.platform == "win32" and not has_console
    found = own_distribution()
    if found is None:
        _check_import(environ)
    elif script := _script(found, "trayproxyw" if is_windowed else "trayproxy"):
        return InstalledProgram(script)
    interpreter = Path(sys.executable)
    if sys.platform == "win32":
        # This process may run in either of them.
        wanted = interpreter.with_name("pythonw.exe" if is_windowed else "python.exe")
        interpreter = wanted if wanted.exists() else interpreter
    # -P: do not import modules from the working folder.
    return InstalledProgram(os.path.abspath(interpreter), ("-P", "-m", "trayproxy"))


def own_distribution() -> Distribution | None:
    """Return the installed distribution that this process runs; None if there is none."""
    try:
        found = distribution("trayproxy")
    except PackageNotFoundError:
        return None
    own = Path(__file__).parents[1] / "__init__.py"
    installed = Path(os.path.abspath(str(found.locate_file(_OWN_FILE))))
    if installed == own or _editable_root(found) == own.parents[1]:
        return found
    return None


def _editable_root(found: Distribution) -> Path | None:
    """Return the source folder of an editable installation (PEP 610)."""
    from urllib.parse import urlsplit
    from urllib.request import url2pathname

    try:
        origin = json.loads(found.read_text("direct_url.json") or "{}")
        if not origin.get("dir_info", {}).get("editable"):
            return None
        return Path(url2pathname(urlsplit(origin["url"]).path))
    except (ValueError, KeyError, AttributeError):
        return None


def _script(found: Distribution, name: str) -> str | None:
    """Return the absolute path of an installed script; None if the distribution has none."""
    for file in found.files or ():
        # Package managers of systems do not always record the files.
        if file.name in (name, f"{name}.exe"):
            path = os.path.abspath(str(found.locate_file(file)))
            if os.access(path, os.X_OK) and os.path.isfile(path):
                return path
    return None


def _check_import(environ: Mapping[str, str]) -> None:
    """Check that the interpreter finds this TrayProxy without the environment of this process.

    Raises:
        InstallationError: It does not.
    """
    clean = {name: value for name, value in environ.items() if not name.startswith("PYTHON")}
    code = "import trayproxy; print(ascii(trayproxy.__file__))"
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-c", code], env=clean, cwd=Path.home().anchor,
            stdin=subprocess.DEVNULL, capture_output=True, timeout=_TIMEOUT_S, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return
    own = str(Path(__file__).parents[1] / "__init__.py")
    if done.stdout.decode("ascii", "replace").strip() != ascii(own):
        raise InstallationError("TrayProxy runs from a source folder that is not installed")
