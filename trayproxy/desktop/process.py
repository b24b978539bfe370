"""Starts the service as a background process, and prepares other background processes."""

import os
import site
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from threading import Thread

from trayproxy.paths import HOME_VARIABLE, Paths, make_private

OUTPUT_FILE = "service.out"
"""The name of the file with the standard output and standard error of the service, such as the
traceback of a crash. It is in the log folder."""

_NOT_INHERITED = frozenset({"XDG_ACTIVATION_TOKEN", "DESKTOP_STARTUP_ID", "NOTIFY_SOCKET"})


def start_service(paths: Paths, environ: Mapping[str, str] = os.environ) -> int:
    """Start ``trayproxy run`` in the background.

    The service has a session of its own: it does not receive Ctrl+C or a hang-up from the terminal
    of this process, and outlives this process. Its control socket shows when it accepts connections
    and when it has ended. A second service ends by itself.

    Its output is in the log folder, and its environment is that of `environment`. Return its
    process id.

    Raises:
        OSError: The service cannot be started.
    """
    make_private(paths.log)
    output = os.open(paths.log / OUTPUT_FILE, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        process = subprocess.Popen(
            command("run", "--quiet", "--stay"),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=Path.home().anchor,
            env=environment(environ),
            start_new_session=True,
            creationflags=creation_flags(),
        )
    finally:
        os.close(output)
    # Waiting removes the zombie process that a child leaves when it ends.
    Thread(target=process.wait, name="service", daemon=True).start()
    return process.pid


def command(*arguments: str) -> list[str]:
    """Return the command line for this installation of TrayProxy."""
    if getattr(sys, "frozen", False):
        return [sys.executable, *arguments]
    # -P: do not import modules from the working folder.
    return [sys.executable, "-P", "-m", "trayproxy", *arguments]


def environment(inherited: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a background process of TrayProxy, from that of this process.

    Start-up tokens and proxy variables are removed: the service does not use them, and proxy
    variables may contain passwords. A relative `HOME_VARIABLE` is made absolute. ``PYTHONPATH``
    names the source folder if TrayProxy is not installed.
    """
    kept = {
        name: value
        for name, value in inherited.items()
        if name not in _NOT_INHERITED and not name.lower().endswith("_proxy")
    }
    if home := kept.get(HOME_VARIABLE):
        # The process starts in another working folder.
        kept[HOME_VARIABLE] = os.path.abspath(home)
    root = str(Path(__file__).parents[2])
    if root not in {*site.getsitepackages(), site.getusersitepackages()}:
        # TrayProxy runs from its source folder, which other processes do not search for modules.
        kept["PYTHONPATH"] = os.pathsep.join(filter(None, [root, kept.get("PYTHONPATH", "")]))
    return kept


def creation_flags() -> int:
    """Return the flags of CreateProcess for a background process; 0 if the system is not Windows.

    The process gets no console, and no Ctrl+C from the console of this process.
    """
    names = ("CREATE_NO_WINDOW", "CREATE_NEW_PROCESS_GROUP")
    return sum(getattr(subprocess, name, 0) for name in names)
