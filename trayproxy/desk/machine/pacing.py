"""Send permits: which requests may carry an accepted login without recent proof.

A password that was right in the evening may be wrong in the morning, when every open program sends
it at once; thirty failed log-ons lock an account. So while no response has proved the login for
`DeskLimits.proof_ttl` seconds, a single request may carry it. While this request has no response,
another request may carry the login every `DeskLimits.send_interval` seconds, because a slow site
must not hold up all other requests. An acceptance grants permits to all queued requests; after a
refusal no queued request carries the login (see `trayproxy.desk.machine.outcomes`). Once as many
requests are unanswered as `DeskLimits.unanswered_max` allows, TrayProxy sends an own request to
find out whether the login is the reason.

The same limit applies early if an upstream stops responding altogether while requests with a proved
login are waiting: each of these requests may be a failed log-on, so from then on they count as
unanswered.
"""

from collections.abc import Iterator

from trayproxy.desk.machine.events import DenyPermit, GrantPermit, PermitRequested, UpstreamSilent
from trayproxy.desk.machine.space_state import SpacePhase, SpaceState
from trayproxy.desk.machine.state import DeskState
from trayproxy.desk.machine.verification import OwnRequests


class Pacing:
    """Grants send permits singly while a login is not proved."""

    def __init__(self, state: DeskState, own_requests: OwnRequests) -> None:
        self._state = state
        self._own_requests = own_requests

    def request_permit(self, event: PermitRequested) -> None:
        """Queue a request for a send permit; deny the permit if its login is not trusted."""
        space = self._state.space_of_login(event.login_id)
        if space is None or space.phase is not SpacePhase.TRUSTED:
            self._state.effects.append(DenyPermit(event.request_id))
        else:
            space.permit_queue[event.request_id] = event.target

    def handle_overdue(self, event: UpstreamSilent) -> None:
        """Treat a login as unproved because the upstream has stopped responding to its requests."""
        space = self._state.space_of_login(event.login_id)
        if space is None or space.phase is not SpacePhase.TRUSTED:
            return
        if space.doubt.unanswered or space.doubt.in_flight:
            return
        space.doubt = space.doubt.silent(event.count, self._state.now, self._state.limits)

    def remove(self, number: int) -> None:
        """Remove a request from the permit queue, if it is queued: its client has disconnected."""
        for space in self._state.spaces.values():
            space.permit_queue.pop(number, None)

    def sweep(self) -> None:
        """Grant or deny every due send permit."""
        for space in self._state.spaces.values():
            if space.permit_queue:
                self._grant_next(space)

    def deadlines(self, space: SpaceState) -> Iterator[float]:
        """Yield the time at which the next send permit of a protection space may be granted."""
        if space.permit_queue:
            yield space.doubt.last_permit_at + self._state.limits.send_interval

    def _grant_next(self, space: SpaceState) -> None:
        state = self._state
        if space.is_proved(state.now, state.limits):
            for number in space.permit_queue:
                state.effects.append(GrantPermit(number, 0))
            space.permit_queue.clear()
            return
        if space.phase is SpacePhase.TRUSTED and not self._is_due(space):
            return
        if space.phase is SpacePhase.TRUSTED and self._has_too_many_unanswered(space):
            self._own_requests.verify_after_silence(space)
        if space.phase is not SpacePhase.TRUSTED:
            state.deny_permits(space)
            return
        number = next(iter(space.permit_queue))
        space.doubt = space.doubt.permitted(number, space.permit_queue.pop(number), state.now)
        state.effects.append(GrantPermit(number, number))

    def _is_due(self, space: SpaceState) -> bool:
        limits = self._state.limits
        is_first = not space.doubt.in_flight and space.doubt.unanswered < limits.unanswered_max
        return is_first or self._state.now >= space.doubt.last_permit_at + limits.send_interval

    def _has_too_many_unanswered(self, space: SpaceState) -> bool:
        state = self._state
        count = len(space.doubt.in_flight) + space.doubt.unanswered
        return state.can_send_own and count >= state.limits.unanswered_max
