"""Standard streams that can be read and written whatever they are.

A program without a console, such as ``trayproxyw`` on Windows, starts with ``sys.stdin``,
``sys.stdout`` and ``sys.stderr`` set to None (docs.python.org, ``sys.__stderr__``). Code that reads
or writes them need not know: they are replaced at the start.

A console or a pipe on Windows may take only the characters of a code page (cp1252, cp850). What it
does not take is written in another way.
"""

import codecs
import io
import os
import sys
from contextlib import suppress
from typing import TextIO

_ERRORS = "trayproxy.plain"
"""The name of our way to write what an encoding does not have (`codecs.register_error`)."""

_PLAIN = {
    "“": '"',
    "”": '"',
    "…": "...",
    "–": "-",
    "→": "->",
    "✔": "+",
    "✖": "x",
}
"""The characters of our own texts that code pages lack."""


class _Discard(io.StringIO):
    """A text file that drops what is written to it."""

    def write(self, text: str, /) -> int:
        return len(text)


def ensure_streams() -> None:
    """Replace the standard streams that are None: nothing to read, and output is dropped.

    The new streams are no terminals and have no descriptor (`io.UnsupportedOperation`).
    """
    if sys.stdin is None:
        sys.stdin = io.TextIOWrapper(io.BytesIO(), "utf-8")
    sys.stdout = _or_discard(sys.stdout)
    sys.stderr = _or_discard(sys.stderr)


def take_all_characters() -> None:
    """Let standard output and standard error write every text, whatever their encoding is.

    Our own signs become similar ones of ASCII, other characters ``\\u65e5`` as in a Python string.
    """
    codecs.register_error(_ERRORS, _replace)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_ERRORS)


def discard_output() -> None:
    """Drop what is still to be written to standard output: Python would try again at its end."""
    _discard(sys.stdout)


def discard_unwritten_errors() -> None:
    """Drop what standard error has not taken. Python would try again at its end, and Python 3.11.2
    would replace the exit code by 120 if that fails."""
    try:
        sys.stderr.flush()
    except (OSError, ValueError):  # A full disk; or it is closed.
        with suppress(OSError, ValueError):
            _discard(sys.stderr)


def _discard(stream: TextIO) -> None:
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)


def _replace(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    refused = error.object[error.start : error.end]
    # Of the signs one may be there and the next not: backslashes are taken by every encoding.
    plain = [_PLAIN.get(c) or c.encode("ascii", "backslashreplace").decode() for c in refused]
    return "".join(plain), error.end


def _or_discard(stream: TextIO | None) -> TextIO:
    return _Discard() if stream is None else stream
