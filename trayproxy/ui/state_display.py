"""Shows the status of the service in the icon, the menu and the window."""

import time

from PySide6.QtCore import QObject, QTimer, Slot

from trayproxy.control.messages import Status
from trayproxy.ui import texts
from trayproxy.ui.icon_track import IconTrack
from trayproxy.ui.menu import TrayMenu
from trayproxy.ui.profiles_window import ProfilesWindow
from trayproxy.ui.prompts import PromptDialogs
from trayproxy.ui.traffic_rate import TrafficRate
from trayproxy.ui.tray import Tray


class StateDisplay(QObject):
    """Keeps the last status and updates the icon, the menu and the window.

    Attributes:
        status: The last status; None while the service is not connected.
        last_profile: The id of the profile that was active last, empty if there was none.
    """

    def __init__(
        self,
        tray: Tray,
        menu: TrayMenu,
        window: ProfilesWindow,
        prompts: PromptDialogs,
        parent: QObject,
    ) -> None:
        super().__init__(parent)
        self.status: Status | None = None
        self.last_profile = ""
        self._tray = tray
        self._menu = menu
        self._window = window
        self._prompts = prompts
        self._icon_track = IconTrack(time.monotonic())
        self._traffic_rate = TrafficRate()
        self._timer = QTimer(self, singleShot=True)
        self._timer.timeout.connect(self.refresh)
        prompts.changed.connect(self.refresh)

    def show_status(self, status: Status | None) -> None:
        """Show a new status; None if the service has disconnected."""
        now = time.monotonic()
        self.status = status
        self._icon_track.update(status, now, time.time())
        if status is not None:
            self._traffic_rate.update(status.received, now)
            if status.profile is not None:
                self.last_profile = status.profile.id
        self.refresh()

    def start_switch(self) -> None:
        """Show that a switch of the profile was requested."""
        self._icon_track.start_switch(time.monotonic())
        self.refresh()

    def stop(self) -> None:
        """Stop the time-dependent updates."""
        self._timer.stop()

    @Slot()
    def refresh(self) -> None:
        """Update the icon, the menu and the window, and schedule the next time-dependent update."""
        delay = self._icon_track.update_shown(time.monotonic())
        if delay is not None:
            self._timer.start(max(1, int(1000 * delay) + 1))
        state = self._icon_track.shown
        has_prompt = self._prompts.pending is not None
        self._tray.show_state(state, texts.tray_tooltip(state, self.status))
        rate = self._traffic_rate.rate(time.monotonic())
        self._menu.update(state, self.status, has_prompt=has_prompt, received_per_s=rate)
        self._window.show_state(state, self.status, has_prompt=has_prompt)
