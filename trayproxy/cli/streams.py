"""Make the standard streams usable if they are missing or have a limited encoding.

In a program without a console, such as ``trayproxyw`` on Windows, ``sys.stdin``, ``sys.stdout`` and
``sys.stderr`` are None (docs.python.org, ``sys.__stderr__``). They are replaced at the start, so
that other code can read and write them as usual.

A console or pipe on Windows may accept only the characters of a code page (cp1252, cp850). Other
characters are replaced when they are written.
"""

import codecs
import io
import os
import sys
from contextlib import suppress
from typing import TextIO

_ERROR_HANDLER = "trayproxy.plain"
"""The name of the error handler for unencodable characters (`codecs`)."""

_ASCII = {"“": '"', "”": '"', "…": "...", "–": "-", "→": "->", "✔": "+", "✖": "x"}
"""ASCII replacements for characters in the texts of TrayProxy that some code pages lack."""


class _Discard(io.StringIO):
    """A text stream that discards all output."""

    def write(self, text: str, /) -> int:
        return len(text)


def ensure_streams() -> None:
    """Replace missing standard streams (None) by an empty input and by outputs that discard.

    The new streams are not terminals; `fileno` raises `io.UnsupportedOperation`.
    """
    if sys.stdin is None:
        sys.stdin = io.TextIOWrapper(io.BytesIO(), "utf-8")
    sys.stdout = sys.stdout or _Discard()
    sys.stderr = sys.stderr or _Discard()


def replace_unencodable() -> None:
    """Make standard output and standard error accept any text, whatever their encoding.

    Typographic characters of TrayProxy's texts become similar ASCII characters; other characters
    that the encoding lacks are escaped as in a Python string, ``\\u65e5``.
    """
    codecs.register_error(_ERROR_HANDLER, _encode_replacement)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_ERROR_HANDLER)


def discard_output() -> None:
    """Discard buffered standard output, which Python would try to write again at exit."""
    _discard(sys.stdout)


def discard_unwritten_errors() -> None:
    """Discard buffered standard error if it cannot be written.

    Python would try to write it again at exit, and Python 3.11.2 would then exit with code 120.
    """
    try:
        sys.stderr.flush()
    except (OSError, ValueError):  # The disk is full, or the stream is closed.
        with suppress(OSError, ValueError):
            _discard(sys.stderr)


def _discard(stream: TextIO) -> None:
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, stream.fileno())
    os.close(null)


def _encode_replacement(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    unencodable = error.object[error.start : error.end]
    # The handler may get several characters at once. Every encoding has the backslash.
    plain = [_ASCII.get(c) or c.encode("ascii", "backslashreplace").decode() for c in unencodable]
    return "".join(plain), error.end
