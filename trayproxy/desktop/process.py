"""Starting the service apart from who starts it, so that it outlives a tray that crashes."""

import os
import site
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from threading import Thread

from trayproxy.paths import HOME_VARIABLE, Paths, make_private

OUTPUT_FILE = "service.out"
"""In the log folder: what the service said that did not go through its log, such as a crash."""

_NOT_INHERITED = frozenset({"XDG_ACTIVATION_TOKEN", "DESKTOP_STARTUP_ID", "NOTIFY_SOCKET"})


def start_service(paths: Paths, environ: Mapping[str, str] = os.environ) -> int:
    """Start ``trayproxy run`` in the background.

    It has a session of its own, so it gets no Ctrl+C, no hang-up and no end from its starter, and
    outlives it. Whether it accepts connections, and when it has ended, is seen at its control
    socket; a second one ends by itself.

    Args:
        paths: Where it writes what it says.
        environ: What it inherits, but for start-up tokens and proxy variables, which may hold
            passwords and are of no use to it.

    Returns:
        Its process id.

    Raises:
        OSError: It cannot be started.
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
            creationflags=_creation_flags(),
        )
    finally:
        os.close(output)
    # The system keeps what is left of a child until someone has asked how it ended.
    Thread(target=process.wait, name="service", daemon=True).start()
    return process.pid


def command(*arguments: str) -> list[str]:
    """Return the command line that runs this very TrayProxy."""
    if getattr(sys, "frozen", False):
        return [sys.executable, *arguments]
    # -P: modules in the working folder are none of ours.
    return [sys.executable, "-P", "-m", "trayproxy", *arguments]


def environment(inherited: Mapping[str, str]) -> dict[str, str]:
    """Return what a background process of ours inherits."""
    kept = {
        name: value
        for name, value in inherited.items()
        if name not in _NOT_INHERITED and not name.lower().endswith("_proxy")
    }
    if home := kept.get(HOME_VARIABLE):
        # It starts in another folder.
        kept[HOME_VARIABLE] = os.path.abspath(home)
    root = str(Path(__file__).parents[2])
    if root not in {*site.getsitepackages(), site.getusersitepackages()}:
        # Run from its source, where only we know it to be.
        kept["PYTHONPATH"] = os.pathsep.join(filter(None, [root, kept.get("PYTHONPATH", "")]))
    return kept


def _creation_flags() -> int:
    """Return the flags of Windows' CreateProcess: no console, and no Ctrl+C from ours; else 0."""
    names = ("CREATE_NO_WINDOW", "CREATE_NEW_PROCESS_GROUP")
    return sum(getattr(subprocess, name, 0) for name in names)
