"""Texts that contain a number, for languages with more plural forms than English.

These texts are in a module of their own because of lupdate (6.11). In a call of `translate`,
lupdate takes a variable in the place of the number for an encoding, and records the text without
plural forms; in a call of ``self.tr`` it does not. A class that calls ``self.tr`` must not also
call `translate`.
"""

from PySide6.QtCore import QObject


class Plurals(QObject):
    """The texts with plural forms; the class name is their translation context."""

    def requests_waiting(self, number: int) -> str:
        """Return the heading of the menu with the placeholder ``{name}``."""
        text = self.tr("{name} — sign-in needed (%n request(s) waiting)", "", number)
        return _in_english(text, number)

    def refused(self, number: int) -> str:
        """Return the line of the tooltip about refused connections."""
        text = self.tr("%n connection(s) of other users refused", "", number)
        return _in_english(text, number)

    def others_waiting(self, number: int) -> str:
        """Return the body of a notification with the placeholder ``{program}``."""
        return _in_english(self.tr("{program} and %n other(s) are waiting.", "", number), number)

    def connections_cut(self, number: int) -> str:
        """Return a sentence of the question before TrayProxy quits."""
        return _in_english(self.tr("%n connection(s) will be cut.", "", number), number)


def _in_english(text: str, number: int) -> str:
    """Return the text with its English plural form, if no translation has inserted the number."""
    return text.replace("(s)", "" if number == 1 else "s").replace("%n", str(number))
