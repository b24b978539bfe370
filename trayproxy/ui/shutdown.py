"""Quits TrayProxy, or ends only the tray."""

import signal

from PySide6.QtCore import QCoreApplication, QObject, QTimer, Slot

from trayproxy.control.messages import Quit
from trayproxy.ui.service_client import ServiceClient
from trayproxy.ui.service_supervisor import START_TIMEOUT_S, ServiceSupervisor

QUIT_TIMEOUT_S = 3.0
"""Seconds after which the tray exits even if the service does not reply to `Quit`."""
_EXIT_INTERRUPTED = 130


class Shutdown(QObject):
    """Ends the tray, with or without the service."""

    def __init__(
        self, client: ServiceClient, supervisor: ServiceSupervisor, parent: QObject
    ) -> None:
        super().__init__(parent)
        self._client = client
        self._supervisor = supervisor
        self._exit_code = 0
        self._is_quitting = False
        client.opened.connect(self._on_opened)
        client.quitting.connect(self.exit)
        supervisor.gave_up.connect(self.exit)
        supervisor.quit.connect(self.exit)

    @Slot()
    def quit(self) -> None:
        """Quit TrayProxy: the service and the tray.

        If the tray is still connecting to the service, or has just started it, the service is told
        to quit as soon as the connection is open.
        """
        self._is_quitting = True
        is_connecting = self._supervisor.stop_starting()
        if self._client.is_open:
            self._quit_service()
        elif is_connecting:
            QTimer.singleShot(int(1000 * START_TIMEOUT_S), self, self.exit)
        else:
            self.exit()

    @Slot()
    def exit(self) -> None:
        """End the tray; the service keeps running."""
        self._supervisor.stop()
        self._client.close()
        QCoreApplication.exit(self._exit_code)

    @Slot(int)
    def handle_signal(self, number: int) -> None:
        """Quit TrayProxy at SIGINT; end only the tray at SIGTERM.

        SIGTERM comes from a session that ends or from a package manager; the service is stopped
        separately.
        """
        if number == signal.SIGINT:
            self._exit_code = _EXIT_INTERRUPTED
            self.quit()
        else:
            self.exit()

    @Slot()
    def _on_opened(self) -> None:
        if self._is_quitting:
            self._quit_service()

    def _quit_service(self) -> None:
        self._client.request(Quit(), lambda _: self.exit())
        QTimer.singleShot(int(1000 * QUIT_TIMEOUT_S), self, self.exit)
