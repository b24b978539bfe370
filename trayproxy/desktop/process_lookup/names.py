"""The names of running programs, as people know them."""

import contextlib
import re
from collections.abc import Sequence

import psutil

from trayproxy.domain.problem import single_line

NAME_LENGTH = 60
"""The largest length of a shown name, in characters."""

_INTERPRETERS = re.compile(r"(python|pypy|perl|ruby|node|nodejs|bash|sh|dash|zsh)[0-9.]*(\.exe)?")
_HELPER_PROGRAMS = {"git-remote-http": "git", "git-remote-https": "git"}
"""The name to show for a helper program: the program that the user has started."""


def program_name(process: psutil.Process) -> str:
    """Return the name of a program as people know it: printable, not empty, at most `NAME_LENGTH`.

    Raises:
        psutil.Error: The process has ended, or belongs to another user.
    """
    name = str(process.name())
    if _INTERPRETERS.fullmatch(name.lower()):
        with contextlib.suppress(psutil.Error):
            name = script_name(process.cmdline()) or name
    name = _HELPER_PROGRAMS.get(name.removesuffix(".exe"), name)
    return single_line(name)[:NAME_LENGTH] or "?"


def script_name(command: Sequence[str]) -> str:
    """Return the name of the script or module in the command line of an interpreter.

    No other part of the command line is returned: it may contain passwords. The name is empty if
    the interpreter runs interactively, or code from its command line or from standard input.
    """
    arguments = iter(command[1:])
    for argument in arguments:
        if argument == "-m":
            return next(arguments, "")
        if argument in ("-c", "-e", "-"):
            return ""
        if not argument.startswith("-"):
            # Paths on Windows may contain both separators.
            return re.split(r"[\\/]", argument)[-1]
    return ""
