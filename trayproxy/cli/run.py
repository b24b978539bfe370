"""``trayproxy run``: the service in this process, with this terminal as its face."""

import sys
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import replace
from threading import Thread

from trayproxy.cli.login import read_password_line
from trayproxy.cli.output import CommandError, print_line
from trayproxy.cli.terminal_prompts import TerminalPrompts
from trayproxy.desktop.hardening import harden
from trayproxy.logs import Logs
from trayproxy.options import RunOptions
from trayproxy.paths import Paths
from trayproxy.service.main import run as serve

_SETTLE_TIMEOUT_S = 2.0
"""How long the terminal may take to attach, a few milliseconds as a rule."""


def run(paths: Paths, options: RunOptions, *, password_from_stdin: bool, quiet: bool) -> int:
    """Run the service until it ends.

    Args:
        paths: Whose.
        options: What the command line said, without the password.
        password_from_stdin: Read the password of `RunOptions.upstream` first.
        quiet: Log to the log file only. So it is wherever the terminal asks.

    Returns:
        The exit code.

    Raises:
        CommandError: There is no password where one was promised.
    """
    harden()
    if password_from_stdin:
        options = replace(options, password=read_password_line())
    with ExitStack() as stack:
        can_prompt = has_terminal() and not options.no_prompt
        logs = Logs()
        stack.callback(logs.stop)
        # A line of the log in the middle of a question would look like a part of it.
        logs.start(paths.log_file, to_stderr=not (quiet or can_prompt))
        if not can_prompt:
            return serve(options, paths, print_address)
        prompts = TerminalPrompts(paths)
        stack.callback(prompts.stop)
        prompts.start()
        return serve(options, paths, _when_settled(prompts, print_address))


def has_terminal() -> bool:
    """Return whether a person sits at standard input and reads standard error."""
    return all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stderr))


def print_address(address: str) -> None:
    """Print the line that says that programs can connect."""
    # Who started us waits for this very line, or has no interest and no standard output for it.
    with suppress(CommandError, OSError, ValueError):
        print_line(f"listening on {address}")


def _when_settled(
    prompts: TerminalPrompts, print_ready: Callable[[str], None]
) -> Callable[[str], None]:
    """Let it be said when the terminal can ask: a request that comes before is refused at once.

    The face attaches by the loop that calls us, so waiting is for another thread.
    """

    def wait(address: str) -> None:
        prompts.is_settled.wait(_SETTLE_TIMEOUT_S)
        print_ready(address)

    return lambda address: Thread(target=wait, args=(address,), daemon=True).start()
