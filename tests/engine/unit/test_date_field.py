"""Tests for trayproxy.engine.transfer.date_field."""

from email.utils import formatdate

from hypothesis import given
from hypothesis import strategies as st

from trayproxy.engine.transfer.date_field import DateField, http_date


@given(st.integers(0, 253_402_300_799))
def test_http_date_equals_the_format_of_email_utils(second: int) -> None:
    assert http_date(second) == formatdate(second, usegmt=True)


def test_the_line_is_formatted_once_a_second() -> None:
    times = iter([0.0, 0.9, 1.0])
    line = DateField(lambda: next(times))
    first = line()
    assert first == b"Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n"
    assert line() is first
    assert line().endswith(b"00:00:01 GMT\r\n")
