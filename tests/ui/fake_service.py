"""Fakes of the peers of the tray: the service, without a control server, and a desktop."""

import socket
import threading
from collections.abc import Callable
from typing import TypeVar, cast

from msgspec.structs import replace
from PySide6.QtCore import QObject, Signal

from tests.support.process_output import PATIENCE
from trayproxy.control.client import Client, DisconnectedError
from trayproxy.control.messages import (
    CheckResult,
    Done,
    Envelope,
    Event,
    Hello,
    ListenerState,
    PromptChanged,
    PromptClosed,
    Reply,
    Request,
    Status,
    StatusChanged,
    Step,
    StepState,
    Subscribe,
    UpstreamState,
)
from trayproxy.control.transport import NotRunningError
from trayproxy.domain.signin import (
    Ending,
    KeyringState,
    KeyringStatus,
    Program,
    Prompt,
    PromptReason,
    SignInState,
    Transport,
)
from trayproxy.profiles.profile import Profile, Upstream
from trayproxy.ui.notifications import Notification

OFFICE = Profile("office", "Office", Upstream("proxy.corp.example", 8080), user="CORP\\jdoe")
LAB = Profile("lab", "Lab", Upstream("lab-px", 3128))
STATUS = Status(
    "0.1.0",
    4711,
    ListenerState.UP,
    "127.0.0.1:3128",
    OFFICE,
    (OFFICE, LAB),
    SignInState.OK,
    "CORP\\jdoe",
    upstream=UpstreamState.OK,
    keyring=KeyringStatus(KeyringState.OK, "GNOME Keyring"),
)
NEEDED = replace(STATUS, sign_in=SignInState.NEEDED, waiting=4)
PROMPT = Prompt(
    1,
    "office",
    "Office",
    "http://proxy.corp.example:8080",
    "Corporate Internet Access",
    "Basic",
    Transport.READABLE,
    "CORP\\jdoe",
    PromptReason.NEEDED,
    (Program("git", 4312, "github.com:443"),),
    4,
    keyring=KeyringStatus(KeyringState.OK, "GNOME Keyring"),
)

Message = TypeVar("Message")
STEPS = CheckResult(
    (
        Step("find", StepState.OK, "10.0.0.41", 12.0),
        Step("connect", StepState.OK, "", 9.0),
        Step("encryption", StepState.NOT_NEEDED, "none (http proxy)"),
        Step("challenge", StepState.OK, "Basic, “Corp Internet”", 1.0),
        Step("sign-in", StepState.OK, "as CORP\\jdoe", 31.0),
        Step("fetch", StepState.OK, "200", 88.0),
        Step("tls", StepState.OK, "TLS is inspected by “Corp TLS Inspection Authority 2”", 40.0),
    )
)


class FakeConnection:
    """A connection to the `FakeService`."""

    def __init__(self, service: "FakeService") -> None:
        self._service = service
        self._socket, self._peer = socket.socketpair()
        self._envelopes: list[Envelope] = []
        self._number = 0
        self._is_closed = False

    def fileno(self) -> int:
        return self._socket.fileno()

    def send(self, message: Request) -> int:
        if self._is_closed:
            raise DisconnectedError("gone")
        self._number += 1
        reply = self._service.receive(message)
        if reply is not None:
            self.queue(Envelope(reply, self._number))
        return self._number

    def receive_ready(self) -> list[Envelope]:
        self._socket.setblocking(False)
        try:
            self._socket.recv(4096)
        except BlockingIOError:
            return []
        envelopes, self._envelopes = self._envelopes, []
        if self._is_closed and not envelopes:
            raise DisconnectedError("gone")
        return envelopes

    def close(self) -> None:
        self._socket.close()
        self._peer.close()

    def queue(self, envelope: Envelope) -> None:
        self._envelopes.append(envelope)
        self._peer.send(b".")

    def disconnect(self) -> None:
        self._is_closed = True
        self._peer.close()


class FakeService:
    """Replies `Done` to each request unless the test sets another reply, and records the requests.

    Attributes:
        status: The reply to `Subscribe` and `GetStatus`.
        requests: All received requests except `Hello` and `Subscribe`.
        replies: For a type of request, a function from the request to its reply; None: no reply.
        is_running: True if connections are accepted.
        starts: The number of calls of `start`.
        can_start: True if `start` starts the service.
    """

    def __init__(self, status: Status = STATUS) -> None:
        self.status = status
        self.requests: list[Request] = []
        self.replies: dict[type, Callable[[Request], Reply | None]] = {}
        self.is_running = True
        self.starts = 0
        self.can_start = True
        self._client: FakeConnection | None = None

    def start(self) -> None:
        self.starts += 1
        self.is_running = self.is_running or self.can_start

    def connect(self) -> Client:
        if not self.is_running:
            raise NotRunningError("not running")
        self._client = FakeConnection(self)
        # A FakeConnection has all methods of a client that `ServiceClient` calls.
        return cast("Client", self._client)

    def receive(self, message: Request) -> Reply | None:
        if isinstance(message, Hello):
            return Done()
        if isinstance(message, Subscribe):
            return self.status
        self.requests.append(message)
        make_reply = self.replies.get(type(message))
        return make_reply(message) if make_reply else Done()

    def send(self, event: Event) -> None:
        assert self._client
        self._client.queue(Envelope(event))

    def set_status(self, status: Status) -> None:
        self.status = status
        self.send(StatusChanged(status))

    def open_prompt(self, prompt: Prompt) -> None:
        self.send(PromptChanged(prompt))

    def close_prompt(self, number: int, ending: Ending) -> None:
        self.send(PromptClosed(number, ending))

    def crash(self) -> None:
        self.is_running = False
        assert self._client
        self._client.disconnect()

    def requests_of(self, kind: type[Message]) -> list[Message]:
        """Return the received requests of a type."""
        return [request for request in self.requests if isinstance(request, kind)]


class BlockedConnect:
    """Connect function that blocks until the test releases it, like an unresponsive port."""

    def __init__(self, service: FakeService) -> None:
        self.is_released = threading.Event()
        self._service = service

    def __call__(self) -> Client:
        assert self.is_released.wait(PATIENCE)
        return self._service.connect()


class RecordingChannel(QObject):
    """Notification channel for tests: records the posted notification."""

    chosen = Signal(str, str)

    def __init__(self) -> None:
        super().__init__()
        self.shown: Notification | None = None
        self.posts = 0

    def post(self, notification: Notification) -> None:
        self.shown = notification
        self.posts += 1

    def withdraw(self) -> None:
        self.shown = None
