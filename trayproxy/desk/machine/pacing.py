"""Decide which requests may carry a login that was accepted before, but not recently.

A password that was right in the evening may be wrong in the morning, when every open program sends
it at once; thirty failed log-ons lock an account. So if no response has proved the login for some
seconds, one request carries it alone. While that request has no response, one more request may
carry the login every `Rules.pace` seconds, because a slow site must not hold up all other requests.
An acceptance releases all queued requests; after a refusal no queued request carries the login (see
`verdicts`). Once as many requests are unanswered as `Rules.unanswered` allows, TrayProxy sends a
request of its own to find out whether the login is the reason.

The same limit applies early if an upstream stops responding altogether while requests with a
recently proved login are waiting: each of these requests may be a failed log-on, so from then on
they count as unanswered.
"""

from collections.abc import Iterator

from trayproxy.desk.machine.events import (
    AllowDeparture,
    LoginDeparting,
    RecallLogin,
    UpstreamOverdue,
)
from trayproxy.desk.machine.space_state import LoginInFlight, SpacePhase, SpaceState
from trayproxy.desk.machine.state import DeskState
from trayproxy.desk.machine.verification import Verification


class Pacing:
    """Releases queued requests one at a time while their login has not been proved recently."""

    def __init__(self, board: DeskState, trials: Verification) -> None:
        self._board = board
        self._trials = trials

    def departing(self, event: LoginDeparting) -> None:
        """Queue a request that is about to carry a login; recall it if the login is not trusted."""
        case = self._board.cases.get(event.mark.space)
        if case is None or case.login_id != event.mark or case.phase is not SpacePhase.TRUSTED:
            self._board.effects.append(RecallLogin(event.number))
        else:
            case.queue[event.number] = event.target

    def overdue(self, event: UpstreamOverdue) -> None:
        """Treat a login as unproved because the upstream has stopped responding to its requests."""
        case = self._board.cases.get(event.mark.space)
        if case is None or case.login_id != event.mark or case.phase is not SpacePhase.TRUSTED:
            return
        if case.unanswered or case.flights:
            return
        most = self._board.rules.unanswered
        case.is_overdue, case.unanswered = True, min(event.count, most)
        if case.unanswered >= most:
            # A response to one of these requests may still arrive and prove the login.
            case.left_at = self._board.now

    def left(self, number: int) -> None:
        """Remove a request from its queue, if it is in one: its client has disconnected."""
        for case in self._board.cases.values():
            case.queue.pop(number, None)

    def sweep(self) -> None:
        """Release or recall every queued request that is due."""
        for case in self._board.cases.values():
            if case.queue:
                self._serve(case)

    def times(self, case: SpaceState) -> Iterator[float]:
        """Yield the time at which the next queued request of a case may be released."""
        if case.queue:
            yield case.left_at + self._board.rules.pace

    def _serve(self, case: SpaceState) -> None:
        board = self._board
        if case.is_proved(board.now, board.rules):
            for number in case.queue:
                board.effects.append(AllowDeparture(number, 0))
            case.queue.clear()
            return
        if case.phase is SpacePhase.TRUSTED and not self._is_due(case):
            return
        if case.phase is SpacePhase.TRUSTED and self._are_too_many(case):
            self._trials.doubt_silence(case)
        if case.phase is not SpacePhase.TRUSTED:
            board.recall(case)
            return
        number = next(iter(case.queue))
        case.flights[number] = LoginInFlight(board.now, case.queue.pop(number))
        case.left_at, case.is_overdue = board.now, False
        board.effects.append(AllowDeparture(number, number))

    def _is_due(self, case: SpaceState) -> bool:
        rules = self._board.rules
        is_first = not case.flights and case.unanswered < rules.unanswered
        return is_first or self._board.now >= case.left_at + rules.pace

    def _are_too_many(self, case: SpaceState) -> bool:
        board = self._board
        count = len(case.flights) + case.unanswered
        return board.tries_itself and count >= board.rules.unanswered
