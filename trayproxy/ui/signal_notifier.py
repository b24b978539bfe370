"""The signals of the operating system as Qt signals."""

import contextlib
import signal
import socket

from PySide6.QtCore import QObject, QSocketNotifier, Signal, Slot


class SignalNotifier(QObject):
    """SIGINT and SIGTERM as Qt signals.

    Python runs signal handlers between two bytecode instructions, and it executes none while Qt
    waits for events. Python therefore writes each signal number to a socket, and a
    `QSocketNotifier` on that socket wakes Qt (ux §9, 43).

    Signals:
        received(int): The number of a signal.
    """

    received = Signal(int)

    def __init__(self) -> None:
        super().__init__()
        self._read_end, self._write_end = socket.socketpair()
        for end in (self._read_end, self._write_end):
            end.setblocking(False)
        signal.set_wakeup_fd(self._write_end.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGINT, signal.SIGTERM):
            # Python writes the number to the socket only if the signal has a Python handler.
            signal.signal(number, _do_nothing)
        notifier = QSocketNotifier(self._read_end.fileno(), QSocketNotifier.Type.Read, self)
        # A direct connection, not a queued one: see
        # `trayproxy.ui.service_client.ServiceClient.open`.
        notifier.activated.connect(self._receive)

    @Slot()
    def _receive(self) -> None:
        with contextlib.suppress(BlockingIOError):
            for number in self._read_end.recv(64):
                self.received.emit(number)

    def close(self) -> None:
        """Restore the default handlers and close the sockets."""
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        self._read_end.close()
        self._write_end.close()


def _do_nothing(number: int, frame: object) -> None:
    """Ignore a signal in the Python handler; `SignalNotifier` reports the signal to Qt."""
