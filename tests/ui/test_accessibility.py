"""Tests of every window: keyboard navigation, accessible names and large fonts (ux §6.1)."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import pytest
from msgspec import structs
from PySide6.QtCore import Qt
from PySide6.QtGui import QAccessible, QPalette
from PySide6.QtWidgets import QApplication, QLabel, QLineEdit, QWidget
from pytestqt.qtbot import QtBot

from tests.ui.contrast import contrast
from tests.ui.fake_service import NEEDED, OFFICE, PROMPT
from tests.ui.pictures import BUSY, devices_dialog, recipes_window
from trayproxy.control.icon_state import IconState
from trayproxy.domain.problem import Problem
from trayproxy.domain.signin import PromptReason
from trayproxy.ui.action_signals import ActionSignals
from trayproxy.ui.check_panel import CheckPanel
from trayproxy.ui.profiles_window import ProfilesWindow
from trayproxy.ui.quit_question import quit_box
from trayproxy.ui.sign_in_dialog import SignInDialog


def dialog() -> QWidget:
    return SignInDialog(structs.replace(PROMPT, reason=PromptReason.TYPED_REJECTED, rejections=2))


def window() -> QWidget:
    window = ProfilesWindow(ActionSignals())
    window.has_tray = True
    notice = Problem("TP-801", "The settings file has a mistake", "config.toml, line 3: no value.")
    long_name = replace(OFFICE, name="<b>Änderungs & _verwaltung_</b> " * 3)
    status = structs.replace(NEEDED, profile=long_name, profiles=(long_name,), notices=(notice,))
    window.show_state(IconState.SIGNIN, status)
    window.show_note("A note that is long enough to need more than one line " * 3)
    return window


def panel() -> QWidget:
    panel = CheckPanel(OFFICE, ActionSignals())
    panel.start()
    return panel


def question() -> QWidget:
    return quit_box(BUSY)


@pytest.fixture(
    params=[dialog, window, panel, question, partial(recipes_window, "git"), devices_dialog]
)
def shown(request: pytest.FixtureRequest, qtbot: QtBot) -> QWidget:
    """Return a shown window, for every kind of window."""
    shown: QWidget = request.param()
    qtbot.addWidget(shown)
    shown.show()
    shown.activateWindow()
    qtbot.waitUntil(shown.isActiveWindow)
    return shown


def focusable_widgets(widget: QWidget) -> list[QWidget]:
    return [
        child
        for child in widget.findChildren(QWidget)
        if child.isVisible()
        and child.isEnabled()
        and child.focusPolicy() & Qt.FocusPolicy.TabFocus
        and child.objectName() != "qt_spinbox_lineedit"
    ]


def test_focusable_widgets_have_a_name_and_a_role(shown: QWidget) -> None:
    for widget in focusable_widgets(shown):
        interface = QAccessible.queryAccessibleInterface(widget)
        assert interface.text(QAccessible.Text.Name), widget.objectName() or widget
        assert interface.role() not in (QAccessible.Role.NoRole, QAccessible.Role.Client)


def test_tab_reaches_every_focusable_widget(shown: QWidget, qtbot: QtBot) -> None:
    expected = {id(widget) for widget in focusable_widgets(shown)}
    seen: set[int] = set()
    for _ in range(2 * len(expected) + 2):
        focused = QApplication.focusWidget()
        if focused is not None:
            seen.add(id(focused))
        qtbot.keyClick(focused or shown, Qt.Key.Key_Tab)
    missed = [w.objectName() for w in focusable_widgets(shown) if id(w) not in seen]
    # The tab key stops at one radio button of a group.
    assert set(missed) <= {"without_sign_in", "with_password"}


@pytest.fixture(params=[9, 20])
def points(request: pytest.FixtureRequest, qapp: QApplication) -> Iterator[None]:
    """Set the text size of all windows."""
    before = QApplication.font()
    larger = QApplication.font()
    larger.setPointSize(request.param)
    QApplication.setFont(larger)
    yield
    QApplication.setFont(before)


def test_no_label_is_clipped(points: None, shown: QWidget) -> None:
    QApplication.processEvents()
    for label in shown.findChildren(QLabel):
        if label.isVisible() and label.text():
            assert label.width() >= label.minimumSizeHint().width(), label.objectName()
            if label.wordWrap():
                needed = label.heightForWidth(label.width())
                assert label.height() >= needed, (label.objectName(), label.text())


def test_labels_are_plain_text(shown: QWidget) -> None:
    own = {"scheme", ""}
    for label in shown.findChildren(QLabel):
        is_plain = label.textFormat() is Qt.TextFormat.PlainText
        assert is_plain or label.objectName() in own or not label.text(), label.objectName()


def test_focusable_widgets_are_large_enough(shown: QWidget) -> None:
    for widget in focusable_widgets(shown):
        assert widget.height() >= (20 if isinstance(widget, QLineEdit) else 16), widget.objectName()


@pytest.mark.usefixtures("qapp")
def test_text_has_enough_contrast() -> None:
    palette = QApplication.palette()
    role = QPalette.ColorRole
    for text, ground in ((role.WindowText, role.Window), (role.Text, role.Base)):
        assert contrast(palette.color(text), palette.color(ground)) >= 4.5
