"""Small makers of widgets, each with a name for tests and for assistive technology."""

from typing import TypeVar

from PySide6.QtCore import QObject, Qt
from PySide6.QtGui import QPixmap
from PySide6.QtWidgets import QLabel, QSizePolicy, QStyle, QWidget

Named = TypeVar("Named", bound=QObject)


def named(thing: Named, name: str) -> Named:
    """Give an object its name and return it."""
    thing.setObjectName(name)
    return thing


def plain_label(name: str, text: str = "") -> QLabel:
    """Make a label for text from anywhere: never mark-up, broken into lines as needed."""
    label = named(QLabel(text), name)
    label.setTextFormat(Qt.TextFormat.PlainText)
    label.setWordWrap(True)
    label.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)
    return label


def picture(name: str, pixmap: QPixmap) -> QLabel:
    """Make a label that is only a picture. What it says is also said in words beside it."""
    label = named(QLabel(), name)
    label.setPixmap(pixmap)
    label.setAlignment(Qt.AlignmentFlag.AlignTop)
    return label


def standard_pixmap(widget: QWidget, icon: QStyle.StandardPixmap) -> QPixmap:
    """Return an icon of the style, as high as a line of text."""
    return widget.style().standardIcon(icon).pixmap(widget.fontMetrics().height())


def plain_tooltip(text: str) -> str:
    """Protect a tooltip: it has no plain format, and what looks like HTML becomes HTML."""
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return f"<span>{escaped}</span>" if text else ""
