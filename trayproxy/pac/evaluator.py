"""Asks a PAC script for the proxies of a URL.

`Evaluator` caches the answers, looks up the names that the script needs, and shares evaluations.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from time import monotonic

from trayproxy.pac.answers import parse_answer
from trayproxy.pac.evaluation import Evaluation, FailureKind, ResolvedName, ScriptFailure
from trayproxy.pac.names import LOOK_UP_S, NameTable
from trayproxy.pac.script_context import (
    STUCK,
    TIME_LIMIT_S,
    RunRequest,
    RunResult,
    ScriptRunner,
)
from trayproxy.pac.script_thread import BusyError, ScriptThread, StuckError
from trayproxy.pac.visible_url import VisibleUrl, visible_url

MAX_ROUNDS = 8
"""The maximum number of rounds of name look-ups; further names count as not resolvable."""
MAX_NAMES = 64
"""The maximum number of names of an evaluation; further names count as not resolvable."""
NAMES_LIMIT_S = 8.0
"""The time for all look-ups of an evaluation, in seconds."""
CACHE_S = 60.0
"""How long an answer is cached, in seconds."""
DOUBTFUL_CACHE_S = 10.0
"""How long a failure and an answer without all names are cached, in seconds."""
MAX_CACHED = 1024
SHORTEST_LIMIT_S = 0.05
"""The shortest time limit of a script, see `Evaluator`, in seconds."""

MAX_ALERTS = 60
"""The maximum number of messages of a script in the log per minute."""

_BUSY = "Too many requests wait for the script. Try again."
_DELAYED = (
    "The script does not finish for other addresses, and keeps this address waiting. Try again."
)
_OFF = (
    "Scripts are switched off until TrayProxy is restarted, because two scripts have used "
    "functions that do not end."
)
_log = logging.getLogger(__name__)


@dataclass(eq=False, slots=True)
class _Shared:
    """An evaluation in progress, and the number of callers that wait for it."""

    task: "asyncio.Task[Evaluation]"
    waiting: int = 0


@dataclass(slots=True)
class _Progress:
    """The rounds of an evaluation."""

    names: dict[str, ResolvedName] = field(default_factory=dict)
    rounds: int = 0
    script_s: float = 0.0
    names_left_s: float = field(default_factory=lambda: NAMES_LIMIT_S)

    def names_left(self) -> int:
        """Return how many names may still be looked up."""
        return 0 if self.rounds >= MAX_ROUNDS else MAX_NAMES - len(self.names)


class Evaluator:
    """Runs one script for URLs.

    Answers are cached by the URL that the script sees. Concurrent requests for a URL share one
    evaluation. A request waits about a second at most for endless runs for other URLs: the time
    that a request has lost to them is taken from the time limit of its own run. Further URLs of a
    host for which the script was stopped fail for `DOUBTFUL_CACHE_S`.
    """

    def __init__(
        self,
        script: str,
        thread: ScriptThread,
        names: NameTable,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """Create the evaluator; the script runs when a URL is needed.

        Args:
            script: The text of the script.
            thread: The thread for all scripts.
            names: The addresses of names, for all scripts.
            clock: A monotonic clock, in seconds.
        """
        self._runner = ScriptRunner(script)
        self._thread = thread
        self._names = names
        self._clock = clock
        self._cache: OrderedDict[str, Evaluation] = OrderedDict()
        self._pending: dict[str, _Shared] = {}
        self._stopped_hosts: dict[str, Evaluation] = {}
        self._lost_s = 0.0
        self._final_failure: ScriptFailure | None = None
        self._alert_minute = -1
        self._alerts_left = 0

    def known(self, url: str) -> Evaluation | None:
        """Return the cached result for a URL; None if the script must run.

        Raises:
            ValueError: The URL has no host.
        """
        return self._cached(visible_url(url))

    async def find(self, url: str) -> Evaluation:
        """Return the result for a URL, of which the script sees only `visible_url`.

        If the caller is cancelled, the evaluation is cancelled unless other callers wait for it.

        Raises:
            ValueError: The URL has no host.
        """
        seen = visible_url(url)
        cached = self._cached(seen)
        if cached is not None:
            return cached
        shared = self._pending.get(seen.url)
        if shared is None:
            task = asyncio.ensure_future(self._evaluate(seen))
            shared = self._pending[seen.url] = _Shared(task)
            task.add_done_callback(lambda _: self._remove(seen.url, shared))
        shared.waiting += 1
        try:
            return await asyncio.shield(shared.task)
        finally:
            shared.waiting -= 1
            if not shared.waiting and not shared.task.done():
                self._remove(seen.url, shared)
                shared.task.cancel()

    async def check(self) -> ScriptFailure | None:
        """Load the script without a URL, and return its failure; None if there is none."""
        return (await self._complete(VisibleUrl("", ""), _Progress())).failure

    def forget(self) -> None:
        """Drop the cached results, after a network change. Running evaluations are not cached."""
        self._cache.clear()
        self._pending.clear()
        self._stopped_hosts.clear()

    async def close(self) -> None:
        """Discard the context of the script. Running evaluations continue."""
        self.forget()
        with suppress(BusyError, StuckError):
            await self._thread.run(self._runner.close)

    def _remove(self, url: str, shared: _Shared) -> None:
        if self._pending.get(url) is shared:
            del self._pending[url]

    def _cached(self, seen: VisibleUrl) -> Evaluation | None:
        now = self._clock()
        found = self._cache.get(seen.url)
        if found is not None and found.expires_at > now:
            self._cache.move_to_end(seen.url)
            return found
        stopped = self._stopped_hosts.get(seen.host)
        if stopped is not None and stopped.expires_at > now:
            return replace(stopped, url=seen.url, is_cached=True)
        return None

    async def _evaluate(self, seen: VisibleUrl) -> Evaluation:
        own = self._pending.get(seen.url)
        started = monotonic()
        progress = _Progress()
        result = await self._complete(seen, progress)
        answer = parse_answer(result.answer) if result.answer is not None else None
        failure = result.failure
        if answer is not None and not answer.hops:
            reasons = " ".join(dict.fromkeys(entry.reason for entry in answer.skipped))
            text = f"The script answers “{answer.text}”, which names no usable proxy. {reasons}"
            failure = ScriptFailure(FailureKind.NO_HOP, text)
        evaluation = Evaluation(
            url=seen.url,
            host=seen.host,
            answer=answer,
            failure=failure,
            duration_s=monotonic() - started,
            script_s=progress.script_s,
            rounds=progress.rounds,
            names=tuple(progress.names.values()),
            alerts=result.alerts,
        )
        self._log_alerts(result.alerts)
        # After a network change, the result of an older evaluation is out of date.
        if own is not None and self._pending.get(seen.url) is own:
            return self._store(seen, evaluation)
        return evaluation

    async def _complete(self, seen: VisibleUrl, progress: _Progress) -> RunResult:
        """Return the result of the run that needs no further name."""
        while True:
            result = await self._run(seen, progress)
            progress.script_s += result.script_s
            new = [name for name in result.needed if name not in progress.names]
            if not new:
                return result
            progress.rounds += 1
            started = monotonic()
            found = await self._names.resolve(new, min(LOOK_UP_S, progress.names_left_s))
            progress.names_left_s = max(0.0, progress.names_left_s - (monotonic() - started))
            progress.names.update(zip(new, found, strict=True))

    async def _run(self, seen: VisibleUrl, progress: _Progress) -> RunResult:
        if self._final_failure is not None:
            return RunResult(failure=self._final_failure)
        lost_before = self._lost_s
        own_addresses = self._names.own_addresses()

        def run() -> RunResult:
            lost_s = self._lost_s - lost_before
            limit_s = max(SHORTEST_LIMIT_S, TIME_LIMIT_S - progress.script_s - lost_s)
            request = RunRequest(
                url=seen.url,
                host=seen.host,
                names={name: found.addresses for name, found in progress.names.items()},
                own_addresses=own_addresses,
                names_left=progress.names_left(),
                limit_s=limit_s,
            )
            result = self._runner.run(request)
            if result.failure is not None and result.failure.kind is FailureKind.TIME_LIMIT:
                self._lost_s += result.script_s
                if lost_s:
                    return replace(result, failure=ScriptFailure(FailureKind.BUSY, _DELAYED))
            return result

        try:
            return await self._thread.run(run)
        except BusyError:
            return RunResult(failure=ScriptFailure(FailureKind.BUSY, _BUSY))
        except StuckError:
            reason = _OFF if self._thread.is_off else STUCK
            self._final_failure = ScriptFailure(FailureKind.STUCK, reason)
            return RunResult(failure=self._final_failure)

    def _log_alerts(self, alerts: tuple[str, ...]) -> None:
        minute = int(self._clock() // 60)
        if minute != self._alert_minute:
            self._alert_minute, self._alerts_left = minute, MAX_ALERTS
        for alert in alerts[: self._alerts_left]:
            _log.info("the PAC script reports: %s", alert)
        self._alerts_left = max(0, self._alerts_left - len(alerts))

    def _store(self, seen: VisibleUrl, evaluation: Evaluation) -> Evaluation:
        """Cache a result, and return it with the time until which it may be used."""
        failure = evaluation.failure
        if failure is not None and failure.kind is FailureKind.BUSY:
            return evaluation
        is_doubtful = failure is not None or any(name.timed_out for name in evaluation.names)
        expires_at = self._clock() + (DOUBTFUL_CACHE_S if is_doubtful else CACHE_S)
        evaluation = replace(evaluation, expires_at=expires_at)
        self._cache[seen.url] = replace(evaluation, is_cached=True)
        if len(self._cache) > MAX_CACHED:
            self._cache.popitem(last=False)
        if failure is not None and failure.kind is FailureKind.TIME_LIMIT:
            if len(self._stopped_hosts) >= MAX_CACHED:
                self._stopped_hosts.clear()
            self._stopped_hosts[seen.host] = evaluation
        return evaluation
