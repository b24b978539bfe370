"""The look-ups of a protection space's login in the keyring."""

from dataclasses import dataclass, replace
from math import inf


@dataclass(frozen=True, slots=True)
class Lookup:
    """When the keyring is read for a protection space, and when a login found is sent.

    Attributes:
        next_at: Time from which the keyring may be read again.
        number: Number of the outstanding keyring look-up, which may be overdue; None if there is
            none.
        deadline: Time when the keyring look-up times out.
        next_survey_at: Time of the next check whether the keyring has been unlocked.
        hold_until: Time until which the current login is not sent automatically, because too many
            requests with it got no response.
    """

    next_at: float
    number: int | None = None
    deadline: float = inf
    next_survey_at: float = 0.0
    hold_until: float = 0.0

    def started(self, number: int, deadline: float = inf) -> "Lookup":
        """Return the state after a keyring look-up was started."""
        return replace(self, number=number, deadline=deadline)

    def cancelled(self) -> "Lookup":
        """Return the state without an outstanding look-up; a late result is ignored."""
        return replace(self, number=None, deadline=inf)

    def finished(self, next_at: float) -> "Lookup":
        """Return the state after the result of the outstanding look-up."""
        return replace(self, number=None, deadline=inf, next_at=next_at)

    def timed_out(self, next_at: float) -> "Lookup":
        """Return the state after the deadline of the outstanding look-up; a late result is used."""
        return replace(self, deadline=inf, next_at=next_at)

    def allowed(self, now: float) -> "Lookup":
        """Return the state in which the keyring may be read at once."""
        return replace(self, next_at=now)

    def held(self, until: float, next_at: float) -> "Lookup":
        """Return the state in which the current login is not sent automatically until a time."""
        return replace(self, hold_until=until, next_at=next_at)

    def surveyed(self, next_survey_at: float) -> "Lookup":
        """Return the state after a check whether the keyring has been unlocked."""
        return replace(self, next_survey_at=next_survey_at)
