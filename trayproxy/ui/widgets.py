"""Functions for widgets; object names are for tests and assistive technology."""

from collections.abc import Callable
from typing import TypeVar

from PySide6.QtCore import QObject, Qt, SignalInstance
from PySide6.QtGui import QAccessible, QAccessibleAnnouncementEvent, QPixmap
from PySide6.QtWidgets import (
    QBoxLayout,
    QHBoxLayout,
    QLabel,
    QLayout,
    QPushButton,
    QSizePolicy,
    QStyle,
    QVBoxLayout,
    QWidget,
)

from trayproxy.ui.text_sanitizer import breakable

Named = TypeVar("Named", bound=QObject)
AnyLayout = TypeVar("AnyLayout", bound=QLayout)
AnyBox = TypeVar("AnyBox", bound=QBoxLayout)
Part = QWidget | QLayout


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


def row(parent: QWidget | None, *parts: Part | None, grows: Part | None = None) -> QHBoxLayout:
    """Return a horizontal layout without margins; see `add_parts`."""
    box = QHBoxLayout() if parent is None else QHBoxLayout(parent)
    return add_parts(without_margins(box), *parts, grows=grows)


def column(parent: QWidget | None, *parts: Part | None, grows: Part | None = None) -> QVBoxLayout:
    """Return a vertical layout without margins; see `add_parts`."""
    box = QVBoxLayout() if parent is None else QVBoxLayout(parent)
    return add_parts(without_margins(box), *parts, grows=grows)


def add_parts(box: AnyBox, *parts: Part | None, grows: Part | None = None) -> AnyBox:
    """Add parts to a layout and return the layout.

    None, or the part `grows`, takes the free space.
    """
    for part in parts:
        if part is None:
            box.addStretch()
        elif isinstance(part, QWidget):
            box.addWidget(part, int(part is grows))
        else:
            box.addLayout(part, int(part is grows))
    return box


def show_or_hide(label: QLabel, text: str) -> None:
    """Show a text, with line breaks in long words; hide the label if the text is empty."""
    label.setText(breakable(text))
    label.setVisible(bool(text))


def hide_if_empty(part: QWidget) -> None:
    """Hide a widget if all its children are hidden; in a layout it would have space around it."""
    children = part.findChildren(QWidget, options=Qt.FindChildOption.FindDirectChildrenOnly)
    part.setVisible(not all(child.isHidden() for child in children))


def announce(widget: QWidget, text: str, *, assertive: bool = False) -> None:
    """Announce a sentence about a widget to assistive technology such as a screen reader.

    An assertive announcement, for an error, interrupts the current speech output.
    """
    event = QAccessibleAnnouncementEvent(widget, text)
    politeness = QAccessible.AnnouncementPoliteness
    event.setPoliteness(politeness.Assertive if assertive else politeness.Polite)
    QAccessible.updateAccessibility(event)


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
