"""The notification that the network requires signing in on its own web page (ux §3.8, N10)."""

from PySide6.QtCore import QCoreApplication, QObject

from trayproxy.control.messages import Status
from trayproxy.ui import texts
from trayproxy.ui.action_signals import ActionSignals
from trayproxy.ui.delayed_notice import SHOW_DELAY_MS, DelayedNotice
from trayproxy.ui.notifications import Notification, Notifier

translate = QCoreApplication.translate

OPEN_PAGE = "open-page"
CONNECT_DIRECTLY = "connect-directly"


class SignInPageNotice(DelayedNotice):
    """Shows a notification about a sign-in page while the page is required."""

    def __init__(
        self,
        notifier: Notifier,
        actions: ActionSignals,
        parent: QObject | None = None,
        delay_ms: int = SHOW_DELAY_MS,
    ) -> None:
        super().__init__(notifier, actions, parent, delay_ms)
        self._page_url = ""
        self._offers_direct = False

    def update(self, status: Status | None) -> None:
        """Process a new status, None if the service has disconnected."""
        page = texts.sign_in_page(status)
        is_locked = status is not None and status.screen_locked
        self._offers_direct = texts.offers_direct(status)
        before, self._page_url = self._page_url, page
        if not page or (status is not None and texts.is_direct_by_choice(status)):
            self.withdraw()
        elif is_locked:
            self.postpone()  # Shown after the screen is unlocked.
        elif page != before or not self.is_shown_or_due:
            self.show_later()

    def notification(self) -> Notification:
        """Return the notification; see `DelayedNotice`."""
        return sign_in_page_notification(offers_direct=self._offers_direct)

    def choose(self, action: str) -> None:
        """Open the page, or connect directly; see `DelayedNotice`."""
        if action == OPEN_PAGE and self._page_url:
            self.actions.open_page.emit(self._page_url)
        elif action == CONNECT_DIRECTLY:
            self.actions.connect_directly_for_now.emit()


def sign_in_page_notification(*, offers_direct: bool) -> Notification:
    """Return the notification, which contains no text from the network."""
    actions = [(OPEN_PAGE, translate("Notification", "Open sign-in page…"))]
    if offers_direct:
        text = translate("Notification", "Connect directly for 5 minutes")
        actions.append((CONNECT_DIRECTLY, text))
    return Notification(
        translate("Notification", "This network wants you to sign in on its own page"),
        translate(
            "Notification", "Sign in on that page. What fails now works again by itself then."
        ),
        tuple(actions),
    )
