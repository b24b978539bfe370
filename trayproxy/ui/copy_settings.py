"""*Copy settings for*: the submenu of the tray menu, and its actions (ux §3.2, §3.9)."""

import os
from collections.abc import Iterator
from pathlib import PurePath
from typing import TYPE_CHECKING

from PySide6.QtCore import QCoreApplication, QObject, Slot
from PySide6.QtGui import QAction, QGuiApplication

from trayproxy.desktop.system_name import SystemName, system_name
from trayproxy.ui.action_signals import ActionSignals
from trayproxy.ui.menu_rows import MenuRows
from trayproxy.ui.widgets import named

if TYPE_CHECKING:
    from trayproxy.ui.recipe_commands import RecipeCommands, RecipeReply
    from trayproxy.ui.recipes_window import RecipesWindow

translate = QCoreApplication.translate

_SHELLS = {"bash": "bash", "zsh": "zsh", "fish": "fish", "nu": "nushell"}
_PROGRAMS = {
    "powershell": "PowerShell",
    "git": "git",
    "npm": "npm",
    "pip": "pip",
    "docker": "Docker",
}
"""The recipes in the menu, and their names there."""


class CopySettingsMenu(QObject):
    """The submenu *Copy settings for*."""

    def __init__(self, rows: MenuRows, actions: ActionSignals) -> None:
        """Add the submenu; the rows are also the Qt parent."""
        super().__init__(rows)
        self._actions = actions
        self._menu = rows.add_menu("copy_settings", translate("Tray", "Copy settings for"))
        for tool, text in (*_rows(), ("", translate("Tray", "All tools…"))):
            action = named(QAction(self), f"copy_settings_{tool or 'all'}")
            action.setData(tool)
            self._menu.addAction(action)
            rows.set_fixed_text(action, text)
        self._menu.triggered.connect(self._on_triggered)

    def set_visible(self, visible: bool) -> None:
        """Show or hide the submenu."""
        self._menu.menuAction().setVisible(visible)

    @Slot(QAction)
    def _on_triggered(self, action: QAction) -> None:
        tool = action.data()
        if tool:
            self._actions.copy_settings.emit(str(tool))
        else:
            self._actions.show_recipes.emit()


class RecipeActions(QObject):
    """Copies the settings for a program, and shows the window of the recipes."""

    def __init__(self, actions: ActionSignals, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._commands: RecipeCommands | None = None
        self._window: RecipesWindow | None = None
        actions.copy_settings.connect(self._copy)
        actions.show_recipes.connect(self._show)

    def close(self) -> None:
        """End a running command, and remove the window."""
        if self._commands is not None:
            self._commands.close()
        if self._window is not None:
            self._window.hide()
            self._window.deleteLater()
            self._window = None

    @Slot(str)
    def _copy(self, tool: str) -> None:
        self._get_commands().run((tool,), lambda reply: self._on_copy_reply(tool, reply))

    def _on_copy_reply(self, tool: str, reply: "RecipeReply") -> None:
        text = "".join(recipe.copyable for recipe in reply.recipes)
        if text:
            QGuiApplication.clipboard().setText(text)
        else:
            # The window shows why there is nothing to copy.
            self._get_window().show_message(reply.message)
            self._get_window().present(tool)

    @Slot()
    def _show(self) -> None:
        self._get_window().present()

    def _get_commands(self) -> "RecipeCommands":
        if self._commands is None:
            # Most users need neither the commands nor the window.
            from trayproxy.ui.recipe_commands import RecipeCommands

            self._commands = RecipeCommands(self)
        return self._commands

    def _get_window(self) -> "RecipesWindow":
        if self._window is None:
            from trayproxy.ui.recipes_window import RecipesWindow

            self._window = RecipesWindow(self._get_commands())
        return self._window


def _rows() -> Iterator[tuple[str, str]]:
    """Yield the recipes of the submenu: the name of the recipe, and the text of its row."""
    if system_name() is not SystemName.WINDOWS:
        shell = PurePath(os.environ.get("SHELL", "")).name
        yield _SHELLS.get(shell, "bash"), translate("Tray", "Terminal")
    yield from _PROGRAMS.items()
