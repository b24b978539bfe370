"""Functions to create widgets with object names for tests and assistive technology."""

from collections.abc import Callable
from typing import TypeVar

from PySide6.QtCore import QObject, Qt, SignalInstance
from PySide6.QtGui import QPixmap
from PySide6.QtWidgets import QLabel, QLayout, QPushButton, QSizePolicy, QStyle, QWidget

Named = TypeVar("Named", bound=QObject)
AnyLayout = TypeVar("AnyLayout", bound=QLayout)


def named(target: Named, name: str) -> Named:
    """Set the object name of an object and return the object."""
    target.setObjectName(name)
    return target


def push_button(
    name: str, text: str, clicked: SignalInstance | Callable[[], object]
) -> QPushButton:
    """Create a button; a click emits a signal or calls a function."""
    button = named(QPushButton(text), name)
    button.clicked.connect(clicked)
    return button


def without_margins(layout: AnyLayout) -> AnyLayout:
    """Remove the margins of the layout of a part, and return the layout."""
    layout.setContentsMargins(0, 0, 0, 0)
    return layout


def hide_if_empty(part: QWidget) -> None:
    """Hide a widget if all its children are hidden; in a layout it would have space around it."""
    children = part.findChildren(QWidget, options=Qt.FindChildOption.FindDirectChildrenOnly)
    part.setVisible(not all(child.isHidden() for child in children))


def bring_to_front(window: QWidget) -> None:
    """Show a window, restore it if it is minimized, and activate it."""
    window.show()
    window.setWindowState(window.windowState() & ~Qt.WindowState.WindowMinimized)
    window.raise_()
    window.activateWindow()


def plain_label(name: str, text: str = "") -> QLabel:
    """Create a label for untrusted text: without markup, with word wrap."""
    label = named(QLabel(text), name)
    label.setTextFormat(Qt.TextFormat.PlainText)
    label.setWordWrap(True)
    label.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)
    return label


def picture_label(name: str, pixmap: QPixmap) -> QLabel:
    """Create a label with a picture. The text beside the picture has the same meaning."""
    label = named(QLabel(), name)
    label.setPixmap(pixmap)
    label.setAlignment(Qt.AlignmentFlag.AlignTop)
    return label


def standard_pixmap(widget: QWidget, icon: QStyle.StandardPixmap) -> QPixmap:
    """Return a standard icon of the style, at the height of a line of text."""
    return widget.style().standardIcon(icon).pixmap(widget.fontMetrics().height())


def plain_tooltip(text: str) -> str:
    """Escape a tooltip, because Qt renders text with HTML tags as HTML."""
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return f"<span>{escaped}</span>" if text else ""
