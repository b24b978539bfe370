"""A front end for tests, with the reactions to prompts in a list.

The front end uses the real control protocol over the real socket, on its own thread.
"""

import os
import select
import socket
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from threading import Condition, Thread
from time import monotonic
from typing import TypeVar

from tests.support.closeable import Closeable
from tests.support.process_output import PATIENCE
from trayproxy.auth.login import Login
from trayproxy.control.address import control_address
from trayproxy.control.client import Client, DisconnectedError, NoReplyError
from trayproxy.control.codec import ProtocolError
from trayproxy.control.messages import (
    AnswerPrompt,
    DeclinePrompt,
    Done,
    Event,
    PromptChanged,
    PromptClosed,
    Reply,
    Request,
    Status,
    StatusChanged,
    Subscribe,
)
from trayproxy.domain.signin import Ending, Prompt, Snooze
from trayproxy.paths import Paths

T = TypeVar("T")

Reaction = Login | Snooze
"""The reaction to a prompt: a login, or a snooze."""


class FrontEnd(Closeable):
    """A front end that is connected to the service until `close`."""

    def __init__(
        self,
        paths: Paths,
        reactions: Iterable[Reaction] = (),
        *,
        remember: bool = True,
        can_prompt: bool = True,
    ) -> None:
        """Connect to the service.

        Args:
            reactions: The reactions to prompts, in order: one each time that a prompt opens or is
                shown again after a rejection. After the last reaction, prompts stay open.
            remember: True if logins are to be saved in the keyring.
            can_prompt: True if the front end can show prompts; False if it only observes.
        """
        self.remember = remember
        self._reactions = deque(reactions)
        self._answered: set[tuple[int, int]] = set()
        self._prompts: dict[int, list[Prompt]] = {}
        self._endings: dict[int, Ending] = {}
        self._statuses: list[Status] = []
        self._changed = Condition()
        self._orders: deque[tuple[Request, Future[Reply]]] = deque()
        self._disconnected = False
        self._closed = False
        self._wake_reader, self._wake_writer = os.pipe()
        self._socket = _RecordingSocket(control_address(paths).connect(PATIENCE))
        self._client = Client(self._socket)
        self._client.hello(
            "tray" if can_prompt else "cli", can_prompt=can_prompt, timeout_s=PATIENCE
        )
        status = self._client.request(Subscribe(), PATIENCE)
        """The newest status."""
        assert isinstance(status, Status), status
        self._statuses.append(status)
        self._thread = Thread(target=self._run, name="front-end", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Disconnect, like a front end that ends or is killed; harmless if disconnected."""
        if self._closed:
            return
        self._closed = True
        os.close(self._wake_writer)
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), "the front end hangs"
        os.close(self._wake_reader)
        self._client.close()

    # --- The actions of the user

    def request(self, request: Request) -> Reply:
        """Send a request and return its reply."""
        order: Future[Reply] = Future()
        self._orders.append((request, order))
        os.write(self._wake_writer, b"!")
        return order.result(PATIENCE)

    def request_done(self, request: Request) -> None:
        """Send a request, and assert the reply `Done`."""
        reply = self.request(request)
        assert isinstance(reply, Done), reply

    def answer(self, question: Prompt, login: Login) -> None:
        """Answer a prompt with a login."""
        self.request_done(AnswerPrompt(question.number, login, self.remember))

    def decline(self, question: Prompt, quiet: Snooze = Snooze.A_MINUTE) -> None:
        """Decline a prompt."""
        self.request_done(DeclinePrompt(question.number, quiet))

    # --- The messages of the service

    @property
    def prompts(self) -> list[Prompt]:
        """The newest state of every prompt since the start, oldest first."""
        with self._changed:
            return [states[-1] for states in self._prompts.values()]

    @property
    def status(self) -> Status:
        """The newest status."""
        with self._changed:
            return self._statuses[-1]

    @property
    def trace(self) -> bytes:
        """All octets received from the service."""
        return bytes(self._socket.received)

    def wait_for_prompt(
        self, holds: Callable[[Prompt], bool] = lambda question: True, timeout: float = PATIENCE
    ) -> Prompt:
        """Wait for an open prompt with a condition; return the prompt."""

        def find() -> Prompt | None:
            openly = (s[-1] for n, s in self._prompts.items() if n not in self._endings)
            return next(filter(holds, openly), None)

        return self._wait(find, "question", timeout)

    def wait_for_ending(self, question: Prompt) -> Ending:
        """Wait until a prompt has closed; return its ending."""
        return self._wait(lambda: self._endings.get(question.number), "ending")

    def wait_for_status(self, holds: Callable[[Status], bool]) -> Status:
        """Wait until the status fulfils a condition; return the status."""
        newest = self._statuses
        return self._wait(lambda: newest[-1] if holds(newest[-1]) else None, "such status")

    def _wait(self, find: Callable[[], T | None], what: str, timeout: float = PATIENCE) -> T:
        deadline = monotonic() + timeout
        with self._changed:
            while (found := find()) is None:
                left = deadline - monotonic()
                assert not self._disconnected, (
                    f"the service went away, with no {what}: {self.describe()}"
                )
                assert left > 0, f"no {what} in {timeout} s: {self.describe()}"
                self._changed.wait(left)
            return found

    def describe(self) -> str:
        """Return all received messages, for the report of a failed test."""
        seen = [str(state) for states in self._prompts.values() for state in states]
        return "\n".join([*seen, *map(str, self._endings.items()), *map(str, self._statuses)])

    # --- The thread

    def _run(self) -> None:
        """Handle messages of the service and orders of the test until either side disconnects."""
        try:
            while True:
                # Events received together with a reply do not make the socket readable.
                self._receive()
                if self._react():
                    continue
                ready, _, _ = select.select([self._client.fileno(), self._wake_reader], [], [])
                if self._wake_reader in ready and not self._send_order():
                    return
        except DisconnectedError:
            pass
        finally:
            with self._changed:
                self._disconnected = True
                self._changed.notify_all()

    def _receive(self) -> None:
        """Record the received events."""
        for envelope in self._client.receive_ready():
            if isinstance(envelope.message, Event):
                with self._changed:
                    self._record(envelope.message)
                    self._changed.notify_all()

    def _record(self, event: Event) -> None:
        match event:
            case StatusChanged(status):
                self._statuses.append(status)
            case PromptChanged(question):
                self._prompts.setdefault(question.number, []).append(question)
            case PromptClosed(number, ending):
                self._endings[number] = ending

    def _react(self) -> bool:
        """Send the next reaction to an open prompt; return True if there was one."""
        for question in self.prompts:
            asked = (question.number, question.rejections)
            if (
                self._reactions
                and not question.checking
                and asked not in self._answered
                and question.number not in self._endings
            ):
                self._answered.add(asked)
                match self._reactions.popleft():
                    case Login() as login:
                        self._client.request(AnswerPrompt(question.number, login, self.remember))
                    case snooze:
                        self._client.request(DeclinePrompt(question.number, snooze))
                return True
        return False

    def _send_order(self) -> bool:
        """Send the next request of the test; return False if the test has called `close`."""
        if not os.read(self._wake_reader, 1):
            return False
        request, order = self._orders.popleft()
        try:
            order.set_result(self._client.request(request, PATIENCE))
        except (DisconnectedError, NoReplyError, ProtocolError) as error:
            order.set_exception(error)
        return True


class _RecordingSocket(socket.socket):
    """A socket with a record of the received octets."""

    def __init__(self, connected: socket.socket) -> None:
        super().__init__(fileno=connected.detach())
        self.received = bytearray()

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        octets = super().recv(size, flags)
        self.received += octets
        return octets
