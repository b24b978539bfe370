"""Qt without a display for the widgets; tests of the real tray start programs of their own."""

import os
from collections.abc import Iterator

import pytest
from PySide6.QtCore import QEvent
from PySide6.QtWidgets import QApplication

from tests.ui.fake_service import FakeService

# Before the first QApplication; a display of the person who runs the tests is none of ours.
os.environ["QT_QPA_PLATFORM"] = "offscreen"


@pytest.fixture(autouse=True)
def no_window_is_left_open(request: pytest.FixtureRequest) -> Iterator[None]:
    """No window and no running timer outlives its test."""
    yield
    if "qapp" not in request.fixturenames:
        return
    QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
    shown = [w.objectName() for w in QApplication.topLevelWidgets() if w.isVisible()]
    assert not shown


@pytest.fixture
def service() -> FakeService:
    return FakeService()
