"""The main window: the state of the service, and the profiles (ux §3.3).

The window shows the status and emits a signal for each user action; `trayproxy.ui.app` carries the
actions out. On a desktop without a system tray the window replaces the tray icon, so it offers
every action of the menu. Unsaved input is kept as a draft when the user selects another
profile.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from msgspec import structs
from PySide6.QtCore import QCoreApplication, QEvent, QModelIndex, Qt, Signal, Slot
from PySide6.QtGui import QCloseEvent, QKeySequence, QPixmap, QShortcut
from PySide6.QtWidgets import (
    QCheckBox,
    QFrame,
    QHBoxLayout,
    QLabel,
    QListWidget,
    QListWidgetItem,
    QMessageBox,
    QPushButton,
    QScrollArea,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from trayproxy.control.icon_state import IconState, needs_sign_in
from trayproxy.control.messages import CheckProfile, Reply, Status
from trayproxy.domain.problem import Problem
from trayproxy.domain.signin import KeyringState, KeyringStatus
from trayproxy.profiles.profile import DIRECT_ID, Profile
from trayproxy.ui import texts
from trayproxy.ui.accessibility import announce
from trayproxy.ui.check_panel import CheckPanel
from trayproxy.ui.icons import action_icon, render
from trayproxy.ui.profile_draft import ProfileDraft, draft_from_profile
from trayproxy.ui.profile_form import ProfileForm
from trayproxy.ui.text_sanitizer import NAME_WIDTH, breakable, clean, elide, isolate
from trayproxy.ui.widgets import named, picture_label, plain_label, plain_tooltip

translate = QCoreApplication.translate

NEW_PROFILE = ""
"""The key of a new profile, which has no id yet."""

_PROFILE_ID_ROLE = Qt.ItemDataRole.UserRole


@dataclass(frozen=True, slots=True)
class Deletion:
    """A request to delete a profile.

    Attributes:
        profile_id: The id of the profile.
        forget: True if the saved password is removed as well.
    """

    profile_id: str
    forget: bool


@dataclass(frozen=True, slots=True)
class PendingSave:
    """A profile sent to the service, to be saved.

    Attributes:
        key: The key of the profile in the list: its id, or `NEW_PROFILE`.
        draft: The draft at the time of the request; the current draft may differ.
        profile: The profile as sent to the service.
        is_done: True if the service has confirmed the request.
    """

    key: str
    draft: ProfileDraft
    profile: Profile
    is_done: bool = False


class ProfilesWindow(QWidget):
    """Window with the status and the profiles.

    Signals:
        save_requested(Profile): Add or change this profile.
        delete_requested(Deletion): Delete a profile.
        use_requested(str): Activate the profile with this id.
        check_requested(CheckProfile): Test a profile; the reply goes to `show_check`.
        forget_requested(str): Remove the saved password of the profile with this id.
        sign_in_requested: Open the sign-in dialog.
        test_sign_in_requested(str): Open the sign-in dialog of the tested profile, which has this
            id.
        direct_for_now_requested: Connect directly for a limited time.
        page_requested(str): Open the page with this URL in the browser. The URL is untrusted.
        copy_requested: Copy the local address.
        port_requested(int): Listen on this port, because the configured port is taken; 0: return to
            the configured port.
        retry_requested: Start the service now.
        quit_requested: Quit TrayProxy.
    """

    save_requested = Signal(object)
    delete_requested = Signal(object)
    use_requested = Signal(str)
    check_requested = Signal(object)
    forget_requested = Signal(str)
    sign_in_requested = Signal()
    test_sign_in_requested = Signal(str)
    direct_for_now_requested = Signal()
    page_requested = Signal(str)
    copy_requested = Signal()
    port_requested = Signal(int)
    retry_requested = Signal()
    quit_requested = Signal()

    def __init__(self) -> None:
        """Build the window, hidden, for a service that is not connected yet."""
        super().__init__()
        self.setObjectName("profiles_window")
        self.setWindowTitle(translate("Window", "TrayProxy"))
        self.has_tray = False
        """True if the user can reopen the window from the tray icon."""
        self._port = 0
        self._profiles: dict[str, Profile] = {}
        self._active = ""
        self._drafts: dict[str, ProfileDraft] = {}
        self._keyring = KeyringStatus(KeyringState.UNKNOWN)
        self._has_saved_password: bool | None = None
        self._pending_save: PendingSave | None = None
        self._check_panel: CheckPanel | None = None
        self._message_box: QMessageBox | None = None
        self._may_close = False
        self._sign_in_page_url = ""
        self._build()
        self.show_state(IconState.STARTING, None)

    # --- Display ---------------------------------------------------------------------------------

    def show_state(
        self, state: IconState, status: Status | None, *, has_prompt: bool = False
    ) -> None:
        """Update the state, the address, the notices and the list of profiles.

        Args:
            state: The state of the icon.
            status: The status of the service, None while the service is not connected.
            has_prompt: True if a prompt is open.
        """
        self._state_icon.setPixmap(self._state_pixmap(state))
        self._state.setText(breakable(texts.status_line(state, status)))
        needs_login = status is not None and (needs_sign_in(status) or has_prompt)
        self._sign_in.setVisible(needs_login)
        self._try_again.setVisible(status is None and state is IconState.STOPPED)
        self._show_port(texts.port_offer(status))
        self._address_row.setVisible(texts.has_address(status))
        for widget in (self._save, self._test, self._use, self._remove):
            widget.setEnabled(status is not None)
        if status is not None:
            self._address.setText(status.address)
            self._keyring, self._has_saved_password = status.keyring, status.saved
            self._show_profiles(status)
            self._show_notices(status)
        self._update_buttons()

    def _show_port(self, offer: tuple[str, int] | None) -> None:
        self._use_port.setVisible(offer is not None)
        if offer is not None:
            text, self._port = offer
            self._use_port.setText(text)

    def show_note(self, text: str) -> None:
        """Show a note until it is replaced; an empty text hides the note."""
        self._note.setText(breakable(text))
        self._note.setVisible(bool(text))

    def show_save_problem(self, problem: Problem) -> None:
        """Show why a change was not saved."""
        self._message.setText(breakable(texts.problem_text(problem)))
        self._message.show()
        announce(self, self._message.text(), assertive=True)

    def show_saved(self, profile: Profile) -> None:
        """Record that the service has saved a profile.

        The draft is deleted when the status contains the saved profile.
        """
        if self._pending_save is not None and self._pending_save.profile == profile:
            self._pending_save = replace(self._pending_save, is_done=True)
            self._message.hide()
            announce(self, translate("Profiles", "Profile saved"))
            self._finish_save()

    def show_check(self, request: CheckProfile, reply: Reply) -> None:
        """Show the result of a test, unless another test was started after it."""
        if self._check_panel is not None and self._check_panel.request is request:
            self._check_panel.show_reply(reply)

    def show_forgotten(self) -> None:
        """Show that the saved password was removed."""
        self._message.setText(translate("Profiles", "The saved password was removed."))
        self._message.show()

    def add_profile(self) -> None:
        """Select the draft of a new profile; create the draft if it does not exist."""
        self._drafts.setdefault(NEW_PROFILE, ProfileDraft())
        self._fill_list(select=NEW_PROFILE)
        self._form.focus_first()

    def present(self) -> None:
        """Show and activate the window."""
        self.show()
        self.setWindowState(self.windowState() & ~Qt.WindowState.WindowMinimized)
        self.raise_()
        self.activateWindow()

    def closeEvent(self, event: QCloseEvent) -> None:
        """Close the window if the tray icon can reopen it; otherwise ask first (ux §2g)."""
        if self.has_tray or self._may_close:
            self._may_close = False
            event.accept()
            return
        event.ignore()
        self._confirm_close()

    def changeEvent(self, event: QEvent) -> None:
        """Repaint the icons when the palette changes."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange:
            self._paint_icons()

    # --- Profiles --------------------------------------------------------------------------------

    def _show_profiles(self, status: Status) -> None:
        profiles = {profile.id: profile for profile in status.profiles}
        active = status.profile.id if status.profile is not None else ""
        active = DIRECT_ID if status.direct else active
        if (profiles, tuple(profiles), active) != (
            self._profiles,
            tuple(self._profiles),
            self._active,
        ):
            was_active = self._active
            self._profiles, self._active = profiles, active
            for deleted_id in [key for key in self._drafts if key and key not in profiles]:
                del self._drafts[deleted_id]
            self._fill_list(
                select=self._selected() or (NEW_PROFILE if self._drafts else was_active)
            )
        self._finish_save()
        if not profiles and NEW_PROFILE not in self._drafts and not status.direct:
            self.add_profile()

    def _finish_save(self) -> None:
        pending = self._pending_save
        if pending is None or not pending.is_done:
            return
        if self._profiles.get(pending.profile.id) != pending.profile:
            # The last status is older than the confirmation of the save.
            return
        self._pending_save = None
        was_selected = self._selected() == pending.key
        if self._drafts.get(pending.key) == pending.draft:
            del self._drafts[pending.key]
        self._fill_list(select=pending.profile.id if was_selected else self._selected())

    def _fill_list(self, select: str) -> None:
        entries = [*self._profiles, *([NEW_PROFILE] if NEW_PROFILE in self._drafts else [])]
        if self._profiles or self._active == DIRECT_ID:
            entries.append(DIRECT_ID)
        self._list.blockSignals(True)
        self._list.clear()
        for profile_id in entries:
            self._list.addItem(self._item(profile_id))
        selected = select if select in entries else self._active
        row = entries.index(selected) if selected in entries else 0
        self._list.setCurrentRow(row)
        self._list.blockSignals(False)
        self._show_selected()

    def _item(self, profile_id: str) -> QListWidgetItem:
        profile = self._profiles.get(profile_id)
        name = clean(profile.name) if profile else self._special_name(profile_id)
        item = QListWidgetItem(isolate(elide(name, NAME_WIDTH)))
        item.setData(_PROFILE_ID_ROLE, profile_id)
        item.setToolTip(plain_tooltip(name))
        if profile_id and profile_id == self._active:
            font = item.font()
            font.setBold(True)
            item.setFont(font)
            item.setText(translate("Profiles", "{name} (active)").format(name=item.text()))
        return item

    def _special_name(self, entry: str) -> str:
        if entry == DIRECT_ID:
            return translate("Tray", "Connect directly")
        return translate("Profiles", "New profile")

    def _selected(self) -> str:
        item = self._list.currentItem()
        return str(item.data(_PROFILE_ID_ROLE)) if item is not None else NEW_PROFILE

    @Slot()
    def _on_use_port(self) -> None:
        self.port_requested.emit(self._port)

    @Slot()
    def _show_selected(self) -> None:
        selected_key = self._selected()
        profile = self._profiles.get(selected_key)
        draft = self._drafts.get(selected_key) or (
            draft_from_profile(profile) if profile else ProfileDraft()
        )
        self._form.show_draft(draft, selected_key, self._profiles.values())
        self._message.hide()
        self._update_buttons()

    @Slot()
    def _on_edited(self) -> None:
        self._drafts[self._selected()] = self._form.draft()
        self._update_buttons()

    def _update_buttons(self) -> None:
        selected_key = self._selected()
        is_direct = selected_key == DIRECT_ID
        self._scroll.setVisible(not is_direct)
        self._direct_note.setVisible(is_direct)
        for widget in (self._test, self._revert, self._save):
            widget.setVisible(not is_direct)
        self._remove.setEnabled(not is_direct and self._test.isEnabled())
        is_saved = selected_key in self._profiles
        self._revert.setEnabled(selected_key in self._drafts and (is_saved or bool(self._profiles)))
        self._use.setVisible((is_saved or is_direct) and selected_key != self._active)
        # The status reports a saved password for the active profile only.
        has_password = self._has_saved_password if selected_key == self._active else None
        self._form.show_keyring(self._keyring, has_password=has_password)
        self._form.set_forget_allowed(is_saved and has_password is not False)

    # --- User actions ----------------------------------------------------------------------------

    @Slot()
    def _on_save(self) -> None:
        profile = self._form.profile()
        if profile is not None:
            key, draft = self._selected(), self._form.draft()
            self._drafts[key] = draft
            self._pending_save = PendingSave(key, draft, profile)
            self.save_requested.emit(profile)

    @Slot()
    def _on_revert(self) -> None:
        self._drafts.pop(self._selected(), None)
        self._fill_list(select=self._selected())

    @Slot()
    def _on_use(self) -> None:
        if self._selected() in self._profiles or self._selected() == DIRECT_ID:
            self.use_requested.emit(self._selected())

    @Slot(QModelIndex)
    def _on_activated(self, _: QModelIndex) -> None:
        self._on_use()

    @Slot()
    def _on_test(self) -> None:
        profile = self._form.profile()
        if profile is None:
            return
        if self._check_panel is not None:
            self._check_panel.deleteLater()
        self._check_panel = CheckPanel(CheckProfile(profile), self)
        self._check_panel.repeat_requested.connect(self._on_test_again)
        self._check_panel.sign_in_requested.connect(self._on_test_sign_in)
        self._check_panel.show()
        self.check_requested.emit(self._check_panel.request)

    @Slot()
    def _on_test_again(self) -> None:
        if self._check_panel is not None:
            # A copy of the request: `show_check` identifies the test by its request object.
            self._check_panel.restart(structs.replace(self._check_panel.request))
            self.check_requested.emit(self._check_panel.request)

    @Slot()
    def _on_test_sign_in(self) -> None:
        if self._check_panel is not None:
            self.test_sign_in_requested.emit(self._check_panel.request.profile.id)

    @Slot()
    def _on_forget(self) -> None:
        if self._selected() in self._profiles:
            self.forget_requested.emit(self._selected())

    @Slot()
    def _on_remove(self) -> None:
        profile = self._profiles.get(self._selected())
        if profile is None:
            self._on_revert()
            return
        name = isolate(elide(clean(profile.name), NAME_WIDTH))
        box = self._make_message_box(translate("Profiles", "Delete “{name}”?").format(name=name))
        if profile.id == self._active:
            box.setIcon(QMessageBox.Icon.Warning)
            box.setInformativeText(
                translate(
                    "Profiles",
                    "This profile is in use. Until you choose another one, programs cannot connect "
                    "through TrayProxy.",
                )
            )
        forget = named(QCheckBox(self._forget_text()), "forget_too")
        forget.setChecked(True)
        box.setCheckBox(forget)
        delete_button = box.addButton(
            translate("Profiles", "Delete"), QMessageBox.ButtonRole.DestructiveRole
        )
        keep_button = box.addButton(
            translate("Profiles", "Keep"), QMessageBox.ButtonRole.RejectRole
        )
        box.setDefaultButton(keep_button)
        box.setEscapeButton(keep_button)

        def on_click() -> None:
            self.delete_requested.emit(Deletion(profile.id, forget.isChecked()))

        delete_button.clicked.connect(on_click)
        box.open()

    def _forget_text(self) -> str:
        if self._keyring.name:
            text = translate("Profiles", "Also remove its saved password from {store}")
            return text.format(store=clean(self._keyring.name))
        return translate("Profiles", "Also remove its saved password")

    def _confirm_close(self) -> None:
        box = self._make_message_box(
            translate(
                "Window",
                "Keep TrayProxy running without a window? Start it again to get this window back.",
            )
        )
        keep_button = box.addButton(
            translate("Window", "Keep running"), QMessageBox.ButtonRole.AcceptRole
        )
        quit_button = box.addButton(
            translate("Window", "Quit"), QMessageBox.ButtonRole.DestructiveRole
        )
        box.addButton(translate("Window", "Cancel"), QMessageBox.ButtonRole.RejectRole)
        box.setDefaultButton(keep_button)
        keep_button.clicked.connect(self._close_window)
        quit_button.clicked.connect(self.quit_requested)
        box.open()

    @Slot()
    def _close_window(self) -> None:
        self._may_close = True
        self.close()

    def _make_message_box(self, text: str) -> QMessageBox:
        """Create a message box that is modal to the window and does not block the program."""
        if self._message_box is not None:
            self._message_box.deleteLater()
        self._message_box = named(QMessageBox(self), "question")
        self._message_box.setIcon(QMessageBox.Icon.Question)
        self._message_box.setTextFormat(Qt.TextFormat.PlainText)
        self._message_box.setText(text)
        return self._message_box

    # --- Building --------------------------------------------------------------------------------

    def _show_notices(self, status: Status) -> None:
        problems = (status.problem, *status.notices)
        lines = [texts.problem_text(problem) for problem in problems if problem is not None]
        self._notices.setText(breakable("\n".join(lines)))
        self._notices.setVisible(bool(lines))
        self._sign_in_page_url = texts.sign_in_page(status)
        self._open_page.setVisible(bool(self._sign_in_page_url))
        self._open_page.setToolTip(plain_tooltip(self._sign_in_page_url))
        self._direct_for_now.setVisible(texts.offers_direct(status))

    @Slot()
    def _on_open_page(self) -> None:
        self.page_requested.emit(self._sign_in_page_url)

    def _build(self) -> None:
        layout = QVBoxLayout(self)
        layout.addLayout(self._build_head())
        layout.addWidget(self._build_address())
        self._notices = plain_label("notices")
        self._note = plain_label("note")
        self._open_page = named(
            QPushButton(translate("Window", "Open sign-in page…")), "open_page_now"
        )
        self._open_page.clicked.connect(self._on_open_page)
        for label in (self._notices, self._note):
            label.hide()
            layout.addWidget(label)
        self._direct_for_now = named(QPushButton(texts.direct_offer()), "direct_for_now")
        self._direct_for_now.clicked.connect(self.direct_for_now_requested)
        row = QHBoxLayout()
        for button in (self._open_page, self._direct_for_now):
            button.hide()
            row.addWidget(button)
        row.addStretch()
        layout.insertLayout(layout.indexOf(self._note), row)
        line = named(QFrame(), "line")
        line.setFrameShape(QFrame.Shape.HLine)
        layout.addWidget(line)
        columns = QHBoxLayout()
        columns.addLayout(self._build_list())
        columns.addLayout(self._build_editor(), 1)
        layout.addLayout(columns, 1)
        self._paint_icons()
        QShortcut(QKeySequence(Qt.Key.Key_Escape), self).activated.connect(self.close)
        QShortcut(QKeySequence(QKeySequence.StandardKey.Quit), self).activated.connect(
            self.quit_requested
        )
        character_width = self.fontMetrics().averageCharWidth()
        self.resize(character_width * 110, self.fontMetrics().height() * 30)

    def _build_head(self) -> QHBoxLayout:
        self._state_icon = picture_label("state_icon", self._state_pixmap(IconState.STARTING))
        self._state = plain_label("state")
        font = self._state.font()
        font.setBold(True)
        self._state.setFont(font)
        self._sign_in = named(QPushButton(translate("Window", "Sign in…")), "sign_in_now")
        self._sign_in.clicked.connect(self.sign_in_requested)
        self._use_port = named(QPushButton(), "use_port_now")
        self._use_port.clicked.connect(self._on_use_port)
        self._try_again = named(QPushButton(translate("Window", "Try again")), "try_again_now")
        self._try_again.clicked.connect(self.retry_requested)
        row = QHBoxLayout()
        row.addWidget(self._state_icon, 0, Qt.AlignmentFlag.AlignVCenter)
        row.addWidget(self._state, 1, Qt.AlignmentFlag.AlignVCenter)
        row.addWidget(self._sign_in)
        row.addWidget(self._use_port)
        row.addWidget(self._try_again)
        return row

    def _build_address(self) -> QWidget:
        self._address_row = named(QWidget(), "address_row")
        self._address = named(QLabel(), "local_address")
        self._address.setTextFormat(Qt.TextFormat.PlainText)
        self._address.setLayoutDirection(Qt.LayoutDirection.LeftToRight)
        self._address.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        copy = named(QPushButton(translate("Window", "Copy")), "copy_address")
        copy.setAccessibleDescription(translate("Window", "Copies the local address"))
        copy.clicked.connect(self.copy_requested)
        row = QHBoxLayout(self._address_row)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(QLabel(translate("Window", "Local address")))
        row.addWidget(self._address)
        row.addWidget(copy)
        row.addStretch()
        return self._address_row

    def _build_list(self) -> QVBoxLayout:
        self._list = named(QListWidget(), "profile_list")
        self._list.setAccessibleName(translate("Profiles", "Profiles"))
        self._list.currentItemChanged.connect(self._show_selected)
        self._list.activated.connect(self._on_activated)
        self._list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._list.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self._list.setFixedWidth(self.fontMetrics().averageCharWidth() * 30)
        self._add = named(QToolButton(), "add_profile")
        self._add.setAccessibleName(translate("Profiles", "Add a profile"))
        self._add.setToolTip(translate("Profiles", "Add a profile"))
        self._add.clicked.connect(self.add_profile)
        self._remove = named(QToolButton(), "delete_profile")
        self._remove.setAccessibleName(translate("Profiles", "Delete this profile"))
        self._remove.setToolTip(translate("Profiles", "Delete this profile"))
        self._remove.clicked.connect(self._on_remove)
        buttons = QHBoxLayout()
        for button in (self._add, self._remove):
            button.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
            button.setMinimumSize(28, 28)
            buttons.addWidget(button)
        buttons.addStretch()
        column = QVBoxLayout()
        column.addWidget(self._list, 1)
        column.addLayout(buttons)
        return column

    def _build_editor(self) -> QVBoxLayout:
        self._form = ProfileForm()
        self._form.edited.connect(self._on_edited)
        self._form.forget_requested.connect(self._on_forget)
        self._scroll = named(QScrollArea(), "form_scroll")
        self._scroll.setFrameShape(QFrame.Shape.NoFrame)
        self._scroll.setWidgetResizable(True)
        self._scroll.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self._scroll.setWidget(self._form)
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
        self._test = self._make_button(
            "test", translate("Profiles", "&Test connection"), self._on_test
        )
        self._use = self._make_button(
            "use", translate("Profiles", "Use this profile"), self._on_use
        )
        self._revert = self._make_button("revert", translate("Profiles", "Revert"), self._on_revert)
        self._save = self._make_button("save", translate("Profiles", "&Save"), self._on_save)
        buttons = QHBoxLayout()
        buttons.addWidget(self._test)
        buttons.addWidget(self._use)
        buttons.addStretch()
        buttons.addWidget(self._revert)
        buttons.addWidget(self._save)
        column = QVBoxLayout()
        column.addWidget(self._scroll, 1)
        column.addWidget(self._direct_note, 1)
        column.addWidget(self._message)
        column.addLayout(buttons)
        return column

    def _make_button(self, name: str, text: str, slot: Callable[[], None]) -> QPushButton:
        button = named(QPushButton(text), name)
        button.clicked.connect(slot)
        return button

    def _state_pixmap(self, state: IconState) -> QPixmap:
        size = round(self.fontMetrics().height() * 1.5)
        ratio = self.devicePixelRatioF()
        image = render(f"icons/tray/{state}.svg", round(size * ratio))
        image.setDevicePixelRatio(ratio)
        return QPixmap.fromImage(image)

    def _paint_icons(self) -> None:
        self._add.setIcon(action_icon("add", self.palette()))
        self._remove.setIcon(action_icon("remove", self.palette()))
