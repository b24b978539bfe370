"""Tests for trayproxy.desktop.screen_lock.macos."""

import threading
from typing import Any

import pytest

from tests.desktop.lock_reports import LockReports, Start
from tests.support.process_output import PATIENCE
from trayproxy.desktop.screen_lock.macos import Frameworks, MacScreenLock, is_locked


class FakeFrameworks:
    """The called functions of both frameworks, with a count of the unreleased objects."""

    def __init__(self) -> None:
        self.entries: dict[bytes, object] | None = {}
        self.held = 0
        self.polls = threading.Semaphore(0)
        self.CFBooleanGetTypeID = lambda: bool
        self.CFNumberGetTypeID = lambda: int

    def CGSessionCopyCurrentDictionary(self) -> int | None:  # noqa: N802  # its own name
        self.polls.release()
        if self.entries is None:
            return None
        self.held += 1
        return 1

    def CFStringCreateWithCString(  # noqa: N802
        self, _: None, text: bytes, encoding: int
    ) -> bytes:
        assert encoding == 0x08000100
        self.held += 1
        return text

    def CFDictionaryGetValue(self, _: int, key: bytes) -> list[object] | None:  # noqa: N802
        value = (self.entries or {}).get(key)
        return None if value is None else [value]

    def CFGetTypeID(self, value: list[object]) -> type[object]:  # noqa: N802
        return type(value[0])

    def CFBooleanGetValue(self, value: list[object]) -> int:  # noqa: N802
        # For other types, the result is undefined.
        assert isinstance(value[0], bool)
        return value[0]

    def CFNumberGetValue(self, value: list[object], kind: int, into: Any) -> int:  # noqa: N802
        assert kind == 9
        assert type(value[0]) is int
        into._obj.value = value[0]
        return 1

    def CFRelease(self, _: object) -> None:  # noqa: N802
        self.held -= 1


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
    assert is_locked(Frameworks(frameworks, frameworks)) is locked
    assert frameworks.held == 0


def test_macos_reports_lock_and_unlock(reports: LockReports, started: Start) -> None:
    frameworks = FakeFrameworks()
    started(MacScreenLock(reports.add, Frameworks(frameworks, frameworks), interval_s=0.01))
    frameworks.polls.acquire(timeout=PATIENCE)
    frameworks.entries = {b"CGSSessionScreenIsLocked": True}
    assert reports.next() is True
    frameworks.entries = {}
    assert reports.next() is False
