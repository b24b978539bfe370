"""The records of the sign-in history and their form in its file (see `trayproxy.desk.history`)."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from json import dumps, loads
from os import urandom
from typing import Any

from trayproxy.desk.protection_space import UpstreamFingerprint, UpstreamId

SCHEMA = 1
MAX_SIZE = 256 * 1024
"""Maximum size of the file in octets. A larger file is neither read nor written."""
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


@dataclass(frozen=True, slots=True)
class TrialRecord:
    """The record of a login sent without a verdict.

    Attributes:
        count: How often the login was sent.
        last: When it was last sent, in seconds since the epoch.
        is_of_this_run: True if it was sent in this run.
    """

    count: int
    last: float
    is_of_this_run: bool = False

    def hold_seconds(self, now: float) -> float:
        """Return for how many seconds the login must not be sent automatically."""
        if self.is_of_this_run:
            return 0.0
        hold_s = HOLD_S[min(self.count, len(HOLD_S)) - 1]
        # A clock that was set back must not prolong the hold.
        return hold_s - max(0.0, now - self.last)


@dataclass(slots=True)
class UpstreamRecord:
    """The records about an upstream of a profile.

    Attributes:
        fingerprint: The fingerprint of the upstream.
        rejected: The hashes of rejected logins, the oldest first.
        addresses: The addresses of the upstream.
        trials: The logins on trial, by the hash of the login.
    """

    fingerprint: UpstreamFingerprint | None = None
    rejected: list[str] = field(default_factory=list)
    addresses: tuple[str, ...] = ()
    trials: dict[str, TrialRecord] = field(default_factory=dict)

    @property
    def has_content(self) -> bool:
        """True if the record is worth keeping."""
        return bool(self.fingerprint or self.rejected or self.trials)


class HistoryRecords:
    """The records about all upstreams.

    Attributes:
        salt: The salt of the hashes.
        upstreams: The records, by upstream; the oldest first.
        addresses: The addresses of upstreams in this run.
    """

    def __init__(
        self, salt: bytes | None = None, upstreams: dict[UpstreamId, UpstreamRecord] | None = None
    ) -> None:
        """Create the records, with a new salt and without an upstream if None."""
        self.salt = salt or urandom(16)
        self.upstreams = upstreams or {}
        self.addresses: dict[UpstreamId, tuple[str, ...]] = {}

    def upstream(self, upstream_id: UpstreamId) -> UpstreamRecord:
        """Return the record of an upstream, which is added if it is missing."""
        if upstream_id not in self.upstreams:
            while len(self.upstreams) >= MAX_UPSTREAMS:
                self.drop_oldest()
            self.upstreams[upstream_id] = UpstreamRecord()
        upstream = self.upstreams[upstream_id]
        upstream.addresses = self.addresses.get(upstream_id, upstream.addresses)
        return upstream

    def records_at(self, upstream_id: UpstreamId) -> dict[UpstreamId, UpstreamRecord]:
        """Return the records about an upstream, for any profile and any name of the upstream."""
        known = self.upstreams.get(upstream_id)
        addresses = {*self.addresses.get(upstream_id, ()), *(known.addresses if known else ())}
        return {
            other: record
            for other, record in self.upstreams.items()
            if other.upstream == upstream_id.upstream or not addresses.isdisjoint(record.addresses)
        }

    def drop_oldest(self) -> None:
        """Remove the upstream that was recorded first."""
        del self.upstreams[next(iter(self.upstreams))]

    def drop_profile(self, profile_id: str) -> bool:
        """Remove the records of a profile. Return True if there were any."""
        gone = [each for each in self.upstreams if each.profile_id == profile_id]
        for upstream_id in gone:
            del self.upstreams[upstream_id]
        return bool(gone)

    def add_trial(self, upstream_id: UpstreamId, hashes: tuple[str, ...], now: float) -> None:
        """Record a login as being on trial since this time, in seconds since the epoch.

        The hashes are the hash of the login, then `UNHASHED` if this trial replaces a trial without
        a hash.
        """
        count = max((trial.count for trial in self.trials(upstream_id, hashes)), default=0)
        trials = self.upstream(upstream_id).trials
        for hash_ in hashes:
            trials.pop(hash_, None)
        trials[hashes[0]] = TrialRecord(count + 1, now, is_of_this_run=True)
        while len(trials) > MAX_REJECTED:
            del trials[next(iter(trials))]

    def trials(self, upstream_id: UpstreamId, hashes: Iterable[str]) -> list[TrialRecord]:
        """Return the trials of a login at an upstream, for any profile and name."""
        hashes = tuple(hashes)
        return [
            record.trials[hash_]
            for record in self.records_at(upstream_id).values()
            for hash_ in hashes
            if hash_ in record.trials
        ]

    def cancel_trial(self, upstream_id: UpstreamId, login_hash: str) -> None:
        """Remove the latest trial of a login."""
        trials = self.upstream(upstream_id).trials
        trial = trials.pop(login_hash, None)
        if trial is not None and trial.count > 1:
            trials[login_hash] = replace(trial, count=trial.count - 1)

    def rejecting_profiles(self, upstream_id: UpstreamId, login_hash: str) -> list[str]:
        """Return the profiles for which an upstream rejected a login."""
        return [
            at.profile_id
            for at, record in self.records_at(upstream_id).items()
            if login_hash in record.rejected
        ]

    def add_rejection(self, upstream_id: UpstreamId, login_hash: str) -> None:
        """Record a login as rejected; its trials end."""
        for record in self.records_at(upstream_id).values():
            record.trials.pop(login_hash, None)
        hashes = self.upstream(upstream_id).rejected
        if login_hash in hashes:
            hashes.remove(login_hash)
        hashes.append(login_hash)
        del hashes[:-MAX_REJECTED]

    def clear(self, upstream_id: UpstreamId, login_hash: str) -> bool:
        """Remove rejections and trials of a login at an upstream. Return True if there were any."""
        changed = False
        for record in self.records_at(upstream_id).values():
            changed |= record.trials.pop(login_hash, None) is not None
            if login_hash in record.rejected:
                record.rejected.remove(login_hash)
                changed = True
        return changed

    # --- The file ----------------------------------------------------------------------------

    def to_octets(self) -> bytes:
        """Return the content of the file. Upstreams are dropped, the oldest first, until the file
        is small enough to be read again.
        """
        while len(octets := self._document()) > MAX_SIZE:
            self.drop_oldest()
        return octets

    @classmethod
    def from_octets(cls, octets: bytes) -> "HistoryRecords":
        """Return the records of a file.

        Raises:
            ValueError: The octets are not a history or are damaged. KeyError, TypeError,
                AttributeError and RecursionError mean the same.
        """
        if len(octets) > MAX_SIZE:
            raise ValueError("too large")
        return cls(*_parse(loads(octets)))

    def _document(self) -> bytes:
        document = {
            "schema": SCHEMA,
            "salt": self.salt.hex(),
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
                for upstream_id, record in self.upstreams.items()
                if record.has_content
            ],
        }
        return dumps(document, indent=1).encode("ascii")


def _parse(document: Any) -> tuple[bytes, dict[UpstreamId, UpstreamRecord]]:
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
            _text(record["login"]): TrialRecord(
                max(1, _number(record["count"])), _number(record["last"])
            )
            for record in _list(entry.get("tried", []))[-MAX_REJECTED:]
        }
        upstreams[upstream_id] = UpstreamRecord(
            fingerprint, rejected, addresses[:MAX_ADDRESSES], trials
        )
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
