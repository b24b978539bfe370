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


def test_the_line_is_formatted_once_a_second() -> None:
    times = iter([0.0, 0.9, 1.0])
    line = DateField(lambda: next(times))
    first = line()
    assert first == b"Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n"
    assert line() is first
    assert line().endswith(b"00:00:01 GMT\r\n")
