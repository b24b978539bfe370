"""The terminal as a face: it asks the service's questions where ``trayproxy run`` was started.

A thread with a blocking client of its own, so that a person who thinks holds up nothing. The same
question may be open in the tray; whoever answers first ends it for both.
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
from trayproxy.control.client import (
    Client,
    DisconnectedError,
    NoReplyError,
    ServiceRefusedError,
    connect,
)
from trayproxy.control.codec import ProtocolError
from trayproxy.control.messages import (
    AnswerPrompt,
    DeclinePrompt,
    Ending,
    Failed,
    KeepPromptOpen,
    Prompt,
    PromptChanged,
    PromptClosed,
    Quitting,
    Reply,
    Request,
    Snooze,
    Status,
    Subscribe,
)
from trayproxy.control.transport import NotRunningError, UntrustedPeerError
from trayproxy.desktop.terminal import AbandonedError, Terminal, open_terminal
from trayproxy.paths import Paths

logger = logging.getLogger(__name__)

_TRY_AGAIN_S = 0.05
"""While the service starts, in this very process."""
_NAME_S = 1.0
"""How long a question waits, before it is printed, for the service to find out which program waits:
printed lines cannot be changed. Finding the name takes some milliseconds on a calm computer."""
_END_S = 2.0
"""How long `TerminalPrompts.stop` waits for the terminal to be left as it was found."""

_CLOSED = {
    Ending.ACCEPTED: "Signed in.",
    Ending.DECLINED: "Not signed in; programs get an error for a while.",
    Ending.ABANDONED: "Nobody waits for this any more.",
    Ending.WITHDRAWN: "This question was withdrawn.",
}


class _StoppedError(Exception):
    """The service ends."""


class TerminalPrompts:
    """Asks at the terminal, from `start` to `stop`.

    Attributes:
        is_settled: Set once it can ask, or knows that it cannot.
    """

    def __init__(
        self, paths: Paths, open_it: Callable[[], Terminal] = open_terminal, pid: int | None = None
    ) -> None:
        """Name the service; nothing is opened.

        Args:
            paths: Where the service is.
            open_it: Opens the terminal, in the thread of this face.
            pid: The service's process id; None: this process's. Another service that runs in the
                same place is not ours to ask for.
        """
        self._paths = paths
        self._open = open_it
        self._pid = os.getpid() if pid is None else pid
        self.is_settled = threading.Event()
        self._wake, self._waker = socket.socketpair()
        self._thread = threading.Thread(target=self._run, name="terminal", daemon=True)

    def start(self) -> None:
        """Ask from now on; waits for the service by itself."""
        self._thread.start()

    def stop(self) -> None:
        """Ask no more, and leave the terminal as it was found."""
        self._waker.close()
        self._thread.join(_END_S)
        self._wake.close()

    def _run(self) -> None:
        try:
            terminal = self._open()
        except OSError as error:
            logger.warning("no terminal to ask at: %s", error)
            self.is_settled.set()
            return
        try:
            while not self._talk(terminal):
                if select.select([self._wake], [], [], _TRY_AGAIN_S)[0]:
                    return
        except (_StoppedError, DisconnectedError, NoReplyError):
            # The service has ended, and with it what there was to ask.
            return
        except (UntrustedPeerError, ServiceRefusedError, ProtocolError, OSError) as error:
            logger.warning("the terminal asks no more: %s", error)
        finally:
            self.is_settled.set()
            terminal.close()

    def _talk(self, terminal: Terminal) -> bool:
        """Ask until the service ends; return False at once if it is not there yet."""
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
            _Conversation(terminal, client, self._wake.fileno()).hold()
        return True


class _Conversation:
    """The questions of one connection."""

    def __init__(self, terminal: Terminal, client: Client, wake: int) -> None:
        self._terminal = terminal
        self._client = client
        self._wake = wake
        self._open: dict[int, Prompt] = {}
        self._answered: dict[int, Prompt] = {}
        """What was asked when it was answered; asked again when that has changed."""
        self._opened: dict[int, float] = {}
        """When each question that named no program was first received, on the monotonic clock."""
        self._beyond_ascii: set[int] = set()
        """The questions whose last answer had letters that not all proxies read alike."""

    def hold(self) -> None:
        self._receive()
        while True:
            question = next(filter(self._is_for_us, self._open.values()), None)
            if question is not None and (left := self._left_to_name(question)) <= 0:
                self._ask(question)
                continue
            wait = None if question is None else left
            select.select([self._client.fileno(), self._wake], [], [], wait)
            self._receive()

    def _left_to_name(self, question: Prompt) -> float:
        """Return for how many seconds to wait for the name of the first waiting program."""
        if not question.programs or question.programs[0].name:
            return 0.0
        return self._opened.setdefault(question.number, monotonic()) + _NAME_S - monotonic()

    def _is_for_us(self, question: Prompt) -> bool:
        return not question.checking and question.number not in self._answered

    # What comes from the service.

    def _receive(self) -> None:
        if select.select([self._wake], [], [], 0)[0]:
            raise _StoppedError
        for envelope in self._client.receive_ready():
            match envelope.message:
                case PromptChanged(question):
                    self._changed(question)
                case PromptClosed(number, ending):
                    self._closed(number, ending)
                case Quitting():
                    raise _StoppedError

    def _changed(self, question: Prompt) -> None:
        before = self._open.get(question.number)
        self._open[question.number] = question
        if question.checking and (before is None or not before.checking):
            self._say("Signing in…")
        answered = self._answered.get(question.number)
        was_checked = before is not None and before.checking
        if (
            answered
            and not question.checking
            and (was_checked or _reason(answered) != _reason(question))
        ):
            del self._answered[question.number]

    def _closed(self, number: int, ending: Ending) -> None:
        self._answered.pop(number, None)
        self._opened.pop(number, None)
        if self._open.pop(number, None) is not None:
            self._say(_CLOSED[ending])

    def _request(self, message: Request) -> Reply:
        return self._client.request(message)

    # What comes from the person.

    def _ask(self, question: Prompt) -> None:
        hint = show.encoding(question) if question.number in self._beyond_ascii else ""
        self._say("", *show.lines(question), *([hint] if hint else []))
        try:
            message = self._answer(question)
        except AbandonedError:
            return
        except UnicodeDecodeError:
            self._say("This terminal does not send UTF-8. Try again.")
            return
        self._answered[question.number] = question
        reply = self._request(message)
        if isinstance(reply, Failed):
            del self._answered[question.number]
            self._say(
                f"{printable_line(reply.problem.title)}. {printable_line(reply.problem.body)}"
            )
        self._receive()

    def _answer(self, question: Prompt) -> AnswerPrompt | DeclinePrompt:
        decline = DeclinePrompt(question.number, Snooze.A_MINUTE)
        if question.confirm_retry and not self._agrees(
            question, "Try anyway? [y/N] ", default=False
        ):
            return decline
        suggested = printable_line(question.user)
        prompt = f"User name [{suggested}]: " if suggested else "User name (empty: not now): "
        user = self._line(question, prompt)
        if user is None or not (user.strip() or question.user):
            return decline
        self._request(KeepPromptOpen(question.number))
        password = self._line(question, "Password (empty: not now): ", hidden=True)
        if not password:
            return decline
        login = Login(user.strip() or question.user, password)
        self._beyond_ascii.discard(question.number)
        if not f"{login.user}{login.password}".isascii():
            self._beyond_ascii.add(question.number)
        return AnswerPrompt(question.number, login, self._remembers(question))

    def _remembers(self, question: Prompt) -> bool:
        if reason := show.no_remembering(question.keyring):
            self._say(reason)
            return False
        return self._agrees(question, f"Remember in {_in(question)}? [Y/n] ", default=True)

    def _agrees(self, question: Prompt, prompt: str, *, default: bool) -> bool:
        line = (self._line(question, prompt) or "").strip().lower()
        return line.startswith("y") if line else default

    def _line(self, question: Prompt, prompt: str, *, hidden: bool = False) -> str | None:
        def is_wanted() -> bool:
            self._receive()
            now = self._open.get(question.number)
            return now is not None and not now.checking

        watch = [self._client.fileno(), self._wake]
        return self._terminal.read_line(prompt, hidden=hidden, watch=watch, is_wanted=is_wanted)

    def _say(self, *lines: str) -> None:
        self._terminal.write("".join(f"{line}\n" for line in lines))


def _reason(question: Prompt) -> tuple[object, ...]:
    return question.reason, question.rejections


def _in(question: Prompt) -> str:
    name = show.store(question.keyring)
    return name[0].lower() + name[1:] if not question.keyring.name else name
