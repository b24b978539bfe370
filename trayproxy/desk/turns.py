"""Which requests may carry a login that was right, but was not proved lately.

A password that was right in the evening may be wrong in the morning, and whatever is open on the
screen then sends it at once: thirty failed log-ons lock an account. So after some seconds without a
proof, one request goes alone. While it has no answer, one more may go every `Rules.pace` seconds,
since a site that is slow must not hold up all others. An acceptance lets all of them go; a refusal
lets none of them go (see `verdicts`). When as many requests are on their way without an answer as
may go unanswered in a row, TrayProxy's own request finds out whether the login is the reason.

The same begins early where an upstream stops answering altogether while requests wait that carry a
login proved lately: each of them may be a failed log-on. They count as sent in vain from then on.
"""

from collections.abc import Iterator

from trayproxy.desk.board import Board
from trayproxy.desk.case import Case, Flight, Phase
from trayproxy.desk.events import Depart, Departing, Overdue, Recall
from trayproxy.desk.trials import Trials


class Turns:
    """Lets requests go, one at a time, with a login that was not proved lately."""

    def __init__(self, board: Board, trials: Trials) -> None:
        self._board = board
        self._trials = trials

    def departing(self, event: Departing) -> None:
        """Queue a request that is about to carry a login."""
        case = self._board.cases.get(event.mark.key)
        if case is None or case.mark != event.mark or case.phase is not Phase.TRUSTED:
            self._board.effects.append(Recall(event.number))
        else:
            case.queue[event.number] = event.target

    def overdue(self, event: Overdue) -> None:
        """Take a login for unproved that requests carry to an upstream that says nothing."""
        case = self._board.cases.get(event.mark.key)
        if case is None or case.mark != event.mark or case.phase is not Phase.TRUSTED:
            return
        if case.unanswered or case.flights:
            return
        most = self._board.rules.unanswered
        case.is_overdue, case.unanswered = True, min(event.count, most)
        if case.unanswered >= most:
            # An answer to one of them may still come, and ends the doubt.
            case.left_at = self._board.now

    def left(self, number: int) -> None:
        """Remove a request whose client has left from the queue that it waits in, if it does."""
        for case in self._board.cases.values():
            case.queue.pop(number, None)

    def sweep(self) -> None:
        """Let go, or recall, every request whose turn it is."""
        for case in self._board.cases.values():
            if case.queue:
                self._serve(case)

    def times(self, case: Case) -> Iterator[float]:
        """Yield when the next request of a case may go."""
        if case.queue:
            yield case.left_at + self._board.rules.pace

    def _serve(self, case: Case) -> None:
        board = self._board
        if case.is_proved(board.now, board.rules):
            for number in case.queue:
                board.effects.append(Depart(number, 0))
            case.queue.clear()
            return
        if case.phase is Phase.TRUSTED and not self._is_due(case):
            return
        if case.phase is Phase.TRUSTED and self._are_too_many(case):
            self._trials.doubt_silence(case)
        if case.phase is not Phase.TRUSTED:
            board.recall(case)
            return
        number = next(iter(case.queue))
        case.flights[number] = Flight(board.now, case.queue.pop(number))
        case.left_at, case.is_overdue = board.now, False
        board.effects.append(Depart(number, number))

    def _is_due(self, case: Case) -> bool:
        rules = self._board.rules
        is_first = not case.flights and case.unanswered < rules.unanswered
        return is_first or self._board.now >= case.left_at + rules.pace

    def _are_too_many(self, case: Case) -> bool:
        board = self._board
        count = len(case.flights) + case.unanswered
        return board.tries_itself and count >= board.rules.unanswered
