"""Guesses the shell in which the user types commands."""

import os
import re
from collections.abc import Mapping

import psutil

SHELLS = ("bash", "zsh", "fish", "nu", "powershell", "cmd")
"""The shells for which `trayproxy env` prints settings. Other Bourne shells read the settings for
bash."""

_KNOWN_AS = {
    **{name: name for name in SHELLS},
    "pwsh": "powershell",
    "sh": "bash",
    "dash": "bash",
    "ksh": "bash",
    "mksh": "bash",
    "busybox": "bash",
}


_LAUNCHERS = re.compile(r"(python.*|trayproxy.*|pyw?|pipx|uvx?)(\.exe)?", re.IGNORECASE | re.ASCII)
"""Programs that may run between the shell and this process.

On Windows, the console script ``trayproxy.exe`` starts ``python.exe``, and the ``python.exe`` of a
virtual environment starts another ``python.exe``.
"""


def guess_shell(environ: Mapping[str, str] = os.environ) -> str:
    """Return the shell among the ancestors of this process, or else the login shell, or else the
    usual shell of the system: one of `SHELLS`."""
    for name in (_starting_program(), environ.get("SHELL", "")):
        if shell := known_shell(name):
            return shell
    return "powershell" if os.name == "nt" else "bash"


def known_shell(program: str) -> str | None:
    r"""Return the shell of a program name or path: ``-bash``, ``/bin/zsh``, ``C:\…\cmd.exe``.

    One of `SHELLS`; None for any other program.
    """
    name = program.replace("\\", "/").rsplit("/", 1)[-1].lower()
    return _KNOWN_AS.get(name.removeprefix("-").removesuffix(".exe"))


def _starting_program() -> str:
    """Return the name of the nearest ancestor process not matched by `_LAUNCHERS`, empty if the
    ancestors cannot be inspected."""
    try:
        for ancestor in psutil.Process().parents():
            name = str(ancestor.name())
            if not _LAUNCHERS.fullmatch(name):
                return name
    except psutil.Error:
        # An ancestor has ended, or belongs to another user.
        pass
    return ""
