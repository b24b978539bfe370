"""Runs commands of ``trayproxy`` as processes, for work that the event loop must not wait for.

A command may read many files, or wait for another process.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from PySide6.QtCore import QObject, QProcess, QProcessEnvironment, QTimer, Slot

from trayproxy.desktop.process import command, environment

TIMEOUT_MS = 60_000
"""Milliseconds after which a command that does not end is killed; it waits at most 20 s itself."""


@dataclass(frozen=True, slots=True)
class CommandOutput:
    """The result of a command.

    Attributes:
        octets: Its standard output.
        message: Its standard error, or why it could not be started. Untrusted.
        is_done: True if its exit code is 0.
    """

    octets: bytes
    message: str
    is_done: bool


OnOutput = Callable[[CommandOutput], object]


class BackgroundCommands(QObject):
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
        self._queue: list[tuple[Sequence[str], OnOutput]] = []
        self._on_output: OnOutput | None = None
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

    def run(self, arguments: Sequence[str], on_output: OnOutput) -> None:
        """Run ``trayproxy ARGUMENTS``, and pass its result to a function."""
        self._queue.append((arguments, on_output))
        self._start_soon()

    def close(self) -> None:
        """End the running command, and forget the others."""
        self._queue.clear()
        self._on_output = None
        if self._process.state() is not QProcess.ProcessState.NotRunning:
            self._process.kill()
            self._process.waitForFinished(1000)

    @Slot()
    def _start_next(self) -> None:
        if self._on_output is None and self._queue:
            arguments, self._on_output = self._queue.pop(0)
            program, *rest = self._make_command(*arguments)
            self._timer.start()
            self._process.start(program, rest)

    @Slot()
    def _on_finished(self) -> None:
        octets = bytes(self._process.readAllStandardOutput().data())
        message = bytes(self._process.readAllStandardError().data()).decode("utf-8", "replace")
        is_done = (
            self._process.exitStatus() is QProcess.ExitStatus.NormalExit
            and self._process.exitCode() == 0
        )
        self._reply(CommandOutput(octets, message.strip(), is_done))

    @Slot(QProcess.ProcessError)
    def _on_error(self, error: QProcess.ProcessError) -> None:
        # After other errors, `finished` is emitted.
        if error is QProcess.ProcessError.FailedToStart:
            self._reply(CommandOutput(b"", self._process.errorString(), is_done=False))

    def _reply(self, output: CommandOutput) -> None:
        self._timer.stop()
        on_output, self._on_output = self._on_output, None
        if on_output is not None:
            on_output(output)
        self._start_soon()

    def _start_soon(self) -> None:
        # A process cannot be started by a slot of its signals.
        QTimer.singleShot(0, self, self._start_next)
