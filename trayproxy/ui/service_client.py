"""The tray's connection to the service, as Qt signals.

It says what came and sends what it is told; when to connect again is
`trayproxy.ui.service_supervisor`'s business. Everything happens on the thread of the window,
without waiting.
"""

import os
from collections.abc import Callable
from typing import Protocol

from PySide6.QtCore import QObject, QSocketNotifier, QTimer, Signal, Slot

from trayproxy.control.address import NotRunningError, UntrustedPeerError
from trayproxy.control.client import ConnectPendingError, DisconnectedError
from trayproxy.control.codec import ProtocolError
from trayproxy.control.messages import (
    Envelope,
    Event,
    Failed,
    Hello,
    Problem,
    PromptChanged,
    PromptClosed,
    Quitting,
    Reply,
    Request,
    ShowRequested,
    Status,
    StatusChanged,
    Subscribe,
)

OnReply = Callable[[Reply], None]

_AGAIN_MS = 10
"""How often a connection that is being made is looked at."""

GONE = Problem(
    "TP-901",
    "TrayProxy had to restart its proxy",
    "It ended unexpectedly. Connections were cut; settings are unchanged.",
)
"""What a request comes to when the service goes before it replies (ux §5.2)."""


class ControlConnection(Protocol):
    """A connection to the service, as `trayproxy.control.client.Client` is one."""

    def fileno(self) -> int:
        """Return the descriptor that becomes readable when something has come."""
        ...

    def send(self, message: Request) -> int:
        """Send a request without waiting, return its number; raise `DisconnectedError`."""
        ...

    def receive_ready(self) -> list[Envelope]:
        """Return what has come, without waiting; raise `DisconnectedError`."""
        ...

    def close(self) -> None:
        """Hang up."""
        ...


class ServiceClient(QObject):
    """One connection at a time, to a service that may come and go.

    Signals:
        opened: A connection is made; events will follow.
        unreachable: `open` returned False while `is_opening`, and there is no service.
        lost: The connection is gone. Requests without a reply have had a `Failed`.
        refused(Failed): The service does not talk to this version of us.
        status_changed(Status): The facts, whole.
        question_changed(Question): A question, whole.
        question_closed(int, Ending): The number of a question, and how it ended.
        show_requested(str): Someone wants to see the window; an XDG activation token or nothing.
        quitting: The service ends because it was told to.
    """

    opened = Signal()
    unreachable = Signal()
    lost = Signal()
    refused = Signal(object)
    status_changed = Signal(object)
    question_changed = Signal(object)
    question_closed = Signal(int, object)
    show_requested = Signal(str)
    quitting = Signal()

    def __init__(
        self, connect: Callable[[], ControlConnection], parent: QObject | None = None
    ) -> None:
        """Create a link, not yet open.

        Args:
            connect: Makes a connection without waiting; raises `NotRunningError`,
                `UntrustedPeerError`, `OSError`, or `ConnectPendingError` as long as it has to be
                called again.
            parent: Its owner.
        """
        super().__init__(parent)
        self._connect = connect
        self._client: ControlConnection | None = None
        self._notifier: QSocketNotifier | None = None
        self._replies: dict[int, OnReply] = {}
        self._again = QTimer(self, interval=_AGAIN_MS)
        self._again.timeout.connect(self._open_at_last)

    @property
    def is_opening(self) -> bool:
        """Whether a connection is being made; `opened` or `unreachable` will follow."""
        return self._again.isActive()

    @property
    def is_open(self) -> bool:
        """Whether there is a connection."""
        return self._client is not None

    def open(self) -> bool:
        """Connect, introduce ourselves and ask for events.

        Returns:
            Whether there is a connection now. If not, one may be made (`is_opening`).
        """
        if self._client is not None:
            return True
        self._again.stop()
        try:
            self._client = self._connect()
        except ConnectPendingError:
            self._again.start()
            return False
        except (NotRunningError, UntrustedPeerError, OSError):
            return False
        self._notifier = QSocketNotifier(self._client.fileno(), QSocketNotifier.Type.Read, self)
        # Not queued: Qt's event dispatcher on Windows reports a socket again until it was read,
        # and delivers no queued call in between.
        self._notifier.activated.connect(self._receive)
        self.request(Hello("tray", asks=True, pid=os.getpid()), self._introduced)
        self.request(Subscribe(), self._subscribed)
        if not self.is_open:
            return False
        self.opened.emit()
        return True

    @Slot()
    def _open_at_last(self) -> None:
        if not self.open() and not self.is_opening:
            self.unreachable.emit()

    def request(self, message: Request, on_reply: OnReply | None = None) -> None:
        """Send a request.

        Args:
            message: What is asked.
            on_reply: Called with the reply, once; with a `Failed` when the service goes first.
                Never called before this returns.
        """
        reply = on_reply if on_reply is not None else _ignore
        if self._client is None:
            QTimer.singleShot(0, self, lambda: reply(Failed(GONE)))
            return
        try:
            number = self._client.send(message)
        except DisconnectedError:
            QTimer.singleShot(0, self, lambda: reply(Failed(GONE)))
            self._lose()
            return
        self._replies[number] = reply

    def close(self) -> None:
        """Hang up, without a signal."""
        self._again.stop()
        if self._notifier is not None:
            self._notifier.setEnabled(False)
            self._notifier.deleteLater()
        if self._client is not None:
            self._client.close()
        self._client, self._notifier = None, None
        self._replies.clear()

    @Slot()
    def _receive(self) -> None:
        client = self._client
        if client is None:
            return
        try:
            arrived = client.receive_ready()
        except (DisconnectedError, ProtocolError):
            self._lose()
            return
        for envelope in arrived:
            # A handler may have closed the link, or opened it anew.
            if self._client is client:
                self._take(envelope)

    def _take(self, envelope: Envelope) -> None:
        message = envelope.message
        if isinstance(message, Event):
            self._announce(message)
        elif isinstance(message, Reply):
            self._replies.pop(envelope.number, _ignore)(message)

    def _announce(self, event: Event) -> None:
        match event:
            case StatusChanged(status):
                self.status_changed.emit(status)
            case PromptChanged(question):
                self.question_changed.emit(question)
            case PromptClosed(number, ending):
                self.question_closed.emit(number, ending)
            case ShowRequested(token):
                self.show_requested.emit(token)
            case Quitting():
                self.quitting.emit()

    def _introduced(self, reply: Reply) -> None:
        if isinstance(reply, Failed) and reply.problem != GONE:
            self.refused.emit(reply)

    def _subscribed(self, reply: Reply) -> None:
        if isinstance(reply, Status):
            self.status_changed.emit(reply)

    def _lose(self) -> None:
        waiting = tuple(self._replies.values())
        self.close()
        for reply in waiting:
            reply(Failed(GONE))
        self.lost.emit()


def _ignore(reply: Reply) -> None:
    """Take a reply that nobody asked to see."""
