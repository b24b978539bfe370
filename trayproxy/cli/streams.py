"""Standard streams for a process that has none.

A program without a console, such as ``trayproxyw`` on Windows, starts with ``sys.stdin``,
``sys.stdout`` and ``sys.stderr`` set to None (docs.python.org, ``sys.__stderr__``). Code that reads
or writes them need not know: they are replaced at the start.
"""

import io
import sys
from typing import TextIO


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


def _or_discard(stream: TextIO | None) -> TextIO:
    return _Discard() if stream is None else stream
