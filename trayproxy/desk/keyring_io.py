"""The desk's calls of the credential store: look-ups and writes, with their results in the event
loop."""

from asyncio import AbstractEventLoop, Future
from collections.abc import Callable
from concurrent.futures import Future as ThreadFuture
from functools import partial

from trayproxy.auth.login import Login
from trayproxy.desk.challenge_reader import ChallengeReader
from trayproxy.desk.credential_store import CredentialStore, LookupResult
from trayproxy.desk.machine.events import (
    KeyringSurveyed,
    LookupFinished,
    LookUpLogin,
    SaveLoginToKeyring,
    SurveyKeyring,
)
from trayproxy.desk.machine.queries import Queries, TrialState
from trayproxy.desk.machine_loop import MachineLoop
from trayproxy.desk.problems import (
    NOT_ACCEPTED,
    NOT_CHECKED,
    UNRECORDED,
    kept_in_memory,
    keyring_silent,
    problem_of,
    rejected_before,
)
from trayproxy.desk.protection_space import UpstreamId
from trayproxy.domain.problem import Problem
from trayproxy.domain.signin import KeyringStatus
from trayproxy.profiles.profile import Profile

KeyringEffect = LookUpLogin | SurveyKeyring | SaveLoginToKeyring


class KeyringIo:
    """Calls the credential store for the desk.

    Attributes:
        notices: The problem of the last write if it has failed, else empty.
    """

    def __init__(
        self,
        store: CredentialStore,
        loop: AbstractEventLoop,
        machine_loop: MachineLoop,
        reader: ChallengeReader,
        write_timeout: float,
        on_notices: Callable[[], None],
    ) -> None:
        """Start to watch the state of the keyring.

        A write counts as failed after `write_timeout` seconds, until it ends; `on_notices` is
        called after `notices` was set.
        """
        self.notices: tuple[Problem, ...] = ()
        self._store = store
        self._loop = loop
        self._machine_loop = machine_loop
        self._queries: Queries = machine_loop.machine
        self._handle = machine_loop.handle
        self._reader = reader
        self._write_timeout = write_timeout
        self._on_notices = on_notices
        self._expected: dict[UpstreamId, tuple[int, Future[Problem | None]]] = {}
        store.watch(machine_loop.threadsafe(self._surveyed))

    def carry_out(self, effect: KeyringEffect) -> None:
        """Carry out an effect of the machine."""
        match effect:
            case LookUpLogin(lookup, profile, user):
                found = partial(self._looked_up, lookup, UpstreamId.of(profile))
                self._machine_loop.deliver(self._store.find(profile, user), found)
            case SurveyKeyring():
                self._machine_loop.deliver(self._store.survey(), self._surveyed)
            case SaveLoginToKeyring(profile, login):
                self._report_saved(self.save(profile, login), profile)

    def save(self, profile: Profile, login: Login) -> Future[Problem | None]:
        """Save a login. If the login cannot be saved, it stays in memory, and the problem states
        this.
        """
        saved: ThreadFuture[Problem | None] = ThreadFuture()

        def report(done: ThreadFuture[Problem | None]) -> None:
            problem = done.result()
            saved.set_result(kept_in_memory(problem) if problem else None)

        self._store.save(profile, login).add_done_callback(report)
        return self._when_written(saved)

    def forget(self, profile: Profile) -> Future[Problem | None]:
        """Remove the logins for all upstreams of a profile, as far as they are known.

        Returns:
            Why a login could not be removed, None if all were.
        """
        keys = {upstream_id.upstream for upstream_id in UpstreamId.all_of(profile)}
        keys |= self._queries.known_upstreams(profile.id)
        each = [profile.with_only(key) for key in sorted(keys)]
        if not each and profile.client_certificate:
            each = [profile]  # The password of its certificate is kept without any login.
        return self._when_written(*map(self._store.forget, each))

    def expect_save(
        self, upstream_id: UpstreamId, problem: Problem | None
    ) -> Future[Problem | None]:
        """Return a future for the save of the current login of an upstream, which the machine
        requests once the upstream has accepted the login.

        The result is why the login was not saved, None if it was. It is the problem, if the login
        is not even tried.
        """
        future: Future[Problem | None] = self._loop.create_future()
        if problem is not None:
            future.set_result(problem)
            return future
        self._expected[upstream_id] = (self._queries.generation(upstream_id), future)
        self.report_unsaved()
        return future

    def report_unsaved(self) -> None:
        """Complete the futures of `expect_save` for logins that will not be saved."""
        for upstream_id, (generation, future) in list(self._expected.items()):
            state = self._queries.trial_state(upstream_id, generation)
            if state in (TrialState.UNDER_WAY, TrialState.ACCEPTED):
                continue  # A right login is being saved.
            del self._expected[upstream_id]
            if not future.done():
                future.set_result(self._unsaved_problem(upstream_id, state))

    def _unsaved_problem(self, upstream_id: UpstreamId, state: TrialState) -> Problem:
        """Return why a login is not saved after its trial."""
        match state:
            case TrialState.REJECTED:
                return NOT_ACCEPTED
            case TrialState.UNSENT:
                return rejected_before()
            case TrialState.UNRECORDED:
                return UNRECORDED
        changed = self._queries.changed_upstream(upstream_id)
        if changed is None:
            return NOT_CHECKED
        return problem_of(changed.reason, changed.profile, changed.text)

    def _report_saved(self, saved: Future[Problem | None], profile: Profile) -> None:
        """Complete the future of `expect_save` once the login is saved."""
        expected = self._expected.pop(UpstreamId.of(profile), None)
        if expected is None:
            return
        _, future = expected

        def report(done: Future[Problem | None]) -> None:
            if not future.done():
                future.set_result(done.result())

        saved.add_done_callback(report)

    def _looked_up(self, lookup: int, upstream_id: UpstreamId, result: LookupResult) -> None:
        login = result.login
        if login is not None and self._reader.check_login(login, upstream_id.upstream):
            login = None
        self._handle(LookupFinished(lookup, login, result.keyring))

    def _surveyed(self, keyring: KeyringStatus) -> None:
        self._handle(KeyringSurveyed(keyring))

    def _when_written(self, *writes: ThreadFuture[Problem | None]) -> Future[Problem | None]:
        """Return a future for the end of writes to the keyring, whose result is the first failure.

        The failure is kept in `notices`, too. A late keyring is a problem until it answers.
        """
        written: Future[Problem | None] = self._loop.create_future()
        results: list[Problem | None] = []

        def on_result(result: Problem | None) -> None:
            results.append(result)
            if len(results) < len(writes):
                return
            timeout.cancel()
            report(next(filter(None, results), None))

        def report(problem: Problem | None) -> None:
            self.notices = (problem,) if problem else ()
            self._on_notices()
            if not written.done():
                written.set_result(problem)

        not_answering = keyring_silent(self._queries.keyring.name)
        timeout = self._loop.call_later(self._write_timeout, report, not_answering)
        for write in writes:
            self._machine_loop.deliver(write, on_result)
        if not writes:
            timeout.cancel()
            report(None)
        return written
