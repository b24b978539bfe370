"""Saves pictures of every window, light and dark, to a folder. Run this on an X server."""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from msgspec import structs
from PySide6.QtCore import QPoint, Qt
from PySide6.QtWidgets import QApplication, QWidget

from tests.ui.fake_service import NEEDED, OFFICE, PROMPT, STATUS, STEPS
from trayproxy.control.icon_state import IconState
from trayproxy.control.messages import (
    CheckProfile,
    CheckResult,
    ListenerState,
    Status,
    Step,
    StepState,
)
from trayproxy.domain.problem import Problem
from trayproxy.domain.signin import KeyringState, KeyringStatus, PromptReason
from trayproxy.profiles.profile import Encoding, Method, SignIn
from trayproxy.ui.check_panel import CheckPanel
from trayproxy.ui.menu import TrayMenu
from trayproxy.ui.profiles_window import ProfilesWindow
from trayproxy.ui.sign_in_dialog import SignInDialog
from trayproxy.ui.user_actions import UserActions

HOSTILE = structs.replace(
    PROMPT,
    profile="<b>R&D_\u202eelif</b> " + "W" * 100,
    realm="<img src=x>\u202e\x00 & _x_ " + "W" * 300,
    programs=(structs.replace(PROMPT.programs[0], name="<script>", target="\u0430" * 60 + ".com"),),
    waiting=10_000,
    keyring=KeyringStatus(KeyringState.UNSAFE, "PlaintextKeyring"),
    reason=PromptReason.UNCHECKED,
)
RENAMED = structs.replace(
    PROMPT, reason=PromptReason.REALM_CHANGED, before="<b>Corp</b>\u202e Internet " + "W" * 300
)
PORT_TAKEN = structs.replace(
    STATUS,
    listener=ListenerState.FAILED,
    spare_port=3129,
    problem=Problem(
        "TP-101",
        "Port 3128 is taken",
        "squid (PID 911) already uses 127.0.0.1:3128. "
        "TrayProxy starts by itself once the port is free.",
    ),
)
SNOOZED_STEPS = CheckResult(
    (
        Step("find", StepState.OK, "10.0.0.41", 12.0),
        Step("challenge", StepState.OK, "Basic, “Corp”", 3.0),
        Step(
            "sign-in",
            StepState.FAILED,
            problem=Problem(
                "TP-301",
                "TrayProxy does not ask for a sign-in now",
                "A question was cancelled or postponed a short while ago. Sign in, then test "
                "again.",
            ),
        ),
        Step("fetch", StepState.NOT_TRIED),
    )
)
FAILED_STEPS = CheckResult(
    (
        Step("find", StepState.OK, "10.0.0.41", 12.0),
        Step(
            "connect",
            StepState.FAILED,
            took=9.0,
            problem=Problem(
                "TP-202",
                "proxy.corp.example refused the connection",
                "Something answers at this address, but not on port 8080.",
            ),
        ),
        Step("encryption", StepState.NOT_TRIED),
        Step("challenge", StepState.NOT_TRIED),
        Step("sign-in", StepState.NOT_TRIED),
        Step("fetch", StepState.NOT_TRIED),
    )
)


def _window(state: IconState, status: Status) -> ProfilesWindow:
    widget = ProfilesWindow(UserActions())
    widget.has_tray = True
    widget.show_state(state, status)
    return widget


def _check_panel(result: CheckResult) -> QWidget:
    widget = CheckPanel(CheckProfile(OFFICE))
    widget.show_reply(result)
    return widget


def _menu(state: IconState, status: Status, *, has_prompt: bool = False) -> QWidget:
    widget = TrayMenu(UserActions(), QApplication.instance())
    widget.update(state, status, has_prompt=has_prompt)
    widget.menu.popup(QPoint(0, 0))
    return widget.menu


def sign_in() -> QWidget:
    """Return the dialog of a new prompt."""
    return SignInDialog(PROMPT)


def rejected() -> QWidget:
    """Return the dialog after the second rejected password."""
    return SignInDialog(structs.replace(PROMPT, reason=PromptReason.TYPED_REJECTED, rejections=2))


def downgrade() -> QWidget:
    """Return the dialog of a proxy after a change to a weaker method."""
    return SignInDialog(structs.replace(PROMPT, reason=PromptReason.DOWNGRADE, before="Negotiate"))


def renamed() -> QWidget:
    """Return the dialog of a proxy with a changed realm."""
    return SignInDialog(RENAMED)


def hostile() -> QWidget:
    """Return the dialog of a proxy with hostile texts."""
    return SignInDialog(HOSTILE)


def window() -> QWidget:
    """Return the window with two profiles."""
    return _window(IconState.OK, STATUS)


def window_with_port_taken() -> QWidget:
    """Return the window while another program uses the port."""
    return _window(IconState.STOPPED, PORT_TAKEN)


def menu_with_port_taken() -> QWidget:
    """Return the menu while another program uses the port."""
    return _menu(IconState.STOPPED, PORT_TAKEN)


def window_with_all_fields() -> QWidget:
    """Return the window with a profile with advanced fields."""
    latin = replace(OFFICE, encoding=Encoding.LATIN_1)
    widget = _window(IconState.OK, structs.replace(STATUS, profile=latin, profiles=(latin,)))
    widget.resize(widget.width(), 640)
    return widget


def window_without_password() -> QWidget:
    """Return the window with a profile that uses SSO."""
    own = replace(OFFICE, sign_in=SignIn.SSO, method=Method.NEGOTIATE)
    return _window(IconState.OK, structs.replace(STATUS, profile=own, profiles=(own,)))


def failed_check_panel() -> QWidget:
    """Return the panel of a failed test."""
    return _check_panel(FAILED_STEPS)


def snoozed_check_panel() -> QWidget:
    """Return the panel of a test that failed because a sign-in is needed first."""
    return _check_panel(SNOOZED_STEPS)


def check_panel() -> QWidget:
    """Return the panel of a successful test."""
    return _check_panel(STEPS)


def menu() -> QWidget:
    """Return the menu while a sign-in is needed."""
    return _menu(IconState.SIGNIN, NEEDED, has_prompt=True)


PICTURES: dict[str, Callable[[], QWidget]] = {
    "sign-in": sign_in,
    "sign-in-rejected": rejected,
    "sign-in-downgrade": downgrade,
    "sign-in-renamed": renamed,
    "sign-in-hostile": hostile,
    "window": window,
    "window-without-password": window_without_password,
    "window-port-taken": window_with_port_taken,
    "window-advanced": window_with_all_fields,
    "test": check_panel,
    "test-failed": failed_check_panel,
    "test-snoozed": snoozed_check_panel,
    "menu": menu,
    "menu-port-taken": menu_with_port_taken,
}


def save_pictures(folder: Path, scheme: str) -> None:
    """Save all pictures in one colour scheme."""
    for name, make in PICTURES.items():
        widget = make()
        widget.show()
        widget.activateWindow()
        # Layout, painting and focus changes may need several iterations of the event loop.
        for _ in range(20):
            QApplication.processEvents()
        assert widget.grab().save(str(folder / f"{name}-{scheme}.png"))
        widget.hide()


if __name__ == "__main__":
    application = QApplication(sys.argv)
    for colours in (Qt.ColorScheme.Light, Qt.ColorScheme.Dark):
        application.styleHints().setColorScheme(colours)
        save_pictures(Path(sys.argv[1]), colours.name.lower())
