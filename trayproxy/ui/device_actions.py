"""Shows the dialog with the other devices that may connect, and saves it through the service."""

from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Slot

from trayproxy.control.messages import ChangeListeners, Failed, Reply, Status
from trayproxy.ui.action_signals import ActionSignals
from trayproxy.ui.service_client import ServiceClient

if TYPE_CHECKING:
    from trayproxy.ui.devices_dialog import DevicesDialog


class DeviceActions(QObject):
    """Opens the dialog on demand, with the settings of the running service."""

    def __init__(
        self, client: ServiceClient, actions: ActionSignals, parent: QObject | None = None
    ) -> None:
        super().__init__(parent)
        self._client = client
        self._status: Status | None = None
        self._dialog: DevicesDialog | None = None
        client.status_changed.connect(self._on_status)
        actions.show_devices.connect(self._show)

    def close(self) -> None:
        """Remove the dialog."""
        if self._dialog is not None:
            self._dialog.hide()
            self._dialog.deleteLater()
            self._dialog = None

    @Slot(object)
    def _on_status(self, status: Status) -> None:
        self._status = status
        if self._dialog is not None:
            self._dialog.show_status(status)

    @Slot()
    def _show(self) -> None:
        if self._status is None:
            return
        if self._dialog is None:
            # Most users do not need it.
            from trayproxy.ui.devices_dialog import DevicesDialog

            self._dialog = DevicesDialog()
            self._dialog.confirmed.connect(self._save)
        self._dialog.present(self._status)

    @Slot(object)
    def _save(self, change: ChangeListeners) -> None:
        self._client.request(change, self._on_reply)

    def _on_reply(self, reply: Reply) -> None:
        if self._dialog is None:
            return
        if isinstance(reply, Failed):
            self._dialog.show_problem(reply.problem)
        else:
            self._dialog.hide()
