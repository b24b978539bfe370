"""The editor of a profile, in the right half of the window: the form and its buttons."""

from PySide6.QtCore import QCoreApplication, Qt
from PySide6.QtWidgets import QFrame, QPushButton, QScrollArea, QWidget

from trayproxy.ui.found_settings import FoundSettings
from trayproxy.ui.profile_edits import EntryActions
from trayproxy.ui.profile_form import ProfileForm
from trayproxy.ui.widgets import column, hide_if_empty, named, plain_label, row, show_or_hide

translate = QCoreApplication.translate


class ProfileEditor(QWidget):
    """The found settings, the form of a profile or the note for *Connect directly*, a message, and
    buttons."""

    def __init__(self) -> None:
        super().__init__()
        self.found = FoundSettings()
        self.form = ProfileForm()
        self.test = named(QPushButton(translate("Profiles", "&Test connection")), "test")
        self.use = named(QPushButton(translate("Profiles", "Use this profile")), "use")
        self.revert = named(QPushButton(translate("Profiles", "Revert")), "revert")
        self.save = named(QPushButton(translate("Profiles", "&Save")), "save")
        self._buttons = QWidget()
        row(self._buttons, self.test, self.use, None, self.revert, self.save)
        self._scroll = named(QScrollArea(), "form_scroll")
        self._scroll.setFrameShape(QFrame.Shape.NoFrame)
        self._scroll.setWidgetResizable(True)
        self._scroll.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self._scroll.setWidget(self.form)
        self._direct_note = plain_label("direct_note")
        self._direct_note.setText(
            translate(
                "Profiles",
                "Programs reach every address directly, without a proxy and without a sign-in.",
            )
        )
        self._direct_note.setAlignment(Qt.AlignmentFlag.AlignTop)
        self._direct_note.hide()
        self._message = plain_label("message")
        self._message.hide()
        parts = column(
            self, self.found, self._scroll, self._direct_note, self._message, self._buttons
        )
        parts.setStretchFactor(self._scroll, 1)
        parts.setStretchFactor(self._direct_note, 1)

    def show_actions(self, actions: EntryActions, *, is_connected: bool) -> None:
        """Show the form or the note, and the buttons for the actions that apply to the entry."""
        self._scroll.setVisible(actions.edit)
        self._direct_note.setVisible(not actions.edit)
        for button in (self.test, self.revert, self.save):
            button.setVisible(actions.edit)
        self.use.setVisible(actions.use)
        self.revert.setEnabled(actions.revert)
        for button in (self.test, self.use, self.save):
            button.setEnabled(is_connected)
        hide_if_empty(self._buttons)

    def show_message(self, text: str) -> None:
        """Show a message above the buttons; an empty text hides the message."""
        show_or_hide(self._message, text)
