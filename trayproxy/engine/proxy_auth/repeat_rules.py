"""Decides whether a request may be sent again after its connection was lost.

No request is repeated if it may already have had an effect, and no login on trial is repeated if it
may already have cost a log-on.
"""

from dataclasses import dataclass
from enum import Enum, auto

from trayproxy.desk.credentials import Credentials
from trayproxy.engine.proxy_auth.auth_port import Message, Progress
from trayproxy.http.framing import NoBody

RESENDABLE_METHODS = frozenset({b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE", b"CONNECT"})
"""Methods of requests to send again after a reused connection failed: the idempotent methods (RFC
9110, section 9.2.2), and CONNECT, because no data has gone through an unopened tunnel."""


class Repeat(Enum):
    """Whether a request may be sent again."""

    NO = auto()
    YES = auto()
    EXPECTING_100 = auto()
    """Yes, but the content waits for a 100 response of the next hop."""
    NEXT_EXPECTING_100 = auto()
    """No, but the content of the next upload waits for a 100 response of the next hop."""


@dataclass(frozen=True, slots=True)
class LostRequest:
    """A request whose connection was lost before its response.

    Attributes:
        carried: The credentials in the head; None without credentials.
        is_on_trial: See `Attempt`.
        may_be_challenged: True if the next hop may have refused the request for lack of a login.
        was_unread: True if the next hop had closed the connection before reading the request.
        connection_was_used: True if a response had arrived on the connection before.
    """

    method: bytes
    progress: Progress
    carried: Credentials | None = None
    is_on_trial: bool = False
    may_be_challenged: bool = False
    was_unread: bool = False
    connection_was_used: bool = False


def repeat_of(lost: LostRequest) -> Repeat:
    """Return whether the whole request may be sent again after its connection was lost.

    The next hop may have closed an idle connection just as the request was sent. Sending the
    request again is then harmless if its method is idempotent or none of it was sent (RFC 9112,
    section 9.3.1; RFC 9110, section 9.2.2).
    """
    progress, carried = lost.progress, lost.carried
    is_idempotent = lost.method in RESENDABLE_METHODS
    if not progress.is_whole:
        return Repeat.NO
    if carried is not None and lost.is_on_trial and _may_cost_failed_logon(carried):
        if not progress.was_sent:
            return Repeat.YES
        # A proxy may close the connection instead of answering a wrong password. But a proxy
        # closing the connection after its 407 has not read the later request.
        is_unread = lost.was_unread and not progress.content_was_read
        is_first = not carried.scheme.binds_connection
        return _yes_if(is_idempotent and lost.connection_was_used and is_unread and is_first)
    if lost.may_be_challenged and progress.content_was_read and not progress.is_sent:
        # A proxy refusing an upload may reset the connection, so its 407 is lost: expect a 100
        # before the content next time. A method that is not idempotent may have had an effect.
        return (
            Repeat.EXPECTING_100
            if is_idempotent or not progress.was_sent
            else Repeat.NEXT_EXPECTING_100
        )
    return _yes_if(lost.connection_was_used and (is_idempotent or not progress.was_sent))


def may_repeat_without_login(method: bytes, progress: Progress) -> bool:
    """Return True if a request may be sent again without its login, to obtain a challenge."""
    return method in RESENDABLE_METHODS and progress.is_whole


def may_be_replaced(message: Message) -> bool:
    """Return True if the connection of a message may be given up for a new one while the next hop
    has acknowledged nothing: the message would be sent again, and costs no log-on."""
    request, carried = message.request, message.carried
    costs_logon = carried is not None and not carried.is_recently_accepted
    is_repeatable = request.method in RESENDABLE_METHODS and request.framing == NoBody()
    return is_repeatable and not costs_logon


def _yes_if(condition: bool) -> Repeat:
    return Repeat.YES if condition else Repeat.NO


def _may_cost_failed_logon(credentials: Credentials) -> bool:
    """Return True if the upstream may count a refusal of these credentials as a failed log-on. A
    Kerberos ticket contains no password."""
    return credentials.login is not None and credentials.scheme.family != "negotiate"
