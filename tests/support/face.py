"""A person at a face of the service, who answers questions as the test says.

The face speaks the real control protocol over the real socket, in a thread of its own.
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

from tests.support.held import Held
from tests.support.lines import PATIENCE
from trayproxy.auth.login import Login
from trayproxy.control.address import control_address
from trayproxy.control.client import Client, DisconnectedError, NoReplyError
from trayproxy.control.codec import ProtocolError
from trayproxy.control.messages import (
    AnswerPrompt,
    DeclinePrompt,
    Done,
    Ending,
    Event,
    Prompt,
    PromptChanged,
    PromptClosed,
    Reply,
    Request,
    Snooze,
    Status,
    StatusChanged,
    Subscribe,
)
from trayproxy.paths import Paths

T = TypeVar("T")

Move = Login | Snooze
"""What the person does about a question: answer it, or not."""


class Face(Held):
    """A face that asks, attached to the service from its making on.

    Attributes:
        remember: Whether the person wants passwords to be kept.
    """

    def __init__(
        self,
        paths: Paths,
        moves: Iterable[Move] = (),
        *,
        remember: bool = True,
        asks: bool = True,
    ) -> None:
        """Attach to the service.

        Args:
            paths: Where the service is found.
            moves: What the person does, in this order, each time something is asked: when a
                question opens, and when it opens again after a rejection. When there are none left
                the question stays open.
            remember: Whether the person wants passwords to be kept.
            asks: Whether it can ask at all; if not, it only looks on.
        """
        self.remember = remember
        self._moves = deque(moves)
        self._answered: set[tuple[int, int]] = set()
        self._questions: dict[int, list[Prompt]] = {}
        self._endings: dict[int, Ending] = {}
        self._statuses: list[Status] = []
        self._changed = Condition()
        self._orders: deque[tuple[Request, Future[Reply]]] = deque()
        self._gone = False
        self._closed = False
        self._bell, self._ring = os.pipe()
        self._wire = _Recording(control_address(paths).connect(PATIENCE))
        self._client = Client(self._wire)
        self._client.hello("tray" if asks else "cli", can_prompt=asks, timeout_s=PATIENCE)
        status = self._client.request(Subscribe(), PATIENCE)
        assert isinstance(status, Status), status
        self._statuses.append(status)
        self._thread = Thread(target=self._live, name="face", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Go away, as a face does that ends or is killed; harmless when done before."""
        if self._closed:
            return
        self._closed = True
        os.close(self._ring)
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), "the face hangs"
        os.close(self._bell)
        self._client.close()

    # --- What the person does

    def do(self, request: Request) -> Reply:
        """Send a request; return its reply."""
        order: Future[Reply] = Future()
        self._orders.append((request, order))
        os.write(self._ring, b"!")
        return order.result(PATIENCE)

    def must(self, request: Request) -> None:
        """Send a request whose reply is that it was done."""
        reply = self.do(request)
        assert isinstance(reply, Done), reply

    def answer(self, question: Prompt, login: Login) -> None:
        """Answer a question."""
        self.must(AnswerPrompt(question.number, login, self.remember))

    def decline(self, question: Prompt, quiet: Snooze = Snooze.A_MINUTE) -> None:
        """Do not answer a question."""
        self.must(DeclinePrompt(question.number, quiet))

    # --- What the person sees

    @property
    def questions(self) -> list[Prompt]:
        """Every question that was ever open, as it was last seen, oldest first."""
        with self._changed:
            return [states[-1] for states in self._questions.values()]

    @property
    def status(self) -> Status:
        """The newest status."""
        with self._changed:
            return self._statuses[-1]

    @property
    def trace(self) -> bytes:
        """All octets that the service has sent to this face."""
        return bytes(self._wire.received)

    def wait_for_question(
        self,
        holds: Callable[[Prompt], bool] = lambda question: True,
        timeout: float = PATIENCE,
    ) -> Prompt:
        """Wait until a question is open that the condition holds for."""

        def find() -> Prompt | None:
            openly = (s[-1] for n, s in self._questions.items() if n not in self._endings)
            return next(filter(holds, openly), None)

        return self._wait(find, "question", timeout)

    def wait_for_ending(self, question: Prompt, timeout: float = PATIENCE) -> Ending:
        """Wait until a question has ended; return how."""
        return self._wait(lambda: self._endings.get(question.number), "ending", timeout)

    def wait_for_status(self, holds: Callable[[Status], bool], timeout: float = PATIENCE) -> Status:
        """Wait until the condition holds for the status."""
        newest = self._statuses
        return self._wait(lambda: newest[-1] if holds(newest[-1]) else None, "such status", timeout)

    def _wait(self, find: Callable[[], T | None], what: str, timeout: float) -> T:
        deadline = monotonic() + timeout
        with self._changed:
            while (found := find()) is None:
                left = deadline - monotonic()
                assert not self._gone, f"the service went away, with no {what}: {self.describe()}"
                assert left > 0, f"no {what} in {timeout} s: {self.describe()}"
                self._changed.wait(left)
            return found

    def describe(self) -> str:
        """Return what was seen, for the report of a failed test."""
        seen = [str(state) for states in self._questions.values() for state in states]
        return "\n".join([*seen, *map(str, self._endings.items()), *map(str, self._statuses)])

    # --- Its thread

    def _live(self) -> None:
        """Take turns with the service and the test until either goes away."""
        try:
            while True:
                # What came together with a reply is not announced by the socket: look first.
                self._see()
                if self._move():
                    continue
                ready, _, _ = select.select([self._client.fileno(), self._bell], [], [])
                if self._bell in ready and not self._obey():
                    return
        except DisconnectedError:
            pass
        finally:
            with self._changed:
                self._gone = True
                self._changed.notify_all()

    def _see(self) -> None:
        """Take in what the service says."""
        for envelope in self._client.receive_ready():
            if isinstance(envelope.message, Event):
                with self._changed:
                    self._note(envelope.message)
                    self._changed.notify_all()

    def _note(self, event: Event) -> None:
        match event:
            case StatusChanged(status):
                self._statuses.append(status)
            case PromptChanged(question):
                self._questions.setdefault(question.number, []).append(question)
            case PromptClosed(number, ending):
                self._endings[number] = ending

    def _move(self) -> bool:
        """Do what the test has told about a question that is open; return whether there was one."""
        for question in self.questions:
            asked = (question.number, question.rejections)
            if (
                self._moves
                and not question.checking
                and asked not in self._answered
                and question.number not in self._endings
            ):
                self._answered.add(asked)
                self._client.request(self._request(question.number, self._moves.popleft()))
                return True
        return False

    def _request(self, number: int, move: Move) -> Request:
        if isinstance(move, Login):
            return AnswerPrompt(number, move, self.remember)
        return DeclinePrompt(number, move)

    def _obey(self) -> bool:
        """Do what the test tells now; return False when it told us to go."""
        if not os.read(self._bell, 1):
            return False
        request, order = self._orders.popleft()
        try:
            order.set_result(self._client.request(request, PATIENCE))
        except (DisconnectedError, NoReplyError, ProtocolError) as error:
            order.set_exception(error)
        return True


class _Recording(socket.socket):
    """A socket that keeps what it has received."""

    def __init__(self, connected: socket.socket) -> None:
        super().__init__(fileno=connected.detach())
        self.received = bytearray()

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        octets = super().recv(size, flags)
        self.received += octets
        return octets
