"""The tray program: creates and connects the parts of the user interface.

A lock file beside the control socket ensures that each user has a single tray. When only the tray
ends (SIGTERM, log-out, a crash), the service keeps running; *Quit* and Ctrl+C end the tray and the
service.
"""

import contextlib
import os
import sys
import time
from collections.abc import Callable, Sequence

from PySide6.QtCore import QLockFile, QObject, Qt, QTimer, Slot
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QApplication, QSystemTrayIcon

from trayproxy import __version__
from trayproxy.control.client import Client, ThreadedConnector
from trayproxy.control.client import connect as connect_to_service
from trayproxy.control.messages import (
    Done,
    Failed,
    GetStatus,
    GetSystemProxy,
    Reply,
    Request,
    ShowWindow,
    Status,
)
from trayproxy.control.quit_mark import has_quit_since
from trayproxy.control.transport import ControlError
from trayproxy.desktop.hardening import harden
from trayproxy.desktop.process import start_service
from trayproxy.desktop.window import allow_foreground, hide_from_dock, set_application_id
from trayproxy.identity import APP_ID, APP_NAME
from trayproxy.paths import PathError, Paths, locate, make_private
from trayproxy.ui import texts
from trayproxy.ui.action_requests import ActionRequests
from trayproxy.ui.action_signals import ActionSignals
from trayproxy.ui.copy_settings import RecipeActions
from trayproxy.ui.cycle_collector import CycleCollector
from trayproxy.ui.device_actions import DeviceActions
from trayproxy.ui.icons import app_icon
from trayproxy.ui.menu import TrayMenu
from trayproxy.ui.network_switch_notice import NetworkSwitchNotice
from trayproxy.ui.notifications import (
    DesktopNotifications,
    NotificationChannel,
    Notifier,
    TrayMessages,
)
from trayproxy.ui.profiles_window import ProfilesWindow
from trayproxy.ui.prompts import PromptDialogs
from trayproxy.ui.quit_question import QuitQuestion
from trayproxy.ui.service_client import ServiceClient
from trayproxy.ui.service_supervisor import ServiceSupervisor
from trayproxy.ui.settings_search import SettingsSearch
from trayproxy.ui.shutdown import Shutdown
from trayproxy.ui.sign_in_page_notice import SignInPageNotice
from trayproxy.ui.signal_notifier import SignalNotifier
from trayproxy.ui.state_display import StateDisplay
from trayproxy.ui.system_proxy_notice import SystemProxyNotice
from trayproxy.ui.tray import Tray
from trayproxy.ui.tray_host import TrayHost

BACKGROUND_TRAY_TIMEOUT_S = 30.0
"""Seconds without a system tray after which the window is shown instead of the icon. The panel of
the desktop may start late at log-in.
"""
TRAY_TIMEOUT_S = 3.0
"""Seconds as in `BACKGROUND_TRAY_TIMEOUT_S`, for a tray that the user has started: a panel would be
running already."""
SHOW_TIMEOUT_S = 10.0
"""Seconds for which a second tray process tries to reach the service, which may be restarting."""


class App(QObject):
    """Connects the tray, the window and the dialogs to the service."""

    def __init__(
        self,
        connect: Callable[[], Client],
        start_service: Callable[[], object],
        *,
        has_quit: Callable[[], bool] = lambda: False,
        is_background: bool = False,
        channel: NotificationChannel | None = None,
        page_channel: NotificationChannel | None = None,
        system_proxy_channel: NotificationChannel | None = None,
        network_channel: NotificationChannel | None = None,
    ) -> None:
        """Create the parts of the user interface; `start` connects to the service.

        Args:
            connect: See `ServiceClient`.
            start_service: See `ServiceSupervisor`.
            has_quit: See `ServiceSupervisor`.
            is_background: True if the tray was started with the session and should open no window.
            channel: Shows notifications about sign-in; None: the channel of this desktop.
            page_channel: The same for notifications about a sign-in page, which are independent.
            system_proxy_channel: The same for notifications about the system proxy.
            network_channel: The same for notifications about switches because of the network.
        """
        super().__init__()
        self.actions = ActionSignals(self)
        self.client = ServiceClient(connect, self)
        self.supervisor = ServiceSupervisor(self.client, start_service, has_quit, parent=self)
        notifier = Notifier(channel or self._make_channel(), parent=self)
        pages = Notifier(page_channel or self._make_channel(), parent=self)
        settings = Notifier(system_proxy_channel or self._make_channel(), parent=self)
        networks = Notifier(network_channel or self._make_channel(), parent=self)
        self._notices = (
            NetworkSwitchNotice(networks, self.actions, self),
            SignInPageNotice(pages, self.actions, self),
            SystemProxyNotice(settings, self.actions, self),
        )
        self.prompts = PromptDialogs(self.client, notifier, self)
        self.tray_host = TrayHost(self)
        self.menu = TrayMenu(self.actions, self)
        self.tray = Tray(self.tray_host, self.menu, self.actions, self)
        self.window = ProfilesWindow(self.actions)
        self._display = StateDisplay(self.tray, self.menu, self.window, self.prompts, self)
        ActionRequests(
            self.client, self.prompts, self.window, self._display, self.actions, parent=self
        )
        self._commands = self._make_commands()
        self.shutdown = Shutdown(self.client, self.supervisor, self)
        self.quit_question = QuitQuestion(self.client, self)
        limit = BACKGROUND_TRAY_TIMEOUT_S if is_background else TRAY_TIMEOUT_S
        self._no_tray_timer = QTimer(self, singleShot=True, interval=int(1000 * limit))
        self._connect()
        show = self.window.showMinimized if is_background else self.show_window
        self._no_tray_timer.timeout.connect(show)

    def _make_commands(self) -> tuple[RecipeActions, SettingsSearch, DeviceActions]:
        search = SettingsSearch(self.window.show_found, self)
        self.client.status_changed.connect(search.show_status)
        devices = DeviceActions(self.client, self.actions, self)
        return RecipeActions(self.actions, self), search, devices

    @Slot()
    def start(self) -> None:
        """Wait for a system tray, and connect to the service."""
        self._no_tray_timer.start()
        self.tray_host.watch()
        self.supervisor.ensure_running()
        self._display.refresh()

    @Slot()
    @Slot(str)
    def show_window(self, token: str = "") -> None:
        """Show and activate the window; some compositors require an XDG activation token."""
        if token:
            os.environ["XDG_ACTIVATION_TOKEN"] = token
        self.window.present()

    def close(self) -> None:
        """Disconnect from the service, remove all windows and stop all timers."""
        self.supervisor.stop()
        self.client.close()
        self.prompts.close()
        self.quit_question.close()
        for commands in self._commands:
            commands.close()
        self._display.stop()
        self._no_tray_timer.stop()
        self.tray.hide()
        self.window.hide()
        self.window.deleteLater()

    # --- Wiring ----------------------------------------------------------------------------------

    def _make_channel(self) -> NotificationChannel:
        if QGuiApplication.platformName() in ("windows", "cocoa"):
            # One icon shows one message at a time and does not report which message was clicked.
            return self.findChild(TrayMessages) or TrayMessages(self)
        return DesktopNotifications(self)

    def _connect(self) -> None:
        self.client.status_changed.connect(self._on_status)
        self.client.lost.connect(self._on_lost)
        self.client.refused.connect(self._on_refused)
        self.client.show_requested.connect(self.show_window)
        self.supervisor.restarted.connect(self._on_restarted)
        self.menu.opening.connect(self._on_menu_opening)
        # Only then, because the service otherwise never reads it for users who do not use it.
        once = Qt.ConnectionType.SingleShotConnection
        self.menu.opening.connect(self._read_system_proxy, once)
        self.tray.primary_activated.connect(self._on_primary_click)
        self.tray.created.connect(self._on_tray_created)
        self.tray_host.visibility_changed.connect(self._on_tray_visibility_changed)
        self._no_tray_timer.timeout.connect(self._on_no_tray_timeout)
        self.actions.show_window.connect(self.show_window)
        self.actions.decline.connect(self.prompts.decline)
        self.actions.retry.connect(self.supervisor.retry_now)
        self.actions.quit.connect(self.quit_question.ask)
        self.quit_question.confirmed.connect(self.shutdown.quit)

    # --- Service events --------------------------------------------------------------------------

    @Slot(object)
    def _on_status(self, status: Status) -> None:
        is_first = self._display.status is None
        for notice in self._notices:
            notice.update(status)
        self._display.show_status(status)
        if is_first and not status.profiles:
            self.show_window()

    @Slot()
    def _on_lost(self) -> None:
        for notice in self._notices:
            notice.update(None)
        self._display.show_status(None)

    @Slot(object)
    def _on_refused(self, failed: Failed) -> None:
        self.supervisor.stop()
        self.window.show_note(texts.problem_text(failed.problem))
        self.show_window()

    @Slot()
    def _on_restarted(self) -> None:
        self.window.show_note(texts.restarted_text())

    # --- Tray events -----------------------------------------------------------------------------

    @Slot(object)
    def _on_tray_created(self, icon: QSystemTrayIcon) -> None:
        channel = self.findChild(TrayMessages)
        if channel is not None:
            channel.set_icon(icon)
        self._on_tray_visibility_changed()

    @Slot()
    def _on_tray_visibility_changed(self) -> None:
        self.window.has_tray = self.tray.is_visible
        if self.tray.is_visible:
            self._no_tray_timer.stop()

    @Slot()
    def _on_no_tray_timeout(self) -> None:
        self.window.show_note(texts.no_tray_text())

    @Slot()
    def _on_primary_click(self) -> None:
        if self.prompts.present():
            return
        if self.window.isVisible() and self.window.isActiveWindow():
            self.window.close()
        else:
            self.show_window()

    @Slot()
    def _on_menu_opening(self) -> None:
        self.client.request(GetStatus(), self._on_status_reply)

    @Slot()
    def _read_system_proxy(self) -> None:
        self.client.request(GetSystemProxy(), lambda _: None)

    def _on_status_reply(self, reply: Reply) -> None:
        if isinstance(reply, Status):
            self._on_status(reply)


def main(arguments: Sequence[str] = ()) -> int:
    """Run the tray, or show the window of the running tray.

    With ``--background``, for a start with the session, no window is opened.

    Returns:
        The exit code: 0; 1 if the running tray cannot be reached; 130 after Ctrl+C.
    """
    harden(uses_portals=True)
    is_background = "--background" in arguments
    paths = locate()
    try:
        make_private(paths.runtime)
    except PathError as error:
        _print_error(f"trayproxy: {error}")
        return 1
    lock = QLockFile(str(paths.runtime / "tray.lock"))
    # A lock becomes stale when its owner has died, never by its age.
    lock.setStaleLockTime(0)
    if lock.tryLock(0):
        try:
            return run(paths, lambda: start_service(paths), is_background=is_background)
        finally:
            lock.unlock()
    return 0 if is_background else show_running_tray(paths)


def show_running_tray(paths: Paths) -> int:
    """Ask the running tray to show its window; return the exit code."""
    allow_foreground()
    deadline = time.monotonic() + SHOW_TIMEOUT_S
    request = ShowWindow(os.environ.get("XDG_ACTIVATION_TOKEN", ""))
    while time.monotonic() < deadline:
        if isinstance(_try_request(paths, request), Done):
            return 0
        # The service may still be starting, or the other tray may still be connecting to it.
        time.sleep(0.2)
    _print_error("trayproxy: the running TrayProxy does not answer")
    return 1


def _try_request(paths: Paths, request: Request) -> Reply | None:
    try:
        with connect_to_service(paths) as client:
            client.hello("cli", can_prompt=False)
            return client.request(request)
    except (ControlError, OSError):
        return None


def run(paths: Paths, start: Callable[[], object], *, is_background: bool = False) -> int:
    """Run the tray until it exits, and return the exit code; the caller holds the lock file."""
    set_application_id(APP_ID)
    application = QApplication([sys.argv[0]])
    hide_from_dock()
    application.setApplicationName(APP_NAME)
    application.setApplicationVersion(__version__)
    application.setQuitOnLastWindowClosed(False)
    QGuiApplication.setDesktopFileName(APP_ID)
    application.setWindowIcon(app_icon())
    CycleCollector(application)
    interrupts = SignalNotifier()
    since = time.time()
    app = App(
        ThreadedConnector(lambda: connect_to_service(paths)),
        start,
        has_quit=lambda: has_quit_since(paths.quit_mark, since),
        is_background=is_background,
    )
    interrupts.received.connect(app.shutdown.handle_signal)
    QTimer.singleShot(0, app, app.start)
    try:
        return application.exec()
    finally:
        app.close()
        interrupts.close()


def _print_error(text: str) -> None:
    """Write a line to standard error, which may be full or closed."""
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()
