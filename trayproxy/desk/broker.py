"""The desk as the engine sees it."""

from asyncio import Future
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from trayproxy.auth.scheme import Verdict
from trayproxy.desk.credentials import Credentials, Outcome, PendingRequest
from trayproxy.desk.protection_space import UpstreamId
from trayproxy.http.challenges import Challenge
from trayproxy.profiles.profile import Profile


@dataclass(frozen=True, slots=True)
class Accepted:
    """The login was accepted, as the response proves.

    The report is optional while `Credentials.is_recently_accepted` is True; it then prolongs this
    time.

    Attributes:
        target: The request's target, ``github.com:443``; empty if no target was named yet.
    """

    target: str = ""


@dataclass(frozen=True, slots=True)
class Unproved:
    """The response does not tell whether the login is right.

    Attributes:
        target: The request's target, ``github.com:443``.
        is_doubtful: True if a proxy may give this response to a wrong login as well.
    """

    target: str
    is_doubtful: bool


@dataclass(frozen=True, slots=True)
class NoVerdict:
    """The request received no response, or was sent without the login.

    Attributes:
        reason: The reason for the log: a network error, a timeout, a disconnected client.
        was_sent: True if the login may have arrived and may have cost a log-on.
    """

    reason: str
    was_sent: bool = True


@dataclass(frozen=True, slots=True)
class SilentUpstream:
    """The upstream has answered no request for a moment, and the request has no response yet.

    The login no longer counts as proved: from now on, requests carry it one at a time.

    Attributes:
        waiting: The number of requests with this login that wait.
    """

    waiting: int


Report = Accepted | Unproved | NoVerdict | SilentUpstream
"""The result of a request with credentials."""


class CredentialBroker(Protocol):
    """Provides credentials for requests, and learns from the results of the requests."""

    def known(self, upstream_id: UpstreamId) -> Credentials | None:
        """Return the credentials to send before this upstream asks, None if there are none.

        Called for every request.
        """

    def may_preconnect(self, credentials: Credentials) -> bool:
        """Return whether these credentials may be sent without a client's request.

        True if they were accepted moments ago and are sent to the upstream preemptively, the
        upstream has no open prompt and no doubted login, and the screen is unlocked.
        """

    def challenged(
        self,
        upstream_id: UpstreamId,
        profile: Profile,
        challenges: Sequence[Challenge],
        pending: PendingRequest,
        refused: Credentials | None,
        verdict: Verdict | None = None,
    ) -> Future[Outcome]:
        """Park a request after a 407.

        Args:
            upstream_id: The upstream of the 407.
            profile: The request's profile, as it was when the request began.
            challenges: All challenges of the last response; empty if there was no response, or if
                it contained no challenge.
            pending: The request.
            refused: The credentials of the refused request, None if it carried none.
            verdict: How the handshake ended, if this is known.

        Returns:
            The credentials with which to send the request, or the refusal for its client; None:
            send the request without a login, to get new challenges. Cancel the future when the
            client leaves. The result of a request with credentials must be reported with `report`,
            or by calling this method again.
        """

    def request_permit(self, credentials: Credentials, target: str) -> Future[Outcome]:
        """Request a send permit for a login that is not proved, with the credentials of `known` and
        the request's target, ``github.com:443``.

        Returns:
            The credentials for the request; None if it must not carry this login any more. Cancel
            the future when the client leaves. The result of a request with the returned credentials
            must be reported with `report` or `challenged`.
        """

    def withdraw(self, future: Future[Outcome]) -> None:
        """Withdraw a waiting request, for example because its client has left.

        If the desk has just released the request, its login was not sent: this is reported to the
        desk, which would otherwise wait for a verdict. The future is from `challenged` or
        `request_permit`.
        """

    def report(self, credentials: Credentials, report: Report) -> None:
        """Record the result of a request with credentials.

        A request without the login need not be reported, unless it has a permit
        (`Credentials.permit`).
        """
