"""Runs Qt with the offscreen platform plugin; tests of the real tray start separate programs."""

import gc
import os
from collections.abc import Generator, Iterator

import pytest
from PySide6.QtCore import QEvent
from PySide6.QtWidgets import QApplication

from tests.ui.fake_service import FakeService

# Set before the first QApplication, so that the tests never use the display of the developer.
os.environ["QT_QPA_PLATFORM"] = "offscreen"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Collect the Qt objects of a test in the thread of the test.

    Windows and their slots form reference cycles. The garbage collector runs in any thread, and Qt
    crashes when an object with a timer is destroyed outside the thread of the object. So the
    collector is off during a test, and runs when pytest has released the fixtures of the test.

    pytest calls this hook for the tests of every folder; a collection in a process with thousands
    of collected tests takes 0.1 s. So only tests with a QApplication pay for it.
    """
    if "qapp" not in getattr(item, "fixturenames", ()):
        return (yield)
    gc.disable()
    try:
        return (yield)
    finally:
        gc.collect()
        gc.enable()


@pytest.fixture(autouse=True)
def no_window_is_left_open(request: pytest.FixtureRequest) -> Iterator[None]:
    """Check that no test leaves a window open."""
    yield
    if "qapp" not in request.fixturenames:
        return
    QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    shown = [w.objectName() for w in QApplication.topLevelWidgets() if w.isVisible()]
    assert not shown


@pytest.fixture
def service() -> FakeService:
    return FakeService()
