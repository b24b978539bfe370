"""A line edit for passwords that does not disclose them to the accessibility bus.

In every echo mode, Qt reports each change of a line edit to the accessibility bus, including the
inserted or removed text, and every program of the session can listen there. The document of this
field therefore contains one bullet for each character of the password; the characters are stored in
`PasswordField._characters`. Qt edits the bullets. Text from keys, input methods, paste and drop is
intercepted and inserted as bullets.
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
from PySide6.QtWidgets import QLineEdit, QMenu

from trayproxy.domain.problem import utf16_units
from trayproxy.ui.icons import action_icon
from trayproxy.ui.text_line import TextLine
from trayproxy.ui.widgets import named

translate = QCoreApplication.translate

BULLET = "\N{BULLET}"
"""The character in the document for each character of the password."""


class PasswordField(QLineEdit):
    """Line edit for passwords: masks the text, can show it temporarily, and detects Caps Lock.

    For Qt, and thus for screen readers and input methods, the text consists of bullets, even while
    the password is visible: a screen reader would otherwise read the password aloud. The signals of
    `QLineEdit` also carry bullets; `text` returns the password.

    Signals:
        caps_lock_changed(bool): The detected state of Caps Lock has changed.
    """

    caps_lock_changed = Signal(bool)

    def __init__(self) -> None:
        super().__init__()
        self._caps_lock: bool | None = None
        self._characters = array("I")
        """The code points of the password; the document has a bullet for each of them."""
        self._preedit = ""
        """The uncommitted text of an input method."""
        self._text_line = TextLine()
        self._selection_anchor = 0
        """The index at which a selection with the mouse began."""
        self.setEchoMode(QLineEdit.EchoMode.Password)
        self.setInputMethodHints(
            Qt.InputMethodHint.ImhSensitiveData
            | Qt.InputMethodHint.ImhHiddenText
            | Qt.InputMethodHint.ImhNoPredictiveText
            | Qt.InputMethodHint.ImhNoAutoUppercase
        )
        # A visible password could otherwise be dragged into another window.
        self.setDragEnabled(False)
        # Connected first, so that `text` is up to date in all other slots of these signals.
        self.textEdited.connect(self._sync_characters)
        self.textChanged.connect(self._sync_characters)
        for changed in (self.textChanged, self.selectionChanged, self.cursorPositionChanged):
            changed.connect(self._repaint)
        self._show_action = named(QAction(self, checkable=True), "show_password")
        self._show_action.setShortcut(QKeySequence("Ctrl+H"))
        self._show_action.toggled.connect(self._on_show_toggled)
        self._update_show_action()
        self.addAction(self._show_action, QLineEdit.ActionPosition.TrailingPosition)

    # --- Text ------------------------------------------------------------------------------------

    def text(self) -> str:
        """Return the password."""
        return "".join(map(chr, self._characters))

    def setText(self, text: str | None) -> None:
        """Replace the password."""
        self._characters = array("I", map(ord, (text or "")[: self.maxLength()]))
        super().setText(BULLET * len(self._characters))

    def insert(self, text: str) -> None:
        """Insert text at the cursor, or replace the selection."""
        start, end = self._selected()
        text = text[: self._free_length()]
        self._characters[start:end] = array("I", map(ord, text))
        super().insert(BULLET * len(text))

    def displayText(self) -> str:
        """Return the text as drawn on the screen."""
        return self.text() if self._is_text_visible() else super().displayText()

    def wipe(self) -> None:
        """Overwrite and clear the password; undo does not restore it.

        Copies in Python, in Qt events and in the input method cannot be overwritten.
        """
        self._show_action.setChecked(False)
        for index in range(len(self._characters)):
            self._characters[index] = 0
        self.clear()

    @Slot()
    def paste(self) -> None:
        """Insert the text of the clipboard."""
        self._paste(QClipboard.Mode.Clipboard)

    # --- Text input ------------------------------------------------------------------------------

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Insert the text of a key, and infer the state of Caps Lock from it.

        The operating system reports Caps Lock on some platforms only, and not on Wayland.
        """
        if event.key() == Qt.Key.Key_CapsLock and self._caps_lock is not None:
            self._set_caps_lock(not self._caps_lock)
        else:
            shift = bool(event.modifiers() & Qt.KeyboardModifier.ShiftModifier)
            self._set_caps_lock(infer_caps_lock(self._caps_lock, event.text(), shift=shift))
        if event.matches(QKeySequence.StandardKey.Paste):
            # Shift+Insert pastes the clipboard, Ctrl+Shift+Insert the primary selection.
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
        """Pass an input method event to Qt with bullets in place of its preedit and commit text."""
        committed, from_cursor, length = event.commitString(), 0, 0
        if committed or event.replacementLength():
            start, end = self._selected()
            committed = committed[: self._free_length()]
            del self._characters[start:end]
            # Qt ignores a replacement range beyond the text.
            at = min(max(0, start + event.replacementStart()), len(self._characters))
            length = min(event.replacementLength(), len(self._characters) - at)
            from_cursor = at - start
            self._characters[at : at + length] = array("I", map(ord, committed))
        self._preedit = event.preeditString()
        masked = QInputMethodEvent(BULLET * utf16_units(self._preedit), event.attributes())
        masked.setCommitString(BULLET * len(committed), from_cursor, length)
        super().inputMethodEvent(masked)
        event.setAccepted(masked.isAccepted())
        self._repaint()

    def dropEvent(self, event: QDropEvent) -> None:
        """Insert dropped text at the drop position."""
        text = event.mimeData().text()
        self.deselect()
        self.setCursorPosition(self._index_at(event.position().x()))
        self.insert(text)
        event.acceptProposedAction()

    def contextMenuEvent(self, event: QContextMenuEvent) -> None:
        """Open a context menu with the actions for a password; Qt's own menu bypasses `paste`."""
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
        """Update the characters after Qt has changed the document.

        Assistive technology can write text into the document directly. Such text is moved to the
        characters, and bullets replace it in the document.
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
            # After a deletion the cursor is at the position of the deleted text.
            at = self.cursorPosition()
            del self._characters[at : at + len(self._characters) - len(document)]

    def _selected(self) -> tuple[int, int]:
        """Return the start and the end of the selection; without a selection, the cursor twice."""
        if self.hasSelectedText():
            return self.selectionStart(), self.selectionEnd()
        return self.cursorPosition(), self.cursorPosition()

    def _free_length(self) -> int:
        """Return how many characters can be inserted in place of the selection."""
        start, end = self._selected()
        return self.maxLength() - len(self._characters) + end - start

    # --- Password shown --------------------------------------------------------------------------

    def paintEvent(self, event: QPaintEvent) -> None:
        """Draw the characters in place of bullets while the password is visible."""
        if not self._is_text_visible():
            super().paintEvent(event)
            return
        self._layout_text()
        with QPainter(self) as painter:
            self._text_line.paint(self, painter, self._selected())

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """Move the cursor, or the end of the selection, to the clicked character."""
        is_left = event.button() == Qt.MouseButton.LeftButton
        if not (self._is_text_visible() and is_left):
            super().mousePressEvent(event)
            return
        at = self._index_at(event.position().x())
        if event.modifiers() & Qt.KeyboardModifier.ShiftModifier:
            self._select_to(at)
        else:
            self._selection_anchor = at
            self.setCursorPosition(at)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        """Extend the selection to the character at the mouse position."""
        if not self._is_text_visible():
            super().mouseMoveEvent(event)
        elif event.buttons() & Qt.MouseButton.LeftButton:
            self._select_to(self._index_at(event.position().x()))

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        """Insert the primary selection if the middle button was released."""
        clipboard = QGuiApplication.clipboard()
        if event.button() == Qt.MouseButton.MiddleButton and clipboard.supportsSelection():
            self.deselect()
            self._paste(QClipboard.Mode.Selection)
        elif not self._is_text_visible():
            super().mouseReleaseEvent(event)

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:
        """Select the whole password, because it has no words."""
        if event.button() == Qt.MouseButton.LeftButton:
            self.selectAll()

    def focusOutEvent(self, event: QFocusEvent) -> None:
        """Mask the password again when the field loses the focus."""
        if event.reason() != Qt.FocusReason.PopupFocusReason:
            self._show_action.setChecked(False)
        super().focusOutEvent(event)

    def changeEvent(self, event: QEvent) -> None:
        """Repaint the icon when the palette changes."""
        if event.type() == QEvent.Type.PaletteChange:
            self._update_show_action()
        super().changeEvent(event)

    def _is_text_visible(self) -> bool:
        return self._show_action.isChecked()

    def _index_at(self, x: float) -> int:
        """Return the cursor index nearest to a horizontal position, in pixels."""
        if not self._is_text_visible():
            return self.cursorPositionAt(QPoint(int(x), self.height() // 2))
        self._layout_text()
        return self._text_line.index_at(x)

    def _layout_text(self) -> None:
        self._text_line.layout_text(self, self.text(), self.cursorPosition(), self._preedit)

    def _select_to(self, to: int) -> None:
        self.setSelection(self._selection_anchor, to - self._selection_anchor)

    @Slot(bool)
    def _on_show_toggled(self, is_visible: bool) -> None:
        self._text_line = TextLine()
        self._update_show_action()
        self.update()

    @Slot()
    def _repaint(self) -> None:
        if self._is_text_visible():
            self.update()

    def _update_show_action(self) -> None:
        is_visible = self._show_action.isChecked()
        self._show_action.setIcon(action_icon("eye-off" if is_visible else "eye", self.palette()))
        self._show_action.setText(translate("SignIn", "Show password"))
        self._show_action.setToolTip(translate("SignIn", "Show password (Ctrl+H)"))

    def _set_caps_lock(self, is_on: bool | None) -> None:
        if is_on is not None and is_on != self._caps_lock:
            self._caps_lock = is_on
            self.caps_lock_changed.emit(is_on)


def infer_caps_lock(before: bool | None, text: str, *, shift: bool) -> bool | None:
    """Return the state of Caps Lock after a key press; None: unknown, as may be the state before.

    A capital letter with Shift does not change the state, because macOS produces it with and
    without Caps Lock.
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
        # On Windows, Ctrl+Shift combinations insert characters of this category.
        return True
    ctrl, shift = Qt.KeyboardModifier.ControlModifier, Qt.KeyboardModifier.ShiftModifier
    if event.modifiers() in (ctrl, ctrl | shift):
        return False
    return category not in ("Cc", "Cs")
