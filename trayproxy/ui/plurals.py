"""Sentences that depend on a number, for languages with more plural forms than English.

They are apart from the others because of lupdate (6.11): in `translate` it takes a variable as the
number for an encoding, and the text for one without plural forms; in ``self.tr`` it does not. And
``self.tr`` must not stand in a class that also calls `translate`.
"""

from PySide6.QtCore import QObject


class Plurals(QObject):
    """The sentences; their context is the name of this class."""

    def requests_waiting(self, number: int) -> str:
        """Return the heading of the menu, to be filled with ``{name}``."""
        text = self.tr("{name} — sign-in needed (%n request(s) waiting)", "", number)
        return _in_english(text, number)

    def refused(self, number: int) -> str:
        """Return a line of the tooltip."""
        text = self.tr("%n connection(s) of other users refused", "", number)
        return _in_english(text, number)

    def others_waiting(self, number: int) -> str:
        """Return the sentence of a notification, to be filled with ``{program}``."""
        return _in_english(self.tr("{program} and %n other(s) are waiting.", "", number), number)


def _in_english(text: str, number: int) -> str:
    """Choose the form where no translation has done so."""
    return text.replace("(s)", "" if number == 1 else "s").replace("%n", str(number))
