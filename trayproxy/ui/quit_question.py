"""Asks before *Quit TrayProxy* if that cuts connections and changes the system proxy (ux §2g)."""

from PySide6.QtCore import QCoreApplication, QObject, Qt, QTimer, Signal, Slot
from PySide6.QtWidgets import QMessageBox

from trayproxy.control.messages import GetStatus, Reply, Status, SystemProxyState
from trayproxy.ui.plurals import Plurals
from trayproxy.ui.service_client import ServiceClient
from trayproxy.ui.widgets import bring_to_front, named

translate = QCoreApplication.translate

STATUS_TIMEOUT_MS = 1000
"""Milliseconds to wait for the number of connections; then TrayProxy quits without a question."""

_Role = QMessageBox.ButtonRole


class QuitQuestion(QObject):
    """Asks in a message box that does not block the program.

    The question is for *Quit* in the menu and in the window. A log-out and the signals SIGTERM and
    SIGINT end TrayProxy without it.

    Signals:
        confirmed: TrayProxy is to quit.
    """

    confirmed = Signal()

    def __init__(self, client: ServiceClient, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._client = client
        self._box: QMessageBox | None = None
        self._timer = QTimer(self, singleShot=True, interval=STATUS_TIMEOUT_MS)
        self._timer.timeout.connect(self.confirmed)

    @Slot()
    def ask(self) -> None:
        """Emit `confirmed`, after a question if connections would be cut."""
        if self._box is not None:
            bring_to_front(self._box)
        elif not self._client.is_open:
            self.confirmed.emit()
        elif not self._timer.isActive():
            self._timer.start()
            self._client.request(GetStatus(), self._on_reply)

    def close(self) -> None:
        """Remove the question without an answer."""
        self._timer.stop()
        if self._box is not None:
            self._box.deleteLater()
            self._box = None

    def _on_reply(self, reply: Reply) -> None:
        if not self._timer.isActive():
            return
        self._timer.stop()
        if isinstance(reply, Status) and _needs_question(reply):
            self._show(reply)
        else:
            self.confirmed.emit()

    def _show(self, status: Status) -> None:
        self._box = quit_box(status)
        self._box.accepted.connect(self.confirmed)
        self._box.finished.connect(self.close)
        bring_to_front(self._box)


def quit_box(status: Status) -> QMessageBox:
    """Return the question; the box is accepted if TrayProxy is to quit."""
    # Without a parent, because the window may be hidden.
    box = named(QMessageBox(), "quit_question")
    box.setIcon(QMessageBox.Icon.Question)
    box.setWindowTitle(translate("Window", "TrayProxy"))
    box.setTextFormat(Qt.TextFormat.PlainText)
    box.setText(translate("Window", "Quit TrayProxy?"))
    box.setInformativeText(_consequences(status))
    box.addButton(translate("Window", "Quit"), _Role.AcceptRole)
    keep_button = box.addButton(translate("Window", "Keep running"), _Role.RejectRole)
    box.setDefaultButton(keep_button)
    box.setEscapeButton(keep_button)
    return box


def _needs_question(status: Status) -> bool:
    return status.active > 0 and status.system_proxy.state is SystemProxyState.ON


def _consequences(status: Status) -> str:
    if status.system_proxy.restore_on_quit:
        afterwards = translate("Window", "Your previous system proxy settings come back.")
    else:
        afterwards = translate(
            "Window",
            "The system proxy stays as it is: programs that use it cannot connect until TrayProxy "
            "runs again.",
        )
    return f"{Plurals().connections_cut(status.active)} {afterwards}"
