"""The Date of answers that came without one (RFC 9110, section 6.6.1: a proxy adds it)."""

from collections.abc import Callable
from email.utils import formatdate
from time import time


class DateLine:
    """Makes the field line, once a second however many answers there are."""

    __slots__ = ("_line", "_now", "_second")

    def __init__(self, now: Callable[[], float] = time) -> None:
        self._now = now
        self._second = -1
        self._line = b""

    def __call__(self) -> bytes:
        """Return the line with its line end."""
        second = int(self._now())
        if second != self._second:
            self._second = second
            self._line = b"Date: %b\r\n" % formatdate(second, usegmt=True).encode("ascii")
        return self._line

    def add(self, head: bytes) -> bytes:
        """Return a whole head with the line added behind its other fields."""
        return b"%b%b\r\n" % (head[:-2], self())
