"""Tests for trayproxy.ui.password_field and trayproxy.ui.text_line."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PySide6.QtCore import QEvent, QMimeData, QPoint, QPointF, Qt
from PySide6.QtGui import (
    QAccessible,
    QClipboard,
    QContextMenuEvent,
    QDropEvent,
    QInputMethodEvent,
    QKeyEvent,
)
from PySide6.QtWidgets import QApplication, QLineEdit, QMenu
from pytestqt.qtbot import QtBot

from trayproxy.ui.password_field import BULLET, PasswordField
from trayproxy.ui.text_line import TextLine, replace_invisible

KEY, MODIFIER = Qt.Key, Qt.KeyboardModifier
PLAIN, SHIFT, CTRL = MODIFIER.NoModifier, MODIFIER.ShiftModifier, MODIFIER.ControlModifier

Edit = Callable[[QLineEdit], None]


@pytest.fixture
def field(qtbot: QtBot) -> PasswordField:
    widget = PasswordField()
    qtbot.addWidget(widget)
    widget.show()
    widget.activateWindow()
    widget.setFocus()
    qtbot.waitUntil(widget.hasFocus)
    return widget


def press(field: QLineEdit, key: int, modifiers: Qt.KeyboardModifier, text: str = "") -> None:
    QApplication.sendEvent(field, QKeyEvent(QEvent.Type.KeyPress, key, modifiers, text))


def compose(
    field: QLineEdit, shown: str, commit: str = "", start: int = 0, length: int = 0
) -> None:
    event = QInputMethodEvent(shown, [])
    event.setCommitString(commit, start, length)
    QApplication.sendEvent(field, event)


def shown(field: PasswordField) -> PasswordField:
    press(field, KEY.Key_H, CTRL)
    field.actions()[0].setChecked(True)
    return field


# --- Editing -------------------------------------------------------------------------------------


def typed(text: str) -> Edit:
    return lambda field: press(field, KEY.Key_A, PLAIN, text)


def pressed(key: Qt.Key, modifiers: Qt.KeyboardModifier) -> Edit:
    return lambda field: press(field, key, modifiers)


def composed(shown: str, commit: str, start: int, length: int) -> Edit:
    def edit(field: QLineEdit) -> None:
        # Qt ignores a replacement range beyond the text.
        before = field.selectionStart() if field.hasSelectedText() else field.cursorPosition()
        left = len(field.text()) - len(field.selectedText())
        at = max(0, before + start)
        left -= at
        compose(field, shown)
        # During composition, keys do not reach the field.
        compose(field, "", commit, at - before, min(length, left) if commit else 0)

    return edit


def pasted(field: QLineEdit) -> None:
    press(field, KEY.Key_V, CTRL)


KEYS = st.sampled_from(
    [KEY.Key_Left, KEY.Key_Right, KEY.Key_Home, KEY.Key_End, KEY.Key_Backspace, KEY.Key_Delete]
)
LETTERS = st.text("aZß日 é", min_size=1, max_size=3)
EDITS = st.one_of(
    LETTERS.map(typed),
    st.builds(pressed, KEYS, st.sampled_from([PLAIN, SHIFT, CTRL, CTRL | SHIFT])),
    st.builds(
        pressed, st.sampled_from([KEY.Key_A, KEY.Key_X, KEY.Key_K, KEY.Key_U]), st.just(CTRL)
    ),
    st.builds(
        composed,
        st.text("xy", max_size=2),
        LETTERS | st.just(""),
        st.integers(-2, 0),
        st.integers(0, 2),
    ),
    st.just(pasted),
)


@pytest.mark.usefixtures("qapp")
@given(edits=st.lists(EDITS, max_size=20))
@settings(max_examples=200)
def test_edits_have_the_same_result_as_in_a_line_edit(edits: list[Edit]) -> None:
    field, model = PasswordField(), QLineEdit()
    model.setEchoMode(QLineEdit.EchoMode.Password)
    QApplication.clipboard().setText("pasted")
    for edit in edits:
        edit(field)
        edit(model)
        assert field.text() == model.text()
        assert field.cursorPosition() == model.cursorPosition()
        assert field.selectionStart() == model.selectionStart()
        assert field.selectionLength() == model.selectionLength()
        assert QLineEdit.text(field) == BULLET * len(field.text())


@pytest.mark.parametrize(("start", "length"), [(-9, 1), (-1, 9), (9, 9), (-9, 99)])
def test_a_replacement_beyond_the_text_is_cut(
    field: PasswordField, start: int, length: int
) -> None:
    field.setText("ab")
    compose(field, "", "x", start, length)
    assert len(field.text()) == len(QLineEdit.text(field))
    assert "x" in field.text()


def test_the_text_is_up_to_date_in_slots_of_text_edited(field: PasswordField) -> None:
    texts: list[str] = []
    field.textEdited.connect(lambda _: texts.append(field.text()))
    for edit in (typed("a"), typed("b"), pressed(KEY.Key_Backspace, PLAIN), typed("c")):
        edit(field)
    assert texts == ["a", "ab", "a", "ac"]


@pytest.mark.parametrize("text", ["é", "😀", "\u200d", "\ue000", "ع", "İ"])
def test_every_character_is_a_bullet(field: PasswordField, text: str) -> None:
    press(field, KEY.Key_unknown, PLAIN, f"{text}")
    press(field, KEY.Key_A, PLAIN, "a")
    assert field.text() == text + "a"
    assert QLineEdit.text(field) == 2 * BULLET
    press(field, KEY.Key_Left, PLAIN)
    press(field, KEY.Key_Backspace, PLAIN)
    assert field.text() == "a"


@pytest.mark.parametrize(("key", "text"), [(KEY.Key_Return, "\r"), (KEY.Key_C, "\x03")])
def test_control_characters_are_not_inserted(field: PasswordField, key: Qt.Key, text: str) -> None:
    press(field, key, CTRL if text == "\x03" else PLAIN, text)
    assert field.text() == ""


def test_text_written_by_assistive_technology_is_moved_to_the_characters(
    field: PasswordField,
) -> None:
    field.setText("abc")
    interface = QAccessible.queryAccessibleInterface(field)
    interface.setText(QAccessible.Text.Value, BULLET + "new" + BULLET)
    assert field.text() == "anewc"
    assert QLineEdit.text(field) == 5 * BULLET


def test_accessibility_reports_a_password_edit_even_while_visible(field: PasswordField) -> None:
    field.setText("secret")
    for widget in (field, shown(field)):
        interface = QAccessible.queryAccessibleInterface(widget)
        assert interface.state().passwordEdit
        assert "secret" not in interface.text(QAccessible.Text.Value)


def test_text_beyond_the_maximum_length_is_dropped(field: PasswordField) -> None:
    field.setMaxLength(4)
    field.setText("abcdef")
    assert field.text() == "abcd"
    field.setSelection(1, 2)
    field.insert("xyz")
    assert field.text() == "axyd"
    compose(field, "", "more")
    assert field.text() == "axyd"
    assert QLineEdit.text(field) == 4 * BULLET


# --- Paste, drop, context menu -------------------------------------------------------------------


def test_dropped_text_is_inserted_at_the_drop_position(field: PasswordField) -> None:
    field.setText("ab")
    mime = QMimeData()
    mime.setText("drop")
    where = QPointF(field.width() - 1, field.height() / 2)
    copy = Qt.DropAction.CopyAction
    field.dropEvent(QDropEvent(where, copy, mime, Qt.MouseButton.LeftButton, PLAIN))
    assert field.text() == "abdrop"


def test_the_menu_pastes_deletes_selects_and_shows(
    field: PasswordField, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[QMenu] = []
    monkeypatch.setattr(QMenu, "popup", lambda menu, _: opened.append(menu))
    QApplication.clipboard().setText("pasted", QClipboard.Mode.Clipboard)
    field.setText("old")
    field.selectAll()
    for label, text in (("&Paste", "pasted"), ("Select &all", "pasted"), ("&Delete", "")):
        event = QContextMenuEvent(QContextMenuEvent.Reason.Keyboard, QPoint(3, 3), QPoint(9, 9))
        field.contextMenuEvent(event)
        actions = {action.text(): action for action in opened.pop().actions()}
        assert "Show password" in actions
        assert actions[label].isEnabled()
        actions[label].trigger()
        assert field.text() == text
        assert QLineEdit.text(field) == BULLET * len(text)


def test_a_visible_password_cannot_be_copied(field: PasswordField) -> None:
    QApplication.clipboard().setText("before")
    shown(field).setText("secret")
    for key in (KEY.Key_C, KEY.Key_X):
        field.selectAll()
        press(field, key, CTRL)
    assert QApplication.clipboard().text() == "before"


# --- Password shown ------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", "secret", "W" * 80, "p😀ss", "שלום", "a\n\u202eb"])
def test_a_visible_password_is_drawn_and_points_map_to_its_characters(
    field: PasswordField, text: str
) -> None:
    field.setText(text)
    hidden = field.grab().toImage()
    shown(field)
    assert not text or field.grab().toImage() != hidden
    line = TextLine()
    for index in range(len(text) + 1):
        field.setCursorPosition(index)
        line.layout_text(field, text, index)
        found = {line.index_at(x) for x in range(field.width())}
        assert found <= set(range(len(text) + 1))
        assert index in found, "the cursor is out of sight"


def test_the_mouse_selects_characters(field: PasswordField, qtbot: QtBot) -> None:
    field.resize(400, field.height())
    shown(field).setText("iiiiiiiiiiWWWWWWWWWW")
    button = Qt.MouseButton.LeftButton
    line = TextLine()
    line.layout_text(field, field.text(), 0)
    (ten, *_) = [x for x in range(400) if line.index_at(x) == 10]
    qtbot.mousePress(field, button, pos=QPoint(1, 8))
    assert field.cursorPosition() == 0
    qtbot.mouseMove(field, QPoint(ten, 8))
    qtbot.mouseRelease(field, button, pos=QPoint(ten, 8))
    qtbot.mousePress(field, button, SHIFT, QPoint(ten, 8))
    assert (field.selectionStart(), field.selectionEnd()) == (0, 10)
    press(field, KEY.Key_Delete, PLAIN)
    assert field.text() == "WWWWWWWWWW"
    qtbot.mouseDClick(field, button, pos=QPoint(5, 8))
    assert len(field.selectedText()) == 10


def test_preedit_text_is_drawn_only_while_the_password_is_visible(field: PasswordField) -> None:
    compose(field, "w")
    hidden = field.grab().toImage()
    compose(field, "i")
    assert field.grab().toImage() == hidden
    shown(field)
    one = field.grab().toImage()
    compose(field, "w")
    assert field.grab().toImage() != one


def test_invisible_characters_are_replaced() -> None:
    assert replace_invisible("a\tb\u202ec\ud800") == "a�b�c�"
