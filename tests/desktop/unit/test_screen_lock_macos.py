"""Tests for trayproxy.desktop.screen_lock.macos."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any

import pytest

from tests.desktop.lock_reports import LockReports
from tests.support.process_output import PATIENCE
from trayproxy.desktop.screen_lock.base import ScreenLockWatch
from trayproxy.desktop.screen_lock.macos import Frameworks, MacScreenLock, is_locked


@pytest.fixture
def reports() -> LockReports:
    return LockReports()


@pytest.fixture
def started() -> Iterator[Callable[[ScreenLockWatch], ScreenLockWatch]]:
    with ExitStack() as stack:

        def start(watch: ScreenLockWatch) -> ScreenLockWatch:
            watch.start()
            stack.callback(watch.stop)
            return watch

        yield start


Start = Callable[[ScreenLockWatch], ScreenLockWatch]


class FakeFrameworks:
    """The called functions of both frameworks, with a count of the unreleased objects."""

    def __init__(self) -> None:
        self.entries: dict[bytes, object] | None = {}
        self.held = 0
        self.polls = threading.Semaphore(0)

    def cgsession_copy_current_dictionary(self) -> int | None:
        self.polls.release()
        if self.entries is None:
            return None
        self.held += 1
        return 1

    def cf_string_create_with_cstring(self, _: None, text: bytes, encoding: int) -> bytes:
        assert encoding == 0x08000100
        self.held += 1
        return text

    def cf_dictionary_get_value(self, _: int, key: bytes) -> list[object] | None:
        value = (self.entries or {}).get(key)
        return None if value is None else [value]

    def cf_get_type_id(self, value: list[object]) -> type[object]:
        return type(value[0])

    def cf_boolean_get_value(self, value: list[object]) -> int:
        # For other types, the result is undefined.
        assert isinstance(value[0], bool)
        return value[0]

    def cf_number_get_value(self, value: list[object], kind: int, into: Any) -> int:
        assert kind == 9
        assert type(value[0]) is int
        into._obj.value = value[0]
        return 1

    def cf_release(self, _: object) -> None:
        self.held -= 1

    @property
    def functions(self) -> SimpleNamespace:
        return SimpleNamespace(
            CGSessionCopyCurrentDictionary=self.cgsession_copy_current_dictionary,
            CFStringCreateWithCString=self.cf_string_create_with_cstring,
            CFDictionaryGetValue=self.cf_dictionary_get_value,
            CFGetTypeID=self.cf_get_type_id,
            CFBooleanGetTypeID=lambda: bool,
            CFNumberGetTypeID=lambda: int,
            CFBooleanGetValue=self.cf_boolean_get_value,
            CFNumberGetValue=self.cf_number_get_value,
            CFRelease=self.cf_release,
        )


@pytest.mark.parametrize(
    ("entries", "locked"),
    [
        (None, False),
        ({}, False),
        ({b"CGSSessionScreenIsLocked": True}, True),
        ({b"CGSSessionScreenIsLocked": False}, False),
        ({b"CGSSessionScreenIsLocked": 1}, True),
        ({b"CGSSessionScreenIsLocked": 0}, False),
        ({b"CGSSessionScreenIsLocked": "yes"}, False),
    ],
)
def test_macos_reads_the_lock_from_the_session_dictionary(
    entries: dict[bytes, object] | None, locked: bool
) -> None:
    frameworks = FakeFrameworks()
    frameworks.entries = entries
    assert is_locked(Frameworks(frameworks.functions, frameworks.functions)) is locked
    assert frameworks.held == 0


def test_macos_reports_lock_and_unlock(reports: LockReports, started: Start) -> None:
    frameworks = FakeFrameworks()
    started(
        MacScreenLock(
            reports.add, Frameworks(frameworks.functions, frameworks.functions), interval_s=0.01
        )
    )
    frameworks.polls.acquire(timeout=PATIENCE)
    frameworks.entries = {b"CGSSessionScreenIsLocked": True}
    assert reports.next() is True
    frameworks.entries = {}
    assert reports.next() is False
