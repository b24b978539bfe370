"""Tests for *Copy settings for* and the window of the recipes, with the real command."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QApplication, QListWidget, QPlainTextEdit, QPushButton
from pytestqt.qtbot import QtBot

from tests.support.processes import Home
from tests.ui.named_widgets import child, label
from trayproxy.ui.action_signals import ActionSignals
from trayproxy.ui.copy_settings import RecipeActions
from trayproxy.ui.recipe_commands import RecipeCommands, RecipeReply, RecipeView
from trayproxy.ui.recipes_window import RecipesWindow

LONG = 20_000
"""Milliseconds; the command is a process of its own."""
GITCONFIG = "[user]\n\tname = J. Doe\n"


@pytest.fixture
def gitconfig(place: Home, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of Git in a home of its own, which the commands use."""
    for name, value in place.trayproxy_environment().items():
        monkeypatch.setenv(name, value)
    path = place.root / "Büro" / ".gitconfig"
    path.parent.mkdir()
    monkeypatch.setenv("HOME", str(path.parent))
    path.write_text(GITCONFIG, "utf-8")
    return path


@pytest.fixture
def window(gitconfig: Path, qtbot: QtBot) -> Iterator[RecipesWindow]:
    """The window with the recipe for Git."""
    commands = RecipeCommands()
    window = RecipesWindow(commands)
    qtbot.addWidget(window)
    window.present("git")
    qtbot.waitUntil(lambda: "git config" in text(window), timeout=LONG)
    yield window
    commands.close()


def text(window: RecipesWindow) -> str:
    return child(window, QPlainTextEdit, "recipe_text").toPlainText()


def button(window: RecipesWindow, name: str) -> QPushButton:
    return child(window, QPushButton, f"{name}_recipe")


def entry(window: RecipesWindow) -> str:
    item = child(window, QListWidget, "recipe_list").currentItem()
    return item.text() if item is not None else ""


def test_a_recipe_is_copied_applied_and_undone(
    window: RecipesWindow, gitconfig: Path, qtbot: QtBot
) -> None:
    copy, apply, undo = (button(window, name) for name in ("copy", "apply", "undo"))
    assert (copy.isEnabled(), apply.isEnabled(), undo.isEnabled()) == (True, True, False)
    assert str(gitconfig) in text(window)
    assert label(window, "recipe_notes").startswith("A proxy that a repository sets")
    copy.click()
    copied = QGuiApplication.clipboard().text()
    assert copied == "git config --global http.proxy http://127.0.0.1:3128\n"
    apply.click()
    assert not apply.isEnabled()
    qtbot.waitUntil(lambda: entry(window) == "Git — on", timeout=LONG)
    assert "proxy = http://127.0.0.1:3128" in gitconfig.read_text("utf-8")
    qtbot.waitUntil(undo.isEnabled)
    assert label(window, "recipe_message").startswith("Done.")
    undo.click()
    qtbot.waitUntil(lambda: entry(window) == "Git", timeout=LONG)
    assert gitconfig.read_text("utf-8") == GITCONFIG


def test_a_file_that_is_left_alone_is_named(
    window: RecipesWindow, gitconfig: Path, qtbot: QtBot
) -> None:
    gitconfig.write_text("[http", "utf-8")
    button(window, "apply").click()
    qtbot.waitUntil(lambda: "TP-610" in label(window, "recipe_message"), timeout=LONG)
    assert str(gitconfig) in label(window, "recipe_message").replace("\u200b", "")
    assert gitconfig.read_text("utf-8") == "[http"


def test_settings_with_old_values_are_selected_and_applied_again(qtbot: QtBot) -> None:
    recipes = [
        RecipeView("curl", "curl", ("~/.curlrc",)),
        RecipeView("git", "Git", ("~/.gitconfig",), "outdated", notes=("A note.",)),
    ]
    output = msgspec.json.encode({"recipes": recipes}).decode()
    window = RecipesWindow(RecipeCommands(make_command=lambda *arguments: ["echo", output]))
    qtbot.addWidget(window)
    window.present()
    qtbot.waitUntil(lambda: entry(window) == "Git — on, with old values")
    apply = button(window, "apply")
    assert (apply.text(), apply.isEnabled()) == ("Apply again", True)
    notes = label(window, "recipe_notes")
    assert notes.startswith("The program uses old values, such as an earlier port.")
    assert notes.endswith("\nA note.")
    child(window, QListWidget, "recipe_list").setCurrentRow(0)
    assert apply.text() == "Apply"


@pytest.fixture
def actions(gitconfig: Path) -> Iterator[ActionSignals]:
    actions = ActionSignals()
    recipes = RecipeActions(actions)
    yield actions
    recipes.close()


def test_the_menu_copies_the_settings_for_a_program(actions: ActionSignals, qtbot: QtBot) -> None:
    QGuiApplication.clipboard().clear()
    actions.copy_settings.emit("git")
    qtbot.waitUntil(lambda: bool(QGuiApplication.clipboard().text()), timeout=LONG)
    assert QGuiApplication.clipboard().text().startswith("git config --global http.proxy ")


def shown_window() -> RecipesWindow | None:
    found = (w for w in QApplication.topLevelWidgets() if isinstance(w, RecipesWindow))
    return next((window for window in found if window.isVisible()), None)


def test_a_program_without_settings_to_copy_is_explained(
    actions: ActionSignals, qtbot: QtBot
) -> None:
    # Docker Engine on Linux has only notes.
    actions.copy_settings.emit("docker")
    qtbot.waitUntil(lambda: shown_window() is not None, timeout=LONG)


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (["/nowhere/trayproxy"], "No such file"),
        (["false"], "“trayproxy recipe” has failed"),
        (["echo", "garbage"], "“trayproxy recipe” has failed"),
    ],
)
def test_a_command_that_fails_is_reported(qtbot: QtBot, program: list[str], message: str) -> None:
    replies: list[RecipeReply] = []
    commands = RecipeCommands(make_command=lambda *arguments: program)
    for _ in range(2):
        commands.run((), replies.append)
    qtbot.waitUntil(lambda: len(replies) == 2)
    for reply in replies:
        assert not reply.is_done
        assert message in reply.message
