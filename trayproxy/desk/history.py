"""The sign-in history: fingerprints of upstreams, rejected logins and trials of earlier runs.

A login without an acceptance is recorded as being on trial before it is sent. An acceptance removes
the entry, and a rejection replaces it. So if the process is killed during a trial, the record
remains, and the next run does not send the login again automatically.

A rejection counts for the account, not for the profile: it is found for the same URL, and for every
name of the same address, in any profile. Fingerprints of upstreams belong to a profile.

The history is a small file in the state directory (``sign-in.json``), readable by this user only.
It contains no login. A rejected login is recorded as 16 bits of a slow hash (scrypt, 16 MB and
about 50 ms per guess, with a salt of this file). This is enough to recognize the rejected password
in the keyring, so a restart does not cost another failed log-on. The file is of little use to an
attacker, even though a mistyped password is almost the right one: guesses are slow, and of a
million wrong guesses, fifteen match as well. The hash of a login is the same for every upstream, so
several rejections of a password reveal no more than the first. The price: of 65,000 changed
passwords, one is mistaken for the old password, and the user is prompted.

The hash takes 40 to 100 ms, for which the first request of each run would wait if the login comes
from the keyring or the command line, and loads OpenSSL (4 MiB). So if nothing recorded about the
upstream speaks against a trial, the trial of such a login is first recorded without its hash. The
hash is added if there is no verdict after a second, or at the end of the run. If the process is
killed within this second, the trial without a hash holds back the login of the keyring and of the
command line for this upstream in the next run, even if it is another login by then: the user is
prompted, and the typed login is sent. The trial of a typed login is recorded with its hash before
the login is sent.

If the file is lost, damaged or of another version, the history is empty; a damaged file is kept as
``sign-in.json.bad``, and the next record creates a new file (fault F17).
"""

from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from logging import getLogger
from os import urandom
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from time import time
from typing import Protocol, TypeVar

from trayproxy.auth.login import Login
from trayproxy.desk.history_records import (
    MAX_ADDRESSES,
    MAX_SIZE,
    UNHASHED,
    HistoryRecords,
    TrialRecord,
)
from trayproxy.desk.machine.events import (
    CancelTrial,
    ClearHistory,
    ClearRejection,
    RecordFingerprint,
    RecordRejection,
)
from trayproxy.desk.protection_space import UpstreamFingerprint, UpstreamId, bounded_realm
from trayproxy.desk.rejected_logins import RejectedLogins
from trayproxy.file_replacement import read_file, replace_file

CLOSE_S = 3.0
"""Seconds for which `HistoryFile.close` waits for one job."""
HASH_AFTER_S = 1.0
"""Seconds without a verdict after which the hash of a login on trial is computed. Most proxies
answer within a tenth of that.
"""

_HASH_OCTETS = 2
_COST = {"n": 2**14, "r": 8, "p": 1, "maxmem": 32 * 1024 * 1024}

T = TypeVar("T")

_log = getLogger(__name__)

HistoryChange = RecordRejection | ClearRejection | CancelTrial | RecordFingerprint | ClearHistory
"""A change of the records, as an effect of the machine."""


@dataclass(frozen=True, slots=True)
class HistoryRecord:
    """The records of earlier runs about a login before its trial.

    Attributes:
        is_rejected: True if the login was rejected.
        hold_s: Seconds for which the login must not be sent automatically, because it was sent
            without a verdict; 0 if it may be sent.
    """

    is_rejected: bool = False
    hold_s: float = 0.0


class History(Protocol):
    """The store of fingerprints, rejections and trials, for this run and for later runs.

    No method raises or blocks.

    Attributes:
        rejected: The logins rejected in this run.
    """

    rejected: RejectedLogins

    @property
    def fingerprints(self) -> Mapping[UpstreamId, UpstreamFingerprint]:
        """The fingerprints of upstreams at the start of this run."""

    def rejecting_profile(self, upstream_id: UpstreamId, login: Login) -> Future[str | None]:
        """Return the id of the profile for which an upstream rejected this login, in any run.

        Of several, this is `upstream_id.profile_id`; None if the login was not rejected.
        """

    def set_addresses(self, upstream_id: UpstreamId, addresses: tuple[str, ...]) -> None:
        """Store the addresses of an upstream; its rejections are found by address, too."""

    def begin_trial(
        self,
        upstream_id: UpstreamId,
        login: Login,
        *,
        retry_rejected: bool,
        is_automatic: bool = False,
    ) -> Future[HistoryRecord]:
        """Record a login as being on trial, unless the records of earlier runs forbid the trial.

        The login may be tried even if the trial cannot be recorded.

        Args:
            upstream_id: The upstream.
            login: The login.
            retry_rejected: True if the user wants the login to be tried regardless of any record.
            is_automatic: True if the login comes from the keyring or the command line.
        """

    def update(self, change: HistoryChange) -> None:
        """Carry out a change of the records, and write them."""

    def close(self) -> None:
        """Write the pending records."""


class NullHistory:
    """A history of this run only, for a run that must leave nothing on disk."""

    fingerprints: Mapping[UpstreamId, UpstreamFingerprint] = {}

    def __init__(self) -> None:
        self.rejected = RejectedLogins(urandom(32))

    def rejecting_profile(self, upstream_id: UpstreamId, login: Login) -> Future[str | None]:
        """Return None: nothing is known."""
        return _done(None)

    def set_addresses(self, upstream_id: UpstreamId, addresses: tuple[str, ...]) -> None:
        """Do nothing."""

    def begin_trial(
        self,
        upstream_id: UpstreamId,
        login: Login,
        *,
        retry_rejected: bool,
        is_automatic: bool = False,
    ) -> Future[HistoryRecord]:
        """Return a record that permits the trial."""
        return _done(HistoryRecord())

    def update(self, change: HistoryChange) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


class _Worker:
    """Runs jobs one after the other on a thread, which the first job starts.

    It is a daemon thread and not a pool: an unresponsive directory on a network drive must not keep
    the process from exiting.
    """

    def __init__(
        self, idle_timeout: Callable[[], float | None], on_idle: Callable[[], None]
    ) -> None:
        """Create the worker without a thread.

        `on_idle` is called on the thread before the thread ends, and after the seconds without a
        job that `idle_timeout` returns; None for never.
        """
        self._idle_timeout = idle_timeout
        self._on_idle = on_idle
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._thread: Thread | None = None

    @property
    def is_started(self) -> bool:
        """True if a job was submitted before."""
        return self._thread is not None

    def submit(self, job: Callable[[], T]) -> Future[T]:
        """Run a job on the thread. The future gets the result or the exception of the job."""
        done: Future[T] = Future()

        def run() -> None:
            try:
                done.set_result(job())
            except Exception as error:  # noqa: BLE001 - The future raises it, as an executor's.
                done.set_exception(error)

        self._jobs.put(run)
        if self._thread is None:
            self._thread = Thread(target=self._run_jobs, name="sign-in-history", daemon=True)
            self._thread.start()
        return done

    def close(self) -> None:
        """Wait for the jobs; give up if a job takes longer than `CLOSE_S`."""
        if self._thread is None:
            return
        self._jobs.put(None)
        before = -1
        while self._thread.is_alive() and self._jobs.qsize() != before:
            before = self._jobs.qsize()
            self._thread.join(CLOSE_S)

    def _run_jobs(self) -> None:
        while True:
            try:
                job = self._jobs.get(timeout=self._idle_timeout())
            except Empty:
                self._on_idle()
                continue
            if job is None:
                self._on_idle()
                return
            job()
            del job  # The job may hold a login, and the next job may come much later.


class _LoginHasher:
    """Computes the hashes of logins, which reveal next to nothing about the logins."""

    def __init__(self, salt: bytes) -> None:
        self._salt = salt
        self._last: tuple[Login, str] | None = None
        """The last login that was hashed, with its hash. Recording its verdict needs no second
        hash, so a run that is killed right after an acceptance leaves no trial in the file.
        """

    def hash(self, login: Login) -> str:
        """Return the hash of a login.

        Raises:
            ImportError, ValueError, MemoryError: OpenSSL has no scrypt, as where it is restricted
                (FIPS).
        """
        from hashlib import scrypt  # Not at the top: it loads OpenSSL.

        if self._last is not None and self._last[0] == login:
            return self._last[1]
        parts = (login.user, login.password)
        octets = [part.encode("utf-8", "surrogatepass") for part in parts]
        message = b"".join(len(part).to_bytes(4, "big") + part for part in octets)
        found = scrypt(message, salt=self._salt, dklen=_HASH_OCTETS, **_COST).hex()
        self._last = login, found
        return found

    def forget(self) -> None:
        """Forget the login hashed last, and its hash."""
        self._last = None


def accepted_upstreams(path: Path, profile_id: str) -> set[str]:
    """Return the upstreams (`UpstreamId.upstream`) that have accepted or rejected a login of a
    profile, from the file of a `HistoryFile`."""
    records = _read(path).upstreams.items()
    return {key.upstream for key, record in records if key.profile_id == profile_id}


class HistoryFile:
    """A `History` in a file, with a thread for hashing and writing."""

    def __init__(
        self,
        path: Path,
        now: Callable[[], float] = time,
        hash_after_s: float = HASH_AFTER_S,
        *,
        keeps_fingerprints: bool = True,
    ) -> None:
        """Read the file, if it exists.

        Args:
            path: ``sign-in.json``; its directory is private.
            now: Returns seconds since the epoch.
            hash_after_s: See `HASH_AFTER_S`.
            keeps_fingerprints: False to neither return nor record fingerprints of upstreams.
        """
        self.rejected = RejectedLogins(urandom(32))
        self._path = path
        self._now = now
        self._keeps_fingerprints = keeps_fingerprints
        self._records = _read(path)
        self._hasher = _LoginHasher(self._records.salt)
        self._unhashed: tuple[UpstreamId, Login] | None = None
        """The login of this run's trial without a hash; only the history's thread uses it."""
        self._worker = _Worker(
            lambda: hash_after_s if self._unhashed else None, self._hash_pending_trial
        )

    @property
    def fingerprints(self) -> Mapping[UpstreamId, UpstreamFingerprint]:
        """The fingerprints of upstreams at the start of this run; see `History`."""
        if not self._keeps_fingerprints:
            return {}
        return {
            upstream_id: record.fingerprint
            for upstream_id, record in self._records.upstreams.items()
            if record.fingerprint
        }

    def rejecting_profile(self, upstream_id: UpstreamId, login: Login) -> Future[str | None]:
        """Return the id of the profile for which an upstream rejected this login, in any run."""

        def find() -> str | None:
            records = self._records.records_at(upstream_id)
            if not any(record.rejected for record in records.values()):
                return None  # No rejection is known: the slow hash is not needed.
            found = self._records.rejecting_profiles(upstream_id, self._hasher.hash(login))
            own_id = upstream_id.profile_id
            return own_id if own_id in found else next(iter(found), None)

        return self._worker.submit(find) if self._may_have_records else _done(None)

    def set_addresses(self, upstream_id: UpstreamId, addresses: tuple[str, ...]) -> None:
        """Store the addresses of an upstream; its rejections are found by address, too."""
        self._records.addresses[upstream_id] = addresses[:MAX_ADDRESSES]

    def begin_trial(
        self,
        upstream_id: UpstreamId,
        login: Login,
        *,
        retry_rejected: bool,
        is_automatic: bool = False,
    ) -> Future[HistoryRecord]:
        """Record a login as being on trial, unless the records of earlier runs forbid the trial."""

        def write() -> HistoryRecord:
            try:
                return self._record_trial(
                    upstream_id, login, retry_rejected=retry_rejected, is_automatic=is_automatic
                )
            except (ImportError, ValueError, MemoryError) as error:
                _log.warning("a sign-in trial cannot be recorded: %s", type(error).__name__)
                return HistoryRecord()

        return self._worker.submit(write)

    def update(self, change: HistoryChange) -> None:
        """Carry out a change of the records, and write them."""
        match change:
            case RecordFingerprint() if not self._keeps_fingerprints:
                return
            case ClearRejection() | ClearHistory() if not self._may_have_records:
                return
        self._worker.submit(partial(self._apply, change))

    def close(self) -> None:
        """Write the pending records; give up if the directory does not respond."""
        self._worker.close()

    @property
    def _may_have_records(self) -> bool:
        return bool(self._records.upstreams) or self._worker.is_started

    # --- On the thread -----------------------------------------------------------------------

    def _record_trial(
        self, upstream_id: UpstreamId, login: Login, *, retry_rejected: bool, is_automatic: bool
    ) -> HistoryRecord:
        """Record a trial, unless the records forbid it; see `History.begin_trial`.

        Raises:
            ImportError, ValueError, MemoryError: The login cannot be hashed.
        """
        self._hash_pending_trial()
        records, now = self._records, self._now
        at_upstream = records.records_at(upstream_id).values()
        if is_automatic and not any(record.rejected or record.trials for record in at_upstream):
            records.upstream(upstream_id).trials[UNHASHED] = TrialRecord(
                1, now(), is_of_this_run=True
            )
            self._unhashed = upstream_id, login
            self._write()
            return HistoryRecord()
        login_hash = self._hasher.hash(login)
        if not retry_rejected and records.rejecting_profiles(upstream_id, login_hash):
            return HistoryRecord(is_rejected=True)
        hashes = (login_hash, UNHASHED) if is_automatic else (login_hash,)
        if not retry_rejected:
            trials = records.trials(upstream_id, hashes)
            hold_s = max((trial.hold_seconds(now()) for trial in trials), default=0.0)
            if hold_s > 0:
                return HistoryRecord(hold_s=hold_s)
        records.add_trial(upstream_id, hashes, now())
        self._write()
        return HistoryRecord()

    def _apply(self, change: HistoryChange) -> None:
        """Change the records and write them."""
        records = self._records
        match change:
            case RecordRejection(upstream_id, login):
                login_hash = self._hasher.hash(login)
                self._drop_unhashed(upstream_id, login)
                records.add_rejection(upstream_id, login_hash)
                self._hasher.forget()
                self._write()
            case ClearRejection(upstream_id, login):
                self._clear_rejection(upstream_id, login)
            case CancelTrial(upstream_id, login):
                if not self._drop_unhashed(upstream_id, login):
                    records.cancel_trial(upstream_id, self._hasher.hash(login))
                self._write()
            case RecordFingerprint(upstream_id, fingerprint):
                records.upstream(upstream_id).fingerprint = _bounded(fingerprint)
                self._write()
            case ClearHistory(profile_id):
                if records.drop_profile(profile_id):
                    self._write()

    def _clear_rejection(self, upstream_id: UpstreamId, login: Login) -> None:
        """Remove all rejections of a login by an upstream, and its trial."""
        changed = self._drop_unhashed(upstream_id, login)
        # The trial of another login must not be taken for one of an earlier run.
        self._hash_pending_trial()
        at_upstream = self._records.records_at(upstream_id).values()
        for record in at_upstream:
            changed |= record.trials.pop(UNHASHED, None) is not None
        if any(record.rejected or record.trials for record in at_upstream):
            changed |= self._records.clear(upstream_id, self._hasher.hash(login))
        self._hasher.forget()
        if changed:
            # A durable write takes about 20 ms. If the process were killed meanwhile, the next run
            # would find a right login on trial and prompt the user.
            self._write(is_durable=False)
            self._write()

    def _hash_pending_trial(self) -> None:
        """Add the login's hash to the trial without a hash, if there is such a trial."""
        if self._unhashed is None:
            return
        (upstream_id, login), self._unhashed = self._unhashed, None
        try:
            login_hash = self._hasher.hash(login)
        except (ImportError, ValueError, MemoryError) as error:
            _log.warning(
                "a sign-in trial stays recorded without its hash: %s", type(error).__name__
            )
            return
        trials = self._records.upstream(upstream_id).trials
        trial = trials.pop(UNHASHED, None)
        if trial is not None:
            trials[login_hash] = trial
            self._write()

    def _drop_unhashed(self, upstream_id: UpstreamId, login: Login) -> bool:
        """Remove the trial without a hash if it is this login's; return True if it was removed."""
        if self._unhashed != (upstream_id, login):
            return False
        self._unhashed = None
        return self._records.upstream(upstream_id).trials.pop(UNHASHED, None) is not None

    def _write(self, *, is_durable: bool = True) -> None:
        try:
            replace_file(self._path, self._records.to_octets(), is_durable=is_durable)
        except OSError as error:
            # A later run may prompt the user, or lose a log-on; this run is not affected.
            _log.warning("the sign-in history cannot be written: %s", error.strerror)


def _read(path: Path) -> HistoryRecords:
    """Return the records of a file; keep a damaged file under another name."""
    try:
        octets = read_file(path, MAX_SIZE + 1)
    except FileNotFoundError:
        return HistoryRecords()
    except OSError as error:
        _log.warning("the sign-in history cannot be read: %s", error.strerror)
        return HistoryRecords()
    try:
        return HistoryRecords.from_octets(octets)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        _log.warning("the sign-in history is damaged: %s", type(error).__name__)
        with suppress(OSError):
            path.replace(path.with_name(path.name + ".bad"))
        return HistoryRecords()


def _bounded(fingerprint: UpstreamFingerprint | None) -> UpstreamFingerprint | None:
    """Return a fingerprint with shortened realms."""
    if fingerprint is None:
        return None
    return UpstreamFingerprint(fingerprint.label, tuple(map(bounded_realm, fingerprint.realms)))


def _done(value: T) -> Future[T]:
    done: Future[T] = Future()
    done.set_result(value)
    return done
