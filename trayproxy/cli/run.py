"""``trayproxy run``: the service in this process, with this terminal as its face."""

import sys
from dataclasses import replace

from trayproxy.cli.login import read_line
from trayproxy.cli.terminal import TerminalFace
from trayproxy.options import RunOptions
from trayproxy.paths import Paths


def run(paths: Paths, options: RunOptions, *, password_from_stdin: bool) -> int:
    """Run the service until it ends.

    Args:
        paths: Whose.
        options: What the command line said, without password and terminal.
        password_from_stdin: Read the password of `RunOptions.upstream` first.

    Returns:
        The exit code.

    Raises:
        EndError: There is no password where one was promised.
    """
    from trayproxy.service.main import run as serve

    if password_from_stdin:
        options = replace(options, password=read_line())
    if options.no_prompt or not has_terminal():
        return serve(options)
    face = TerminalFace(paths)
    face.start()
    try:
        return serve(replace(options, terminal=True))
    finally:
        face.stop()


def has_terminal() -> bool:
    """Return whether a person sits at standard input and reads standard error."""
    return all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stderr))
