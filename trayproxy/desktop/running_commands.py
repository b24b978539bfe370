"""The command lines of running programs."""

import contextlib
from collections.abc import Collection

import psutil


def running_commands(programs: Collection[str]) -> list[tuple[str, ...]]:
    """Return the command lines of the running programs of this user with given names.

    A Python module that was started with ``python -m NAME`` has the name of the module; its command
    line begins with this name.

    Args:
        programs: The names without folder and ``.exe``, in lower case.
    """
    found = []
    with contextlib.suppress(psutil.Error, OSError):
        own = psutil.Process().username()
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                words = _without_python(process.cmdline())
                if words and _name(words[0]) in programs and process.username() == own:
                    found.append(words)
    return found


def _without_python(words: list[str]) -> tuple[str, ...]:
    is_module = len(words) > 2 and words[1] == "-m" and _name(words[0]).startswith("python")
    return tuple(words[2:] if is_module else words)


def _name(path: str) -> str:
    return path.replace("\\", "/").rpartition("/")[2].lower().removesuffix(".exe")
