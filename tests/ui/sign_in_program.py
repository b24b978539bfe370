"""The sign-in dialog alone, and two keys that play what a keyboard cannot give.

F2 is an input method that composes and commits the text of ``COMPOSED``; F3 drops the text of
``DROPPED`` into the field that has the focus. ``CLIPBOARD`` is on the clipboard and selected.
"""

import os
import sys

from PySide6.QtCore import QEvent, QMimeData, QObject, QPointF, Qt
from PySide6.QtGui import QClipboard, QDragEnterEvent, QDropEvent, QInputMethodEvent, QKeyEvent
from PySide6.QtWidgets import QApplication, QWidget

from tests.ui.fake_service import PROMPT
from trayproxy.ui.sign_in_dialog import SignInDialog


class FakeInputKeys(QObject):
    """Plays input methods and mice at the press of a key."""

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Take the two keys."""
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
    """Be an input method: show each part of the text, then commit it."""
    field = focused()
    for end in range(1, len(text) + 1):
        QApplication.sendEvent(field, QInputMethodEvent(text[:end], []))
    commit = QInputMethodEvent()
    commit.setCommitString(text)
    QApplication.sendEvent(field, commit)


def drop(text: str) -> None:
    """Drop a text into the field."""
    field = focused()
    mime = QMimeData()
    mime.setText(text)
    at = field.rect().center()
    how = (Qt.DropAction.CopyAction, mime, Qt.MouseButton.LeftButton)
    none = Qt.KeyboardModifier.NoModifier
    QApplication.sendEvent(field, QDragEnterEvent(at, *how, none))
    QApplication.sendEvent(field, QDropEvent(QPointF(at), *how, none))


def focused() -> QWidget:
    """Return the field that has the focus."""
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
