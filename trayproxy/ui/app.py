"""The tray program: creates the parts of the user interface and carries out the user's actions.

A lock file beside the control socket ensures that each user has a single tray. When only the tray
ends (SIGTERM, log-out, a crash), the service keeps running; *Quit* and Ctrl+C end the tray and the
service.
"""

import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence

from PySide6.QtCore import (
    QCoreApplication,
    QLockFile,
    QObject,
    QSocketNotifier,
    QTimer,
    QUrl,
    Signal,
    Slot,
)
from PySide6.QtGui import QDesktopServices, QGuiApplication
from PySide6.QtWidgets import QApplication, QSystemTrayIcon

from trayproxy import __version__
from trayproxy.control.client import (
    DisconnectedError,
    NoReplyError,
    ServiceRefusedError,
    ThreadedConnector,
)
from trayproxy.control.client import connect as connect_to_service
from trayproxy.control.codec import ProtocolError
from trayproxy.control.messages import (
    CheckProfile,
    DeleteProfile,
    Done,
    Failed,
    ForgetLogin,
    GetStatus,
    Quit,
    Reply,
    Request,
    SaveProfile,
    ShowWindow,
    SignInNow,
    Status,
    UsePort,
    UseProfile,
)
from trayproxy.control.transport import NotRunningError, UntrustedPeerError
from trayproxy.desktop.hardening import harden
from trayproxy.desktop.process import start_service
from trayproxy.desktop.window import allow_foreground, hide_from_dock, set_application_id
from trayproxy.domain.signin import Snooze
from trayproxy.identity import APP_ID, APP_NAME
from trayproxy.paths import PathError, Paths, locate, make_private
from trayproxy.profiles.profile import DIRECT_ID, Profile, SignIn
from trayproxy.ui import texts
from trayproxy.ui.icon_track import IconTrack
from trayproxy.ui.icons import app_icon
from trayproxy.ui.menu import TrayMenu
from trayproxy.ui.notifications import (
    DesktopNotifications,
    NotificationChannel,
    Notifier,
    TrayMessages,
)
from trayproxy.ui.profiles_window import ProfilesWindow
from trayproxy.ui.prompts import PromptDialogs
from trayproxy.ui.service_client import ControlConnection, ServiceClient
from trayproxy.ui.service_supervisor import START_TIMEOUT_S, ServiceSupervisor
from trayproxy.ui.sign_in_page_notice import SignInPageNotice
from trayproxy.ui.traffic_rate import TrafficRate
from trayproxy.ui.tray import Tray
from trayproxy.ui.tray_host import TrayHost
from trayproxy.ui.window_questions import Deletion

translate = QCoreApplication.translate

BACKGROUND_TRAY_TIMEOUT_S = 30.0
"""Seconds without a system tray after which the window is shown instead of the icon. The panel of
the desktop may start late at log-in.
"""
TRAY_TIMEOUT_S = 3.0
"""The same for a tray started by the user: if there is a panel, it is already running."""
DIRECT_FOR_S = 300
"""Seconds of a temporary direct connection, for signing in on the network's own page (ux §3.8)."""
SHOW_TIMEOUT_S = 10.0
"""Seconds for which a second tray process tries to reach the service, which may be restarting."""

_EXIT_INTERRUPTED = 130


class SignalNotifier(QObject):
    """SIGINT and SIGTERM as Qt signals.

    Python runs signal handlers between two bytecode instructions, and it executes none while Qt
    waits for events. Python therefore writes each signal number to a socket, and a
    `QSocketNotifier` on that socket wakes Qt (ux §9, 43).

    Signals:
        received(int): The number of a signal.
    """

    received = Signal(int)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
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


class App(QObject):
    """Connects the tray, the window and the dialogs to the service."""

    def __init__(
        self,
        connect: Callable[[], ControlConnection],
        start_service: Callable[[], object],
        *,
        is_background: bool = False,
        channel: NotificationChannel | None = None,
        page_channel: NotificationChannel | None = None,
        parent: QObject | None = None,
    ) -> None:
        """Create the parts of the user interface; `start` connects to the service.

        Args:
            connect: Connects to the service (`trayproxy.ui.service_client.ServiceClient`).
            start_service: Starts the service (`trayproxy.ui.service_supervisor.ServiceSupervisor`).
            is_background: True if the tray was started with the session and should open no window.
            channel: Shows notifications about sign-in; None: the channel of this desktop.
            page_channel: The same for notifications about a sign-in page, which do not replace
                those about sign-in.
            parent: The Qt parent.
        """
        super().__init__(parent)
        self._is_background = is_background
        self._exit_code = 0
        self._is_quitting = False
        self._status: Status | None = None
        self._last_profile = ""
        self._icon_track = IconTrack(time.monotonic())
        self._traffic_rate = TrafficRate()
        self.client = ServiceClient(connect, self)
        self.supervisor = ServiceSupervisor(self.client, start_service, parent=self)
        self.notifier = Notifier(channel or self._make_channel(), parent=self)
        pages = Notifier(page_channel or self._make_channel(), parent=self)
        self.page_notices = SignInPageNotice(pages, self)
        self.prompts = PromptDialogs(self.client, self.notifier, self)
        self.tray_host = TrayHost(self)
        self.menu = TrayMenu(self)
        self.tray = Tray(self.tray_host, self.menu, self)
        self.window = ProfilesWindow()
        self._refresh_timer = QTimer(self, singleShot=True)
        self._no_tray_timer = QTimer(self, singleShot=True)
        self._connect_client()
        self._connect_menu()
        self._connect_window()

    @Slot()
    def start(self) -> None:
        """Wait for a system tray, and connect to the service."""
        limit = BACKGROUND_TRAY_TIMEOUT_S if self._is_background else TRAY_TIMEOUT_S
        self._no_tray_timer.start(int(1000 * limit))
        self.tray_host.watch()
        self.supervisor.ensure_running()
        self._refresh()

    @Slot()
    def show_window(self, token: str = "") -> None:
        """Show the window and activate it.

        Args:
            token: An XDG activation token, which some compositors require for activation.
        """
        if token:
            os.environ["XDG_ACTIVATION_TOKEN"] = token
        self.window.present()

    @Slot()
    def quit(self) -> None:
        """Quit TrayProxy: the service and the tray.

        If the tray is still connecting to the service, or has just started it, the service is told
        to quit as soon as the connection is open.
        """
        self._is_quitting = True
        is_connecting = self.supervisor.stop_starting()
        if self.client.is_open:
            self._quit_service()
        elif is_connecting:
            QTimer.singleShot(int(1000 * START_TIMEOUT_S), self, self._exit)
        else:
            self._exit()

    def _quit_service(self) -> None:
        self.client.request(Quit(), self._on_quit_reply)
        # The tray exits even if the service does not reply.
        QTimer.singleShot(3000, self, self._exit)

    @Slot()
    def _on_opened(self) -> None:
        if self._is_quitting:
            self._quit_service()

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
            self._exit()

    @Slot()
    def _exit(self) -> None:
        self.supervisor.stop()
        self.client.close()
        QCoreApplication.exit(self._exit_code)

    def close(self) -> None:
        """Disconnect from the service, remove all windows and stop all timers."""
        self.supervisor.stop()
        self.client.close()
        self.prompts.close()
        self._refresh_timer.stop()
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

    def _connect_client(self) -> None:
        self.client.opened.connect(self._on_opened)
        self.client.status_changed.connect(self._on_status)
        self.client.lost.connect(self._on_lost)
        self.client.refused.connect(self._on_refused)
        self.client.show_requested.connect(self._on_show_requested)
        self.client.quitting.connect(self._exit)
        self.supervisor.restarted.connect(self._on_restarted)
        self.supervisor.gave_up.connect(self._exit)
        self.prompts.changed.connect(self._refresh)
        self._refresh_timer.timeout.connect(self._refresh)
        self._no_tray_timer.timeout.connect(self._on_no_tray_timeout)

    def _connect_menu(self) -> None:
        self.menu.opening.connect(self._on_menu_opening)
        self.menu.address_chosen.connect(self._copy_address)
        self.menu.sign_in_chosen.connect(self._sign_in)
        self.menu.not_now_chosen.connect(self._decline_prompt)
        self.menu.profile_chosen.connect(self._use_profile)
        self.menu.profiles_chosen.connect(self.show_window)
        self.menu.port_chosen.connect(self._use_port)
        self.menu.direct_for_now_chosen.connect(self._connect_directly_for_now)
        self.menu.retry_chosen.connect(self.supervisor.retry_now)
        self.menu.quit_chosen.connect(self.quit)
        self.tray.primary_activated.connect(self._on_primary_click)
        self.tray.window_requested.connect(self.show_window)
        self.tray.direct_toggled.connect(self._toggle_direct)
        self.tray.created.connect(self._on_tray_created)
        self.tray_host.visibility_changed.connect(self._on_tray_visibility_changed)

    def _connect_window(self) -> None:
        self.window.save_requested.connect(self._save_profile)
        self.window.delete_requested.connect(self._delete_profile)
        self.window.use_requested.connect(self._use_profile)
        self.window.check_requested.connect(self._check_profile)
        self.window.forget_requested.connect(self._forget_login)
        self.window.sign_in_requested.connect(self._sign_in)
        self.window.test_sign_in_requested.connect(self._sign_in_to_profile)
        self.window.page_requested.connect(self._open_page)
        self.window.direct_for_now_requested.connect(self._connect_directly_for_now)
        self.page_notices.page_requested.connect(self._open_page)
        self.page_notices.direct_requested.connect(self._connect_directly_for_now)
        self.window.copy_requested.connect(self._copy_address)
        self.window.port_requested.connect(self._use_port)
        self.window.retry_requested.connect(self.supervisor.retry_now)
        self.window.quit_requested.connect(self.quit)

    @Slot(str)
    def _open_page(self, url: str) -> None:
        """Open a URL in the browser if its scheme is http or https. The URL is untrusted."""
        page_url = QUrl(url, QUrl.ParsingMode.StrictMode)
        if page_url.isValid() and page_url.scheme() in ("http", "https"):
            QDesktopServices.openUrl(page_url)

    # --- Service events --------------------------------------------------------------------------

    @Slot(object)
    def _on_status(self, status: Status) -> None:
        is_first = self._status is None
        now = time.monotonic()
        self._status = status
        if status.profile is not None:
            self._last_profile = status.profile.id
        self._icon_track.update(status, now, time.time())
        self._traffic_rate.update(status.received, now)
        self.page_notices.update(status)
        self._refresh()
        if is_first and not status.profiles:
            self.show_window()

    @Slot()
    def _on_lost(self) -> None:
        self._status = None
        self.page_notices.update(None)
        self._icon_track.update(None, time.monotonic(), time.time())
        self._refresh()

    @Slot(object)
    def _on_refused(self, failed: Failed) -> None:
        self.supervisor.stop()
        self.window.show_note(texts.problem_text(failed.problem))
        self.show_window()

    @Slot()
    def _on_restarted(self) -> None:
        self.window.show_note(texts.restarted_text())

    @Slot(str)
    def _on_show_requested(self, token: str) -> None:
        self.show_window(token)

    def _on_quit_reply(self, reply: Reply) -> None:
        self._exit()

    @Slot()
    def _refresh(self) -> None:
        """Update the icon, the menu and the window, and schedule the next time-dependent update."""
        delay = self._icon_track.update_shown(time.monotonic())
        if delay is not None:
            self._refresh_timer.start(max(1, int(1000 * delay) + 1))
        state = self._icon_track.shown
        has_prompt = self.prompts.pending is not None
        self.tray.show_state(state, texts.tray_tooltip(state, self._status))
        rate = self._traffic_rate.rate(time.monotonic())
        self.menu.update(state, self._status, has_prompt=has_prompt, received_per_s=rate)
        self.window.show_state(state, self._status, has_prompt=has_prompt)

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
        if self._is_background:
            self.window.showMinimized()
        else:
            self.show_window()

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

    def _on_status_reply(self, reply: Reply) -> None:
        if isinstance(reply, Status):
            self._on_status(reply)

    # --- User actions ----------------------------------------------------------------------------

    @Slot()
    def _copy_address(self) -> None:
        if self._status is not None:
            QGuiApplication.clipboard().setText(self._status.address)

    @Slot()
    def _sign_in(self) -> None:
        if self.prompts.present():
            return
        if self._status is not None and self._status.profile is not None:
            self.client.request(SignInNow(self._status.profile.id), self._on_reply)
            if self._status.profile.sign_in is SignIn.SSO:
                # There is no prompt; the window shows the problem with the Kerberos ticket or
                # log-on.
                self.show_window()

    @Slot(str)
    def _sign_in_to_profile(self, profile_id: str) -> None:
        if not self.prompts.present():
            self.client.request(SignInNow(profile_id), self._on_reply)

    @Slot(object)
    def _decline_prompt(self, snooze: Snooze) -> None:
        self.prompts.decline(snooze)

    @Slot(str)
    def _use_profile(self, profile_id: str) -> None:
        self._icon_track.start_switch(time.monotonic())
        self.client.request(UseProfile(profile_id), self._on_reply)
        self._refresh()

    @Slot()
    def _connect_directly_for_now(self) -> None:
        self._icon_track.start_switch(time.monotonic())
        self.client.request(UseProfile(DIRECT_ID, DIRECT_FOR_S), self._on_reply)
        self._refresh()

    @Slot(int)
    def _use_port(self, port: int) -> None:
        self.client.request(UsePort(port), self._on_reply)

    @Slot()
    def _toggle_direct(self) -> None:
        """Connect directly, or return to the previous profile."""
        status = self._status
        if status is None or not status.profiles:
            return
        known_ids = {profile.id for profile in status.profiles}
        previous_id = (
            self._last_profile if self._last_profile in known_ids else status.profiles[0].id
        )
        self._use_profile(previous_id if status.direct else DIRECT_ID)

    @Slot(object)
    def _save_profile(self, profile: Profile) -> None:
        status = self._status
        is_first = status is not None and status.profile is None and not status.direct
        self.client.request(
            SaveProfile(profile), lambda reply: self._on_save_reply(profile, reply, use=is_first)
        )

    def _on_save_reply(self, profile: Profile, reply: Reply, *, use: bool) -> None:
        if isinstance(reply, Failed):
            self.window.show_save_problem(reply.problem)
            return
        self.window.show_saved(profile)
        if use:
            self._use_profile(profile.id)

    @Slot(object)
    def _delete_profile(self, deletion: Deletion) -> None:
        self.client.request(DeleteProfile(deletion.profile_id, deletion.forget), self._on_reply)

    @Slot(object)
    def _check_profile(self, request: CheckProfile) -> None:
        self.client.request(request, lambda reply: self.window.show_check(request, reply))

    @Slot(str)
    def _forget_login(self, profile_id: str) -> None:
        self.client.request(ForgetLogin(profile_id), self._on_forget_reply)

    def _on_forget_reply(self, reply: Reply) -> None:
        if isinstance(reply, Done):
            self.window.show_forgotten()
        else:
            self._on_reply(reply)

    def _on_reply(self, reply: Reply) -> None:
        """Show the problem if a request failed; the next status shows a success."""
        if isinstance(reply, Failed):
            self.window.show_save_problem(reply.problem)
            self.show_window()
        self._refresh()


def main(arguments: Sequence[str] = ()) -> int:
    """Run the tray, or show the window of the running tray.

    Args:
        arguments: ``--background`` if the tray was started with the session and should open no
            window.

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
    except (
        NotRunningError,
        UntrustedPeerError,
        DisconnectedError,
        NoReplyError,
        ServiceRefusedError,
        ProtocolError,
        OSError,
    ):
        return None


def run(paths: Paths, start: Callable[[], object], *, is_background: bool = False) -> int:
    """Run the tray until it exits; the caller holds the lock file.

    Args:
        paths: The paths of the control socket.
        start: Starts the service (`trayproxy.ui.service_supervisor.ServiceSupervisor`).
        is_background: See `App`.

    Returns:
        The exit code.
    """
    set_application_id(APP_ID)
    application = QApplication([sys.argv[0]])
    hide_from_dock()
    application.setApplicationName(APP_NAME)
    application.setApplicationVersion(__version__)
    application.setQuitOnLastWindowClosed(False)
    QGuiApplication.setDesktopFileName(APP_ID)
    application.setWindowIcon(app_icon())
    interrupts = SignalNotifier()
    app = App(
        ThreadedConnector(lambda: connect_to_service(paths)),
        start,
        is_background=is_background,
    )
    interrupts.received.connect(app.handle_signal)
    QTimer.singleShot(0, app, app.start)
    try:
        return application.exec()
    finally:
        app.close()
        interrupts.close()


def _do_nothing(number: int, frame: object) -> None:
    """Ignore a signal in the Python handler; `SignalNotifier` reports the signal to Qt."""


def _print_error(text: str) -> None:
    """Write a line to standard error, which may be full or closed."""
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()
