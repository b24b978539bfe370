"""Saves pictures of every window, light and dark, to a folder. Run this on an X server."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from msgspec import structs
from PySide6.QtCore import QPoint, Qt
from PySide6.QtWidgets import QApplication, QMessageBox, QWidget

from tests.ui.fake_service import NEEDED, OFFICE, PROMPT, STATUS, STEPS
from trayproxy.control.icon_state import IconState
from trayproxy.control.messages import (
    CheckResult,
    ListenerState,
    Status,
    Step,
    StepState,
    SystemProxyState,
    SystemProxyStatus,
    UseSystemProxy,
)
from trayproxy.domain.problem import Problem
from trayproxy.domain.signin import KeyringState, KeyringStatus, PromptReason
from trayproxy.profiles.pac_source import PacKind, PacSource
from trayproxy.profiles.profile import Encoding, Method, Profile, SignIn
from trayproxy.ui.action_signals import ActionSignals
from trayproxy.ui.check_panel import CheckPanel
from trayproxy.ui.devices_dialog import DevicesDialog
from trayproxy.ui.menu import TrayMenu
from trayproxy.ui.profiles_window import ProfilesWindow
from trayproxy.ui.quit_question import quit_box
from trayproxy.ui.recipe_commands import (
    OnReply,
    RecipeCommands,
    RecipeFile,
    RecipeReply,
    RecipeView,
)
from trayproxy.ui.recipes_window import RecipesWindow
from trayproxy.ui.settings_search import FoundPasswordView, FoundSettingsView
from trayproxy.ui.sign_in_dialog import SignInDialog

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
SYSTEM_PROXY_CHANGED = structs.replace(
    STATUS, system_proxy=SystemProxyStatus(SystemProxyState.CHANGED, value="10.0.0.1:8888")
)
BUSY = structs.replace(STATUS, active=3, system_proxy=SystemProxyStatus(SystemProxyState.ON))
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
        *(
            Step(name, StepState.NOT_TRIED)
            for name in ("encryption", "challenge", "sign-in", "fetch")
        ),
    )
)


def _window(state: IconState, status: Status) -> ProfilesWindow:
    widget = ProfilesWindow(ActionSignals())
    widget.has_tray = True
    widget.show_state(state, status)
    return widget


def _check_panel(result: CheckResult) -> QWidget:
    widget = CheckPanel(OFFICE, ActionSignals())
    widget.start()
    widget.show_reply(widget.request, result)
    return widget


def _menu(state: IconState, status: Status, *, has_prompt: bool = False) -> QWidget:
    widget = TrayMenu(ActionSignals(), QApplication.instance())
    widget.update(state, status, has_prompt=has_prompt)
    widget.menu.popup(QPoint(0, 0))
    return widget.menu


def _window_of(profile: Profile) -> ProfilesWindow:
    return _window(IconState.OK, structs.replace(STATUS, profile=profile, profiles=(profile,)))


def _window_with_all_fields() -> QWidget:
    widget = _window_of(replace(OFFICE, encoding=Encoding.LATIN_1))
    widget.resize(widget.width(), 640)
    return widget


AUTOMATIC = replace(
    OFFICE, upstream=None, pac=PacSource(PacKind.URL, "https://pac.corp.example/proxy.pac")
)


AUTOMATIC_STEPS = CheckResult(
    (
        Step("script", StepState.OK, "https://pac.corp.example/proxy.pac", 31.0),
        Step("answer", StepState.OK, "http://proxy.corp.example:8080; direct", 2.0),
        *STEPS.steps,
    ),
    OFFICE,
)


def _first_profile() -> QWidget:
    """Return the window without a profile, with the settings of other programs."""
    window = _window(IconState.READY, structs.replace(STATUS, profile=None, profiles=()))
    px = FoundSettingsView(
        "Px",
        "/home/jdoe/.config/px/px.ini",
        "new",
        "proxy.corp.example",
        ("http://proxy.corp.example:8080",),
        "",
        "CORP\\jdoe",
        SignIn.PASSWORD,
        Method.NTLM,
        (),
        FoundPasswordView("clear text", "/home/jdoe/.config/px/px.ini", 7),
        (),
    )
    script = structs.replace(
        px, title="the system settings", upstreams=(), pac="http://pac.corp.example/proxy.pac"
    )
    window.show_found([px, script])
    return window


def _leftover_question() -> QWidget:
    window = _window(IconState.OK, STATUS)
    problem = Problem(
        "TP-605",
        "The present system proxy does not work",
        "Programs use 127.0.0.1:8888 now, and nothing answers there. It was perhaps left by "
        "Fiddler or Charles. Forget it, or keep it to get it back when TrayProxy is turned off.",
    )
    window.ask_leftover(UseSystemProxy(True), problem)
    box = window.findChild(QMessageBox)
    assert box is not None
    return box


GIT = RecipeView(
    "git",
    "Git",
    ("/home/jdoe/.gitconfig",),
    "applied",
    set=("git config --global http.proxy http://127.0.0.1:3128",),
    undo=("git config --global --unset http.proxy",),
    files=(RecipeFile("/home/jdoe/.gitconfig", "[http]\n\tproxy = http://127.0.0.1:3128\n"),),
    notes=("A proxy that a repository sets in its own configuration has precedence.",),
)
HOSTILE_RECIPE = RecipeView(
    "x", "<b>" + "W" * 60, ("/x",), "unknown", "“\u202efgp” " + "W" * 200, ("R&D " * 60,)
)


class _RecipeOutput(RecipeCommands):
    """Replies with the recipes above."""

    def run(self, arguments: Sequence[str], on_reply: OnReply) -> None:
        recipes = (GIT, HOSTILE_RECIPE, *(RecipeView(f"t{n}", f"Tool {n}") for n in range(30)))
        on_reply(RecipeReply(recipes, "", is_done=True))


def recipes_window(tool: str) -> QWidget:
    window = RecipesWindow(_RecipeOutput(QApplication.instance()))
    window.present(tool)
    return window


def devices_dialog() -> QWidget:
    dialog = DevicesDialog()
    dialog.present(structs.replace(STATUS, devices=("192.168.1.0/24", "10.0.0.7")))
    return dialog


PICTURES: dict[str, Callable[[], QWidget]] = {
    "sign-in": lambda: SignInDialog(PROMPT),
    "sign-in-rejected": lambda: SignInDialog(
        structs.replace(PROMPT, reason=PromptReason.TYPED_REJECTED, rejections=2)
    ),
    "sign-in-downgrade": lambda: SignInDialog(
        structs.replace(PROMPT, reason=PromptReason.DOWNGRADE, before="Negotiate")
    ),
    "sign-in-renamed": lambda: SignInDialog(RENAMED),
    "sign-in-hostile": lambda: SignInDialog(HOSTILE),
    "window": lambda: _window(IconState.OK, STATUS),
    "window-without-password": lambda: _window_of(
        replace(OFFICE, sign_in=SignIn.SSO, method=Method.NEGOTIATE)
    ),
    "window-port-taken": lambda: _window(IconState.STOPPED, PORT_TAKEN),
    "window-advanced": _window_with_all_fields,
    "window-automatic": lambda: _window_of(AUTOMATIC),
    "window-first-profile": _first_profile,
    "test-automatic": lambda: _check_panel(AUTOMATIC_STEPS),
    "test": lambda: _check_panel(STEPS),
    "test-failed": lambda: _check_panel(FAILED_STEPS),
    "test-snoozed": lambda: _check_panel(SNOOZED_STEPS),
    "menu": lambda: _menu(IconState.SIGNIN, NEEDED, has_prompt=True),
    "menu-port-taken": lambda: _menu(IconState.STOPPED, PORT_TAKEN),
    "menu-system-proxy-changed": lambda: _menu(IconState.OK, SYSTEM_PROXY_CHANGED),
    "system-proxy-left-over": _leftover_question,
    "quit": lambda: quit_box(BUSY),
    "devices": devices_dialog,
    "recipes": lambda: recipes_window("git"),
    "recipes-hostile": lambda: recipes_window("x"),
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
