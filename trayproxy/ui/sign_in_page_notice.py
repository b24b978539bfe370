"""The notification that the network requires signing in on its own web page (ux §3.8, N10)."""

from PySide6.QtCore import QCoreApplication, QObject, QTimer, Slot

from trayproxy.control.messages import Status
from trayproxy.ui import texts
from trayproxy.ui.action_signals import ActionSignals
from trayproxy.ui.notifications import Notification, Notifier

translate = QCoreApplication.translate

OPEN_PAGE = "open-page"
CONNECT_DIRECTLY = "connect-directly"
SHOW_DELAY_MS = 5000
"""Milliseconds of delay. There is no notification if the page is no longer required by then
(ux §4.1, 4).
"""


class SignInPageNotice(QObject):
    """Shows a notification about a sign-in page while the page is required."""

    def __init__(
        self,
        notifier: Notifier,
        actions: ActionSignals,
        parent: QObject | None = None,
        delay_ms: int = SHOW_DELAY_MS,
    ) -> None:
        super().__init__(parent)
        self._notifier = notifier
        self._actions = actions
        self._page_url = ""
        self._offers_direct = False
        self._is_shown = False
        self._delay_timer = QTimer(self, singleShot=True, interval=delay_ms)
        self._delay_timer.timeout.connect(self._show)
        notifier.chosen.connect(self._on_chosen)

    def update(self, status: Status | None) -> None:
        """Process a new status, None if the service has disconnected."""
        page = texts.sign_in_page(status)
        is_locked = status is not None and status.screen_locked
        self._offers_direct = texts.offers_direct(status)
        before, self._page_url = self._page_url, page
        if not page or (status is not None and status.direct):
            self._withdraw()
        elif is_locked:
            self._delay_timer.stop()  # Shown after the screen is unlocked.
        elif page != before or not (self._is_shown or self._delay_timer.isActive()):
            self._delay_timer.start()

    @Slot()
    def _show(self) -> None:
        self._is_shown = True
        self._notifier.notify(sign_in_page_notification(offers_direct=self._offers_direct))

    def _withdraw(self) -> None:
        self._delay_timer.stop()
        if self._is_shown:
            self._is_shown = False
            self._notifier.withdraw()

    @Slot(str, str)
    def _on_chosen(self, action: str, token: str) -> None:
        if action == OPEN_PAGE and self._page_url:
            self._actions.open_page.emit(self._page_url)
        elif action == CONNECT_DIRECTLY:
            self._actions.connect_directly_for_now.emit()


def sign_in_page_notification(*, offers_direct: bool) -> Notification:
    """Return the notification, which contains no text from the network."""
    actions = [(OPEN_PAGE, translate("Notification", "Open sign-in page…"))]
    if offers_direct:
        text = translate("Notification", "Connect directly for 5 minutes")
        actions.append((CONNECT_DIRECTLY, text))
    return Notification(
        translate("Notification", "This network wants you to sign in on its own page"),
        translate(
            "Notification",
            "Sign in on that page. What fails now works again by itself then.",
        ),
        tuple(actions),
    )
