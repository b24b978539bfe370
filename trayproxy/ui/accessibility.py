"""Announcements to assistive technology."""

from PySide6.QtGui import QAccessible, QAccessibleAnnouncementEvent
from PySide6.QtWidgets import QWidget


def announce(widget: QWidget, text: str, *, assertive: bool = False) -> None:
    """Announce a text to assistive technology such as a screen reader.

    Args:
        widget: The widget that the announcement is about.
        text: Plain text, a sentence.
        assertive: Interrupt the current speech output; for errors.
    """
    event = QAccessibleAnnouncementEvent(widget, text)
    politeness = QAccessible.AnnouncementPoliteness
    event.setPoliteness(politeness.Assertive if assertive else politeness.Polite)
    QAccessible.updateAccessibility(event)
