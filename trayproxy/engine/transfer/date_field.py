"""Add the Date field to responses without one (RFC 9110, section 6.6.1)."""

from collections.abc import Callable
from time import gmtime, time

# In English, independent of the locale (RFC 9110, section 5.6.7). email.utils has this function,
# but imports half of the email package.
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def http_date(second: int) -> str:
    """Return a second since the epoch as an IMF-fixdate (RFC 9110, section 5.6.7)."""
    at = gmtime(second)
    day, month = _DAYS[at.tm_wday], _MONTHS[at.tm_mon - 1]
    hour = f"{at.tm_hour:02}:{at.tm_min:02}:{at.tm_sec:02}"
    return f"{day}, {at.tm_mday:02} {month} {at.tm_year:04} {hour} GMT"


class DateField:
    """Formats the Date field line, once per second at most."""

    def __init__(self, now: Callable[[], float] = time) -> None:
        self._now = now
        self._second = -1
        self._line = b""

    def add_to(self, head: bytes) -> bytes:
        """Return a response head with the field line added after its other fields."""
        second = int(self._now())
        if second != self._second:
            self._second = second
            self._line = b"Date: %b\r\n" % http_date(second).encode("ascii")
        return b"%b%b\r\n" % (head[:-2], self._line)
