"""Fixtures for tests of screen lock watches and of network watches."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.desktop.lock_reports import LockReports, Start
from trayproxy.desktop.screen_lock.base import ScreenLockWatch


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    yield loop
    loop.close()


@pytest.fixture
def reports() -> LockReports:
    return LockReports()


@pytest.fixture
def started() -> Iterator[Start]:
    """A function that starts a watch, which is stopped after the test."""
    with ExitStack() as stack:

        def start(watch: ScreenLockWatch) -> None:
            watch.start()
            stack.callback(watch.stop)

        yield start
