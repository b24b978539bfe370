"""Fixtures for tests of connections, network watches and screen lock watches."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.desktop.lock_reports import LockReports, Start
from trayproxy.desktop.screen_lock.base import ScreenLockWatch


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


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
