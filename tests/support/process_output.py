"""Reads the lines that a process writes; a test can wait for a line."""

import re
from collections.abc import Sequence
from threading import Condition, Thread
from typing import IO

PATIENCE = 20.0
"""The timeout in seconds for an event that is expected at once; long for busy machines."""


class LineReader:
    """Reads a pipe or FIFO to its end, in a thread."""

    def __init__(self, stream: IO[bytes], name: str) -> None:
        self._stream = stream
        self._name = name
        self._lines: list[str] = []
        self._ended = False
        self._changed = Condition()
        self._thread = Thread(target=self._read, name=f"lines of {name}", daemon=True)
        self._thread.start()

    @property
    def lines(self) -> Sequence[str]:
        """All lines so far, without line ends."""
        with self._changed:
            return tuple(self._lines)

    @property
    def text(self) -> str:
        """All lines so far, as one text."""
        return "\n".join(self.lines)

    def wait_for(self, pattern: str, timeout: float = PATIENCE) -> re.Match[str]:
        """Wait until a line contains the pattern; return the first match.

        Raises:
            AssertionError: No line matched before the timeout or the end of the stream.
        """
        return self.wait_for_count(pattern, 1, timeout)[0]

    def wait_for_count(
        self, pattern: str, count: int, timeout: float = PATIENCE
    ) -> list[re.Match[str]]:
        """Wait until this number of lines contain the pattern; return their matches."""
        compiled = re.compile(pattern)
        found: list[re.Match[str]] = []
        read = 0

        def enough() -> bool:
            nonlocal read
            for line in self._lines[read:]:
                if match := compiled.search(line):
                    found.append(match)
            read = len(self._lines)
            return len(found) >= count

        with self._changed:
            self._changed.wait_for(lambda: enough() or self._ended, timeout)
            if len(found) < count:
                why = "ended" if self._ended else f"waited {timeout} s"
                said = "\n".join(self._lines[-50:])
                what = f"{count} lines with {pattern!r}"
                raise AssertionError(f"{self._name}: no {what} ({why}). Output:\n{said}")
        return found

    def join(self, timeout: float = PATIENCE) -> None:
        """Wait for the end of the stream, when its last writer has ended."""
        self._thread.join(timeout)
        assert not self._thread.is_alive(), f"{self._name} is still open"

    def _read(self) -> None:
        with self._stream:
            for line in self._stream:
                with self._changed:
                    self._lines.append(line.decode("utf-8", "replace").rstrip("\r\n"))
                    self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()
