"""``trayproxy run``: the service in this process, with this terminal as its face."""

import sys
from contextlib import ExitStack, suppress
from dataclasses import replace

from trayproxy.cli.login import read_line
from trayproxy.cli.terminal import TerminalFace
from trayproxy.logs import Logs
from trayproxy.options import RunOptions
from trayproxy.paths import Paths
from trayproxy.service.main import run as serve


def run(paths: Paths, options: RunOptions, *, password_from_stdin: bool, quiet: bool) -> int:
    """Run the service until it ends.

    Args:
        paths: Whose.
        options: What the command line said, without the password.
        password_from_stdin: Read the password of `RunOptions.upstream` first.
        quiet: Log to the log file only.

    Returns:
        The exit code.

    Raises:
        EndError: There is no password where one was promised.
    """
    if password_from_stdin:
        options = replace(options, password=read_line())
    with ExitStack() as stack:
        logs = Logs()
        stack.callback(logs.stop)
        logs.start(paths.log_file, to_stderr=not quiet)
        if has_terminal() and not options.no_prompt:
            face = TerminalFace(paths)
            stack.callback(face.stop)
            face.start()
        return serve(options, paths, _say_where)


def has_terminal() -> bool:
    """Return whether a person sits at standard input and reads standard error."""
    return all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stderr))


def _say_where(address: str) -> None:
    # Who started us waits for this very line, or has no interest and no standard output for it.
    with suppress(OSError, ValueError):
        print(f"listening on {address}", flush=True)
