"""When a question opens, and when it closes by itself (ux §3.4).

There is at most one question per protection space, and one before the person at a time. None opens
while the screen is locked, and an untouched one does not outlive those who wait for it.
"""

from collections.abc import Iterator
from math import inf

from trayproxy.control.messages import Ending, PromptReason
from trayproxy.desk.machine.events import NotifyPromptClosed, RefusalReason, SignInMethod
from trayproxy.desk.machine.scheme_policy import before, pick, weaker_text
from trayproxy.desk.machine.space_state import OpenPrompt, ParkedRequest, SpacePhase, SpaceState
from trayproxy.desk.machine.state import DeskState

NAMES_BEFORE = frozenset(
    {PromptReason.DOWNGRADE, PromptReason.FALLBACK, PromptReason.REALM_CHANGED}
)
"""The reasons to ask that are about what the upstream was."""


class Prompts:
    """Opens and closes the questions."""

    def __init__(self, board: DeskState) -> None:
        self._board = board
        self._numbers = 0
        self._askers = 0
        self._askers_gone = -inf

    def ask(self, case: SpaceState, why: PromptReason) -> None:
        """Leave a case to the person. The question itself opens when it is its turn."""
        board = self._board
        case.why = why
        case.before = before(board, case, why) if why in NAMES_BEFORE else ""
        case.stop_trial()
        if case.phase is not SpacePhase.ASKING:
            case.move(SpacePhase.ASKING)
        case.gather_until = board.now + board.rules.gather
        board.changed(case)

    def ask_about(
        self, case: SpaceState, request: ParkedRequest, why: PromptReason, way: SignInMethod
    ) -> None:
        """Let one request wait for the person; the login of its case stays in use for the others.

        Called again and again while the request waits.

        Args:
            case: Which protection space.
            request: Which request.
            why: Why nothing is sent for it by itself.
            way: How the upstream wants its login.
        """
        board = self._board
        is_new = request.objection is None
        request.objection, case.why, case.way = why, why, way
        case.before = before(board, case, why)
        if is_new:
            if case.asked is None:
                case.gather_until = board.now + board.rules.gather
            board.changed(case)

    def open(self, case: SpaceState) -> None:
        """Open the question about a case."""
        self._numbers += 1
        case.asked = OpenPrompt(self._numbers)
        case.survey_at = self._board.now + self._board.rules.resurvey
        self._board.changed(case)

    def close(self, case: SpaceState, ending: Ending) -> None:
        """End the question about a case, if there is one."""
        if case.asked:
            self._board.effects.append(NotifyPromptClosed(case.asked.number, ending))
            case.asked = None

    def touch(self, case: SpaceState) -> None:
        """Take note that the person is busy with the question about a case."""
        if case.asked:
            case.asked.touched, case.asked.seen = True, self._board.now

    # --- Who can be asked --------------------------------------------------------------------

    def set_askers(self, count: int) -> None:
        """Take note of how many faces can ask a person."""
        if self._askers and not count:
            self._askers_gone = self._board.now
        self._askers = count

    def lock_screen(self, locked: bool) -> None:
        """Take note of whether somebody is before the screen."""
        self._board.screen_locked = locked

    @property
    def _is_in_grace(self) -> bool:
        gone_for = self._board.now - self._askers_gone
        return not self._askers and gone_for < self._board.rules.grace

    @property
    def is_attended(self) -> bool:
        """Whether a person can be asked, or could moments ago."""
        return self._askers > 0 or self._is_in_grace

    # --- Time --------------------------------------------------------------------------------

    def sweep(self) -> None:
        """Close what nobody needs any more, and open the next question if it is its time."""
        for case in self._board.cases.values():
            self._close_if_abandoned(case)
            self._refuse_our_own(case)
        if not self.is_attended:
            self._refuse_unattended()
        self._open_next()

    def times(self) -> Iterator[float]:
        """Yield when something becomes due here."""
        rules = self._board.rules
        if self._is_in_grace:
            yield self._askers_gone + rules.grace
        for case in self._board.cases.values():
            if case.gather_until > self._board.now:
                yield case.gather_until
            if case.asked and case.asked.seen + rules.attention > self._board.now:
                yield case.asked.seen + rules.attention

    def _close_if_abandoned(self, case: SpaceState) -> None:
        if case.asked is None or case.asked.touched or case.has_clients:
            return
        if case.phase is SpacePhase.ASKING or (case.phase is SpacePhase.HELD and not case.parked):
            self.close(case, Ending.ABANDONED)
        elif case.phase is SpacePhase.TRUSTED:
            case.why = PromptReason.NEEDED
            self.close(case, Ending.ABANDONED)

    def _refuse_our_own(self, case: SpaceState) -> None:
        """Give up a request of our own that needs the person: nobody waits for it."""
        if case.phase is SpacePhase.ASKING and case.asked is None and not case.has_clients:
            self._board.refuse_all(case, RefusalReason.UNATTENDED)

    def _refuse_unattended(self) -> None:
        for case in self._board.cases.values():
            if case.phase is SpacePhase.ASKING:
                self.close(case, Ending.ABANDONED)
                self._refuse_waiting(case)
            elif case.phase is SpacePhase.TRUSTED and case.objected:
                self.close(case, Ending.ABANDONED)

    def _refuse_waiting(self, case: SpaceState) -> None:
        """Tell the requests of a case that nobody can be asked about them."""
        if case.why in NAMES_BEFORE:
            offer = pick(case, case.offers, self._board.now)
            text = weaker_text(self._board, case, offer, case.why) if offer else ""
            self._board.refuse_all(case, RefusalReason.WEAKER, text)
        else:
            self._board.refuse_all(case, RefusalReason.UNATTENDED)

    def _open_next(self) -> None:
        """Open the question whose request has waited longest."""
        board = self._board
        if board.screen_locked or any(map(self._holds_the_floor, board.cases.values())):
            return
        due = [case for case in self._queued() if case.gather_until <= self._board.now]
        if due:
            self.open(min(due, key=lambda case: case.waits_since))

    def _queued(self) -> Iterator[SpaceState]:
        for case in self._board.cases.values():
            if case.asked is not None:
                continue
            if case.phase is SpacePhase.ASKING:
                waits = case.has_clients
            else:
                waits = case.phase is SpacePhase.TRUSTED and bool(case.objected)
            if waits:
                yield case

    def _holds_the_floor(self, case: SpaceState) -> bool:
        """Return whether the person is busy with this question."""
        if case.asked is None:
            return False
        is_watched = self._board.now < case.asked.seen + self._board.rules.attention
        return bool(case.parked) or case.phase is SpacePhase.CHECKING or is_watched
