"""The tray's connection to the service, as Qt signals.

It says what came and sends what it is told; when to connect again is
`trayproxy.ui.service_supervisor`'s business. Everything happens on the thread of the window,
without waiting.
"""

import os
from collections.abc import Callable
from typing import Protocol

from PySide6.QtCore import QObject, QSocketNotifier, QTimer, Signal, Slot

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
from trayproxy.control.transport import NotRunningError, UntrustedPeerError

OnReply = Callable[[Reply], None]

_RETRY_INTERVAL_MS = 10
"""How often a connection that is being made is looked at."""

SERVICE_LOST = Problem(
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
    prompt_changed = Signal(object)
    prompt_closed = Signal(int, object)
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
        self._connection: ControlConnection | None = None
        self._notifier: QSocketNotifier | None = None
        self._replies: dict[int, OnReply] = {}
        self._retry_timer = QTimer(self, interval=_RETRY_INTERVAL_MS)
        self._retry_timer.timeout.connect(self._retry_open)

    @property
    def is_opening(self) -> bool:
        """Whether a connection is being made; `opened` or `unreachable` will follow."""
        return self._retry_timer.isActive()

    @property
    def is_open(self) -> bool:
        """Whether there is a connection."""
        return self._connection is not None

    def open(self) -> bool:
        """Connect, introduce ourselves and ask for events.

        Returns:
            Whether there is a connection now. If not, one may be made (`is_opening`).
        """
        if self._connection is not None:
            return True
        self._retry_timer.stop()
        try:
            self._connection = self._connect()
        except ConnectPendingError:
            self._retry_timer.start()
            return False
        except (NotRunningError, UntrustedPeerError, OSError):
            return False
        self._notifier = QSocketNotifier(self._connection.fileno(), QSocketNotifier.Type.Read, self)
        # Not queued: Qt's event dispatcher on Windows reports a socket again until it was read,
        # and delivers no queued call in between.
        self._notifier.activated.connect(self._receive)
        self.request(Hello("tray", can_prompt=True, pid=os.getpid()), self._on_hello_reply)
        self.request(Subscribe(), self._on_subscribe_reply)
        if not self.is_open:
            return False
        self.opened.emit()
        return True

    @Slot()
    def _retry_open(self) -> None:
        if not self.open() and not self.is_opening:
            self.unreachable.emit()

    def request(self, message: Request, on_reply: OnReply | None = None) -> None:
        """Send a request.

        Args:
            message: What is asked.
            on_reply: Called with the reply, once; with a `Failed` when the service goes first.
                Never called before this returns.
        """
        reply = on_reply if on_reply is not None else _ignore_reply
        if self._connection is None:
            QTimer.singleShot(0, self, lambda: reply(Failed(SERVICE_LOST)))
            return
        try:
            number = self._connection.send(message)
        except DisconnectedError:
            QTimer.singleShot(0, self, lambda: reply(Failed(SERVICE_LOST)))
            self._on_disconnected()
            return
        self._replies[number] = reply

    def close(self) -> None:
        """Hang up, without a signal."""
        self._retry_timer.stop()
        if self._notifier is not None:
            self._notifier.setEnabled(False)
            self._notifier.deleteLater()
        if self._connection is not None:
            self._connection.close()
        self._connection, self._notifier = None, None
        self._replies.clear()

    @Slot()
    def _receive(self) -> None:
        connection = self._connection
        if connection is None:
            return
        try:
            envelopes = connection.receive_ready()
        except (DisconnectedError, ProtocolError):
            self._on_disconnected()
            return
        for envelope in envelopes:
            # A handler may have closed the link, or opened it anew.
            if self._connection is connection:
                self._dispatch(envelope)

    def _dispatch(self, envelope: Envelope) -> None:
        message = envelope.message
        if isinstance(message, Event):
            self._emit_event(message)
        elif isinstance(message, Reply):
            self._replies.pop(envelope.number, _ignore_reply)(message)

    def _emit_event(self, event: Event) -> None:
        match event:
            case StatusChanged(status):
                self.status_changed.emit(status)
            case PromptChanged(prompt):
                self.prompt_changed.emit(prompt)
            case PromptClosed(number, ending):
                self.prompt_closed.emit(number, ending)
            case ShowRequested(token):
                self.show_requested.emit(token)
            case Quitting():
                self.quitting.emit()

    def _on_hello_reply(self, reply: Reply) -> None:
        if isinstance(reply, Failed) and reply.problem != SERVICE_LOST:
            self.refused.emit(reply)

    def _on_subscribe_reply(self, reply: Reply) -> None:
        if isinstance(reply, Status):
            self.status_changed.emit(reply)

    def _on_disconnected(self) -> None:
        callbacks = tuple(self._replies.values())
        self.close()
        for reply in callbacks:
            reply(Failed(SERVICE_LOST))
        self.lost.emit()


def _ignore_reply(reply: Reply) -> None:
    """Take a reply that nobody asked to see."""
