"""Carries out the user's actions that need the service."""

from PySide6.QtCore import QObject, QUrl, Slot
from PySide6.QtGui import QDesktopServices, QGuiApplication

from trayproxy.control.messages import (
    CheckProfile,
    DeleteProfile,
    Done,
    Failed,
    ForgetLogin,
    Reply,
    SaveProfile,
    SignInNow,
    UndoNetworkSwitch,
    UsePort,
    UseProfile,
    UseSystemProxy,
)
from trayproxy.profiles.profile import DIRECT_ID, Profile, SignIn
from trayproxy.ui.action_signals import ActionSignals
from trayproxy.ui.profiles_window import ProfilesWindow
from trayproxy.ui.prompts import PromptDialogs
from trayproxy.ui.service_client import ServiceClient
from trayproxy.ui.state_display import StateDisplay

LEFTOVER_ID = "TP-605"
"""The id of the problem of a present system proxy at which no program answers."""
DIRECT_FOR_S = 300
"""Seconds of a temporary direct connection, for signing in on the network's own page (ux §3.8)."""


class ActionRequests(QObject):
    """Sends the requests for the `ActionSignals`; the window shows the problems."""

    def __init__(
        self,
        client: ServiceClient,
        prompts: PromptDialogs,
        window: ProfilesWindow,
        display: StateDisplay,
        actions: ActionSignals,
        parent: QObject,
    ) -> None:
        super().__init__(parent)
        self._client = client
        self._prompts = prompts
        self._window = window
        self._display = display
        actions.copy_address.connect(self._copy_address)
        actions.sign_in.connect(self._sign_in)
        actions.sign_in_to_profile.connect(self._sign_in_to_profile)
        actions.use_profile.connect(self._use_profile)
        actions.toggle_direct.connect(self._toggle_direct)
        actions.connect_directly_for_now.connect(self._connect_directly_for_now)
        actions.undo_network_switch.connect(self._undo_network_switch)
        actions.use_port.connect(self._use_port)
        actions.use_system_proxy.connect(self._use_system_proxy)
        actions.open_page.connect(self._open_page)
        actions.save_profile.connect(self._save_profile)
        actions.delete_profile.connect(self._delete_profile)
        actions.check_profile.connect(self._check_profile)
        actions.forget_login.connect(self._forget_login)

    @Slot(str)
    def _open_page(self, url: str) -> None:
        # The URL is untrusted.
        page_url = QUrl(url, QUrl.ParsingMode.StrictMode)
        if page_url.isValid() and page_url.scheme() in ("http", "https"):
            QDesktopServices.openUrl(page_url)

    @Slot()
    def _copy_address(self) -> None:
        if self._display.status is not None:
            QGuiApplication.clipboard().setText(self._display.status.address)

    @Slot()
    def _sign_in(self) -> None:
        if self._prompts.present():
            return
        status = self._display.status
        if status is not None and status.profile is not None:
            self._client.request(SignInNow(status.profile.id), self._on_reply)
            if status.profile.sign_in is SignIn.SSO and not status.profile.get_ticket:
                # There is no prompt; the window shows the problem with the Kerberos ticket or
                # log-on.
                self._window.present()

    @Slot(str)
    def _sign_in_to_profile(self, profile_id: str) -> None:
        if not self._prompts.present():
            self._client.request(SignInNow(profile_id), self._on_reply)

    @Slot(str)
    def _forget_login(self, profile_id: str) -> None:
        self._client.request(ForgetLogin(profile_id), self._on_forget_reply)

    def _on_forget_reply(self, reply: Reply) -> None:
        if isinstance(reply, Done):
            self._window.show_forgotten()
        else:
            self._on_reply(reply)

    @Slot(str)
    def _use_profile(self, profile_id: str) -> None:
        self._request_switch(UseProfile(profile_id))

    @Slot()
    def _connect_directly_for_now(self) -> None:
        self._request_switch(UseProfile(DIRECT_ID, DIRECT_FOR_S))

    @Slot()
    def _undo_network_switch(self) -> None:
        self._display.start_switch()
        self._client.request(UndoNetworkSwitch(), self._on_reply)

    def _request_switch(self, request: UseProfile) -> None:
        self._display.start_switch()
        self._client.request(request, self._on_reply)

    @Slot()
    def _toggle_direct(self) -> None:
        status = self._display.status
        if status is None or not status.profiles:
            return
        known_ids = [profile.id for profile in status.profiles]
        last = self._display.last_profile
        previous_id = last if last in known_ids else known_ids[0]
        self._use_profile(previous_id if status.direct else DIRECT_ID)

    @Slot(int)
    def _use_port(self, port: int) -> None:
        self._client.request(UsePort(port), self._on_reply)

    @Slot(object)
    def _use_system_proxy(self, request: UseSystemProxy) -> None:
        self._client.request(request, lambda reply: self._on_system_proxy_reply(request, reply))

    def _on_system_proxy_reply(self, request: UseSystemProxy, reply: Reply) -> None:
        if isinstance(reply, Failed) and reply.problem.id == LEFTOVER_ID:
            self._window.present()
            self._window.ask_leftover(request, reply.problem)
        else:
            self._on_reply(reply)

    @Slot(object)
    def _save_profile(self, profile: Profile) -> None:
        status = self._display.status
        is_first = status is not None and status.profile is None and not status.direct
        self._client.request(
            SaveProfile(profile), lambda reply: self._on_save_reply(profile, reply, use=is_first)
        )

    def _on_save_reply(self, profile: Profile, reply: Reply, *, use: bool) -> None:
        if isinstance(reply, Failed):
            self._window.show_save_problem(reply.problem)
            return
        self._window.show_saved(profile)
        if use:
            self._use_profile(profile.id)

    @Slot(object)
    def _delete_profile(self, request: DeleteProfile) -> None:
        self._client.request(request, self._on_reply)

    @Slot(object)
    def _check_profile(self, request: CheckProfile) -> None:
        self._client.request(request, lambda reply: self._window.show_check(request, reply))

    def _on_reply(self, reply: Reply) -> None:
        """Show the problem if a request failed; the next status shows a success."""
        if isinstance(reply, Failed):
            self._window.show_save_problem(reply.problem)
            self._window.present()
        self._display.refresh()
