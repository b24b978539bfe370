"""Which shell the person types in."""

import os
import re
from collections.abc import Mapping

import psutil

SHELLS = ("bash", "zsh", "fish", "nu", "powershell", "cmd")
"""Those whose settings we can write. Others of the Bourne family read bash's."""

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
"""Programs that stand between a shell and this process.

On Windows the console script ``trayproxy.exe`` starts ``python.exe``, and the ``python.exe`` of a
virtual environment another one.
"""


def guess_shell(environ: Mapping[str, str] = os.environ) -> str:
    """Return one of `SHELLS`: the program that started us if it is one, else the log-in shell."""
    for name in (_starting_program(), environ.get("SHELL", "")):
        if shell := known_shell(name):
            return shell
    return "powershell" if os.name == "nt" else "bash"


def known_shell(program: str) -> str | None:
    r"""Return the shell of a program's name or path: ``-bash``, ``/bin/zsh``, ``C:\…\cmd.exe``."""
    name = program.replace("\\", "/").rsplit("/", 1)[-1].lower()
    return _KNOWN_AS.get(name.removeprefix("-").removesuffix(".exe"))


def _starting_program() -> str:
    """Return the name of the nearest ancestor that is none of `_LAUNCHERS`, empty if unknown."""
    try:
        for ancestor in psutil.Process().parents():
            name = str(ancestor.name())
            if not _LAUNCHERS.fullmatch(name):
                return name
    except psutil.Error:
        # It has ended, or is another user's.
        pass
    return ""
