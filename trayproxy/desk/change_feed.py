"""Publishes changes of prompts and facts to a listener.

The publications are rate-limited: 500 simultaneous requests cause a single change.
"""

from asyncio import AbstractEventLoop, TimerHandle
from collections.abc import Callable
from dataclasses import dataclass, field
from logging import getLogger
from math import inf
from typing import Protocol

from trayproxy.desk.machine.machine import Machine
from trayproxy.desk.machine.queries import ProfileFacts
from trayproxy.domain.problem import Problem
from trayproxy.domain.signin import Ending, KeyringStatus, Prompt, SignInState

PUBLISH_INTERVAL_S = 0.05
"""Minimum number of seconds between two publications; a person does not notice the delay."""

_log = getLogger(__name__)


class ChangeListener(Protocol):
    """Receives changes.

    The methods are called by the event loop, never from within a call to the desk.
    """

    def prompt_changed(self, prompt: Prompt) -> None:
        """Handle a new or changed prompt."""

    def prompt_closed(self, number: int, ending: Ending) -> None:
        """Handle the end of a prompt."""

    def facts_changed(self) -> None:
        """Handle a change of the desk's `facts`, `keyring` or `notices`."""


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """The values reported by `ChangeListener.facts_changed`."""

    profiles: dict[str, ProfileFacts] = field(default_factory=dict)
    keyring: KeyringStatus | None = None
    notices: tuple[Problem, ...] = ()


class ChangeFeed:
    """Reports to a listener the differences since its last report."""

    def __init__(
        self,
        machine: Machine,
        listener: ChangeListener,
        loop: AbstractEventLoop,
        on_published: Callable[[int], None],
    ) -> None:
        """Create a feed; the listener has received nothing yet.

        Args:
            machine: The state machine with the prompts and facts to publish.
            listener: Receives the changes.
            loop: The event loop; its timers delay a publication.
            on_published: Called with the number of each published prompt.
        """
        self._machine = machine
        self._listener = listener
        self._loop = loop
        self._on_published = on_published
        self._changed: dict[int, None] = {}
        self._closed: dict[int, Ending] = {}
        self._prompts: dict[int, Prompt] = {}
        self._facts = _Snapshot()
        self._notices: tuple[Problem, ...] = ()
        self._published_at = -inf
        self._timer: TimerHandle | None = None
        self._is_closed = False

    def prompt_changed(self, number: int) -> None:
        """Record a possible change of a prompt."""
        self._changed[number] = None

    def prompt_closed(self, number: int, ending: Ending) -> None:
        """Record the end of a prompt."""
        self._closed[number] = ending

    def publish_soon(self, notices: tuple[Problem, ...]) -> None:
        """Schedule a publication of the recorded changes, and of the facts if they differ.

        Args:
            notices: The desk's notices.
        """
        self._notices = notices
        if self._timer is None and not self._is_closed:
            delay = max(0.0, self._published_at + PUBLISH_INTERVAL_S - self._loop.time())
            self._timer = self._loop.call_later(delay, self.publish)

    def publish(self) -> None:
        """Publish the changes now."""
        if self._timer:
            self._timer.cancel()
        self._timer, self._published_at = None, self._loop.time()
        closed, self._closed = self._closed, {}
        changed, self._changed = self._changed, {}
        for number, ending in closed.items():
            self._publish_closed(number, ending)
        for number in changed:
            self._publish_changed(number)
        self._publish_facts()

    def close(self) -> None:
        """Publish the changes for the last time."""
        self.publish()
        self._is_closed = True

    def _publish_closed(self, number: int, ending: Ending) -> None:
        # The end of a prompt that was never published is not published either.
        if self._prompts.pop(number, None):
            self._listener.prompt_closed(number, ending)

    def _publish_changed(self, number: int) -> None:
        prompt = self._machine.prompt(number)
        if prompt is None or prompt == self._prompts.get(number):
            return
        self._prompts[number] = prompt
        self._listener.prompt_changed(prompt)
        self._on_published(number)

    def _publish_facts(self) -> None:
        machine = self._machine
        profiles = {profile_id: machine.facts(profile_id) for profile_id in machine.profile_ids()}
        before, self._facts = self._facts, _Snapshot(profiles, machine.keyring, self._notices)
        if before == self._facts:
            return
        for profile_id, facts in profiles.items():
            before_sign_in = before.profiles.get(profile_id, ProfileFacts()).sign_in
            _log_change(profile_id, before_sign_in, facts.sign_in)
        self._listener.facts_changed()


def _log_change(profile_id: str, before: SignInState, now: SignInState) -> None:
    if before is not now:
        _log.info("profile %s: sign-in %s", profile_id, now.value)
