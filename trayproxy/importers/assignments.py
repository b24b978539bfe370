"""Assignments of environment variables in the start files of shells and in ``.env`` files."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field

from trayproxy.importers.found import Place
from trayproxy.importers.source_text import SourceText

_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_POSIX = re.compile(rf"\s*(?:export\s+|setenv\s+|set\s+)?({_NAME})=(.*)")
_FISH = re.compile(rf"\s*set\s+(?:-\S+\s+)*({_NAME})\s+(.*)")
_POWERSHELL = re.compile(rf"\s*\$env:({_NAME})\s*=(.*)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Assignment:
    """An assignment of a variable.

    Attributes:
        name: The name of the variable.
        value: The value, without quotes; it may contain a password.
        place: The place of the assignment.
    """

    name: str
    value: str = field(repr=False)
    place: Place


def assignments(source: SourceText) -> Iterator[Assignment]:
    """Yield the assignments of a file in order, one for each line; other lines are skipped.

    Variables in values are not replaced.
    """
    for number, line in enumerate(source.text.split("\n"), 1):
        for pattern in (_POSIX, _FISH, _POWERSHELL):
            if found := pattern.match(line):
                yield Assignment(found[1], _value(found[2]), source.place(number))
                break


def _value(text: str) -> str:
    """Return the first word of a text, without quotes and escapes."""
    lexer = shlex.shlex(text, posix=True, punctuation_chars=";&|")
    lexer.whitespace_split = True
    try:
        return next(lexer, "")
    except ValueError:  # A quotation that is not closed.
        return text.strip().strip("\"'")
