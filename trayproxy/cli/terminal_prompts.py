"""Show prompts at the terminal in which ``trayproxy run`` was started.

The terminal is a front end with its own thread and a blocking client; waiting for input does not
block the service. The same prompt may be open in the tray; the first answer closes the prompt in
both.
"""

import logging
import os
import select
import socket
import threading
from collections.abc import Callable
from time import monotonic

from trayproxy.auth.login import Login
from trayproxy.cli import prompt_text as show
from trayproxy.cli.output import printable_line
from trayproxy.control.client import Client, DisconnectedError, NoReplyError, connect
from trayproxy.control.messages import (
    AnswerPrompt,
    DeclinePrompt,
    Failed,
    KeepPromptOpen,
    PromptChanged,
    PromptClosed,
    Quitting,
    Status,
    Subscribe,
)
from trayproxy.control.transport import ControlError, NotRunningError
from trayproxy.desktop.terminal import AbandonedError, Terminal, open_terminal
from trayproxy.domain.signin import Ending, Prompt, Snooze
from trayproxy.paths import Paths

logger = logging.getLogger(__name__)

_RETRY_INTERVAL_S = 0.05
"""The interval of connection attempts while the service starts in this process."""
_NAME_TIMEOUT_S = 1.0
"""The time for which a prompt is held back until the service has found the name of the waiting
program, because printed lines cannot be changed. Finding the name usually takes a few
milliseconds."""
_STOP_TIMEOUT_S = 2.0
"""The time for which `TerminalPrompts.stop` waits until the terminal's mode is restored."""

_ENDING_TEXTS = {
    Ending.ACCEPTED: "Signed in.",
    Ending.DECLINED: "Not signed in; programs get an error for a while.",
    Ending.ABANDONED: "No program is waiting for this any more.",
    Ending.WITHDRAWN: "This question was withdrawn.",
}


class _StoppedError(Exception):
    """The service ends, so no prompt is shown any more."""


class TerminalPrompts:
    """Shows prompts at the terminal, from `start` to `stop`.

    Attributes:
        is_settled: Set after the terminal can show prompts, or after it has failed to.
    """

    def __init__(
        self,
        paths: Paths,
        make_terminal: Callable[[], Terminal] = open_terminal,
        pid: int | None = None,
    ) -> None:
        """Set the service and the terminal; nothing is opened.

        Args:
            paths: The paths of the service.
            make_terminal: Opens the terminal; called on this front end's thread.
            pid: The process id of the service; None for this process. The prompts of another
                service at the same paths are not shown.
        """
        self._paths = paths
        self._open_terminal = make_terminal
        self._pid = os.getpid() if pid is None else pid
        self.is_settled = threading.Event()
        self._wake, self._waker = socket.socketpair()
        self._thread = threading.Thread(target=self._run, name="terminal", daemon=True)

    def start(self) -> None:
        """Start the thread, which connects to the service and shows its prompts."""
        self._thread.start()

    def stop(self) -> None:
        """Stop showing prompts, and restore the terminal's mode."""
        self._waker.close()
        self._thread.join(_STOP_TIMEOUT_S)
        self._wake.close()

    def _run(self) -> None:
        try:
            terminal = self._open_terminal()
        except OSError as error:
            logger.warning("no terminal for prompts: %s", error)
            self.is_settled.set()
            return
        try:
            while not self._serve_connection(terminal):
                if select.select([self._wake], [], [], _RETRY_INTERVAL_S)[0]:
                    return
        except (_StoppedError, DisconnectedError, NoReplyError):
            # The service has ended, so its prompts have closed.
            return
        except (ControlError, OSError) as error:
            logger.warning("the terminal shows no more prompts: %s", error)
        finally:
            self.is_settled.set()
            terminal.close()

    def _serve_connection(self, terminal: Terminal) -> bool:
        """Show prompts until the service ends; return False if the service is not running yet."""
        try:
            client = connect(self._paths)
        except NotRunningError:
            return False
        with client:
            client.hello("terminal", can_prompt=True)
            reply = client.request(Subscribe())
            if not isinstance(reply, Status) or reply.pid != self._pid:
                return False
            self.is_settled.set()
            _PromptSession(terminal, client, self._wake.fileno()).run()
        return True


class _PromptSession:
    """The prompts of one connection to the service."""

    def __init__(self, terminal: Terminal, client: Client, wake: int) -> None:
        self._terminal = terminal
        self._client = client
        self._wake = wake
        self._open: dict[int, Prompt] = {}
        self._answered: dict[int, Prompt] = {}
        """The prompts as answered; a prompt with a new reason is shown again."""
        self._first_received: dict[int, float] = {}
        """The time (monotonic clock) of the first receipt of a prompt without a program name."""
        self._non_ascii: set[int] = set()
        """The prompts with non-ASCII characters in the last answer: some proxies decode them
        differently."""

    def run(self) -> None:
        self._receive()
        while True:
            prompt = next(filter(self._needs_prompt, self._open.values()), None)
            if prompt is not None and (wait_s := self._name_wait_s(prompt)) <= 0:
                self._show_prompt(prompt)
                continue
            wait = None if prompt is None else wait_s
            select.select([self._client.fileno(), self._wake], [], [], wait)
            self._receive()

    def _name_wait_s(self, prompt: Prompt) -> float:
        """Return the seconds to wait for the name of the first waiting program."""
        if not prompt.programs or prompt.programs[0].name:
            return 0.0
        first_received = self._first_received.setdefault(prompt.number, monotonic())
        return first_received + _NAME_TIMEOUT_S - monotonic()

    def _needs_prompt(self, prompt: Prompt) -> bool:
        return not prompt.checking and prompt.number not in self._answered

    # Messages from the service.

    def _receive(self) -> None:
        if select.select([self._wake], [], [], 0)[0]:
            raise _StoppedError
        for envelope in self._client.receive_ready():
            match envelope.message:
                case PromptChanged(prompt):
                    self._on_prompt_changed(prompt)
                case PromptClosed(number, ending):
                    self._on_prompt_closed(number, ending)
                case Quitting():
                    raise _StoppedError

    def _on_prompt_changed(self, prompt: Prompt) -> None:
        before = self._open.get(prompt.number)
        self._open[prompt.number] = prompt
        if prompt.checking and (before is None or not before.checking):
            self._write_lines("Signing in…")
        answered = self._answered.get(prompt.number)
        if answered is None or prompt.checking:
            return
        was_checked = before is not None and before.checking
        if was_checked or _rejection(answered) != _rejection(prompt):
            del self._answered[prompt.number]

    def _on_prompt_closed(self, number: int, ending: Ending) -> None:
        self._answered.pop(number, None)
        self._first_received.pop(number, None)
        if self._open.pop(number, None) is not None:
            self._write_lines(_ENDING_TEXTS[ending])

    # Input from the user.

    def _show_prompt(self, prompt: Prompt) -> None:
        hint = show.encoding_hint(prompt) if prompt.number in self._non_ascii else ""
        self._write_lines("", *show.prompt_lines(prompt), *([hint] if hint else []))
        try:
            message = self._read_answer(prompt)
        except AbandonedError:
            return
        except UnicodeDecodeError:
            self._write_lines("This terminal does not send UTF-8. Try again.")
            return
        self._answered[prompt.number] = prompt
        reply = self._client.request(message)
        if isinstance(reply, Failed):
            del self._answered[prompt.number]
            title, body = reply.problem.title, reply.problem.body
            self._write_lines(f"{printable_line(title)}. {printable_line(body)}")
        self._receive()

    def _read_answer(self, prompt: Prompt) -> AnswerPrompt | DeclinePrompt:
        while (login := self._read_login(prompt)) is not None:
            # As in the dialog, a login that is not tried can be replaced by another login.
            if prompt.confirm_retry and not self._confirms(
                prompt, "Try anyway? [y/N] ", default=False
            ):
                continue
            self._non_ascii.discard(prompt.number)
            if not f"{login.user}{login.password}".isascii():
                self._non_ascii.add(prompt.number)
            return AnswerPrompt(prompt.number, login, self._wants_remembered(prompt))
        return DeclinePrompt(prompt.number, Snooze.A_MINUTE)

    def _read_login(self, prompt: Prompt) -> Login | None:
        """Return the entered login; None if the user declines the prompt by an empty input."""
        suggested = printable_line(prompt.user)
        label = f"User name [{suggested}]: " if suggested else "User name (empty: not now): "
        user = self._read_line(prompt, label)
        if user is None or not (user.strip() or prompt.user):
            return None
        self._client.request(KeepPromptOpen(prompt.number))
        password = self._read_line(prompt, "Password (empty: not now): ", hidden=True)
        return Login(user.strip() or prompt.user, password) if password else None

    def _wants_remembered(self, prompt: Prompt) -> bool:
        if reason := show.remember_unavailable(prompt.keyring):
            self._write_lines(reason)
            return False
        label = f"Remember in {_keyring_in_sentence(prompt)}? [Y/n] "
        return self._confirms(prompt, label, default=True)

    def _confirms(self, prompt: Prompt, label: str, *, default: bool) -> bool:
        line = (self._read_line(prompt, label) or "").strip().lower()
        return line.startswith("y") if line else default

    def _read_line(self, prompt: Prompt, label: str, *, hidden: bool = False) -> str | None:
        def is_wanted() -> bool:
            self._receive()
            now = self._open.get(prompt.number)
            return now is not None and not now.checking

        watch = [self._client.fileno(), self._wake]
        return self._terminal.read_line(label, hidden=hidden, watch=watch, is_wanted=is_wanted)

    def _write_lines(self, *lines: str) -> None:
        self._terminal.write("".join(f"{line}\n" for line in lines))


def _rejection(prompt: Prompt) -> tuple[object, ...]:
    return prompt.reason, prompt.rejections


def _keyring_in_sentence(prompt: Prompt) -> str:
    name = show.keyring_name(prompt.keyring)
    return name[0].lower() + name[1:] if not prompt.keyring.name else name
