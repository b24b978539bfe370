"""The notification that the network wants people to sign in on a page of its own (ux §3.8, N10)."""

from PySide6.QtCore import QCoreApplication, QObject, QTimer, Signal, Slot

from trayproxy.control.messages import Status
from trayproxy.ui import texts
from trayproxy.ui.notifications import Notification, Notifier

translate = QCoreApplication.translate

OPEN_PAGE = "open-page"
CONNECT_DIRECTLY = "connect-directly"
SHOW_DELAY_MS = 5000
"""A page that is no longer wanted within this time is not worth a notification (ux §4.1, 4)."""


class SignInPageNotice(QObject):
    """Tells a person who looks elsewhere about a sign-in page, and withdraws that with its cause.

    Signals:
        page_wanted(str): Open the page with this URL, which is untrusted, in the browser.
        direct_wanted: Connect directly for the time being.
    """

    page_requested = Signal(str)
    direct_requested = Signal()

    def __init__(self, notifier: Notifier, parent: QObject | None = None) -> None:
        """Create it; `update` gives it the facts.

        Args:
            notifier: Shows its notification; others may use the same channel.
            parent: Its owner.
        """
        super().__init__(parent)
        self._notifier = notifier
        self._page = ""
        self._offers_direct = False
        self._is_shown = False
        self._delay_timer = QTimer(self, singleShot=True, interval=SHOW_DELAY_MS)
        self._delay_timer.timeout.connect(self._show)
        notifier.chosen.connect(self._on_chosen)

    def update(self, status: Status | None) -> None:
        """Take in what the service says, None when it went away."""
        page = texts.sign_in_page(status)
        is_locked = status is not None and status.screen_locked
        self._offers_direct = texts.offers_direct(status)
        before, self._page = self._page, page
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
        if action == OPEN_PAGE and self._page:
            self.page_requested.emit(self._page)
        elif action == CONNECT_DIRECTLY:
            self.direct_requested.emit()


def sign_in_page_notification(*, offers_direct: bool) -> Notification:
    """Return what the notification says. It shows nothing that comes from the network.

    Args:
        offers_direct: Whether programs can be connected directly for the time being.
    """
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
