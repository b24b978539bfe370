"""Finds a program of the user, and makes this process become the program."""

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import NoReturn

NOT_EXECUTABLE = 126
NOT_FOUND = 127
"""The exit codes of shells for a program that cannot be executed, and for one that is missing
(POSIX.1-2017, XCU section 2.8.2)."""

_SHELL = "/bin/sh"
_IGNORED_BY_PYTHON = ("SIGPIPE", "SIGXFSZ")
"""The signals that Python ignores from its start. A new program would ignore them, too."""


class ProgramError(Exception):
    """The program cannot be run.

    Attributes:
        exit_code: `NOT_EXECUTABLE` or `NOT_FOUND`.
    """

    def __init__(self, reason: str, exit_code: int) -> None:
        super().__init__(reason)
        self.exit_code = exit_code


def find_program(command: str) -> str:
    """Return the path of a program, searched in the folders of ``PATH`` like a shell does.

    Raises:
        ProgramError: There is no such program, or it is not executable.
    """
    # Imported here: it loads compression libraries.
    import shutil

    if found := shutil.which(command):
        return found
    if os.path.dirname(command):
        exists = os.path.exists(command)
    else:
        exists = shutil.which(command, os.F_OK) is not None
    raise _not_executable() if exists else _not_found()


def become_program(path: str, arguments: list[str], variables: Mapping[str, str]) -> int:
    """Run a program in place of this process, with environment variables added or replaced.

    The program has the process id, the terminal, the process group and the standard streams of this
    process: signals, also those of the terminal, reach the program, and the caller of this process
    sees how the program ends. This function returns only on Windows, where the program is a child
    process: then it returns the exit code of the program.

    Args:
        path: The path of the program.
        arguments: The arguments, the name of the program first.
        variables: The environment variables to set.

    Raises:
        ProgramError: The system cannot run the program.
    """
    # On Windows, this replaces a variable whose name has another case.
    os.environ.update(variables)
    with suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    try:
        if not hasattr(os, "fork"):
            return _run_child(path, arguments)
        for name in _IGNORED_BY_PYTHON:
            signal.signal(getattr(signal, name), signal.SIG_DFL)
        _execute(path, arguments)
    except (FileNotFoundError, NotADirectoryError):
        # The file has just been removed, or names an interpreter that does not exist.
        raise _not_found() from None
    except OSError as error:
        raise ProgramError(error.strerror or str(error), NOT_EXECUTABLE) from None


def _execute(path: str, arguments: list[str]) -> NoReturn:
    try:
        os.execv(path, arguments)
    except OSError as error:
        if error.errno != errno.ENOEXEC:
            raise
        # A script without an interpreter line, which shells and execvp(3) pass to the shell.
        os.execv(_SHELL, [_SHELL, path, *arguments[1:]])


def _run_child(path: str, arguments: list[str]) -> int:
    """Run a program as a child process; return its exit code.

    The console sends Ctrl+C and Ctrl+Break to both processes. Only the program reacts to them.
    """
    for name in ("SIGINT", "SIGBREAK"):
        if (number := getattr(signal, name, None)) is not None:
            signal.signal(number, signal.SIG_IGN)
    code = subprocess.run([path, *arguments[1:]], check=False).returncode
    # Exit codes on Windows have 32 bits without a sign; Python's `sys.exit` takes a C long.
    return code - (1 << 32) if code >= 1 << 31 else code


def _not_found() -> ProgramError:
    return ProgramError("not found", NOT_FOUND)


def _not_executable() -> ProgramError:
    return ProgramError("it cannot be executed", NOT_EXECUTABLE)
