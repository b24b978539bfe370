"""Starts the service as a background process, and prepares other background processes."""

import os
import select
import site
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Thread

from trayproxy.paths import HOME_VARIABLE, Paths, make_private

OUTPUT_FILE = "service.out"
"""The name of the file with the standard output and standard error of the service, such as the
traceback of a crash. It is in the log folder."""

_NOT_INHERITED = frozenset({"XDG_ACTIVATION_TOKEN", "DESKTOP_STARTUP_ID", "NOTIFY_SOCKET"})


_POLL_INTERVAL_S = 0.1
"""Seconds between two checks of a starting service, on a system without inherited descriptors."""


def start_service(
    paths: Paths, environ: Mapping[str, str] = os.environ, *, ready_descriptor: int | None = None
) -> int:
    """Start ``trayproxy run`` in the background.

    The service has a session of its own: it does not receive Ctrl+C or a hang-up from the terminal
    of this process, and outlives this process. Its control socket shows when it accepts connections
    and when it has ended. A second service ends by itself.

    Its output is in the log folder, and its environment is that of `environment`. Return its
    process id.

    The service writes an octet to `ready_descriptor`, the writing end of a pipe, as soon as its
    control socket accepts connections, and closes it; not on Windows.

    Raises:
        OSError: The service cannot be started.
    """
    make_private(paths.log)
    inherited = () if ready_descriptor is None else (ready_descriptor,)
    options = (f"--ready-fd={descriptor}" for descriptor in inherited)
    output = os.open(paths.log / OUTPUT_FILE, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        process = subprocess.Popen(
            command("run", "--quiet", "--stay", *options),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=Path.home().anchor,
            env=environment(environ),
            start_new_session=True,
            creationflags=creation_flags(),
            pass_fds=inherited,
        )
    finally:
        os.close(output)
    # Waiting removes the zombie process that a child leaves when it ends.
    Thread(target=process.wait, name="service", daemon=True).start()
    return process.pid


def launch_service(
    paths: Paths, is_running: Callable[[], bool], timeout_s: float, environ: Mapping[str, str]
) -> None:
    """Start the service like `start_service`, and wait until its control socket accepts connections
    or the service has ended.

    The service is not a child of this process. This process may become another program by exec(3),
    and that program must not find a child that it has not started when it calls wait(2).

    On Windows, where processes have no parents in this sense, `is_running` is called until it
    returns True.

    Args:
        paths: The paths of the service.
        is_running: Returns whether the control socket accepts connections.
        timeout_s: The longest time to wait, in seconds.
        environ: See `start_service`.

    Raises:
        OSError: The service cannot be started.
    """
    make_private(paths.log)
    if not hasattr(os, "fork"):
        start_service(paths, environ)
        deadline = time.monotonic() + timeout_s
        while not is_running() and time.monotonic() < deadline:
            time.sleep(_POLL_INTERVAL_S)
        return
    reading, writing = os.pipe()
    try:
        try:
            _start_from_child(paths, environ, writing)
        finally:
            os.close(writing)
        # Readable with the octet of the service, or with the end of the pipe if it has ended.
        select.select([reading], [], [], timeout_s)
    finally:
        os.close(reading)


def _start_from_child(paths: Paths, environ: Mapping[str, str], writing: int) -> None:
    """Start the service from a child of this process that ends at once: init adopts the service."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            start_service(paths, environ, ready_descriptor=writing)
            code = 0
        except OSError as error:
            code = min(error.errno or 1, 255)
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if code:
        raise OSError(code, os.strerror(code))


def last_words(paths: Paths) -> str:
    """Return the end of the output of the last started service, one line; empty if there is none.

    With a problem, the service writes its title and its body; with a crash, Python writes a
    traceback, whose last line has the reason.
    """
    try:
        text = (paths.log / OUTPUT_FILE).read_text("utf-8", "replace")[-4000:]
    except OSError:
        return ""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    is_traceback = any(line.startswith("Traceback ") for line in lines)
    return ". ".join(lines[-1:] if is_traceback else lines[-2:])


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
