"""Tests for tests.support.artefacts: a failed test leaves pictures."""

from pathlib import Path

from PySide6.QtGui import QImage
from PySide6.QtWidgets import QLabel
from pytestqt.qtbot import QtBot

from tests.support.artefacts import keep_pictures, keep_windows
from tests.support.display import desktop
from tests.support.processes import Home


def test_the_visible_windows_are_kept(qtbot: QtBot, tmp_path: Path) -> None:
    shown, hidden = QLabel("shown"), QLabel("hidden")
    for label in (shown, hidden):
        qtbot.addWidget(label)
    shown.resize(80, 40)
    shown.show()
    [picture] = keep_windows("test_x[y/z]", tmp_path)
    assert picture.parent == tmp_path
    assert QImage(str(picture)).size() == shown.size()


def test_a_screen_is_kept_and_an_ended_screen_is_not(place: Home, tmp_path: Path) -> None:
    with desktop(place, "320x200") as screen:
        [picture] = keep_pictures("test_x", [place, screen], tmp_path)
    assert QImage(str(picture)).width() == 320
    assert keep_pictures("test_x", [screen], tmp_path) == []
