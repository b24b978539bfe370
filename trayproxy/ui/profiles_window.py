"""The main window: the state of the service, and the profiles (ux §3.3).

On a desktop without a system tray the window replaces the tray icon, so it
offers every action of the menu. Unsaved input is kept as a draft when the user selects another
profile.
"""

from collections.abc import Iterable

from PySide6.QtCore import QCoreApplication, Qt, Slot
from PySide6.QtGui import QCloseEvent, QKeySequence, QShortcut
from PySide6.QtWidgets import QFrame, QVBoxLayout, QWidget

from trayproxy.control.icon_state import IconState
from trayproxy.control.messages import CheckProfile, Reply, Status, UseSystemProxy
from trayproxy.domain.problem import Problem
from trayproxy.domain.signin import KeyringState, KeyringStatus
from trayproxy.profiles.profile import DIRECT_ID, Profile
from trayproxy.ui import texts
from trayproxy.ui.action_signals import ActionSignals
from trayproxy.ui.check_panel import CheckPanel
from trayproxy.ui.found_settings import draft_from_found, found_notes
from trayproxy.ui.profile_editor import ProfileEditor
from trayproxy.ui.profile_edits import NEW_PROFILE, ProfileEdits
from trayproxy.ui.profile_list import ProfileListPane
from trayproxy.ui.settings_search import FoundSettingsView
from trayproxy.ui.status_rows import LocalAddressRow, NoticeRows, StateRow
from trayproxy.ui.text_sanitizer import breakable
from trayproxy.ui.widgets import add_parts, announce, bring_to_front, named, row
from trayproxy.ui.window_questions import WindowQuestions

translate = QCoreApplication.translate


class ProfilesWindow(QWidget):
    """Window with the status and the profiles."""

    def __init__(self, actions: ActionSignals) -> None:
        """Build the window, hidden, for a service that is not connected yet."""
        super().__init__()
        self._actions = actions
        self.setObjectName("profiles_window")
        self.setWindowTitle(translate("Window", "TrayProxy"))
        self.has_tray = False
        """True if the user can reopen the window from the tray icon."""
        self._may_close = False
        self._edits = ProfileEdits()
        self._is_connected = False
        self._keyring = KeyringStatus(KeyringState.UNKNOWN)
        self._has_saved_password: bool | None = None
        self._state = StateRow(actions)
        self._address = LocalAddressRow(actions)
        self._notices = NoticeRows(actions)
        self._list = ProfileListPane()
        self._editor = ProfileEditor()
        self._check_panel: CheckPanel | None = None
        self._questions = WindowQuestions(self, actions)
        self._lay_out()
        self._connect()
        self.show_state(IconState.STARTING, None)

    def _lay_out(self) -> None:
        line = named(QFrame(), "line")
        line.setFrameShape(QFrame.Shape.HLine)
        columns = row(None, self._list, self._editor, grows=self._editor)
        rows = (self._state, self._address, self._notices, line, columns)
        add_parts(QVBoxLayout(self), *rows, grows=columns)
        character_width = self.fontMetrics().averageCharWidth()
        self.resize(character_width * 110, self.fontMetrics().height() * 30)

    def _connect(self) -> None:
        self._questions.close_confirmed.connect(self._close_window)
        QShortcut(QKeySequence(Qt.Key.Key_Escape), self).activated.connect(self.close)
        quit_key = QShortcut(QKeySequence(QKeySequence.StandardKey.Quit), self)
        quit_key.activated.connect(self._actions.quit)
        self._list.selection_changed.connect(self._show_selected)
        self._list.activated.connect(self._on_use)
        self._list.add.clicked.connect(self.add_profile)
        self._list.delete.clicked.connect(self._on_delete)
        self._editor.found.chosen.connect(self._on_found_chosen)
        self._editor.form.edited.connect(self._on_edited)
        self._editor.form.forget_requested.connect(self._on_forget)
        self._editor.test.clicked.connect(self._on_test)
        self._editor.use.clicked.connect(self._on_use)
        self._editor.revert.clicked.connect(self._on_revert)
        self._editor.save.clicked.connect(self._on_save)

    # --- Display ---------------------------------------------------------------------------------

    def show_state(
        self, state: IconState, status: Status | None, *, has_prompt: bool = False
    ) -> None:
        """Update the state, the address, the notices and the list of profiles.

        Without a service the status is None.
        """
        self._state.show_state(state, status, has_prompt=has_prompt)
        self._address.show_status(status)
        self._is_connected = status is not None
        if status is not None:
            self._keyring, self._has_saved_password = status.keyring, status.saved
            self._show_profiles(status)
            self._notices.show_status(status)
        self._update_actions()

    def show_note(self, text: str) -> None:
        """Show a note until it is replaced; an empty text hides the note."""
        self._notices.show_note(text)

    def show_save_problem(self, problem: Problem) -> None:
        """Show why a change was not saved."""
        text = texts.problem_text(problem)
        self._editor.show_message(text)
        announce(self, breakable(text), assertive=True)

    def ask_leftover(self, request: UseSystemProxy, problem: Problem) -> None:
        """Ask what becomes of a present system proxy that does not work."""
        self._questions.ask_leftover(request, problem)

    def show_saved(self, profile: Profile) -> None:
        """Record that the service has saved a profile.

        The draft is deleted when the status contains the saved profile.
        """
        if self._edits.confirm_save(profile):
            self._editor.show_message("")
            announce(self, translate("Profiles", "Profile saved"))
            self._finish_save()

    def show_check(self, request: CheckProfile, reply: Reply) -> None:
        """Show the result of a test, unless another test was started after it."""
        if self._check_panel is not None:
            self._check_panel.show_reply(request, reply)

    def show_found(self, found: Iterable[FoundSettingsView]) -> None:
        """Offer the settings of other programs for the first profile."""
        self._editor.found.show_found(found)
        self._update_actions()

    def show_forgotten(self) -> None:
        """Show that the saved password was removed."""
        self._editor.show_message(translate("Profiles", "The saved password was removed."))

    @Slot()
    def add_profile(self) -> None:
        """Select the draft of a new profile; create the draft if it does not exist."""
        self._edits.add_draft()
        self._fill_list(select=NEW_PROFILE)
        self._editor.form.focus_first()

    def present(self) -> None:
        """Show and activate the window."""
        bring_to_front(self)

    def closeEvent(self, event: QCloseEvent) -> None:
        """Close the window if the tray icon can reopen it; otherwise ask first (ux §2g)."""
        if self.has_tray or self._may_close:
            self._may_close = False
            event.accept()
            return
        event.ignore()
        self._questions.ask_close()

    @Slot()
    def _close_window(self) -> None:
        self._may_close = True
        self.close()

    # --- Profiles --------------------------------------------------------------------------------

    def _show_profiles(self, status: Status) -> None:
        was_active = self._edits.active
        if self._edits.update(status):
            default = NEW_PROFILE if self._edits.has_drafts else was_active
            self._fill_list(select=self._list.selected or default)
        self._finish_save()
        has_new = NEW_PROFILE in self._edits.entries
        if not self._edits.profiles and not has_new and not status.direct:
            self.add_profile()

    def _finish_save(self) -> None:
        selected = self._list.selected
        if (saved := self._edits.finish_save()) is not None:
            self._fill_list(select=saved.profile.id if selected == saved.key else selected)

    def _fill_list(self, select: str) -> None:
        self._list.fill(self._edits, select)
        self._show_selected()

    @Slot()
    def _show_selected(self) -> None:
        selected = self._list.selected
        draft = self._edits.draft(selected)
        self._editor.form.show_draft(draft, selected, self._edits.profiles.values())
        self._editor.show_message("")
        self._update_actions()

    def _update_actions(self) -> None:
        selected = self._list.selected
        actions = self._edits.actions(selected)
        self._editor.show_actions(actions, is_connected=self._is_connected)
        is_first = selected == NEW_PROFILE and not self._edits.profiles
        self._editor.found.setVisible(is_first and self._editor.found.has_any)
        self._list.delete.setEnabled(actions.edit and self._is_connected)
        # The status reports a saved password for the active profile only.
        has_password = self._has_saved_password if selected == self._edits.active else None
        self._editor.form.show_password(
            self._keyring,
            has_password=has_password,
            may_forget=actions.forget and has_password is not False,
        )

    # --- User actions ----------------------------------------------------------------------------

    @Slot()
    def _on_edited(self) -> None:
        self._edits.set_draft(self._list.selected, self._editor.form.draft())
        self._update_actions()

    @Slot(object)
    def _on_found_chosen(self, settings: FoundSettingsView) -> None:
        self._edits.set_draft(NEW_PROFILE, draft_from_found(settings))
        self._fill_list(select=NEW_PROFILE)
        notes = found_notes(settings)
        self._editor.show_message(notes)
        self._editor.save.setFocus()
        announce(self, breakable(notes))

    @Slot()
    def _on_save(self) -> None:
        profile = self._editor.form.profile()
        if profile is not None:
            self._edits.start_save(self._list.selected, self._editor.form.draft(), profile)
            self._actions.save_profile.emit(profile)

    @Slot()
    def _on_revert(self) -> None:
        self._edits.discard(self._list.selected)
        self._fill_list(select=self._list.selected)

    @Slot()
    def _on_use(self) -> None:
        selected = self._list.selected
        if selected in self._edits.profiles or selected == DIRECT_ID:
            self._actions.use_profile.emit(selected)

    @Slot()
    def _on_test(self) -> None:
        if (profile := self._editor.form.profile()) is not None:
            if self._check_panel is not None:
                self._check_panel.deleteLater()
            self._check_panel = CheckPanel(profile, self._actions, self)
            self._check_panel.start()
            self._check_panel.show()

    @Slot()
    def _on_forget(self) -> None:
        if self._list.selected in self._edits.profiles:
            self._actions.forget_login.emit(self._list.selected)

    @Slot()
    def _on_delete(self) -> None:
        profile = self._edits.profiles.get(self._list.selected)
        if profile is None:
            self._on_revert()
            return
        is_active = profile.id == self._edits.active
        self._questions.ask_delete(profile, self._keyring, is_active=is_active)
