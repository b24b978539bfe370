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
SIZE_MOST = 256 * 1024
"""Octets; a larger file is something else, and none is written."""
CLOSE_S = 3.0
"""Seconds that `HistoryFile.close` waits for one thing to be written."""
ADDRESSES_MOST = 8
"""Addresses remembered per upstream."""
HOLD_S = (600.0, 3600.0, 14400.0, 57600.0)
"""Seconds for which a login that was sent without a verdict in an earlier run is not sent again by
itself: after one such send, after two, after three, after more. Directories count failed log-ons
within half an hour or an hour."""
REJECTED_MOST = 8
"""Rejected logins remembered per upstream, the oldest go first: more would say more of each."""
SPACES_MOST = 256
UNNAMED = ""
"""Stands for a saved login on trial whose fingerprint was not computed."""
NAME_AFTER_S = 1.0
"""Seconds without a verdict after which it is. Most proxies answer within a tenth of that."""

_BITS_OCTETS = 2
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
    def pins(self) -> Mapping[UpstreamId, UpstreamFingerprint]:
        """What upstreams were when they last accepted a login, as it was at the start."""

    def rejected_for(self, space: UpstreamId, login: Login) -> Future[str | None]:
        """Find out for which profile an upstream rejected this login, in whatever run.

        Returns:
            The id of the profile, that of `space` if there are several; None if it did not.
        """

    def found_at(self, space: UpstreamId, addresses: tuple[str, ...]) -> None:
        """Note the addresses of an upstream, under which its rejections are found again."""

    def try_out(
        self, space: UpstreamId, login: Login, *, insists: bool, is_saved: bool = False
    ) -> Future[HistoryRecord]:
        """Write down that a login is on trial, unless an earlier run speaks against the trial.

        Where it cannot be written down the login may be tried all the same.

        Args:
            space: Where.
            login: The login.
            insists: A person wants it tried whatever is known about it.
            is_saved: It comes from the keyring.
        """

    def spare(self, space: UpstreamId, login: Login) -> None:
        """Remove what `try_out` wrote down last: the login was not sent after all."""

    def rejected(self, space: UpstreamId, login: Login) -> None:
        """Remember that an upstream rejected a login."""

    def accepted(self, space: UpstreamId, login: Login) -> None:
        """Forget that an upstream ever rejected a login."""

    def pin(self, space: UpstreamId, pin: UpstreamFingerprint | None) -> None:
        """Remember what an upstream is; None: forget it."""

    def forget(self, profile_id: str) -> None:
        """Forget all about a profile."""

    def close(self) -> None:
        """Have written what there is to write."""


class NullHistory:
    """Remembers nothing, for a run that must leave nothing behind."""

    pins: Mapping[UpstreamId, UpstreamFingerprint] = {}

    def rejected_for(self, space: UpstreamId, login: Login) -> Future[str | None]:
        """Know of nothing."""
        return _done(None)

    def found_at(self, space: UpstreamId, addresses: tuple[str, ...]) -> None:
        """Forget it."""

    def try_out(
        self, space: UpstreamId, login: Login, *, insists: bool, is_saved: bool = False
    ) -> Future[HistoryRecord]:
        """Know of nothing."""
        return _done(HistoryRecord())

    def spare(self, space: UpstreamId, login: Login) -> None:
        """Have nothing to remove."""

    def rejected(self, space: UpstreamId, login: Login) -> None:
        """Forget it."""

    def accepted(self, space: UpstreamId, login: Login) -> None:
        """Have nothing to forget."""

    def pin(self, space: UpstreamId, pin: UpstreamFingerprint | None) -> None:
        """Forget it."""

    def forget(self, profile_id: str) -> None:
        """Have nothing to forget."""

    def close(self) -> None:
        """Have nothing to write."""


@dataclass(frozen=True, slots=True)
class _Trial:
    """A login that was sent without a verdict.

    Attributes:
        count: How often.
        last: When last, in seconds since the epoch.
        is_ours: In this run.
    """

    count: int
    last: float
    is_ours: bool = False


@dataclass(slots=True)
class _Upstream:
    """What the file says about one upstream of one profile."""

    pin: UpstreamFingerprint | None = None
    rejected: list[str] = field(default_factory=list)
    addresses: tuple[str, ...] = ()
    trials: dict[str, _Trial] = field(default_factory=dict)

    @property
    def says_something(self) -> bool:
        return bool(self.pin or self.rejected or self.trials)


class HistoryFile:
    """A `History` in a file, with one thread for hashing and writing."""

    def __init__(
        self, path: Path, now: Callable[[], float] = time, name_after_s: float = NAME_AFTER_S
    ) -> None:
        """Read the file, if there is one.

        Args:
            path: ``sign-in.json``; its folder is private.
            now: Seconds since the epoch.
            name_after_s: See `NAME_AFTER_S`.
        """
        self._path = path
        self._now = now
        self._name_after_s = name_after_s
        self._unnamed: tuple[UpstreamId, Login] | None = None
        """The login of the trial of this run that has no name yet; used by our thread only."""
        self._addresses: dict[UpstreamId, tuple[str, ...]] = {}
        self._salt, self._upstreams = self._read()
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._worker: Thread | None = None
        self._tried: tuple[Login, str] | None = None
        """The login whose verdict is waited for, with its fingerprint. The verdict is then on the
        disk without the time of another hash: a run that is killed right after an acceptance
        leaves no trial behind."""

    @property
    def pins(self) -> Mapping[UpstreamId, UpstreamFingerprint]:
        """What upstreams were when they last accepted a login."""
        return {space: one.pin for space, one in self._upstreams.items() if one.pin}

    def rejected_for(self, space: UpstreamId, login: Login) -> Future[str | None]:
        """Find out for which profile an upstream rejected this login, in whatever run.

        Returns:
            The id of the profile, that of `space` if there are several; None if it did not.
        """

        def find() -> str | None:
            there = self._there(space)
            if not any(one.rejected for one in there.values()):
                return None  # Without the time of a hash.
            fingerprint = self._fingerprint(login)
            found = [at.profile_id for at, one in there.items() if fingerprint in one.rejected]
            return space.profile_id if space.profile_id in found else next(iter(found), None)

        return self._do(find) if self._upstreams or self._worker else _done(None)

    def found_at(self, space: UpstreamId, addresses: tuple[str, ...]) -> None:
        """Note the addresses of an upstream, under which its rejections are found again."""
        self._addresses[space] = addresses[:ADDRESSES_MOST]

    def try_out(
        self, space: UpstreamId, login: Login, *, insists: bool, is_saved: bool = False
    ) -> Future[HistoryRecord]:
        """Write down that a login is on trial, unless an earlier run speaks against the trial."""

        def note() -> HistoryRecord:
            self._name()
            there = list(self._there(space).values())
            if is_saved and not any(one.rejected or one.trials for one in there):
                self._upstream(space).trials[UNNAMED] = _Trial(1, self._now(), is_ours=True)
                self._unnamed = space, login
                self._write()
                return HistoryRecord()
            fingerprint = self._fingerprint(login)
            if not insists and self._is_rejected(space, fingerprint):
                return HistoryRecord(is_rejected=True)
            names = (fingerprint, UNNAMED) if is_saved else (fingerprint,)
            known = [one.trials[name] for one in there for name in names if name in one.trials]
            hold_s = max((self._hold(trial) for trial in known if not trial.is_ours), default=0.0)
            if hold_s > 0 and not insists:
                return HistoryRecord(hold_s=hold_s)
            count = max((trial.count for trial in known), default=0)
            upstream = self._upstream(space)
            for name in names:
                upstream.trials.pop(name, None)
            upstream.trials[fingerprint] = _Trial(count + 1, self._now(), is_ours=True)
            while len(upstream.trials) > REJECTED_MOST:
                del upstream.trials[next(iter(upstream.trials))]
            self._write()
            return HistoryRecord()

        def note_if_possible() -> HistoryRecord:
            try:
                return note()
            except (ImportError, ValueError, MemoryError) as error:
                # Where OpenSSL is restricted (FIPS) there may be no scrypt.
                _log.warning("a sign-in cannot be put on record: %s", type(error).__name__)
                return HistoryRecord()

        return self._do(note_if_possible)

    def spare(self, space: UpstreamId, login: Login) -> None:
        """Remove what `try_out` wrote down last: the login was not sent after all."""

        def note() -> None:
            if self._drop_unnamed(space, login):
                self._write()
                return
            fingerprint = self._fingerprint(login)
            trials = self._upstream(space).trials
            trial = trials.pop(fingerprint, None)
            if trial is not None and trial.count > 1:
                trials[fingerprint] = replace(trial, count=trial.count - 1)
            self._write()

        self._do(note)

    def rejected(self, space: UpstreamId, login: Login) -> None:
        """Remember that an upstream rejected a login."""

        def note() -> None:
            fingerprint = self._fingerprint(login)
            self._drop_unnamed(space, login)
            for one in self._trials_of(space, fingerprint):
                del one.trials[fingerprint]
            fingerprints = self._upstream(space).rejected
            if fingerprint in fingerprints:
                fingerprints.remove(fingerprint)
            fingerprints.append(fingerprint)
            del fingerprints[:-REJECTED_MOST]
            self._tried = None
            self._write()

        self._do(note)

    def accepted(self, space: UpstreamId, login: Login) -> None:
        """Forget that an upstream ever rejected a login, and that the login is on trial."""

        def note() -> None:
            changed = self._drop_unnamed(space, login)
            self._name()  # That of another login is not to be taken for one of an earlier run.
            for one in self._there(space).values():
                changed |= one.trials.pop(UNNAMED, None) is not None
            if any(one.rejected or one.trials for one in self._there(space).values()):
                changed |= self._forget(space, self._fingerprint(login))
            self._tried = None
            if changed:
                # The disk takes some 20 ms, in which this run may be killed: a right login would be
                # found on trial by the next one, and asked about.
                self._write(is_durable=False)
                self._write()

        if self._upstreams or self._worker:
            self._do(note)

    def pin(self, space: UpstreamId, pin: UpstreamFingerprint | None) -> None:
        """Remember what an upstream is; None: forget it."""

        def note() -> None:
            bounded = (
                UpstreamFingerprint(pin.label, tuple(map(bounded_realm, pin.realms)))
                if pin
                else None
            )
            self._upstream(space).pin = bounded
            self._write()

        self._do(note)

    def forget(self, profile_id: str) -> None:
        """Forget all about a profile."""

        def note() -> None:
            gone = [space for space in self._upstreams if space.profile_id == profile_id]
            for space in gone:
                del self._upstreams[space]
            if gone:
                self._write()

        if self._upstreams or self._worker:
            self._do(note)

    def close(self) -> None:
        """Have written what there is to write; give up a folder that does not answer."""
        if self._worker is None:
            return
        self._jobs.put(None)
        before = -1
        while self._worker.is_alive() and self._jobs.qsize() != before:
            before = self._jobs.qsize()
            self._worker.join(CLOSE_S)

    def _do(self, what: Callable[[], T]) -> Future[T]:
        """Do something in our thread, which is started when it is needed first.

        A daemon thread, and no pool: a folder that does not answer, on a network drive, must not
        keep the program from ending.
        """
        done: Future[T] = Future()

        def run() -> None:
            try:
                done.set_result(what())
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
                job = self._jobs.get(timeout=self._name_after_s if self._unnamed else None)
            except Empty:
                self._name()
                continue
            if job is None:
                self._name()
                return
            job()
            del job  # It may hold a login, and the next one may be long in coming.

    def _name(self) -> None:
        """Write down whose the trial is that has no name yet, if there is one."""
        if self._unnamed is None:
            return
        (space, login), self._unnamed = self._unnamed, None
        try:
            fingerprint = self._fingerprint(login)
        except (ImportError, ValueError, MemoryError) as error:
            _log.warning("a sign-in stays on record without a name: %s", type(error).__name__)
            return
        trials = self._upstream(space).trials
        trial = trials.pop(UNNAMED, None)
        if trial is not None:
            trials[fingerprint] = trial
            self._write()

    def _drop_unnamed(self, space: UpstreamId, login: Login) -> bool:
        """Remove the trial that has no name yet if it is that of this login; tell whether."""
        if self._unnamed != (space, login):
            return False
        self._unnamed = None
        return self._upstream(space).trials.pop(UNNAMED, None) is not None

    def _forget(self, space: UpstreamId, fingerprint: str) -> bool:
        """Remove rejections and trials of a login at an upstream; return whether there were any."""
        changed = False
        for one in self._there(space).values():
            changed |= one.trials.pop(fingerprint, None) is not None
            if fingerprint in one.rejected:
                one.rejected.remove(fingerprint)
                changed = True
        return changed

    def _upstream(self, space: UpstreamId) -> _Upstream:
        if space not in self._upstreams:
            while len(self._upstreams) >= SPACES_MOST:
                del self._upstreams[next(iter(self._upstreams))]
            self._upstreams[space] = _Upstream()
        upstream = self._upstreams[space]
        upstream.addresses = self._addresses.get(space, upstream.addresses)
        return upstream

    def _there(self, space: UpstreamId) -> dict[UpstreamId, _Upstream]:
        """Return what is known of an upstream, whatever the profile and the name."""
        known = self._upstreams.get(space)
        addresses = {*self._addresses.get(space, ()), *(known.addresses if known else ())}
        return {
            other: one
            for other, one in self._upstreams.items()
            if other.upstream == space.upstream or not addresses.isdisjoint(one.addresses)
        }

    def _is_rejected(self, space: UpstreamId, fingerprint: str) -> bool:
        return any(fingerprint in one.rejected for one in self._there(space).values())

    def _trials_of(self, space: UpstreamId, fingerprint: str) -> list[_Upstream]:
        return [one for one in self._there(space).values() if fingerprint in one.trials]

    def _hold(self, trial: _Trial) -> float:
        """Return for how many seconds a login on trial is not to be sent by itself."""
        hold_s = HOLD_S[min(trial.count, len(HOLD_S)) - 1]
        # A clock that was set back must not hold a login for longer.
        return hold_s - max(0.0, self._now() - trial.last)

    def _fingerprint(self, login: Login) -> str:
        """Return what stands for a login in this file, and tells next to nothing about it."""
        from hashlib import scrypt  # Not at the top: it loads OpenSSL.

        if self._tried is not None and self._tried[0] == login:
            return self._tried[1]
        parts = (login.user, login.password)
        octets = [part.encode("utf-8", "surrogatepass") for part in parts]
        message = b"".join(len(part).to_bytes(4, "big") + part for part in octets)
        found = scrypt(message, salt=self._salt, dklen=_BITS_OCTETS, **_COST).hex()
        self._tried = login, found
        return found

    # --- The file ----------------------------------------------------------------------------

    def _read(self) -> tuple[bytes, dict[UpstreamId, _Upstream]]:
        try:
            octets = read_file(self._path, SIZE_MOST + 1)
        except FileNotFoundError:
            return urandom(16), {}
        except OSError as error:
            _log.warning("what was remembered of sign-ins cannot be read: %s", error.strerror)
            return urandom(16), {}
        try:
            if len(octets) > SIZE_MOST:
                raise ValueError("too large")
            return _parse(loads(octets))
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            _log.warning("what was remembered of sign-ins is damaged: %s", type(error).__name__)
            with suppress(OSError):
                self._path.replace(self._path.with_name(self._path.name + ".bad"))
            return urandom(16), {}

    def _write(self, *, is_durable: bool = True) -> None:
        octets = self._document()
        while len(octets) > SIZE_MOST:
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
                    "profile": space.profile_id,
                    "upstream": space.upstream,
                    "addresses": list(one.addresses),
                    "label": one.pin.label if one.pin else None,
                    "realms": list(one.pin.realms) if one.pin else [],
                    "rejected": one.rejected,
                    "tried": [
                        {"login": fingerprint, "count": trial.count, "last": int(trial.last)}
                        for fingerprint, trial in one.trials.items()
                    ],
                }
                for space, one in self._upstreams.items()
                if one.says_something
            ],
        }
        return dumps(document, indent=1).encode("ascii")


class ForwardingHistory:
    """A `History` that passes each call on to another one; subclasses replace some of the calls."""

    def __init__(self, memory: History) -> None:
        self.pins = memory.pins
        self.rejected_for = memory.rejected_for
        self.found_at = memory.found_at
        self.try_out = memory.try_out
        self.spare = memory.spare
        self.rejected = memory.rejected
        self.accepted = memory.accepted
        self.forget = memory.forget
        self._memory = memory

    def pin(self, space: UpstreamId, pin: UpstreamFingerprint | None) -> None:
        """Remember what an upstream is; None: forget it."""
        self._memory.pin(space, pin)

    def close(self) -> None:
        """Have written what there is to write."""
        self._memory.close()


class HistoryWithoutFingerprints(ForwardingHistory):
    """A `History` that keeps rejections and trials, and nothing of what upstreams are."""

    def __init__(self, memory: History) -> None:
        super().__init__(memory)
        self.pins = {}

    def pin(self, space: UpstreamId, pin: UpstreamFingerprint | None) -> None:
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
    for entry in _list(document["upstreams"])[:SPACES_MOST]:
        space = UpstreamId(_text(entry["profile"]), _text(entry["upstream"]))
        realms = tuple(_texts(entry["realms"]))
        pin = (
            UpstreamFingerprint(_text(entry["label"]), realms)
            if entry["label"] and realms
            else None
        )
        rejected = _texts(entry["rejected"])[-REJECTED_MOST:]
        addresses = tuple(_texts(entry.get("addresses", [])))
        trials = {
            _text(one["login"]): _Trial(max(1, _number(one["count"])), _number(one["last"]))
            for one in _list(entry.get("tried", []))[-REJECTED_MOST:]
        }
        upstreams[space] = _Upstream(pin, rejected, addresses[:ADDRESSES_MOST], trials)
    return salt, upstreams


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _texts(value: Any) -> list[str]:
    # A text could be gone through like a list, too.
    if not isinstance(value, list):
        raise TypeError
    return [_text(one) for one in value]


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
