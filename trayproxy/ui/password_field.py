"""The field that a password is typed into.

Qt tells the accessibility bus every change of a line edit with the text that came or went, whatever
the echo mode is, and every program of the session can listen there. So the document of the field
holds one bullet for each character, and nothing else: the characters are beside it, in
`PasswordField._letters`. Qt edits the bullets; whatever would put text into the document (keys,
input methods, paste, drop) is caught before, and put there as bullets.
"""

import unicodedata
from array import array

from PySide6.QtCore import QCoreApplication, QEvent, QPoint, Qt, Signal, Slot
from PySide6.QtGui import (
    QAction,
    QClipboard,
    QContextMenuEvent,
    QDropEvent,
    QFocusEvent,
    QGuiApplication,
    QInputMethodEvent,
    QKeyEvent,
    QKeySequence,
    QMouseEvent,
    QPainter,
    QPaintEvent,
)
from PySide6.QtWidgets import QLineEdit, QMenu, QWidget

from trayproxy.ui.icons import action_icon
from trayproxy.ui.text_line import TextLine, units
from trayproxy.ui.widgets import named

translate = QCoreApplication.translate

BULLET = "\N{BULLET}"
"""What stands in the document for a character of the password."""


class PasswordField(QLineEdit):
    """Hides what is typed, can show it on the screen for a moment, notices Caps Lock.

    To Qt, and so to screen readers and input methods, the text is bullets, also while the person
    has it shown: a screen reader that spoke the password would tell it to the whole room, and
    every other program on the accessibility bus. The signals of `QLineEdit` carry bullets, too;
    `text` returns what was typed.

    Signals:
        caps_lock_changed(bool): Caps Lock was found to be on or off.
    """

    caps_lock_changed = Signal(bool)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._caps_lock: bool | None = None
        self._characters = array("I")
        """The code points of the password; as many as there are bullets in the document."""
        self._preedit = ""
        """What an input method shows and has not committed."""
        self._text_line = TextLine()
        self._selection_anchor = 0
        """Where a selection by the mouse began."""
        self.setEchoMode(QLineEdit.EchoMode.Password)
        self.setInputMethodHints(
            Qt.InputMethodHint.ImhSensitiveData
            | Qt.InputMethodHint.ImhHiddenText
            | Qt.InputMethodHint.ImhNoPredictiveText
            | Qt.InputMethodHint.ImhNoAutoUppercase
        )
        # Shown, it could otherwise be dragged into any other window.
        self.setDragEnabled(False)
        # Connected first: whoever hears of a change finds `text` as it is after the change.
        self.textEdited.connect(self._sync_characters)
        self.textChanged.connect(self._sync_characters)
        for changed in (self.textChanged, self.selectionChanged, self.cursorPositionChanged):
            changed.connect(self._repaint)
        self._show_action = named(QAction(self, checkable=True), "show_password")
        self._show_action.setShortcut(QKeySequence("Ctrl+H"))
        self._show_action.toggled.connect(self._on_show_toggled)
        self._update_show_action()
        self.addAction(self._show_action, QLineEdit.ActionPosition.TrailingPosition)

    # --- The text --------------------------------------------------------------------------------

    def text(self) -> str:
        """Return what was typed."""
        return "".join(map(chr, self._characters))

    def setText(self, text: str | None) -> None:
        """Replace the text."""
        self._characters = array("I", map(ord, (text or "")[: self.maxLength()]))
        super().setText(BULLET * len(self._characters))

    def insert(self, text: str) -> None:
        """Put text in place of the selection, or at the cursor."""
        start, end = self._selected()
        text = text[: self._free_length()]
        self._characters[start:end] = array("I", map(ord, text))
        super().insert(BULLET * len(text))

    def displayText(self) -> str:
        """Return what is on the screen."""
        return self.text() if self._is_shown() else super().displayText()

    def wipe(self) -> None:
        """Forget the text: overwritten first, and no undo brings it back.

        Copies that Python, Qt's events or the input method made are beyond reach.
        """
        self._show_action.setChecked(False)
        for index in range(len(self._characters)):
            self._characters[index] = 0
        self.clear()

    @Slot()
    def paste(self) -> None:
        """Insert what is on the clipboard."""
        self._paste(QClipboard.Mode.Clipboard)

    # --- What puts text into the document --------------------------------------------------------

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Insert what a key gave; infer Caps Lock from it.

        Asking the system works on some of them, and on Wayland not at all; keys tell everywhere.
        """
        if event.key() == Qt.Key.Key_CapsLock and self._caps_lock is not None:
            self._set_caps_lock(not self._caps_lock)
        else:
            shift = bool(event.modifiers() & Qt.KeyboardModifier.ShiftModifier)
            self._set_caps_lock(infer_caps_lock(self._caps_lock, event.text(), shift=shift))
        if event.matches(QKeySequence.StandardKey.Paste):
            # Shift and Insert paste from the clipboard, with Ctrl from what is selected elsewhere.
            selection = Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.ShiftModifier
            is_selected = event.key() == Qt.Key.Key_Insert and event.modifiers() == selection
            self._paste(QClipboard.Mode.Selection if is_selected else QClipboard.Mode.Clipboard)
            event.accept()
        elif _inserts_text(event):
            self.insert(event.text())
            event.accept()
        else:
            super().keyPressEvent(event)

    def inputMethodEvent(self, event: QInputMethodEvent) -> None:
        """Let Qt see bullets of the same length: what is being composed, and what is committed."""
        committed, from_cursor, length = event.commitString(), 0, 0
        if committed or event.replacementLength():
            start, end = self._selected()
            committed = committed[: self._free_length()]
            del self._characters[start:end]
            # Qt ignores a replacement that reaches beyond the text.
            at = min(max(0, start + event.replacementStart()), len(self._characters))
            length = min(event.replacementLength(), len(self._characters) - at)
            from_cursor = at - start
            self._characters[at : at + length] = array("I", map(ord, committed))
        self._preedit = event.preeditString()
        masked = QInputMethodEvent(BULLET * units(self._preedit), event.attributes())
        masked.setCommitString(BULLET * len(committed), from_cursor, length)
        super().inputMethodEvent(masked)
        event.setAccepted(masked.isAccepted())
        self._repaint()

    def dropEvent(self, event: QDropEvent) -> None:
        """Insert the text that was dropped, where it was dropped."""
        text = event.mimeData().text()
        self.deselect()
        self.setCursorPosition(self._index_at(event.position().x()))
        self.insert(text)
        event.acceptProposedAction()

    def contextMenuEvent(self, event: QContextMenuEvent) -> None:
        """Offer what can be done with a password; Qt's own menu pastes without asking us."""
        menu = QMenu(self)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        paste = menu.addAction(translate("SignIn", "&Paste"), self.paste)
        paste.setEnabled(bool(QGuiApplication.clipboard().text()))
        delete = menu.addAction(translate("SignIn", "&Delete"), self.del_)
        delete.setEnabled(self.hasSelectedText())
        menu.addSeparator()
        select = menu.addAction(translate("SignIn", "Select &all"), self.selectAll)
        select.setEnabled(bool(self._characters))
        menu.addAction(self._show_action)
        menu.popup(event.globalPos())

    def _paste(self, mode: QClipboard.Mode) -> None:
        if text := QGuiApplication.clipboard().text(mode):
            self.insert(text)

    @Slot(str)
    def _sync_characters(self, document: str) -> None:
        """Bring the letters in line with the document, which Qt has just changed.

        Characters that are no bullets are taken in, and bullets put in their place: assistive
        technology can write into a field directly.
        """
        before = len(document) - len(document.lstrip(BULLET))
        after = len(document) - len(document.rstrip(BULLET))
        if before < len(document):
            written = document[before : len(document) - after]
            self._characters[before : len(self._characters) - after] = array("I", map(ord, written))
            cursor = self.cursorPosition()
            super().setText(BULLET * len(self._characters))
            self.setCursorPosition(cursor)
        elif len(document) < len(self._characters):
            # After a deletion the cursor is where the deleted text was.
            at = self.cursorPosition()
            del self._characters[at : at + len(self._characters) - len(document)]

    def _selected(self) -> tuple[int, int]:
        """Return where the selection begins and ends; without one, twice the cursor."""
        if self.hasSelectedText():
            return self.selectionStart(), self.selectionEnd()
        return self.cursorPosition(), self.cursorPosition()

    def _free_length(self) -> int:
        """Return how many characters can come in place of the selection."""
        start, end = self._selected()
        return self.maxLength() - len(self._characters) + end - start

    # --- Shown on the screen ---------------------------------------------------------------------

    def paintEvent(self, event: QPaintEvent) -> None:
        """Draw the characters in place of Qt's bullets while the person wants to see them."""
        if not self._is_shown():
            super().paintEvent(event)
            return
        self._lay_out()
        with QPainter(self) as painter:
            self._text_line.paint(self, painter, self._selected())

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """Put the cursor, or the end of the selection, where the person sees it."""
        is_left = event.button() == Qt.MouseButton.LeftButton
        if not (self._is_shown() and is_left):
            super().mousePressEvent(event)
            return
        at = self._index_at(event.position().x())
        if event.modifiers() & Qt.KeyboardModifier.ShiftModifier:
            self._select_to(at)
        else:
            self._selection_anchor = at
            self.setCursorPosition(at)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        """Select up to where the person sees it."""
        if not self._is_shown():
            super().mouseMoveEvent(event)
        elif event.buttons() & Qt.MouseButton.LeftButton:
            self._select_to(self._index_at(event.position().x()))

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        """Insert, at the middle button, what is selected elsewhere."""
        clipboard = QGuiApplication.clipboard()
        if event.button() == Qt.MouseButton.MiddleButton and clipboard.supportsSelection():
            self.deselect()
            self._paste(QClipboard.Mode.Selection)
        elif not self._is_shown():
            super().mouseReleaseEvent(event)

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:
        """Select all: a password has no words."""
        if event.button() == Qt.MouseButton.LeftButton:
            self.selectAll()

    def focusOutEvent(self, event: QFocusEvent) -> None:
        """Hide the password again: whoever looks away may walk away."""
        if event.reason() != Qt.FocusReason.PopupFocusReason:
            self._show_action.setChecked(False)
        super().focusOutEvent(event)

    def changeEvent(self, event: QEvent) -> None:
        """Follow light and dark."""
        if event.type() == QEvent.Type.PaletteChange:
            self._update_show_action()
        super().changeEvent(event)

    def _is_shown(self) -> bool:
        return self._show_action.isChecked()

    def _index_at(self, x: float) -> int:
        """Return the place between two characters that is nearest to a point on the screen."""
        if not self._is_shown():
            return self.cursorPositionAt(QPoint(int(x), self.height() // 2))
        self._lay_out()
        return self._text_line.index_at(x)

    def _lay_out(self) -> None:
        self._text_line.lay_out(self, self.text(), self.cursorPosition(), self._preedit)

    def _select_to(self, to: int) -> None:
        self.setSelection(self._selection_anchor, to - self._selection_anchor)

    @Slot(bool)
    def _on_show_toggled(self, shown: bool) -> None:
        self._text_line = TextLine()
        self._update_show_action()
        self.update()

    @Slot()
    def _repaint(self) -> None:
        if self._is_shown():
            self.update()

    def _update_show_action(self) -> None:
        shown = self._show_action.isChecked()
        self._show_action.setIcon(action_icon("eye-off" if shown else "eye", self.palette()))
        self._show_action.setText(translate("SignIn", "Show password"))
        self._show_action.setToolTip(translate("SignIn", "Show password (Ctrl+H)"))

    def _set_caps_lock(self, on: bool | None) -> None:
        if on is not None and on != self._caps_lock:
            self._caps_lock = on
            self.caps_lock_changed.emit(on)


def infer_caps_lock(before: bool | None, text: str, *, shift: bool) -> bool | None:
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


def _inserts_text(event: QKeyEvent) -> bool:
    """Return whether Qt would insert the text of a key (QInputControl::isAcceptableInput)."""
    if not event.text():
        return False
    category = unicodedata.category(event.text()[0])
    if category == "Cf":
        # Windows types such characters with Ctrl and Shift.
        return True
    ctrl, shift = Qt.KeyboardModifier.ControlModifier, Qt.KeyboardModifier.ShiftModifier
    if event.modifiers() in (ctrl, ctrl | shift):
        return False
    return category not in ("Cc", "Cs")
