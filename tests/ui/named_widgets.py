"""Finds the parts of a window by their object names."""

from typing import TypeVar

from PySide6.QtCore import QObject
from PySide6.QtWidgets import QLabel, QPushButton, QWidget

Part = TypeVar("Part", bound=QObject)


def child(parent: QObject, kind: type[Part], name: str) -> Part:
    found = parent.findChild(kind, name)
    assert isinstance(found, kind), name
    return found


def press(window: QWidget, name: str) -> None:
    child(window, QPushButton, name).click()


def label(window: QWidget, name: str) -> str:
    """Return the text of a label without zero-width spaces; empty if the label is hidden."""
    found = child(window, QLabel, name)
    return found.text().replace("\u200b", "") if found.isVisibleTo(window) else ""
