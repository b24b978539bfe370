"""The trial of a protection space's current login: its record on disk, its canary, its own request.

A login is recorded on disk before it is sent; then a single request carries it, the canary. An own
request verifies the login if no request of a program can (`trayproxy.desk.machine.verification`).
"""

from dataclasses import dataclass, replace
from math import inf

from trayproxy.desk.machine.limits import DeskLimits


@dataclass(frozen=True, slots=True)
class Trial:
    """The trial of the current login.

    Attributes:
        is_recorded: True if the trial has been written to disk.
        record_number: Number of the outstanding `RecordTrial`, 0 if there is none.
        record_deadline: Time when the record becomes overdue; infinite if it is overdue.
        is_blocked: True if the verdict on the same login is awaited, because the login is in flight
            elsewhere.
        canary_overdue_at: Time when the prompt reports the missing verdict on the canary.
        canary_lost_at: Time when the canary is given up.
        canary_target: The target of the last canary.
        canary_scheme: The scheme of the last canary, as in `OfferedScheme`.
        rejecting_target: The target for which a login was rejected last; it may be a forbidden host
            instead.
        own_request: Number of the outstanding own request, 0 if there is none.
        own_deadline: Time until which other requests wait for the own request while an accepted
            login is in doubt.
        own_challenged: True if the upstream has responded to the own request with a 407.
        was_own_sent: True if an own request was sent for the current login.
        last_target: The target of the last request of a program.
    """

    is_recorded: bool = False
    record_number: int = 0
    record_deadline: float = inf
    is_blocked: bool = False
    canary_overdue_at: float = inf
    canary_lost_at: float = inf
    canary_target: str = ""
    canary_scheme: str = ""
    rejecting_target: str = ""
    own_request: int = 0
    own_deadline: float = inf
    own_challenged: bool = False
    was_own_sent: bool = False
    last_target: str = ""

    def renewed(self) -> "Trial":
        """Return the trial of a new login; an outstanding own request continues."""
        return Trial(
            rejecting_target=self.rejecting_target,
            own_request=self.own_request,
            own_deadline=self.own_deadline,
            own_challenged=self.own_challenged,
            last_target=self.last_target,
        )

    # --- The record ------------------------------------------------------------------------------

    def recording(self, number: int, deadline: float) -> "Trial":
        """Return the trial after its record was requested."""
        return replace(self, record_number=number, record_deadline=deadline)

    def with_overdue_record(self) -> "Trial":
        """Return the trial after the deadline of its record."""
        return replace(self, record_deadline=inf)

    def recorded(self, *, may_send: bool) -> "Trial":
        """Return the trial after its record was written.

        Args:
            may_send: True if the login may be sent, False if the history forbids the trial.
        """
        # An own request refused because of the overdue record is sent again.
        was_own_sent = self.was_own_sent and not self.is_record_overdue
        return replace(
            self,
            is_recorded=may_send,
            record_number=0,
            record_deadline=inf,
            was_own_sent=was_own_sent,
        )

    @property
    def is_record_overdue(self) -> bool:
        """True if the record is overdue: until it is written, the login is not sent and requests
        are refused."""
        return self.record_number > 0 and self.record_deadline == inf

    # --- The canary ------------------------------------------------------------------------------

    def canary_sent(self, target: str, scheme: str, now: float, limits: DeskLimits) -> "Trial":
        """Return the trial after its canary was sent."""
        return replace(
            self,
            is_recorded=False,
            canary_overdue_at=now + limits.canary_overdue,
            canary_lost_at=now + limits.canary_timeout,
            canary_target=target,
            canary_scheme=scheme,
        )

    def canary_overdue(self) -> "Trial":
        """Return the trial after the missing verdict on the canary was reported."""
        return replace(self, canary_overdue_at=inf)

    def canary_ended(self) -> "Trial":
        """Return the trial after the canary has returned, or was given up."""
        return replace(self, canary_overdue_at=inf, canary_lost_at=inf)

    def typed_again(self, canary_overdue_at: float) -> "Trial":
        """Return the trial after the user has typed the same login again."""
        return replace(self, canary_overdue_at=canary_overdue_at, was_own_sent=False)

    def accepted(self) -> "Trial":
        """Return the trial after the acceptance of the login."""
        return replace(self.canary_ended(), is_blocked=False, rejecting_target="")

    def rejected(self, target: str) -> "Trial":
        """Return the trial after the rejection of the login for a target."""
        return replace(self, rejecting_target=target)

    # --- The own request -------------------------------------------------------------------------

    def own_request_sent(self, number: int, deadline: float) -> "Trial":
        """Return the trial after an own request was sent."""
        return replace(
            self, own_request=number, own_deadline=deadline, own_challenged=False, was_own_sent=True
        )

    def own_request_overdue(self) -> "Trial":
        """Return the trial in which no request waits for the own request any more."""
        return replace(self, own_deadline=inf)

    def own_request_ended(self) -> "Trial":
        """Return the trial after the end of its own request."""
        return replace(self, own_request=0, own_deadline=inf)

    def challenged(self, target: str, *, is_own: bool) -> "Trial":
        """Return the trial after a 407 to an own request, or to a request of a program."""
        return replace(self, own_challenged=True) if is_own else replace(self, last_target=target)

    @property
    def awaits_own_request(self) -> bool:
        """True if other requests wait for the own request."""
        return self.own_request > 0 and self.own_deadline < inf

    # --- Queries ---------------------------------------------------------------------------------

    @property
    def is_pending(self) -> bool:
        """True if the trial continues although no canary is in flight."""
        return self.own_request > 0 or self.is_blocked or self.record_number > 0

    @property
    def deadline(self) -> float:
        """The next deadline of the trial."""
        return min(
            self.canary_overdue_at, self.canary_lost_at, self.own_deadline, self.record_deadline
        )
