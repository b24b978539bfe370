"""The questions that the window asks the user, in message boxes."""

from functools import partial

from msgspec.structs import replace
from PySide6.QtCore import QCoreApplication, QObject, Qt, Signal
from PySide6.QtWidgets import QCheckBox, QMessageBox, QWidget

from trayproxy.control.messages import DeleteProfile, LeftoverChoice, UseSystemProxy
from trayproxy.domain.problem import Problem
from trayproxy.domain.signin import KeyringStatus
from trayproxy.profiles.profile import Profile
from trayproxy.ui.action_signals import ActionSignals
from trayproxy.ui.text_sanitizer import NAME_WIDTH, clean, elide, isolate
from trayproxy.ui.widgets import named

translate = QCoreApplication.translate

_Role = QMessageBox.ButtonRole


class WindowQuestions(QObject):
    """Asks one question at a time in a message box, which is modal to the window and does not block
    the program. The window is also the Qt parent.

    Signals:
        close_confirmed: The user has chosen to close the window and keep TrayProxy running.
    """

    close_confirmed = Signal()

    def __init__(self, window: QWidget, actions: ActionSignals) -> None:
        super().__init__(window)
        self._window = window
        self._actions = actions
        self._box: QMessageBox | None = None

    def ask_delete(self, profile: Profile, keyring: KeyringStatus, *, is_active: bool) -> None:
        """Ask whether to delete a profile, and its password from the password store."""
        name = isolate(elide(clean(profile.name), NAME_WIDTH))
        box = self._make_box(translate("Profiles", "Delete “{name}”?").format(name=name))
        if is_active:
            box.setIcon(QMessageBox.Icon.Warning)
            box.setInformativeText(
                translate(
                    "Profiles",
                    "This profile is in use. Until you choose another one, programs cannot connect "
                    "through TrayProxy.",
                )
            )
        forget = named(QCheckBox(_forget_text(keyring)), "forget_too")
        forget.setChecked(True)
        box.setCheckBox(forget)
        delete_button = box.addButton(translate("Profiles", "Delete"), _Role.DestructiveRole)
        keep_button = box.addButton(translate("Profiles", "Keep"), _Role.RejectRole)
        box.setDefaultButton(keep_button)
        box.setEscapeButton(keep_button)

        def on_click() -> None:
            self._actions.delete_profile.emit(DeleteProfile(profile.id, forget.isChecked()))

        delete_button.clicked.connect(on_click)
        box.open()

    def ask_leftover(self, request: UseSystemProxy, problem: Problem) -> None:
        """Ask what becomes of a present system proxy that does not work, and repeat the request.

        Args:
            request: The request that has failed.
            problem: The problem, which contains the address.
        """
        box = self._make_box(clean(problem.title))
        box.setIcon(QMessageBox.Icon.Warning)
        box.setInformativeText(clean(problem.body))
        forget_button = box.addButton(translate("Window", "Forget it"), _Role.AcceptRole)
        keep_button = box.addButton(translate("Window", "Keep it"), _Role.AcceptRole)
        box.addButton(translate("Window", "Cancel"), _Role.RejectRole)
        box.setDefaultButton(forget_button)
        for button, choice in (
            (forget_button, LeftoverChoice.FORGET),
            (keep_button, LeftoverChoice.KEEP),
        ):
            answer = replace(request, leftover=choice)
            button.clicked.connect(partial(self._actions.use_system_proxy.emit, answer))
        box.open()

    def ask_close(self) -> None:
        """Ask whether to close the window, to quit TrayProxy, or neither."""
        box = self._make_box(
            translate(
                "Window",
                "Keep TrayProxy running without a window? Start it again to get this window back.",
            )
        )
        keep_button = box.addButton(translate("Window", "Keep running"), _Role.AcceptRole)
        quit_button = box.addButton(translate("Window", "Quit"), _Role.DestructiveRole)
        box.addButton(translate("Window", "Cancel"), _Role.RejectRole)
        box.setDefaultButton(keep_button)
        keep_button.clicked.connect(self.close_confirmed)
        quit_button.clicked.connect(self._actions.quit)
        box.open()

    def _make_box(self, text: str) -> QMessageBox:
        if self._box is not None:
            self._box.deleteLater()
        self._box = named(QMessageBox(self._window), "question")
        self._box.setIcon(QMessageBox.Icon.Question)
        self._box.setTextFormat(Qt.TextFormat.PlainText)
        self._box.setText(text)
        return self._box


def _forget_text(keyring: KeyringStatus) -> str:
    if keyring.name:
        text = translate("Profiles", "Also remove its saved password from {store}")
        return text.format(store=clean(keyring.name))
    return translate("Profiles", "Also remove its saved password")
