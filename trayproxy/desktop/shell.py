"""Which shell the person types in."""

import os
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


def guess_shell(environ: Mapping[str, str] = os.environ) -> str:
    """Return one of `SHELLS`: the program that started us if it is one, else the log-in shell."""
    for name in (_parent_name(), environ.get("SHELL", "")):
        if shell := known_shell(name):
            return shell
    return "powershell" if os.name == "nt" else "bash"


def known_shell(program: str) -> str | None:
    r"""Return the shell of a program's name or path: ``-bash``, ``/bin/zsh``, ``C:\…\cmd.exe``."""
    name = program.replace("\\", "/").rsplit("/", 1)[-1].lower()
    return _KNOWN_AS.get(name.removeprefix("-").removesuffix(".exe"))


def _parent_name() -> str:
    try:
        parent = psutil.Process().parent()
        return "" if parent is None else str(parent.name())
    except psutil.Error:
        return ""
