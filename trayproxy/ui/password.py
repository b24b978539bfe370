"""The field that a password is typed into."""

from PySide6.QtCore import QCoreApplication, QEvent, Qt, Signal, Slot
from PySide6.QtGui import QAction, QFocusEvent, QKeyEvent, QKeySequence
from PySide6.QtWidgets import QLineEdit, QWidget

from trayproxy.ui.icons import action_icon
from trayproxy.ui.widgets import named

translate = QCoreApplication.translate


class PasswordField(QLineEdit):
    """Hides what is typed, can show it for a moment, notices Caps Lock.

    Signals:
        caps_lock_changed(bool): Caps Lock was found to be on or off.
    """

    caps_lock_changed = Signal(bool)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._caps_lock: bool | None = None
        self.setEchoMode(QLineEdit.EchoMode.Password)
        self.setInputMethodHints(
            Qt.InputMethodHint.ImhSensitiveData
            | Qt.InputMethodHint.ImhHiddenText
            | Qt.InputMethodHint.ImhNoPredictiveText
            | Qt.InputMethodHint.ImhNoAutoUppercase
        )
        # Shown, it could otherwise be dragged into any other window.
        self.setDragEnabled(False)
        self._eye = named(QAction(self, checkable=True), "show_password")
        self._eye.setShortcut(QKeySequence("Ctrl+H"))
        self._eye.toggled.connect(self._show)
        self._paint_eye()
        self.addAction(self._eye, QLineEdit.ActionPosition.TrailingPosition)

    def wipe(self) -> None:
        """Forget the text: overwritten first, and no undo brings it back.

        `setText` clears the history of `QLineEdit`; copies that Python or the input method made
        are beyond reach.
        """
        self._eye.setChecked(False)
        self.setText("\N{BULLET}" * len(self.text()))
        self.clear()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Infer Caps Lock from the letter that a key gave.

        Asking the system works on some of them, and on Wayland not at all; keys tell everywhere.
        """
        if event.key() == Qt.Key.Key_CapsLock and self._caps_lock is not None:
            self._note(not self._caps_lock)
        else:
            shift = bool(event.modifiers() & Qt.KeyboardModifier.ShiftModifier)
            self._note(caps_lock(self._caps_lock, event.text(), shift=shift))
        super().keyPressEvent(event)

    def focusOutEvent(self, event: QFocusEvent) -> None:
        """Hide the password again: whoever looks away may walk away."""
        if event.reason() != Qt.FocusReason.PopupFocusReason:
            self._eye.setChecked(False)
        super().focusOutEvent(event)

    def changeEvent(self, event: QEvent) -> None:
        """Follow light and dark."""
        if event.type() == QEvent.Type.PaletteChange:
            self._paint_eye()
        super().changeEvent(event)

    @Slot(bool)
    def _show(self, shown: bool) -> None:
        self.setEchoMode(QLineEdit.EchoMode.Normal if shown else QLineEdit.EchoMode.Password)
        self._paint_eye()

    def _paint_eye(self) -> None:
        shown = self._eye.isChecked()
        self._eye.setIcon(action_icon("eye-off" if shown else "eye", self.palette()))
        self._eye.setText(translate("SignIn", "Show password"))
        self._eye.setToolTip(translate("SignIn", "Show password (Ctrl+H)"))

    def _note(self, on: bool | None) -> None:
        if on is not None and on != self._caps_lock:
            self._caps_lock = on
            self.caps_lock_changed.emit(on)


def caps_lock(before: bool | None, text: str, *, shift: bool) -> bool | None:
    """Infer whether Caps Lock is on.

    Args:
        before: What was known; None: nothing.
        text: What the key gave.
        shift: Whether Shift was held.

    Returns:
        What is known now. A capital letter with Shift tells nothing: on macOS it is one either way.
    """
    if len(text) != 1 or text.lower() == text.upper():
        return before
    if text.isupper():
        return before if shift else True
    return shift
