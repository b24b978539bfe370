"""Loads a PAC script when it is needed, and keeps it up to date.

A script is loaded at the start, again at the first request after `FRESH_S`, and after each change
of the network. While it cannot be loaded, the loader tries again after the pauses of `RETRY_S`, and
the last good copy is in use. After the start and after a change of the network, automatic detection
that has found no server is repeated after the pauses of `DETECT_AGAIN_S`. Files and networks are
accessed in threads.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from threading import Thread

from trayproxy.pac.fetch import PacTools, load
from trayproxy.pac.state import PacState, not_loaded
from trayproxy.profiles.pac_source import PacKind, PacSource

FRESH_S = 3600.0
"""The age in seconds at which a script is loaded again."""
FRESH_FILE_S = 10.0
"""The same for a script from a file of this computer, which costs nothing and may be edited."""
RETRY_S = (5.0, 15.0, 60.0, 300.0, 900.0, 3600.0)
"""The pauses between attempts, in seconds; the last one repeats."""
COPY_AFTER_S = 1.0
"""The time in seconds after which requests get the last good copy while the source is silent."""
GIVE_UP_S = 15.0
"""The time in seconds after which a load has failed, even if its thread still waits: the look-up of
a name and a file on a server have no time limit of their own."""
MAX_THREADS = 3
"""The largest number of threads that wait in vain."""
DETECT_AGAIN_S = (2.0, 5.0, 15.0, 30.0)
"""The pauses in seconds between attempts of automatic detection: the name server and the domain of
a network may be known later than the first address."""
RETRY_AFTER_CHANGE_S = 3.0
"""The pause in seconds after the first failure in a new network, whose name server or VPN may need
a moment. This failure is not reported."""

_RECENT_S = 2.0
logger = logging.getLogger(__name__)


@dataclass(eq=False, slots=True)
class _Attempt:
    """A running attempt to load the script.

    Attributes:
        ended: Done when the attempt has ended.
        limit: Ends the attempt.
        copy: Brings the last good copy into use.
    """

    ended: "asyncio.Future[None]"
    limit: asyncio.TimerHandle | None = None
    copy: asyncio.TimerHandle | None = None

    def cancel_timers(self) -> None:
        """Cancel both timers."""
        for timer in (self.limit, self.copy):
            if timer is not None:
                timer.cancel()


class PacLoader:
    """Loads the script of one source on the running event loop."""

    def __init__(
        self, source: PacSource, tools: PacTools, on_change: Callable[[PacState], None]
    ) -> None:
        """Create the loader, which loads nothing yet.

        Args:
            source: The source.
            tools: The means of loading.
            on_change: Called with each new state.
        """
        self._loop = asyncio.get_running_loop()
        self._source = source
        self._tools = tools
        self._on_change = on_change
        self._state = PacState()
        self._attempt: _Attempt | None = None
        self._ended_at = float("-inf")
        self._news: asyncio.Future[None] = self._loop.create_future()
        self._retry: asyncio.TimerHandle | None = None
        self._vain_attempts = 0
        self._is_network_new = False
        self._is_outdated = False
        self._threads = 0
        self._is_closed = False

    @property
    def state(self) -> PacState:
        """The present state."""
        return self._state

    def start(self) -> None:
        """Load the script, unless it is being loaded."""
        if self._attempt is None and not self._is_closed:
            self._begin()

    async def current(self, timeout_s: float) -> PacState:
        """Return the present state, at once if there is a script.

        Otherwise wait for the script, or for the failure of the attempt to load it.

        Args:
            timeout_s: The longest wait, in seconds.
        """
        age_s = self._loop.time() - self._ended_at
        if self._state.is_settled:
            if self._state.problem is None and age_s >= self._fresh_s():
                self.start()
            return self._state
        # Many requests at once ask once.
        if self._attempt is None and age_s < _RECENT_S:
            return self._state
        self.start()
        await asyncio.wait({self._news}, timeout=timeout_s)
        return self._state

    async def reload(self) -> PacState:
        """Load the script now; return the state afterwards."""
        self.start()
        if self._attempt is not None:
            await asyncio.wait({self._attempt.ended})
        return self._state

    def network_changed(self) -> None:
        """Load the script again, because the computer is in another network."""
        self._is_network_new = True
        self._vain_attempts = 0
        if self._attempt is not None:
            self._is_outdated = True
        else:
            self.start()

    def close(self) -> None:
        """Stop loading; nothing is reported any more."""
        self._is_closed = True
        self._stop_retry()
        if self._attempt is not None:
            self._attempt.cancel_timers()
            self._end_attempt()
        self._wake()

    def _fresh_s(self) -> float:
        origin = self._state.origin
        return FRESH_FILE_S if origin is not None and origin.kind is PacKind.FILE else FRESH_S

    def _begin(self) -> None:
        self._stop_retry()
        attempt = self._attempt = _Attempt(self._loop.create_future())
        known = self._state
        if self._threads >= MAX_THREADS:
            self._loop.call_soon(self._give_up, attempt)
            return
        attempt.limit = self._loop.call_later(GIVE_UP_S, self._give_up, attempt)

        def offer(copy: PacState) -> None:
            self._call_soon(self._offer, attempt, copy)

        def run() -> None:
            try:
                new = load(self._source, self._tools, known, offer)
            except Exception:
                logger.exception("a PAC script cannot be loaded")
                new = self._failed(known, "an internal error occurred")
            self._call_soon(self._end_thread, attempt, new)

        self._threads += 1
        Thread(target=run, name="pac-loader", daemon=True).start()

    def _call_soon(self, callback: Callable[..., None], *arguments: object) -> None:
        """Call a method in the event loop. Called in a thread."""
        with suppress(RuntimeError):  # The loop is closed.
            self._loop.call_soon_threadsafe(callback, *arguments)

    def _offer(self, attempt: "_Attempt", copy: PacState) -> None:
        if attempt is self._attempt and not self._state.is_settled:
            attempt.copy = self._loop.call_later(COPY_AFTER_S, self._adopt, copy)

    def _end_thread(self, attempt: "_Attempt", new: PacState) -> None:
        self._threads -= 1
        self._end(attempt, new)

    def _give_up(self, attempt: "_Attempt") -> None:
        self._end(attempt, self._failed(self._state, f"there is no answer within {GIVE_UP_S:g} s"))

    def _failed(self, known: PacState, reason: str) -> PacState:
        problem = not_loaded(self._source.title, reason, known)
        return replace(known, is_stored=known.script is not None, problem=problem)

    def _end(self, attempt: "_Attempt", new: PacState) -> None:
        """Adopt the result of an attempt, unless it has ended before."""
        if attempt is not self._attempt:
            return
        attempt.cancel_timers()
        is_outdated, self._is_outdated = self._is_outdated, False
        if new.problem is None:
            self._is_network_new = False
            self._adopt(new)
            if new.is_undetected:
                self._detect_again()
            else:
                self._vain_attempts = 0
        elif is_outdated and self._state.is_settled:
            pass  # The network has changed meanwhile: the failure says nothing about the new one.
        else:
            self._adopt_failure(new)
        self._ended_at = self._loop.time()
        self._end_attempt()
        self._wake()
        if is_outdated:
            self._is_network_new = True
            self.start()

    def _detect_again(self) -> None:
        if self._vain_attempts < len(DETECT_AGAIN_S):
            self._retry = self._loop.call_later(DETECT_AGAIN_S[self._vain_attempts], self.start)
            self._vain_attempts += 1

    def _adopt_failure(self, new: PacState) -> None:
        pause_s = RETRY_S[min(self._vain_attempts, len(RETRY_S) - 1)]
        if self._is_network_new and self._state.is_settled:
            pause_s = RETRY_AFTER_CHANGE_S
        else:
            self._vain_attempts += 1
            self._adopt(new)
        self._is_network_new = False
        self._retry = self._loop.call_later(pause_s, self.start)

    def _adopt(self, new: PacState) -> None:
        is_new = new != self._state
        self._state = new
        self._wake()
        if is_new and not self._is_closed:
            self._on_change(new)

    def _end_attempt(self) -> None:
        if self._attempt is not None:
            self._attempt.ended.set_result(None)
            self._attempt = None

    def _wake(self) -> None:
        news, self._news = self._news, self._loop.create_future()
        news.set_result(None)

    def _stop_retry(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
