"""``trayproxy run``: run the service in this process, with this terminal as its front end."""

import sys
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import replace
from threading import Event, Thread

from trayproxy.cli.output import CommandError, print_line
from trayproxy.desktop.hardening import harden
from trayproxy.logs import Logs
from trayproxy.options import RunOptions
from trayproxy.paths import Paths
from trayproxy.service.main import run as serve

_SETTLE_TIMEOUT_S = 2.0
"""The timeout for the terminal to connect to the service; usually a few milliseconds pass."""


def run(paths: Paths, options: RunOptions, *, password_from_stdin: bool, quiet: bool) -> int:
    """Run the service until it ends; return the exit code.

    Args:
        paths: The paths of the service.
        options: The options of the command line, without the password.
        password_from_stdin: True to read the password of `RunOptions.upstream` from standard input.
        quiet: True to log to the log file only, as on a terminal with prompts.

    Raises:
        CommandError: Standard input contains no password.
    """
    harden()
    if password_from_stdin:
        # Here, since few runs take a password from standard input.
        from trayproxy.cli.password_input import read_password_line

        options = replace(options, password=read_password_line())
    with ExitStack() as stack:
        can_prompt = has_terminal() and not options.no_prompt
        logs = Logs()
        stack.callback(logs.stop)
        # A log line in the middle of a prompt would look like a part of the prompt.
        logs.start(paths.log_file, to_stderr=not (quiet or can_prompt))
        if not can_prompt:
            return serve(options, paths, print_address)
        # Here, since a service started by the tray shows no prompts on a terminal.
        from trayproxy.cli.terminal_prompts import TerminalPrompts

        prompts = TerminalPrompts(paths)
        stack.callback(prompts.stop)
        prompts.start()
        return serve(options, paths, _print_when_settled(prompts.is_settled))


def has_terminal() -> bool:
    """Return True if standard input and standard error are terminals."""
    return all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stderr))


def print_address(address: str) -> None:
    """Print the line with the local address: programs can connect now."""
    # A parent process may wait for this line; otherwise standard output may be closed.
    with suppress(CommandError, OSError, ValueError):
        print_line(f"listening on {address}")


def _print_when_settled(is_settled: Event) -> Callable[[str], None]:
    """Return a callback that prints the address after the terminal can show prompts.

    A request that arrives earlier would be refused at once. The callback waits on a separate
    thread, because the terminal connects through the event loop of the caller.
    """

    def wait(address: str) -> None:
        is_settled.wait(_SETTLE_TIMEOUT_S)
        print_address(address)

    return lambda address: Thread(target=wait, args=(address,), daemon=True).start()
