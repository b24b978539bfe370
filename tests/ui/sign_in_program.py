"""Shows only the sign-in dialog, with two keys to simulate other input.

F2 simulates an input method: it composes and commits the text of ``COMPOSED``. F3 drops the text of
``DROPPED`` into the focused field. ``CLIPBOARD`` is the text of the clipboard and of the primary
selection.
"""

import os
import sys

from PySide6.QtCore import QEvent, QMimeData, QObject, QPointF, Qt
from PySide6.QtGui import QClipboard, QDragEnterEvent, QDropEvent, QInputMethodEvent, QKeyEvent
from PySide6.QtWidgets import QApplication, QWidget

from tests.ui.fake_service import PROMPT
from trayproxy.ui.sign_in_dialog import SignInDialog


class FakeInputKeys(QObject):
    """Event filter: F2 simulates an input method, F3 a drop."""

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Handle F2 and F3."""
        if not isinstance(event, QKeyEvent) or event.type() != QEvent.Type.KeyPress:
            return False
        match event.key():
            case Qt.Key.Key_F2:
                compose(os.environ["COMPOSED"])
            case Qt.Key.Key_F3:
                drop(os.environ["DROPPED"])
            case _:
                return False
        return True


def compose(text: str) -> None:
    """Simulate an input method: compose the text character by character, then commit it."""
    field = focused()
    for end in range(1, len(text) + 1):
        QApplication.sendEvent(field, QInputMethodEvent(text[:end], []))
    commit = QInputMethodEvent()
    commit.setCommitString(text)
    QApplication.sendEvent(field, commit)


def drop(text: str) -> None:
    """Drop a text into the focused field."""
    field = focused()
    mime = QMimeData()
    mime.setText(text)
    at = field.rect().center()
    how = (Qt.DropAction.CopyAction, mime, Qt.MouseButton.LeftButton)
    none = Qt.KeyboardModifier.NoModifier
    QApplication.sendEvent(field, QDragEnterEvent(at, *how, none))
    QApplication.sendEvent(field, QDropEvent(QPointF(at), *how, none))


def focused() -> QWidget:
    """Return the focused field."""
    field = QApplication.focusWidget()
    assert field is not None
    return field


def main() -> int:
    """Show the dialog until it is closed."""
    application = QApplication(sys.argv[:1])
    keys = FakeInputKeys()
    application.installEventFilter(keys)
    for mode in (QClipboard.Mode.Clipboard, QClipboard.Mode.Selection):
        application.clipboard().setText(os.environ["CLIPBOARD"], mode)
    dialog = SignInDialog(PROMPT)
    dialog.answered.connect(lambda login, _: print(f"answered {len(login.password)}", flush=True))
    dialog.show()
    return application.exec()


if __name__ == "__main__":
    sys.exit(main())
