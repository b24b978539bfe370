"""Runs ``trayproxy recipe`` in the background, for the menu and the window of the recipes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec
from msgspec import Struct
from PySide6.QtCore import QCoreApplication, QObject

from trayproxy.desktop.process import command
from trayproxy.ui.background_commands import BackgroundCommands, CommandOutput

translate = QCoreApplication.translate


class RecipeFile(Struct, frozen=True):
    """A file that a recipe changes, and the text that it adds there."""

    path: str
    text: str


class RecipeView(Struct, frozen=True):
    """A recipe in the output of the command; see ``trayproxy recipe --json``.

    Attributes:
        tool: The name of the recipe.
        title: The name of the program.
        paths: The files that the recipe changes; without files, there are only lines to copy.
        state: Whether the program uses TrayProxy, a `trayproxy.recipes.apply.State`.
        reason: Why the state is unknown.
        set: The lines that make the program use TrayProxy.
        undo: The lines that undo `set`.
        files: The texts for the files.
        notes: Sentences about the recipe.
    """

    tool: str
    title: str
    paths: tuple[str, ...] = ()
    state: str = ""
    reason: str = ""
    set: tuple[str, ...] = ()
    undo: tuple[str, ...] = ()
    files: tuple[RecipeFile, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def copyable(self) -> str:
        """The text for the clipboard; empty if there is none on this computer."""
        if self.set:
            return "".join(f"{line}\n" for line in self.set)
        return "\n".join(file.text for file in self.files)


class _Output(Struct, frozen=True):
    recipes: tuple[RecipeView, ...] = ()


@dataclass(frozen=True, slots=True)
class RecipeReply:
    """The result of a command.

    Attributes:
        recipes: The recipes in its output.
        message: The text for the user; empty if there is none. Untrusted.
        is_done: False if the command has failed.
    """

    recipes: tuple[RecipeView, ...]
    message: str
    is_done: bool


OnReply = Callable[[RecipeReply], object]


class RecipeCommands(QObject):
    """Runs ``trayproxy recipe``, one command after the other."""

    def __init__(
        self, parent: QObject | None = None, make_command: Callable[..., list[str]] = command
    ) -> None:
        """Create the queue.

        Args:
            parent: The Qt parent.
            make_command: Returns the command line for arguments of ``trayproxy``.
        """
        super().__init__(parent)
        self._commands = BackgroundCommands(self, make_command)

    def run(self, arguments: Sequence[str], on_reply: OnReply) -> None:
        """Run ``trayproxy recipe ARGUMENTS --json``, and pass its result to a function."""
        words = ("recipe", *arguments, "--json")
        self._commands.run(words, lambda output: on_reply(_reply(output)))

    def close(self) -> None:
        """End the running command, and forget the others."""
        self._commands.close()


def _reply(output: CommandOutput) -> RecipeReply:
    message, is_done = output.message, output.is_done
    try:
        recipes = msgspec.json.decode(output.octets, type=_Output).recipes if output.octets else ()
    except msgspec.MsgspecError:
        recipes, is_done = (), False
    if not is_done and not message:
        message = translate("Recipes", "The command “trayproxy recipe” has failed.")
    return RecipeReply(recipes, message, is_done)
