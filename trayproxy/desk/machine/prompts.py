"""Opening prompts, and closing them automatically (ux §3.4).

There is at most one prompt per protection space, and prompts do not open simultaneously. No prompt
opens while the screen is locked. An untouched prompt closes when no request waits for it any more.
"""

from collections.abc import Iterator
from dataclasses import replace
from math import inf

from trayproxy.desk.machine.events import NotifyPromptClosed, SignInMethod
from trayproxy.desk.machine.prompt_state import UPSTREAM_CHANGED
from trayproxy.desk.machine.scheme_policy import pick, previous_name, weaker_text
from trayproxy.desk.machine.space_state import ParkedRequest, SpacePhase, SpaceState
from trayproxy.desk.machine.state import DeskState
from trayproxy.domain.signin import Ending, PromptReason, RefusalReason


class Prompts:
    """Opens and closes the prompts."""

    def __init__(self, state: DeskState) -> None:
        self._state = state
        self._numbers = 0
        self._front_ends = 0
        self._front_ends_left_at = -inf

    def ask(self, space: SpaceState, reason: PromptReason) -> None:
        """Start prompting for a login; the prompt itself opens when it is due and no other prompt
        is open."""
        state = self._state
        name = previous_name(state, space, reason) if reason in UPSTREAM_CHANGED else ""
        space.prompt = space.prompt.asked(reason, name, state.now + state.limits.prompt_delay)
        space.trial = space.trial.canary_ended()
        if space.phase is not SpacePhase.PROMPTING:
            space.move_to(SpacePhase.PROMPTING)
        state.prompt_changed(space)

    def ask_for_request(
        self, space: SpaceState, request: ParkedRequest, reason: PromptReason, method: SignInMethod
    ) -> None:
        """Start prompting about a single parked request, which demands this sign-in method; others
        still use the login of the protection space.

        This is called repeatedly while the request is parked.
        """
        state = self._state
        is_new = request.objection is None
        space.parked[request.request_id] = replace(request, objection=reason)
        is_delayed = is_new and space.prompt.open is None
        due_at = state.now + state.limits.prompt_delay if is_delayed else space.prompt.due_at
        name = previous_name(state, space, reason)
        space.prompt = space.prompt.asked(reason, name, due_at, method)
        if is_new:
            state.prompt_changed(space)

    def open(self, space: SpaceState) -> None:
        """Open the prompt of a protection space."""
        self._numbers += 1
        space.prompt = space.prompt.opened(self._numbers)
        space.lookup = space.lookup.surveyed(self._state.now, self._state.limits)
        self._state.prompt_changed(space)

    def close(self, space: SpaceState, ending: Ending) -> None:
        """Close the prompt of a protection space, if it is open."""
        if space.prompt.open:
            self._state.effects.append(NotifyPromptClosed(space.prompt.open.number, ending))
            space.prompt = replace(space.prompt, open=None)

    def touch(self, space: SpaceState) -> None:
        """Record an action of the user on the prompt of a protection space."""
        space.prompt = space.prompt.touched(self._state.now)

    # --- Front ends and screen -------------------------------------------------------------------

    def set_front_ends(self, count: int) -> None:
        """Set the number of front ends able to show a prompt."""
        if self._front_ends and not count:
            self._front_ends_left_at = self._state.now
        self._front_ends = count

    @property
    def _is_in_grace(self) -> bool:
        absent_for = self._state.now - self._front_ends_left_at
        return not self._front_ends and absent_for < self._state.limits.front_end_grace

    @property
    def can_ask(self) -> bool:
        """True if a front end can show a prompt, or could within `DeskLimits.front_end_grace`."""
        return self._front_ends > 0 or self._is_in_grace

    # --- Opening and closing ---------------------------------------------------------------------

    def sweep(self) -> None:
        """Close unneeded prompts, and open the next due prompt."""
        for space in self._state.spaces.values():
            self._close_if_abandoned(space)
            self._refuse_own_requests(space)
        if not self.can_ask:
            self._refuse_unattended()
        self._open_next()

    def deadlines(self) -> Iterator[float]:
        """Yield the times at which a prompt may open, or no longer keeps others from opening."""
        limits = self._state.limits
        if self._is_in_grace:
            yield self._front_ends_left_at + limits.front_end_grace
        for space in self._state.spaces.values():
            for time in (space.prompt.due_at, space.prompt.attention_ends_at(limits)):
                if time > self._state.now:
                    yield time

    def _close_if_abandoned(self, space: SpaceState) -> None:
        if space.prompt.open is None or space.prompt.open.is_touched or space.has_clients:
            return
        if space.phase is SpacePhase.PROMPTING or (
            space.phase is SpacePhase.UNVERIFIED and not space.parked
        ):
            self.close(space, Ending.ABANDONED)
        elif space.phase is SpacePhase.TRUSTED:
            space.prompt = replace(space.prompt, reason=PromptReason.NEEDED)
            self.close(space, Ending.ABANDONED)

    def _refuse_own_requests(self, space: SpaceState) -> None:
        """Refuse parked own requests in need of a prompt if no request of a program is parked."""
        is_needless = space.prompt.open is None and not space.has_clients
        if space.phase is SpacePhase.PROMPTING and is_needless:
            self._state.refuse_all(space, RefusalReason.UNATTENDED)

    def _refuse_unattended(self) -> None:
        for space in self._state.spaces.values():
            if space.phase is SpacePhase.PROMPTING:
                self.close(space, Ending.ABANDONED)
                self._refuse_parked(space)
            elif space.phase is SpacePhase.TRUSTED and space.objected_requests:
                self.close(space, Ending.ABANDONED)

    def _refuse_parked(self, space: SpaceState) -> None:
        """Refuse the parked requests of a protection space because no front end can show a
        prompt."""
        if space.prompt.reason in UPSTREAM_CHANGED:
            offer = pick(space, space.offers, self._state.now)
            text = weaker_text(self._state, space, offer, space.prompt.reason) if offer else ""
            self._state.refuse_all(space, RefusalReason.WEAKER, text)
        else:
            self._state.refuse_all(space, RefusalReason.UNATTENDED)

    def _open_next(self) -> None:
        """Open the prompt with the longest parked request."""
        state = self._state
        if state.screen_locked or any(map(self._blocks_others, state.spaces.values())):
            return
        due = [space for space in self._waiting_spaces() if space.prompt.due_at <= self._state.now]
        if due:
            self.open(min(due, key=lambda space: space.parked_since))

    def _waiting_spaces(self) -> Iterator[SpaceState]:
        for space in self._state.spaces.values():
            if space.prompt.open is not None:
                continue
            if space.phase is SpacePhase.PROMPTING:
                is_waiting = space.has_clients
            else:
                is_waiting = space.phase is SpacePhase.TRUSTED and bool(space.objected_requests)
            if is_waiting:
                yield space

    def _blocks_others(self, space: SpaceState) -> bool:
        """Return whether the user is busy with the prompt of this protection space."""
        if space.prompt.open is None:
            return False
        is_user_busy = self._state.now < space.prompt.attention_ends_at(self._state.limits)
        return bool(space.parked) or space.phase is SpacePhase.CHECKING or is_user_busy
