"""Read a password from standard input (``--password-stdin``)."""

import sys

from trayproxy.cli.output import CommandError


def read_password_line() -> str:
    """Return the first line of standard input without its line end.

    Raises:
        CommandError: Standard input is empty, or the line is not UTF-8.
    """
    try:
        line = sys.stdin.buffer.readline().decode("utf-8")
    except UnicodeDecodeError:
        raise CommandError("The password on standard input is not UTF-8.") from None
    if not line:
        raise CommandError("There is no password on standard input.")
    return line.removesuffix("\n").removesuffix("\r")
