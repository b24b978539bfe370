"""What the desk remembers between runs: who upstreams are, and which logins they rejected.

Before a login that was never accepted is sent, it is written down as being on trial; an acceptance
removes the entry, and a rejection takes its place. A run that is killed in the middle of a trial so
leaves behind that the login was sent, and the next run does not send it again by itself.

A rejection counts for the account, not for the profile: it is found again under the same URL and
under every name that leads to the same address, whatever the profile. Pins belong to one profile.

One small file in the state folder (``sign-in.json``), readable by this user alone. It holds no
login. What is said about a rejected one is 16 bits of a slow hash (scrypt, 16 MB and some 50 ms a
guess, with a salt of this file): enough to tell that the keyring still holds the very password that
was rejected, so that a restart does not cost one more failed log-on. Whoever gets hold of the file
learns next to nothing, although a mistyped password is almost the right one: guesses are slow, and
of a million, fifteen others fit as well. The hash is the same for the same login at every upstream,
so several rejections of one password say no more of it than one. The price is that one in
65,000 changed passwords is taken for the old one, and asked for.

The hash takes 40 to 100 ms that the first request of each run would wait for if the login comes
from the keyring. So where nothing is known of an upstream that could speak against a trial, the
trial of a saved login is written down without a name first, and gets its name when there is no
verdict after a second, or at the end of the run. One that has no name in the next run, because this
one was killed in that second, holds back the saved login there, even if the keyring holds another
one by then: the person is asked, and what is typed is sent. A login that was typed or given for
this run has its name before it is sent.

The file may be lost, damaged or of another version: then nothing is remembered, a damaged one is
kept as ``sign-in.json.bad``, and the next thing learnt begins a new one (fault F17).
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
"""Octets; a larger file is something else, and none is written."""
CLOSE_S = 3.0
"""Seconds that `HistoryFile.close` waits for one thing to be written."""
MAX_ADDRESSES = 8
"""Addresses remembered per upstream."""
HOLD_S = (600.0, 3600.0, 14400.0, 57600.0)
"""Seconds for which a login that was sent without a verdict in an earlier run is not sent again by
itself: after one such send, after two, after three, after more. Directories count failed log-ons
within half an hour or an hour."""
MAX_REJECTED = 8
"""Rejected logins remembered per upstream, the oldest go first: more would say more of each."""
MAX_UPSTREAMS = 256
UNHASHED = ""
"""Stands for a saved login on trial whose fingerprint was not computed."""
HASH_AFTER_S = 1.0
"""Seconds without a verdict after which it is. Most proxies answer within a tenth of that."""

_HASH_OCTETS = 2
_COST = {"n": 2**14, "r": 8, "p": 1, "maxmem": 32 * 1024 * 1024}

T = TypeVar("T")

_log = getLogger(__name__)


@dataclass(frozen=True, slots=True)
class HistoryRecord:
    """What earlier runs say about a login that is about to be tried.

    Attributes:
        is_rejected: It was rejected.
        hold_s: For how many seconds it is not to be sent by itself, since it was sent without a
            verdict; 0 if it may be.
    """

    is_rejected: bool = False
    hold_s: float = 0.0


class History(Protocol):
    """Remembers between runs. Nothing here raises, blocks or waits."""

    @property
    def fingerprints(self) -> Mapping[UpstreamId, UpstreamFingerprint]:
        """What upstreams were when they last accepted a login, as it was at the start."""

    def rejecting_profile(self, upstream_id: UpstreamId, login: Login) -> Future[str | None]:
        """Find out for which profile an upstream rejected this login, in whatever run.

        Returns:
            The id of the profile, that of `space` if there are several; None if it did not.
        """

    def set_addresses(self, upstream_id: UpstreamId, addresses: tuple[str, ...]) -> None:
        """Note the addresses of an upstream, under which its rejections are found again."""

    def begin_trial(
        self, upstream_id: UpstreamId, login: Login, *, insists: bool, is_saved: bool = False
    ) -> Future[HistoryRecord]:
        """Write down that a login is on trial, unless an earlier run speaks against the trial.

        Where it cannot be written down the login may be tried all the same.

        Args:
            space: Where.
            login: The login.
            insists: A person wants it tried whatever is known about it.
            is_saved: It comes from the keyring.
        """

    def cancel_trial(self, upstream_id: UpstreamId, login: Login) -> None:
        """Remove what `begin_trial` wrote down last: the login was not sent after all."""

    def record_rejection(self, upstream_id: UpstreamId, login: Login) -> None:
        """Remember that an upstream rejected a login."""

    def record_acceptance(self, upstream_id: UpstreamId, login: Login) -> None:
        """Forget that an upstream ever rejected a login."""

    def set_fingerprint(
        self, upstream_id: UpstreamId, fingerprint: UpstreamFingerprint | None
    ) -> None:
        """Remember what an upstream is; None: forget it."""

    def forget_profile(self, profile_id: str) -> None:
        """Forget all about a profile."""

    def close(self) -> None:
        """Have written what there is to write."""


class NullHistory:
    """Remembers nothing, for a run that must leave nothing behind."""

    fingerprints: Mapping[UpstreamId, UpstreamFingerprint] = {}

    def rejecting_profile(self, upstream_id: UpstreamId, login: Login) -> Future[str | None]:
        """Know of nothing."""
        return _done(None)

    def set_addresses(self, upstream_id: UpstreamId, addresses: tuple[str, ...]) -> None:
        """Forget it."""

    def begin_trial(
        self, upstream_id: UpstreamId, login: Login, *, insists: bool, is_saved: bool = False
    ) -> Future[HistoryRecord]:
        """Know of nothing."""
        return _done(HistoryRecord())

    def cancel_trial(self, upstream_id: UpstreamId, login: Login) -> None:
        """Have nothing to remove."""

    def record_rejection(self, upstream_id: UpstreamId, login: Login) -> None:
        """Forget it."""

    def record_acceptance(self, upstream_id: UpstreamId, login: Login) -> None:
        """Have nothing to forget."""

    def set_fingerprint(
        self, upstream_id: UpstreamId, fingerprint: UpstreamFingerprint | None
    ) -> None:
        """Forget it."""

    def forget_profile(self, profile_id: str) -> None:
        """Have nothing to forget."""

    def close(self) -> None:
        """Have nothing to write."""


@dataclass(frozen=True, slots=True)
class _Trial:
    """A login that was sent without a verdict.

    Attributes:
        count: How often.
        last: When last, in seconds since the epoch.
        is_of_this_run: In this run.
    """

    count: int
    last: float
    is_of_this_run: bool = False


@dataclass(slots=True)
class _Upstream:
    """What the file says about one upstream of one profile."""

    fingerprint: UpstreamFingerprint | None = None
    rejected: list[str] = field(default_factory=list)
    addresses: tuple[str, ...] = ()
    trials: dict[str, _Trial] = field(default_factory=dict)

    @property
    def has_content(self) -> bool:
        return bool(self.fingerprint or self.rejected or self.trials)


class HistoryFile:
    """A `History` in a file, with one thread for hashing and writing."""

    def __init__(
        self, path: Path, now: Callable[[], float] = time, hash_after_s: float = HASH_AFTER_S
    ) -> None:
        """Read the file, if there is one.

        Args:
            path: ``sign-in.json``; its folder is private.
            now: Seconds since the epoch.
            name_after_s: See `HASH_AFTER_S`.
        """
        self._path = path
        self._now = now
        self._hash_after_s = hash_after_s
        self._unhashed: tuple[UpstreamId, Login] | None = None
        """The login of the trial of this run that has no name yet; used by our thread only."""
        self._addresses: dict[UpstreamId, tuple[str, ...]] = {}
        self._salt, self._upstreams = self._read()
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._worker: Thread | None = None
        self._last_hash: tuple[Login, str] | None = None
        """The login whose verdict is waited for, with its fingerprint. The verdict is then on the
        disk without the time of another hash: a run that is killed right after an acceptance
        leaves no trial behind."""

    @property
    def fingerprints(self) -> Mapping[UpstreamId, UpstreamFingerprint]:
        """What upstreams were when they last accepted a login."""
        return {
            upstream_id: record.fingerprint
            for upstream_id, record in self._upstreams.items()
            if record.fingerprint
        }

    def rejecting_profile(self, upstream_id: UpstreamId, login: Login) -> Future[str | None]:
        """Find out for which profile an upstream rejected this login, in whatever run.

        Returns:
            The id of the profile, that of `space` if there are several; None if it did not.
        """

        def find() -> str | None:
            records = self._records_at(upstream_id)
            if not any(record.rejected for record in records.values()):
                return None  # Without the time of a hash.
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
        """Note the addresses of an upstream, under which its rejections are found again."""
        self._addresses[upstream_id] = addresses[:MAX_ADDRESSES]

    def begin_trial(
        self, upstream_id: UpstreamId, login: Login, *, insists: bool, is_saved: bool = False
    ) -> Future[HistoryRecord]:
        """Write down that a login is on trial, unless an earlier run speaks against the trial."""

        def write() -> HistoryRecord:
            self._hash_trial()
            records = list(self._records_at(upstream_id).values())
            if is_saved and not any(record.rejected or record.trials for record in records):
                self._upstream(upstream_id).trials[UNHASHED] = _Trial(
                    1, self._now(), is_of_this_run=True
                )
                self._unhashed = upstream_id, login
                self._write()
                return HistoryRecord()
            login_hash = self._login_hash(login)
            if not insists and self._is_rejected(upstream_id, login_hash):
                return HistoryRecord(is_rejected=True)
            hashes = (login_hash, UNHASHED) if is_saved else (login_hash,)
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
            if hold_s > 0 and not insists:
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
                _log.warning("a sign-in cannot be put on record: %s", type(error).__name__)
                return HistoryRecord()

        return self._submit(write_if_possible)

    def cancel_trial(self, upstream_id: UpstreamId, login: Login) -> None:
        """Remove what `begin_trial` wrote down last: the login was not sent after all."""

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
        """Remember that an upstream rejected a login."""

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
        """Forget that an upstream ever rejected a login, and that the login is on trial."""

        def write() -> None:
            changed = self._drop_unhashed(upstream_id, login)
            # The trial of another login must not be taken for one of an earlier run.
            self._hash_trial()
            for record in self._records_at(upstream_id).values():
                changed |= record.trials.pop(UNHASHED, None) is not None
            if any(
                record.rejected or record.trials
                for record in self._records_at(upstream_id).values()
            ):
                changed |= self._forget(upstream_id, self._login_hash(login))
            self._last_hash = None
            if changed:
                # The disk takes some 20 ms, in which this run may be killed: a right login would be
                # found on trial by the next one, and asked about.
                self._write(is_durable=False)
                self._write()

        if self._upstreams or self._worker:
            self._submit(write)

    def set_fingerprint(
        self, upstream_id: UpstreamId, fingerprint: UpstreamFingerprint | None
    ) -> None:
        """Remember what an upstream is; None: forget it."""

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
        """Forget all about a profile."""

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
        """Have written what there is to write; give up a folder that does not answer."""
        if self._worker is None:
            return
        self._jobs.put(None)
        before = -1
        while self._worker.is_alive() and self._jobs.qsize() != before:
            before = self._jobs.qsize()
            self._worker.join(CLOSE_S)

    def _submit(self, job: Callable[[], T]) -> Future[T]:
        """Do something in our thread, which is started when it is needed first.

        A daemon thread, and no pool: a folder that does not answer, on a network drive, must not
        keep the program from ending.
        """
        done: Future[T] = Future()

        def run() -> None:
            try:
                done.set_result(job())
            except Exception as error:  # noqa: BLE001 - As an executor does: the caller gets it.
                done.set_exception(error)

        self._jobs.put(run)
        if self._worker is None:
            self._worker = Thread(target=self._work, name="sign-in-memory", daemon=True)
            self._worker.start()
        return done

    def _work(self) -> None:
        while True:
            try:
                job = self._jobs.get(timeout=self._hash_after_s if self._unhashed else None)
            except Empty:
                self._hash_trial()
                continue
            if job is None:
                self._hash_trial()
                return
            job()
            del job  # It may hold a login, and the next one may be long in coming.

    def _hash_trial(self) -> None:
        """Write down whose the trial is that has no name yet, if there is one."""
        if self._unhashed is None:
            return
        (upstream_id, login), self._unhashed = self._unhashed, None
        try:
            login_hash = self._login_hash(login)
        except (ImportError, ValueError, MemoryError) as error:
            _log.warning("a sign-in stays on record without a name: %s", type(error).__name__)
            return
        trials = self._upstream(upstream_id).trials
        trial = trials.pop(UNHASHED, None)
        if trial is not None:
            trials[login_hash] = trial
            self._write()

    def _drop_unhashed(self, upstream_id: UpstreamId, login: Login) -> bool:
        """Remove the trial that has no name yet if it is that of this login; tell whether."""
        if self._unhashed != (upstream_id, login):
            return False
        self._unhashed = None
        return self._upstream(upstream_id).trials.pop(UNHASHED, None) is not None

    def _forget(self, upstream_id: UpstreamId, login_hash: str) -> bool:
        """Remove rejections and trials of a login at an upstream; return whether there were any."""
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
        """Return what is known of an upstream, whatever the profile and the name."""
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
        """Return for how many seconds a login on trial is not to be sent by itself."""
        hold_s = HOLD_S[min(trial.count, len(HOLD_S)) - 1]
        # A clock that was set back must not hold a login for longer.
        return hold_s - max(0.0, self._now() - trial.last)

    def _login_hash(self, login: Login) -> str:
        """Return what stands for a login in this file, and tells next to nothing about it."""
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
            _log.warning("what was remembered of sign-ins cannot be read: %s", error.strerror)
            return urandom(16), {}
        try:
            if len(octets) > MAX_SIZE:
                raise ValueError("too large")
            return _parse(loads(octets))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            _log.warning("what was remembered of sign-ins is damaged: %s", type(error).__name__)
            with suppress(OSError):
                self._path.replace(self._path.with_name(self._path.name + ".bad"))
            return urandom(16), {}

    def _write(self, *, is_durable: bool = True) -> None:
        octets = self._document()
        while len(octets) > MAX_SIZE:
            # It would not be read again: rather forget the upstream that was learnt of first.
            del self._upstreams[next(iter(self._upstreams))]
            octets = self._document()
        try:
            replace_file(self._path, octets, is_durable=is_durable)
        except OSError as error:
            # It would have spared a question or a log-on in a later run. This one goes on.
            _log.warning("what was learnt of sign-ins cannot be kept: %s", error.strerror)

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
    """A `History` that passes each call on to another one; subclasses replace some of the calls."""

    def __init__(self, memory: History) -> None:
        self.fingerprints = memory.fingerprints
        self.rejecting_profile = memory.rejecting_profile
        self.set_addresses = memory.set_addresses
        self.begin_trial = memory.begin_trial
        self.cancel_trial = memory.cancel_trial
        self.record_rejection = memory.record_rejection
        self.record_acceptance = memory.record_acceptance
        self.forget_profile = memory.forget_profile
        self._history = memory

    def set_fingerprint(
        self, upstream_id: UpstreamId, fingerprint: UpstreamFingerprint | None
    ) -> None:
        """Remember what an upstream is; None: forget it."""
        self._history.set_fingerprint(upstream_id, fingerprint)

    def close(self) -> None:
        """Have written what there is to write."""
        self._history.close()


class HistoryWithoutFingerprints(ForwardingHistory):
    """A `History` that keeps rejections and trials, and nothing of what upstreams are."""

    def __init__(self, memory: History) -> None:
        super().__init__(memory)
        self.fingerprints = {}

    def set_fingerprint(
        self, upstream_id: UpstreamId, fingerprint: UpstreamFingerprint | None
    ) -> None:
        """Keep nothing."""


def _parse(document: Any) -> tuple[bytes, dict[UpstreamId, _Upstream]]:
    """Read the document of a file.

    Raises:
        ValueError: It is not one of ours, or damaged; so are KeyError, TypeError, AttributeError.
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
    # A text could be gone through like a list, too.
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
