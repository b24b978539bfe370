"""Publishes changes of prompts to a listener.

The publications are rate-limited: 500 simultaneous requests cause a single change.
"""

from asyncio import AbstractEventLoop, TimerHandle
from collections.abc import Callable
from logging import getLogger
from math import inf
from typing import Protocol

from trayproxy.desk.machine.queries import Queries
from trayproxy.domain.signin import Ending, Prompt, SignInState

PUBLISH_INTERVAL_S = 0.05
"""Minimum number of seconds between two publications; a person does not notice the delay."""

_log = getLogger(__name__)


class ChangeListener(Protocol):
    """Receives changes of the desk."""

    def prompt_changed(self, prompt: Prompt) -> None:
        """Handle a new or changed prompt. Never called from within a call to the desk."""

    def prompt_closed(self, number: int, ending: Ending) -> None:
        """Handle the end of a prompt. Never called from within a call to the desk."""

    def facts_changed(self) -> None:
        """Handle a possible change of the desk's `facts`, `keyring` or `notices`.

        Called for every event of the desk, also from within a call to the desk: must be fast.
        """


class PromptFeed:
    """Reports to a listener the differences of prompts since its last report."""

    def __init__(
        self,
        queries: Queries,
        listener: ChangeListener,
        loop: AbstractEventLoop,
        on_published: Callable[[int], None],
    ) -> None:
        """Create a feed; `on_published` is called with the number of each published prompt."""
        self._queries = queries
        self._listener = listener
        self._loop = loop
        self._on_published = on_published
        self._changed: dict[int, None] = {}
        self._closed: dict[int, Ending] = {}
        self._prompts: dict[int, Prompt] = {}
        self._sign_ins: dict[str, SignInState] = {}
        """The logged sign-in states of profiles."""
        self._published_at = -inf
        self._timer: TimerHandle | None = None
        self._is_closed = False

    def prompt_changed(self, number: int) -> None:
        """Record a possible change of a prompt."""
        self._changed[number] = None

    def prompt_closed(self, number: int, ending: Ending) -> None:
        """Record the end of a prompt."""
        self._closed[number] = ending

    def publish_soon(self) -> None:
        """Report a possible change of facts, and schedule a publication of changed prompts."""
        if self._is_closed:
            return
        self._listener.facts_changed()
        if self._timer is None:
            delay = max(0.0, self._published_at + PUBLISH_INTERVAL_S - self._loop.time())
            self._timer = self._loop.call_later(delay, self._publish)

    def close(self) -> None:
        """Publish the changes for the last time."""
        self._publish()
        self._is_closed = True

    def _publish(self) -> None:
        if self._timer:
            self._timer.cancel()
        self._timer, self._published_at = None, self._loop.time()
        closed, self._closed = self._closed, {}
        changed, self._changed = self._changed, {}
        for number, ending in closed.items():
            # The end of a prompt that was never published is not published either.
            if self._prompts.pop(number, None):
                self._listener.prompt_closed(number, ending)
        for number in changed:
            self._publish_changed(number)
        self._log_sign_ins()

    def _publish_changed(self, number: int) -> None:
        prompt = self._queries.prompt(number)
        if prompt is None or prompt == self._prompts.get(number):
            return
        self._prompts[number] = prompt
        self._listener.prompt_changed(prompt)
        self._on_published(number)

    def _log_sign_ins(self) -> None:
        """Log the changes of the sign-in states of profiles."""
        ids, before = self._queries.profile_ids(), self._sign_ins
        self._sign_ins = {each: self._queries.facts(each).sign_in for each in ids}
        for profile_id, sign_in in self._sign_ins.items():
            if sign_in is not before.get(profile_id, SignInState.UNTESTED):
                _log.info("profile %s: sign-in %s", profile_id, sign_in.value)
