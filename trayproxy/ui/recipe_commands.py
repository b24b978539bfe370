"""Runs ``trayproxy recipe`` in the background, for the menu and the window of the recipes.

The command reads and changes the files of other programs, and may wait for another process that
does so: the event loop of the user interface must not.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec
from msgspec import Struct
from PySide6.QtCore import QCoreApplication, QObject, QProcess, QProcessEnvironment, QTimer, Slot

from trayproxy.desktop.process import command, environment

translate = QCoreApplication.translate

TIMEOUT_MS = 60_000
"""Milliseconds after which a command that does not end is killed; it waits at most 20 s itself."""


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
    """Runs commands one after the other."""

    def __init__(
        self, parent: QObject | None = None, make_command: Callable[..., list[str]] = command
    ) -> None:
        """Create the queue.

        Args:
            parent: The Qt parent.
            make_command: Returns the command line for arguments of ``trayproxy``.
        """
        super().__init__(parent)
        self._make_command = make_command
        self._queue: list[tuple[Sequence[str], OnReply]] = []
        self._on_reply: OnReply | None = None
        self._timer = QTimer(self, singleShot=True, interval=TIMEOUT_MS)
        self._process = QProcess(self)
        variables = QProcessEnvironment()
        # The output has the encoding of the locale otherwise.
        encoding = {"PYTHONIOENCODING": "utf-8"}
        for name, value in (environment(os.environ) | encoding).items():
            variables.insert(name, value)
        self._process.setProcessEnvironment(variables)
        self._process.setStandardInputFile(QProcess.nullDevice())
        self._process.finished.connect(self._on_finished)
        self._process.errorOccurred.connect(self._on_error)
        self._timer.timeout.connect(self._process.kill)

    def run(self, arguments: Sequence[str], on_reply: OnReply) -> None:
        """Run ``trayproxy recipe ARGUMENTS --json``, and pass its result to a function."""
        self._queue.append((arguments, on_reply))
        self._start_soon()

    def close(self) -> None:
        """End the running command, and forget the others."""
        self._queue.clear()
        self._on_reply = None
        if self._process.state() is not QProcess.ProcessState.NotRunning:
            self._process.kill()
            self._process.waitForFinished(1000)

    @Slot()
    def _start_next(self) -> None:
        if self._on_reply is None and self._queue:
            arguments, self._on_reply = self._queue.pop(0)
            program, *rest = self._make_command("recipe", *arguments, "--json")
            self._timer.start()
            self._process.start(program, rest)

    @Slot()
    def _on_finished(self) -> None:
        output = bytes(self._process.readAllStandardOutput().data())
        message = bytes(self._process.readAllStandardError().data()).decode("utf-8", "replace")
        is_done = (
            self._process.exitStatus() is QProcess.ExitStatus.NormalExit
            and self._process.exitCode() == 0
        )
        try:
            recipes = msgspec.json.decode(output, type=_Output).recipes if output else ()
        except msgspec.MsgspecError:
            recipes, is_done = (), False
        if not is_done and not message.strip():
            message = translate("Recipes", "The command “trayproxy recipe” has failed.")
        self._reply(RecipeReply(recipes, message.strip(), is_done))

    @Slot(QProcess.ProcessError)
    def _on_error(self, error: QProcess.ProcessError) -> None:
        # After other errors, `finished` is emitted.
        if error is QProcess.ProcessError.FailedToStart:
            self._reply(RecipeReply((), self._process.errorString(), is_done=False))

    def _reply(self, reply: RecipeReply) -> None:
        self._timer.stop()
        on_reply, self._on_reply = self._on_reply, None
        if on_reply is not None:
            on_reply(reply)
        self._start_soon()

    def _start_soon(self) -> None:
        # A process cannot be started by a slot of its signals.
        QTimer.singleShot(0, self, self._start_next)
