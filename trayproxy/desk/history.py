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
from dataclasses import dataclass, field, replace
from json import dumps, loads
from logging import getLogger
from os import urandom
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from time import time
from typing import Any, Protocol, TypeVar

from trayproxy.auth.login import Login
from trayproxy.desk.protection_space import UpstreamFingerprint, UpstreamId, bounded_realm
from trayproxy.profiles.store import read_file, replace_file

SCHEMA = 1
MAX_SIZE = 256 * 1024
"""Maximum size of the file in octets. A larger file is neither read nor written."""
CLOSE_S = 3.0
"""Seconds for which `HistoryFile.close` waits for one job."""
MAX_ADDRESSES = 8
"""Maximum number of addresses kept for an upstream."""
HOLD_S = (600.0, 3600.0, 14400.0, 57600.0)
"""Seconds for which a login that was sent without a verdict in an earlier run is not sent again
automatically: after one such trial, after two, after three, after more. Directories count failed
log-ons within half an hour or an hour.
"""
MAX_REJECTED = 8
"""Maximum number of rejected logins kept for an upstream; the oldest are dropped first. More
entries would reveal more about each login.
"""
MAX_UPSTREAMS = 256
UNHASHED = ""
"""The key of a login on trial whose hash was not computed; not of a typed login."""
HASH_AFTER_S = 1.0
"""Seconds without a verdict after which the hash of a login on trial is computed. Most proxies
answer within a tenth of that.
"""

_HASH_OCTETS = 2
_COST = {"n": 2**14, "r": 8, "p": 1, "maxmem": 32 * 1024 * 1024}

T = TypeVar("T")

_log = getLogger(__name__)


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
    """Records fingerprints, rejections and trials for later runs.

    No method raises or blocks.
    """

    @property
    def fingerprints(self) -> Mapping[UpstreamId, UpstreamFingerprint]:
        """The fingerprints of upstreams at the start of this run."""

    def rejecting_profile(self, upstream_id: UpstreamId, login: Login) -> Future[str | None]:
        """Return the profile for which an upstream rejected this login, in any run.

        Returns:
            The id of the profile (of several, `upstream_id.profile_id`); None if the login was not
            rejected.
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

    def cancel_trial(self, upstream_id: UpstreamId, login: Login) -> None:
        """Remove the latest trial of `begin_trial`: the login was not sent after all."""

    def record_rejection(self, upstream_id: UpstreamId, login: Login) -> None:
        """Record an upstream's rejection of a login."""

    def record_acceptance(self, upstream_id: UpstreamId, login: Login) -> None:
        """Remove all rejections of a login by an upstream."""

    def set_fingerprint(
        self, upstream_id: UpstreamId, fingerprint: UpstreamFingerprint | None
    ) -> None:
        """Store the fingerprint of an upstream; None removes it."""

    def forget_profile(self, profile_id: str) -> None:
        """Remove all records about a profile."""

    def close(self) -> None:
        """Write the pending records."""


class NullHistory:
    """A history that stores nothing, for a run that must leave nothing on disk."""

    fingerprints: Mapping[UpstreamId, UpstreamFingerprint] = {}

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

    def cancel_trial(self, upstream_id: UpstreamId, login: Login) -> None:
        """Do nothing."""

    def record_rejection(self, upstream_id: UpstreamId, login: Login) -> None:
        """Do nothing."""

    def record_acceptance(self, upstream_id: UpstreamId, login: Login) -> None:
        """Do nothing."""

    def set_fingerprint(
        self, upstream_id: UpstreamId, fingerprint: UpstreamFingerprint | None
    ) -> None:
        """Do nothing."""

    def forget_profile(self, profile_id: str) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


@dataclass(frozen=True, slots=True)
class _Trial:
    """The record of a login sent without a verdict.

    Attributes:
        count: How often the login was sent.
        last: When it was last sent, in seconds since the epoch.
        is_of_this_run: True if it was sent in this run.
    """

    count: int
    last: float
    is_of_this_run: bool = False


@dataclass(slots=True)
class _Upstream:
    """The records in the file about an upstream of a profile."""

    fingerprint: UpstreamFingerprint | None = None
    rejected: list[str] = field(default_factory=list)
    addresses: tuple[str, ...] = ()
    trials: dict[str, _Trial] = field(default_factory=dict)

    @property
    def has_content(self) -> bool:
        return bool(self.fingerprint or self.rejected or self.trials)


class HistoryFile:
    """A `History` in a file, with a thread for hashing and writing."""

    def __init__(
        self, path: Path, now: Callable[[], float] = time, hash_after_s: float = HASH_AFTER_S
    ) -> None:
        """Read the file, if it exists.

        Args:
            path: ``sign-in.json``; its directory is private.
            now: Returns seconds since the epoch.
            hash_after_s: See `HASH_AFTER_S`.
        """
        self._path = path
        self._now = now
        self._hash_after_s = hash_after_s
        self._unhashed: tuple[UpstreamId, Login] | None = None
        """The login of this run's trial without a hash; only the history's thread uses it."""
        self._addresses: dict[UpstreamId, tuple[str, ...]] = {}
        self._salt, self._upstreams = self._read()
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._worker: Thread | None = None
        self._last_hash: tuple[Login, str] | None = None
        """The last login that was hashed, with its hash. Recording its verdict needs no second
        hash, so a run that is killed right after an acceptance leaves no trial in the file.
        """

    @property
    def fingerprints(self) -> Mapping[UpstreamId, UpstreamFingerprint]:
        """The fingerprints of upstreams."""
        return {
            upstream_id: record.fingerprint
            for upstream_id, record in self._upstreams.items()
            if record.fingerprint
        }

    def rejecting_profile(self, upstream_id: UpstreamId, login: Login) -> Future[str | None]:
        """Return the profile for which an upstream rejected this login, in any run.

        Returns:
            The id of the profile (of several, `upstream_id.profile_id`); None if the login was not
            rejected.
        """

        def find() -> str | None:
            records = self._records_at(upstream_id)
            if not any(record.rejected for record in records.values()):
                return None  # No rejection is known: the slow hash is not needed.
            login_hash = self._login_hash(login)
            found = [
                at.profile_id for at, record in records.items() if login_hash in record.rejected
            ]
            return (
                upstream_id.profile_id
                if upstream_id.profile_id in found
                else next(iter(found), None)
            )

        return self._submit(find) if self._upstreams or self._worker else _done(None)

    def set_addresses(self, upstream_id: UpstreamId, addresses: tuple[str, ...]) -> None:
        """Store the addresses of an upstream; its rejections are found by address, too."""
        self._addresses[upstream_id] = addresses[:MAX_ADDRESSES]

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
            self._hash_pending_trial()
            records = list(self._records_at(upstream_id).values())
            if is_automatic and not any(record.rejected or record.trials for record in records):
                self._upstream(upstream_id).trials[UNHASHED] = _Trial(
                    1, self._now(), is_of_this_run=True
                )
                self._unhashed = upstream_id, login
                self._write()
                return HistoryRecord()
            login_hash = self._login_hash(login)
            if not retry_rejected and self._is_rejected(upstream_id, login_hash):
                return HistoryRecord(is_rejected=True)
            hashes = (login_hash, UNHASHED) if is_automatic else (login_hash,)
            trials_before = [
                record.trials[hash_]
                for record in records
                for hash_ in hashes
                if hash_ in record.trials
            ]
            hold_s = max(
                (self._hold_seconds(trial) for trial in trials_before if not trial.is_of_this_run),
                default=0.0,
            )
            if hold_s > 0 and not retry_rejected:
                return HistoryRecord(hold_s=hold_s)
            count = max((trial.count for trial in trials_before), default=0)
            upstream = self._upstream(upstream_id)
            for hash_ in hashes:
                upstream.trials.pop(hash_, None)
            upstream.trials[login_hash] = _Trial(count + 1, self._now(), is_of_this_run=True)
            while len(upstream.trials) > MAX_REJECTED:
                del upstream.trials[next(iter(upstream.trials))]
            self._write()
            return HistoryRecord()

        def write_if_possible() -> HistoryRecord:
            try:
                return write()
            except (ImportError, ValueError, MemoryError) as error:
                # Where OpenSSL is restricted (FIPS) there may be no scrypt.
                _log.warning("a sign-in trial cannot be recorded: %s", type(error).__name__)
                return HistoryRecord()

        return self._submit(write_if_possible)

    def cancel_trial(self, upstream_id: UpstreamId, login: Login) -> None:
        """Remove the latest trial of `begin_trial`: the login was not sent after all."""

        def write() -> None:
            if self._drop_unhashed(upstream_id, login):
                self._write()
                return
            login_hash = self._login_hash(login)
            trials = self._upstream(upstream_id).trials
            trial = trials.pop(login_hash, None)
            if trial is not None and trial.count > 1:
                trials[login_hash] = replace(trial, count=trial.count - 1)
            self._write()

        self._submit(write)

    def record_rejection(self, upstream_id: UpstreamId, login: Login) -> None:
        """Record an upstream's rejection of a login."""

        def write() -> None:
            login_hash = self._login_hash(login)
            self._drop_unhashed(upstream_id, login)
            for record in self._trials_of(upstream_id, login_hash):
                del record.trials[login_hash]
            hashes = self._upstream(upstream_id).rejected
            if login_hash in hashes:
                hashes.remove(login_hash)
            hashes.append(login_hash)
            del hashes[:-MAX_REJECTED]
            self._last_hash = None
            self._write()

        self._submit(write)

    def record_acceptance(self, upstream_id: UpstreamId, login: Login) -> None:
        """Remove all rejections of a login by an upstream, and its trial."""

        def write() -> None:
            changed = self._drop_unhashed(upstream_id, login)
            # The trial of another login must not be taken for one of an earlier run.
            self._hash_pending_trial()
            for record in self._records_at(upstream_id).values():
                changed |= record.trials.pop(UNHASHED, None) is not None
            if any(
                record.rejected or record.trials
                for record in self._records_at(upstream_id).values()
            ):
                changed |= self._forget(upstream_id, self._login_hash(login))
            self._last_hash = None
            if changed:
                # A durable write takes about 20 ms. If the process were killed meanwhile, the next
                # run would find a right login on trial and prompt the user.
                self._write(is_durable=False)
                self._write()

        if self._upstreams or self._worker:
            self._submit(write)

    def set_fingerprint(
        self, upstream_id: UpstreamId, fingerprint: UpstreamFingerprint | None
    ) -> None:
        """Store the fingerprint of an upstream; None removes it."""

        def write() -> None:
            bounded = (
                UpstreamFingerprint(
                    fingerprint.label, tuple(map(bounded_realm, fingerprint.realms))
                )
                if fingerprint
                else None
            )
            self._upstream(upstream_id).fingerprint = bounded
            self._write()

        self._submit(write)

    def forget_profile(self, profile_id: str) -> None:
        """Remove all records about a profile."""

        def write() -> None:
            gone = [
                upstream_id
                for upstream_id in self._upstreams
                if upstream_id.profile_id == profile_id
            ]
            for upstream_id in gone:
                del self._upstreams[upstream_id]
            if gone:
                self._write()

        if self._upstreams or self._worker:
            self._submit(write)

    def close(self) -> None:
        """Write the pending records; give up if the directory does not respond."""
        if self._worker is None:
            return
        self._jobs.put(None)
        before = -1
        while self._worker.is_alive() and self._jobs.qsize() != before:
            before = self._jobs.qsize()
            self._worker.join(CLOSE_S)

    def _submit(self, job: Callable[[], T]) -> Future[T]:
        """Run a job in the history's thread, and start the thread if it is not running.

        It is a daemon thread and not a pool: an unresponsive directory on a network drive must not
        keep the process from exiting.
        """
        done: Future[T] = Future()

        def run() -> None:
            try:
                done.set_result(job())
            except Exception as error:  # noqa: BLE001 - The future raises it, as an executor's.
                done.set_exception(error)

        self._jobs.put(run)
        if self._worker is None:
            self._worker = Thread(target=self._run_jobs, name="sign-in-history", daemon=True)
            self._worker.start()
        return done

    def _run_jobs(self) -> None:
        while True:
            try:
                job = self._jobs.get(timeout=self._hash_after_s if self._unhashed else None)
            except Empty:
                self._hash_pending_trial()
                continue
            if job is None:
                self._hash_pending_trial()
                return
            job()
            del job  # The job may hold a login, and the next job may come much later.

    def _hash_pending_trial(self) -> None:
        """Add the login's hash to the trial without a hash, if there is such a trial."""
        if self._unhashed is None:
            return
        (upstream_id, login), self._unhashed = self._unhashed, None
        try:
            login_hash = self._login_hash(login)
        except (ImportError, ValueError, MemoryError) as error:
            _log.warning(
                "a sign-in trial stays recorded without its hash: %s", type(error).__name__
            )
            return
        trials = self._upstream(upstream_id).trials
        trial = trials.pop(UNHASHED, None)
        if trial is not None:
            trials[login_hash] = trial
            self._write()

    def _drop_unhashed(self, upstream_id: UpstreamId, login: Login) -> bool:
        """Remove the trial without a hash if it is this login's; return True if it was removed."""
        if self._unhashed != (upstream_id, login):
            return False
        self._unhashed = None
        return self._upstream(upstream_id).trials.pop(UNHASHED, None) is not None

    def _forget(self, upstream_id: UpstreamId, login_hash: str) -> bool:
        """Remove rejections and trials of a login at an upstream; return True if there were any."""
        changed = False
        for record in self._records_at(upstream_id).values():
            changed |= record.trials.pop(login_hash, None) is not None
            if login_hash in record.rejected:
                record.rejected.remove(login_hash)
                changed = True
        return changed

    def _upstream(self, upstream_id: UpstreamId) -> _Upstream:
        if upstream_id not in self._upstreams:
            while len(self._upstreams) >= MAX_UPSTREAMS:
                del self._upstreams[next(iter(self._upstreams))]
            self._upstreams[upstream_id] = _Upstream()
        upstream = self._upstreams[upstream_id]
        upstream.addresses = self._addresses.get(upstream_id, upstream.addresses)
        return upstream

    def _records_at(self, upstream_id: UpstreamId) -> dict[UpstreamId, _Upstream]:
        """Return the records about an upstream, for any profile and any name of the upstream."""
        known = self._upstreams.get(upstream_id)
        addresses = {*self._addresses.get(upstream_id, ()), *(known.addresses if known else ())}
        return {
            other: record
            for other, record in self._upstreams.items()
            if other.upstream == upstream_id.upstream or not addresses.isdisjoint(record.addresses)
        }

    def _is_rejected(self, upstream_id: UpstreamId, login_hash: str) -> bool:
        return any(
            login_hash in record.rejected for record in self._records_at(upstream_id).values()
        )

    def _trials_of(self, upstream_id: UpstreamId, login_hash: str) -> list[_Upstream]:
        return [
            record
            for record in self._records_at(upstream_id).values()
            if login_hash in record.trials
        ]

    def _hold_seconds(self, trial: _Trial) -> float:
        """Return for how many seconds a login on trial must not be sent automatically."""
        hold_s = HOLD_S[min(trial.count, len(HOLD_S)) - 1]
        # A clock that was set back must not prolong the hold.
        return hold_s - max(0.0, self._now() - trial.last)

    def _login_hash(self, login: Login) -> str:
        """Return the hash of a login, which reveals next to nothing about it."""
        from hashlib import scrypt  # Not at the top: it loads OpenSSL.

        if self._last_hash is not None and self._last_hash[0] == login:
            return self._last_hash[1]
        parts = (login.user, login.password)
        octets = [part.encode("utf-8", "surrogatepass") for part in parts]
        message = b"".join(len(part).to_bytes(4, "big") + part for part in octets)
        found = scrypt(message, salt=self._salt, dklen=_HASH_OCTETS, **_COST).hex()
        self._last_hash = login, found
        return found

    # --- The file ----------------------------------------------------------------------------

    def _read(self) -> tuple[bytes, dict[UpstreamId, _Upstream]]:
        try:
            octets = read_file(self._path, MAX_SIZE + 1)
        except FileNotFoundError:
            return urandom(16), {}
        except OSError as error:
            _log.warning("the sign-in history cannot be read: %s", error.strerror)
            return urandom(16), {}
        try:
            if len(octets) > MAX_SIZE:
                raise ValueError("too large")
            return _parse(loads(octets))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            _log.warning("the sign-in history is damaged: %s", type(error).__name__)
            with suppress(OSError):
                self._path.replace(self._path.with_name(self._path.name + ".bad"))
            return urandom(16), {}

    def _write(self, *, is_durable: bool = True) -> None:
        octets = self._document()
        while len(octets) > MAX_SIZE:
            # A larger file would not be read again: drop the upstream that was recorded first.
            del self._upstreams[next(iter(self._upstreams))]
            octets = self._document()
        try:
            replace_file(self._path, octets, is_durable=is_durable)
        except OSError as error:
            # A later run may prompt the user, or lose a log-on; this run is not affected.
            _log.warning("the sign-in history cannot be written: %s", error.strerror)

    def _document(self) -> bytes:
        document = {
            "schema": SCHEMA,
            "salt": self._salt.hex(),
            "upstreams": [
                {
                    "profile": upstream_id.profile_id,
                    "upstream": upstream_id.upstream,
                    "addresses": list(record.addresses),
                    "label": record.fingerprint.label if record.fingerprint else None,
                    "realms": list(record.fingerprint.realms) if record.fingerprint else [],
                    "rejected": record.rejected,
                    "tried": [
                        {"login": login_hash, "count": trial.count, "last": int(trial.last)}
                        for login_hash, trial in record.trials.items()
                    ],
                }
                for upstream_id, record in self._upstreams.items()
                if record.has_content
            ],
        }
        return dumps(document, indent=1).encode("ascii")


class ForwardingHistory:
    """A `History` that forwards all calls to another history; subclasses override some methods."""

    def __init__(self, history: History) -> None:
        self.fingerprints = history.fingerprints
        self.rejecting_profile = history.rejecting_profile
        self.set_addresses = history.set_addresses
        self.begin_trial = history.begin_trial
        self.cancel_trial = history.cancel_trial
        self.record_rejection = history.record_rejection
        self.record_acceptance = history.record_acceptance
        self.forget_profile = history.forget_profile
        self._history = history

    def set_fingerprint(
        self, upstream_id: UpstreamId, fingerprint: UpstreamFingerprint | None
    ) -> None:
        """Store the fingerprint of an upstream; None removes it."""
        self._history.set_fingerprint(upstream_id, fingerprint)

    def close(self) -> None:
        """Write the pending records."""
        self._history.close()


class HistoryWithoutFingerprints(ForwardingHistory):
    """A `History` for rejections and trials only, without fingerprints of upstreams."""

    def __init__(self, history: History) -> None:
        super().__init__(history)
        self.fingerprints = {}

    def set_fingerprint(
        self, upstream_id: UpstreamId, fingerprint: UpstreamFingerprint | None
    ) -> None:
        """Do nothing."""


def _parse(document: Any) -> tuple[bytes, dict[UpstreamId, _Upstream]]:
    """Parse the document of a history file; return the salt and the records.

    Raises:
        ValueError: The document is not a history or is damaged. KeyError, TypeError and
            AttributeError mean the same.
    """
    if document["schema"] != SCHEMA:
        raise ValueError("another version")
    salt = bytes.fromhex(document["salt"])
    if len(salt) != 16:
        raise ValueError("no salt")
    upstreams = {}
    for entry in _list(document["upstreams"])[:MAX_UPSTREAMS]:
        upstream_id = UpstreamId(_text(entry["profile"]), _text(entry["upstream"]))
        realms = tuple(_texts(entry["realms"]))
        fingerprint = (
            UpstreamFingerprint(_text(entry["label"]), realms)
            if entry["label"] and realms
            else None
        )
        rejected = _texts(entry["rejected"])[-MAX_REJECTED:]
        addresses = tuple(_texts(entry.get("addresses", [])))
        trials = {
            _text(record["login"]): _Trial(
                max(1, _number(record["count"])), _number(record["last"])
            )
            for record in _list(entry.get("tried", []))[-MAX_REJECTED:]
        }
        upstreams[upstream_id] = _Upstream(fingerprint, rejected, addresses[:MAX_ADDRESSES], trials)
    return salt, upstreams


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _texts(value: Any) -> list[str]:
    # A str can be iterated like a list, too.
    if not isinstance(value, list):
        raise TypeError
    return [_text(record) for record in value]


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError
    return value


def _number(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError
    return value


def _done(value: T) -> Future[T]:
    done: Future[T] = Future()
    done.set_result(value)
    return done
