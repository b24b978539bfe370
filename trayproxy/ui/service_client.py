"""The tray's connection to the service, with Qt signals for events.

`ServiceClient` sends requests and emits a signal for each event; `trayproxy.ui.service_supervisor`
decides when to connect. Everything runs on the GUI thread without blocking.
"""

import os
from collections.abc import Callable

from PySide6.QtCore import QObject, QSocketNotifier, QTimer, Signal, Slot

from trayproxy.control.client import Client, ConnectPendingError, DisconnectedError
from trayproxy.control.messages import (
    Envelope,
    Event,
    Failed,
    Hello,
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
from trayproxy.control.transport import ControlError
from trayproxy.domain.problem import Problem

OnReply = Callable[[Reply], None]

_RETRY_INTERVAL_MS = 10
"""Milliseconds between two checks of a connection attempt in progress."""

SERVICE_LOST = Problem(
    "TP-901",
    "TrayProxy had to restart its proxy",
    "It ended unexpectedly. Connections were cut; settings are unchanged.",
)
"""The problem of a request whose service disconnects before it replies (ux §5.2)."""


def _ignore_reply(reply: Reply) -> None:
    """Ignore the reply to a request without a callback."""


class ServiceClient(QObject):
    """The connection to the service; it can be closed and opened again.

    Its `connect` function opens a connection without blocking. The function raises
    `NotRunningError`, `UntrustedPeerError` or `OSError`, and `ConnectPendingError` if it must be
    called again later.

    Signals:
        opened: The connection is open; events follow.
        unreachable: A connection attempt in progress (`is_opening`) has failed: the service is not
            running.
        lost: The connection was lost. Each request without a reply has received `Failed`.
        refused(Failed): The service does not support the protocol version of the tray.
        status_changed(Status): The complete new status.
        prompt_changed(Prompt): A prompt was opened or has changed; the complete prompt.
        prompt_closed(int, Ending): The number of a closed prompt, and its result.
        show_requested(str): Show the window; an XDG activation token or "".
        quitting: The service quits on request.
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

    def __init__(self, connect: Callable[[], Client], parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._connect = connect
        self._connection: Client | None = None
        self._notifier: QSocketNotifier | None = None
        self._reply_callbacks: dict[int, OnReply] = {}
        self._retry_timer = QTimer(self, interval=_RETRY_INTERVAL_MS)
        self._retry_timer.timeout.connect(self._retry_open)

    @property
    def is_opening(self) -> bool:
        """True while a connection attempt is in progress; `opened` or `unreachable` follows."""
        return self._retry_timer.isActive()

    @property
    def is_open(self) -> bool:
        """True if the connection is open."""
        return self._connection is not None

    def open(self) -> bool:
        """Connect, send `Hello` and subscribe to events; return True if the connection is open.

        If the connection is not open, the attempt has failed or is in progress (`is_opening`).
        """
        if self._connection is not None:
            return True
        self._retry_timer.stop()
        try:
            self._connection = self._connect()
        except ConnectPendingError:
            self._retry_timer.start()
            return False
        except (ControlError, OSError):
            return False
        self._notifier = QSocketNotifier(self._connection.fileno(), QSocketNotifier.Type.Read, self)
        # A direct connection, not a queued one: on Windows, Qt's event dispatcher reports a socket
        # again until it was read, and delivers no queued call in between.
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

    def request(self, message: Request, on_reply: OnReply = _ignore_reply) -> None:
        """Send a request.

        `on_reply` is called once, after this method has returned: with the reply, or with `Failed`
        if the connection is lost first.
        """
        if self._connection is not None:
            try:
                number = self._connection.send(message)
            except DisconnectedError:
                self._on_disconnected()
            else:
                self._reply_callbacks[number] = on_reply
                return
        QTimer.singleShot(0, self, lambda: on_reply(Failed(SERVICE_LOST)))

    def close(self) -> None:
        """Close the connection without emitting a signal."""
        self._retry_timer.stop()
        if self._notifier is not None:
            self._notifier.setEnabled(False)
            self._notifier.deleteLater()
        if self._connection is not None:
            self._connection.close()
        self._connection, self._notifier = None, None
        self._reply_callbacks.clear()

    @Slot()
    def _receive(self) -> None:
        connection = self._connection
        if connection is None:
            return
        try:
            envelopes = connection.receive_ready()
        except ControlError:
            self._on_disconnected()
            return
        for envelope in envelopes:
            # A slot may have closed the connection, or opened another.
            if self._connection is connection:
                self._dispatch(envelope)

    def _dispatch(self, envelope: Envelope) -> None:
        message = envelope.message
        if isinstance(message, Event):
            self._emit_event(message)
        elif isinstance(message, Reply):
            self._reply_callbacks.pop(envelope.number, _ignore_reply)(message)

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
        callbacks = tuple(self._reply_callbacks.values())
        self.close()
        for reply in callbacks:
            reply(Failed(SERVICE_LOST))
        self.lost.emit()
