"""The editor of a profile, in the right half of the window: the form and its buttons."""

from PySide6.QtCore import QCoreApplication, Qt, Signal
from PySide6.QtWidgets import QFrame, QHBoxLayout, QPushButton, QScrollArea, QVBoxLayout, QWidget

from trayproxy.ui.profile_edits import EntryActions
from trayproxy.ui.profile_fields import show_error
from trayproxy.ui.profile_form import ProfileForm
from trayproxy.ui.widgets import hide_if_empty, named, plain_label, without_margins

translate = QCoreApplication.translate


class EditorButtons(QWidget):
    """The buttons below the form.

    Signals:
        test_requested: Test the profile.
        use_requested: Activate the entry.
        revert_requested: Discard the unsaved changes.
        save_requested: Save the profile.
    """

    test_requested = Signal()
    use_requested = Signal()
    revert_requested = Signal()
    save_requested = Signal()

    def __init__(self) -> None:
        """Build the buttons."""
        super().__init__()
        self._test = named(QPushButton(translate("Profiles", "&Test connection")), "test")
        self._test.clicked.connect(self.test_requested)
        self._use = named(QPushButton(translate("Profiles", "Use this profile")), "use")
        self._use.clicked.connect(self.use_requested)
        self._revert = named(QPushButton(translate("Profiles", "Revert")), "revert")
        self._revert.clicked.connect(self.revert_requested)
        self._save = named(QPushButton(translate("Profiles", "&Save")), "save")
        self._save.clicked.connect(self.save_requested)
        row = without_margins(QHBoxLayout(self))
        row.addWidget(self._test)
        row.addWidget(self._use)
        row.addStretch()
        row.addWidget(self._revert)
        row.addWidget(self._save)

    def show_actions(self, actions: EntryActions, *, is_connected: bool) -> None:
        """Show and enable the buttons.

        Args:
            actions: The actions that apply to the entry.
            is_connected: True while the service is connected.
        """
        for button in (self._test, self._revert, self._save):
            button.setVisible(actions.edit)
        self._use.setVisible(actions.use)
        self._revert.setEnabled(actions.revert)
        for button in (self._test, self._use, self._save):
            button.setEnabled(is_connected)
        hide_if_empty(self)


class ProfileEditor(QWidget):
    """The form of a profile, a message, and the buttons; a note in place of the form for *Connect
    directly*.

    Attributes:
        form: The form.
        buttons: The buttons.
    """

    def __init__(self) -> None:
        """Build the editor with empty fields."""
        super().__init__()
        self.form = ProfileForm()
        self.buttons = EditorButtons()
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
        column = without_margins(QVBoxLayout(self))
        column.addWidget(self._scroll, 1)
        column.addWidget(self._direct_note, 1)
        column.addWidget(self._message)
        column.addWidget(self.buttons)

    def show_actions(self, actions: EntryActions, *, is_connected: bool) -> None:
        """Show the form or the note, and the buttons; see `EditorButtons.show_actions`."""
        self._scroll.setVisible(actions.edit)
        self._direct_note.setVisible(not actions.edit)
        self.buttons.show_actions(actions, is_connected=is_connected)

    def show_message(self, text: str) -> None:
        """Show a message above the buttons; an empty text hides the message."""
        show_error(self._message, text)
