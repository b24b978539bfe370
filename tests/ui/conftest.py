"""Runs Qt with the offscreen platform plugin; tests of the real tray start separate programs."""

import os
from collections.abc import Iterator

import pytest
from PySide6.QtCore import QEvent
from PySide6.QtWidgets import QApplication

from tests.ui.fake_service import FakeService

# Set before the first QApplication, so that the tests never use the display of the developer.
os.environ["QT_QPA_PLATFORM"] = "offscreen"


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
