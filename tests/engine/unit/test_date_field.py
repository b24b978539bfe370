"""Tests for trayproxy.engine.transfer.date_field."""

import sys
from email.utils import formatdate

from hypothesis import given
from hypothesis import strategies as st

from trayproxy.engine.transfer.date_field import DateField, http_date

LAST_SECOND = 32_535_215_999 if sys.platform == "win32" else 253_402_300_799
"""The end of the year 3000, the last year that Windows supports, or of the year 9999."""


@given(st.integers(0, LAST_SECOND))
def test_http_date_equals_the_format_of_email_utils(second: int) -> None:
    assert http_date(second) == formatdate(second, usegmt=True)


def test_the_field_follows_the_others_and_the_clock() -> None:
    times = iter([0.0, 0.9, 1.0])
    date_field = DateField(lambda: next(times))
    for second in (0, 0, 1):
        date = b"Date: Thu, 01 Jan 1970 00:00:0%d GMT\r\n\r\n" % second
        assert date_field.add_to(b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n").endswith(b"A: b\r\n" + date)
