"""The current login of a protection space, the doubt about the login and the trial of the login.

A login is recorded on disk before it is sent; then a single request carries it, the canary. An own
request verifies the login if no request of a program can (`trayproxy.desk.machine.verification`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from math import inf

from trayproxy.auth.login import Login
from trayproxy.auth.scheme import strength
from trayproxy.desk.machine.events import OfferedScheme
from trayproxy.desk.machine.limits import DeskLimits
from trayproxy.desk.protection_space import host_of

_PENDING_VERDICTS_MAX = 32


class LoginSource(Enum):
    """The origin of a login."""

    SAVED = auto()
    """The login was saved in the keyring."""
    TYPED = auto()
    """The user has typed the login in a prompt."""
    COMMAND_LINE = auto()
    """The login was given on the command line."""
    SSO = auto()
    """No login: the own sign-in with a Kerberos ticket or the log-on to Windows."""


@dataclass(frozen=True, slots=True)
class CurrentLogin:
    """The current login, and where and how it was accepted.

    Attributes:
        login: The login; None if there is none, and for the own sign-in. It is kept after a
            rejection in case the rejection turns out to be wrong; requests carry it without a 407
            only in `SpacePhase.TRUSTED`.
        source: The origin of the login.
        generation: Number of the current login; incremented with each new login.
        pending_verdicts: Logins replaced while their canary was in flight, by generation.
        remember: True if the login is saved to the keyring once it is accepted.
        retry_rejected: True if the login is sent even if it has been rejected before, as the user
            wants.
        is_unsent: True if the login had been rejected before and was not sent again.
        consent: The scheme shown in the prompt when the user typed the login, None if the login was
            not typed.
        weaker_snoozed_until: Time until which there is no prompt about weaker schemes.
        accepted_at: Time of the last acceptance of the login; -inf if it was never accepted.
        scheme: The strongest scheme with which the login was accepted, as in `OfferedScheme`.
        accepted_labels: Strength labels with which the login was accepted, with their schemes, as
            in `OfferedScheme`.
        accepted_targets: Targets for which the login was accepted, oldest first.
    """

    login: Login | None = None
    source: LoginSource = LoginSource.SAVED
    generation: int = 0
    pending_verdicts: Mapping[int, Login] = field(default_factory=dict)
    remember: bool = False
    retry_rejected: bool = False
    is_unsent: bool = False
    consent: OfferedScheme | None = None
    weaker_snoozed_until: float = 0.0
    accepted_at: float = -inf
    scheme: str = ""
    accepted_labels: Mapping[str, str] = field(default_factory=dict)
    accepted_targets: tuple[str, ...] = ()

    # --- A new login -----------------------------------------------------------------------------

    def replaced(
        self,
        login: Login | None,
        source: LoginSource,
        *,
        is_in_flight: bool,
        retry_rejected: bool = False,
    ) -> "CurrentLogin":
        """Return the next generation; `is_in_flight` is True if the canary of the replaced login is
        in flight."""
        pending = dict(self.pending_verdicts)
        if self.login and not self.was_accepted and is_in_flight:
            pending[self.generation] = self.login
            if len(pending) > _PENDING_VERDICTS_MAX:
                del pending[min(pending)]
        return CurrentLogin(
            login, source, self.generation + 1, pending, retry_rejected=retry_rejected
        )

    def without_pending(self, generation: int) -> "CurrentLogin":
        """Return the login after the end of the canary of a replaced login."""
        if generation not in self.pending_verdicts:
            return self
        pending = {g: login for g, login in self.pending_verdicts.items() if g != generation}
        return replace(self, pending_verdicts=pending)

    def provided(self, *, remember: bool, retry_rejected: bool = False) -> "CurrentLogin":
        """Return the login with the wishes of its user."""
        return replace(
            self, remember=remember, retry_rejected=self.retry_rejected or retry_rejected
        )

    # --- Acceptance ------------------------------------------------------------------------------

    def accepted(
        self, now: float, scheme: str, label: str, target: str, limits: DeskLimits
    ) -> "CurrentLogin":
        """Return the login after its acceptance; scheme, label and target as in `LoginAccepted`."""
        labels = {**self.accepted_labels, label: scheme}
        is_known = self.scheme in labels.values() and label != max(labels, key=strength)
        targets = self.accepted_targets
        if target:
            targets = (*(other for other in targets if other != target), target)
        return replace(
            self,
            accepted_at=now,
            scheme=self.scheme if is_known else scheme,
            accepted_labels=labels,
            accepted_targets=targets[-limits.accepted_targets_max :],
        )

    @property
    def exists(self) -> bool:
        """True if there is a login or the own sign-in to authenticate with."""
        return self.login is not None or self.source is LoginSource.SSO

    @property
    def was_accepted(self) -> bool:
        """True if the login was accepted before."""
        return self.accepted_at > -inf

    @property
    def label(self) -> str:
        """The strongest label with which the login was accepted by its scheme, or empty."""
        labels = [label for label, scheme in self.accepted_labels.items() if scheme == self.scheme]
        return max(labels, key=strength, default="")

    def was_accepted_for(self, target: str) -> bool:
        """Return whether the login was accepted for the host of this target."""
        return host_of(target) in map(host_of, self.accepted_targets)


@dataclass(frozen=True, slots=True)
class Doubt:
    """The doubt about the current login; an acceptance, like a new login, ends the doubt.

    Attributes:
        refusals: Refusals of the login since its last acceptance.
        refused_hosts: Hosts of the requests refused since the last acceptance, with the time of the
            refusal.
        unanswered: Number of requests in a row with the current login and without a response.
        is_overdue: True if the requests counted in `unanswered` may still get a response: the
            upstream has only stopped responding for a moment.
        inconclusive_hosts: Hosts with inconclusive responses to the current login.
        in_flight: Targets of the requests with the current login while it is not proved, by request
            number. For a login in doubt only the verdicts of these requests count: any other
            request with the login was sent before the doubt.
        last_permit_at: Time when the last send permit was granted.
        scheme_failures: Failures in a row of the accepted scheme.
        own_requests_sent: Own requests sent since the last acceptance.
        own_targets: Targets of own requests with the current login.
    """

    refusals: int = 0
    refused_hosts: Mapping[str, float] = field(default_factory=dict)
    unanswered: int = 0
    is_overdue: bool = False
    inconclusive_hosts: frozenset[str] = frozenset()
    in_flight: Mapping[int, str] = field(default_factory=dict)
    last_permit_at: float = -inf
    scheme_failures: int = 0
    own_requests_sent: int = 0
    own_targets: frozenset[str] = frozenset()

    # --- Requests with the login -----------------------------------------------------------------

    def sent(self, number: int, target: str) -> "Doubt":
        """Return the doubt after a request with the login was released."""
        return replace(self, in_flight={**self.in_flight, number: target})

    def permitted(self, number: int, target: str, now: float) -> "Doubt":
        """Return the doubt after a send permit was granted to a request."""
        return replace(self.sent(number, target), last_permit_at=now, is_overdue=False)

    def returned(self, number: int) -> "Doubt":
        """Return the doubt after the end of a request with the login."""
        if number not in self.in_flight:
            return self
        return replace(self, in_flight={n: f for n, f in self.in_flight.items() if n != number})

    def own_request_sent(self, target: str) -> "Doubt":
        """Return the doubt after an own request was sent to a target."""
        return replace(
            self,
            own_targets=self.own_targets | {target},
            own_requests_sent=self.own_requests_sent + 1,
        )

    # --- Refusals --------------------------------------------------------------------------------

    def refused(self, target: str, now: float) -> "Doubt":
        """Return the doubt after the refusal of a request to a target."""
        return replace(self, refused_hosts={**self.refused_hosts, host_of(target): now})

    def rejected(self) -> "Doubt":
        """Return the doubt after the rejection of the login."""
        return replace(self, refusals=0, refused_hosts={}, in_flight={})

    # --- No response -----------------------------------------------------------------------------

    def at_least_unanswered(self, count: int) -> "Doubt":
        """Return the doubt with no fewer requests without a response than a number."""
        return replace(self, unanswered=max(self.unanswered, count))

    def lost(self, target: str | None) -> "Doubt":
        """Return the doubt after a request ended without a response; its target is None if it was
        released before the doubt."""
        doubt = self if target is None else self.inconclusive(target)
        return replace(doubt, unanswered=self.unanswered + 1, is_overdue=False)

    def silent(self, count: int, now: float, limits: DeskLimits) -> "Doubt":
        """Return the doubt after the upstream has stopped responding to a number of requests."""
        is_limit_reached = count >= limits.unanswered_max
        # A response to one of these requests may still arrive and prove the login.
        last_permit_at = now if is_limit_reached else self.last_permit_at
        count = min(count, limits.unanswered_max)
        return replace(self, is_overdue=True, unanswered=count, last_permit_at=last_permit_at)

    def after_silence(self, limits: DeskLimits) -> "Doubt":
        """Return the doubt in which the login may be the reason for missing responses."""
        hosts = set(map(host_of, self.in_flight.values()))
        doubt = self.at_least_unanswered(limits.unanswered_max)
        return replace(doubt, is_overdue=False, inconclusive_hosts=self.inconclusive_hosts | hosts)

    def without_silence(self) -> "Doubt":
        """Return the doubt after the login turned out not to be the reason for missing
        responses."""
        return replace(self, unanswered=1, own_requests_sent=0)

    def inconclusive(self, target: str) -> "Doubt":
        """Return the doubt after an inconclusive response for a target."""
        return replace(self, inconclusive_hosts=self.inconclusive_hosts | {host_of(target)})

    @property
    def exists(self) -> bool:
        """True if the login was refused, or got no response, since its last acceptance."""
        return self.refusals > 0 or self.unanswered > 0

    def was_refused_lately(self, target: str, now: float, limits: DeskLimits) -> bool:
        """Return whether the current login was refused moments ago for the host of this target."""
        refused_at = self.refused_hosts.get(host_of(target))
        return refused_at is not None and now - refused_at <= limits.refusal_window


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
        """Return the trial after its record was written, or forbidden by the history."""
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
