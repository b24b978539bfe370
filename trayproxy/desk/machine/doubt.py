"""What speaks against a protection space's current login since the login was last accepted."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import inf

from trayproxy.desk.machine.limits import DeskLimits
from trayproxy.desk.protection_space import host_of


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

    def with_refusals(self, count: int) -> "Doubt":
        """Return the doubt with another number of refusals."""
        return replace(self, refusals=count)

    def refused(self, target: str, now: float) -> "Doubt":
        """Return the doubt after the refusal of a request to a target."""
        return replace(self, refused_hosts={**self.refused_hosts, host_of(target): now})

    def renewed(self) -> "Doubt":
        """Return the doubt in which the verdicts of earlier requests do not count."""
        return replace(self, in_flight={})

    def rejected(self) -> "Doubt":
        """Return the doubt after the rejection of the login."""
        return replace(self, refusals=0, refused_hosts={}, in_flight={})

    def scheme_failed(self, *, counts: bool) -> "Doubt":
        """Return the doubt after a failure of the accepted scheme.

        Args:
            counts: False if the failure does not affect other requests.
        """
        return replace(self, scheme_failures=self.scheme_failures + counts)

    # --- No response -----------------------------------------------------------------------------

    def with_unanswered(self, count: int) -> "Doubt":
        """Return the doubt with another number of requests without a response."""
        return replace(self, unanswered=count)

    def lost(self, target: str | None) -> "Doubt":
        """Return the doubt after a request with the login ended without a response.

        Args:
            target: The target of the request; None if the request was released before the doubt.
        """
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
        return replace(
            self,
            unanswered=max(self.unanswered, limits.unanswered_max),
            is_overdue=False,
            inconclusive_hosts=self.inconclusive_hosts | hosts,
        )

    def without_silence(self) -> "Doubt":
        """Return the doubt after the login turned out not to be the reason for missing
        responses."""
        return replace(self, unanswered=1, own_requests_sent=0)

    def inconclusive(self, target: str) -> "Doubt":
        """Return the doubt after an inconclusive response for a target."""
        return replace(self, inconclusive_hosts=self.inconclusive_hosts | {host_of(target)})

    # --- Queries ---------------------------------------------------------------------------------

    @property
    def exists(self) -> bool:
        """True if the login was refused, or got no response, since its last acceptance."""
        return self.refusals > 0 or self.unanswered > 0

    def was_refused_lately(self, target: str, now: float, limits: DeskLimits) -> bool:
        """Return whether the current login was refused moments ago for the host of this target."""
        refused_at = self.refused_hosts.get(host_of(target))
        return refused_at is not None and now - refused_at <= limits.refusal_window
