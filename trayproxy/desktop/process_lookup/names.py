"""Names of programs, as people know them."""

import contextlib
import re
from collections.abc import Sequence

import psutil

NAME_LENGTH = 60
"""Characters of a name that are shown."""

_INTERPRETERS = re.compile(r"(python|pypy|perl|ruby|node|nodejs|bash|sh|dash|zsh)[0-9.]*(\.exe)?")
_HELPER_PROGRAMS = {"git-remote-http": "git", "git-remote-https": "git"}
"""Programs that people have not started themselves, by those they have."""


def program_name(process: psutil.Process) -> str:
    """Return the name of a program as people know it, printable and not empty.

    Raises:
        psutil.Error: The process has ended, or belongs to another user.
    """
    name = str(process.name())
    if _INTERPRETERS.fullmatch(name.lower()):
        with contextlib.suppress(psutil.Error):
            name = script_name(process.cmdline()) or name
    name = _HELPER_PROGRAMS.get(name.removesuffix(".exe"), name)
    shown = "".join(char if char.isprintable() else "?" for char in name)
    return shown[:NAME_LENGTH] or "?"


def script_name(command: Sequence[str]) -> str:
    """Return what an interpreter runs, from its command line; empty if that has no name.

    Only the script's own name is taken: the rest of a command line may hold passwords.
    """
    arguments = iter(command[1:])
    for argument in arguments:
        if argument == "-m":
            return next(arguments, "")
        if argument in ("-c", "-e", "-"):
            return ""
        if not argument.startswith("-"):
            # On any system: a path of Windows has both.
            return re.split(r"[\\/]", argument)[-1]
    return ""
