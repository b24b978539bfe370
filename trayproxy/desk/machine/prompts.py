"""When a question opens, and when it closes by itself (ux §3.4).

There is at most one question per protection space, and one before the person at a time. None opens
while the screen is locked, and an untouched one does not outlive those who wait for it.
"""

from collections.abc import Iterator
from math import inf

from trayproxy.control.messages import Ending, PromptReason
from trayproxy.desk.machine.events import NotifyPromptClosed, RefusalReason, SignInMethod
from trayproxy.desk.machine.scheme_policy import pick, previous_name, weaker_text
from trayproxy.desk.machine.space_state import OpenPrompt, ParkedRequest, SpacePhase, SpaceState
from trayproxy.desk.machine.state import DeskState

UPSTREAM_CHANGED = frozenset(
    {PromptReason.DOWNGRADE, PromptReason.FALLBACK, PromptReason.REALM_CHANGED}
)
"""The reasons to ask that are about what the upstream was."""


class Prompts:
    """Opens and closes the questions."""

    def __init__(self, state: DeskState) -> None:
        self._state = state
        self._numbers = 0
        self._front_ends = 0
        self._front_ends_left_at = -inf

    def ask(self, space: SpaceState, reason: PromptReason) -> None:
        """Leave a case to the person. The question itself opens when it is its turn."""
        state = self._state
        space.reason = reason
        space.previous_name = (
            previous_name(state, space, reason) if reason in UPSTREAM_CHANGED else ""
        )
        space.clear_canary_deadlines()
        if space.phase is not SpacePhase.PROMPTING:
            space.move_to(SpacePhase.PROMPTING)
        space.prompt_due_at = state.now + state.limits.prompt_delay
        state.prompt_changed(space)

    def ask_for_request(
        self, space: SpaceState, request: ParkedRequest, reason: PromptReason, method: SignInMethod
    ) -> None:
        """Let one request wait for the person; the login of its case stays in use for the others.

        Called again and again while the request waits.

        Args:
            space: Which protection space.
            request: Which request.
            why: Why nothing is sent for it by itself.
            way: How the upstream wants its login.
        """
        state = self._state
        is_new = request.objection is None
        request.objection, space.reason, space.method = reason, reason, method
        space.previous_name = previous_name(state, space, reason)
        if is_new:
            if space.prompt is None:
                space.prompt_due_at = state.now + state.limits.prompt_delay
            state.prompt_changed(space)

    def open(self, space: SpaceState) -> None:
        """Open the question about a case."""
        self._numbers += 1
        space.prompt = OpenPrompt(self._numbers)
        space.next_survey_at = self._state.now + self._state.limits.survey_interval
        self._state.prompt_changed(space)

    def close(self, space: SpaceState, ending: Ending) -> None:
        """End the question about a case, if there is one."""
        if space.prompt:
            self._state.effects.append(NotifyPromptClosed(space.prompt.number, ending))
            space.prompt = None

    def touch(self, space: SpaceState) -> None:
        """Take note that the person is busy with the question about a case."""
        if space.prompt:
            space.prompt.is_touched, space.prompt.touched_at = True, self._state.now

    # --- Who can be asked --------------------------------------------------------------------

    def set_front_ends(self, count: int) -> None:
        """Take note of how many faces can ask a person."""
        if self._front_ends and not count:
            self._front_ends_left_at = self._state.now
        self._front_ends = count

    def set_screen_locked(self, locked: bool) -> None:
        """Take note of whether somebody is before the screen."""
        self._state.screen_locked = locked

    @property
    def _is_in_grace(self) -> bool:
        gone_for = self._state.now - self._front_ends_left_at
        return not self._front_ends and gone_for < self._state.limits.front_end_grace

    @property
    def can_ask(self) -> bool:
        """Whether a person can be asked, or could moments ago."""
        return self._front_ends > 0 or self._is_in_grace

    # --- Time --------------------------------------------------------------------------------

    def sweep(self) -> None:
        """Close what nobody needs any more, and open the next question if it is its time."""
        for space in self._state.spaces.values():
            self._close_if_abandoned(space)
            self._refuse_own_requests(space)
        if not self.can_ask:
            self._refuse_unattended()
        self._open_next()

    def deadlines(self) -> Iterator[float]:
        """Yield when something becomes due here."""
        limits = self._state.limits
        if self._is_in_grace:
            yield self._front_ends_left_at + limits.front_end_grace
        for space in self._state.spaces.values():
            if space.prompt_due_at > self._state.now:
                yield space.prompt_due_at
            if space.prompt and space.prompt.touched_at + limits.prompt_attention > self._state.now:
                yield space.prompt.touched_at + limits.prompt_attention

    def _close_if_abandoned(self, space: SpaceState) -> None:
        if space.prompt is None or space.prompt.is_touched or space.has_clients:
            return
        if space.phase is SpacePhase.PROMPTING or (
            space.phase is SpacePhase.UNVERIFIED and not space.parked
        ):
            self.close(space, Ending.ABANDONED)
        elif space.phase is SpacePhase.TRUSTED:
            space.reason = PromptReason.NEEDED
            self.close(space, Ending.ABANDONED)

    def _refuse_own_requests(self, space: SpaceState) -> None:
        """Give up a request of our own that needs the person: nobody waits for it."""
        if space.phase is SpacePhase.PROMPTING and space.prompt is None and not space.has_clients:
            self._state.refuse_all(space, RefusalReason.UNATTENDED)

    def _refuse_unattended(self) -> None:
        for space in self._state.spaces.values():
            if space.phase is SpacePhase.PROMPTING:
                self.close(space, Ending.ABANDONED)
                self._refuse_parked(space)
            elif space.phase is SpacePhase.TRUSTED and space.objected_requests:
                self.close(space, Ending.ABANDONED)

    def _refuse_parked(self, space: SpaceState) -> None:
        """Tell the requests of a case that nobody can be asked about them."""
        if space.reason in UPSTREAM_CHANGED:
            offer = pick(space, space.offers, self._state.now)
            text = weaker_text(self._state, space, offer, space.reason) if offer else ""
            self._state.refuse_all(space, RefusalReason.WEAKER, text)
        else:
            self._state.refuse_all(space, RefusalReason.UNATTENDED)

    def _open_next(self) -> None:
        """Open the question whose request has waited longest."""
        state = self._state
        if state.screen_locked or any(map(self._blocks_others, state.spaces.values())):
            return
        due = [space for space in self._waiting_spaces() if space.prompt_due_at <= self._state.now]
        if due:
            self.open(min(due, key=lambda space: space.parked_since))

    def _waiting_spaces(self) -> Iterator[SpaceState]:
        for space in self._state.spaces.values():
            if space.prompt is not None:
                continue
            if space.phase is SpacePhase.PROMPTING:
                is_waiting = space.has_clients
            else:
                is_waiting = space.phase is SpacePhase.TRUSTED and bool(space.objected_requests)
            if is_waiting:
                yield space

    def _blocks_others(self, space: SpaceState) -> bool:
        """Return whether the person is busy with this question."""
        if space.prompt is None:
            return False
        is_watched = self._state.now < space.prompt.touched_at + self._state.limits.prompt_attention
        return bool(space.parked) or space.phase is SpacePhase.CHECKING or is_watched
