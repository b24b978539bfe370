"""What the desk remembers between runs: who upstreams are, and which logins they rejected.

One small file in the state folder (``sign-in.json``), readable by this user alone. It holds no
login. What is said about a rejected one is 16 bits of a slow hash (scrypt, 16 MB and some 50 ms a
guess, with a salt of this file): enough to tell that the keyring still holds the very password that
was rejected, so that a restart does not cost one more failed log-on. Whoever gets hold of the file
learns next to nothing, although a mistyped password is almost the right one: guesses are slow, and
of a million, fifteen others fit as well. The price is that one in 65,000 changed passwords is taken
for the old one, and asked for.

The file may be lost, damaged or of another version: then nothing is remembered, a damaged one is
kept as ``sign-in.json.bad``, and the next thing learnt begins a new one (fault F17).
"""

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from json import dumps, loads
from logging import getLogger
from os import urandom
from pathlib import Path
from typing import Any, Protocol

from trayproxy.auth.login import Login
from trayproxy.desk.space import Pin, Space
from trayproxy.profiles.store import read_file, replace_file

SCHEMA = 1
SIZE_MOST = 256 * 1024
"""Octets; a larger file is something else."""
REJECTED_MOST = 8
"""Rejected logins remembered per upstream, the oldest go first: more would say more of each."""
SPACES_MOST = 256

_BITS_OCTETS = 2
_COST = {"n": 2**14, "r": 8, "p": 1, "maxmem": 32 * 1024 * 1024}

_log = getLogger(__name__)


class Memory(Protocol):
    """Remembers between runs. Nothing here raises, blocks or waits."""

    @property
    def pins(self) -> Mapping[Space, Pin]:
        """What upstreams were when they last accepted a login, as it was at the start."""

    def was_rejected(self, space: Space, login: Login) -> Future[bool]:
        """Find out whether an upstream rejected this login in an earlier run."""

    def rejected(self, space: Space, login: Login) -> None:
        """Remember that an upstream rejected a login."""

    def accepted(self, space: Space, login: Login) -> None:
        """Forget that an upstream ever rejected a login."""

    def pin(self, space: Space, pin: Pin | None) -> None:
        """Remember what an upstream is; None: forget it."""

    def forget(self, profile_id: str) -> None:
        """Forget all about a profile."""

    def close(self) -> None:
        """Have written what there is to write."""


class Forgetful:
    """Remembers nothing, for a run that must leave nothing behind."""

    pins: Mapping[Space, Pin] = {}

    def was_rejected(self, space: Space, login: Login) -> Future[bool]:
        """Know of nothing."""
        return _done(False)

    def rejected(self, space: Space, login: Login) -> None:
        """Forget it."""

    def accepted(self, space: Space, login: Login) -> None:
        """Have nothing to forget."""

    def pin(self, space: Space, pin: Pin | None) -> None:
        """Forget it."""

    def forget(self, profile_id: str) -> None:
        """Have nothing to forget."""

    def close(self) -> None:
        """Have nothing to write."""


@dataclass(slots=True)
class _Upstream:
    """What the file says about one upstream."""

    pin: Pin | None = None
    rejected: list[str] = field(default_factory=list)


class MemoryFile:
    """A `Memory` in a file, with one thread for hashing and writing."""

    def __init__(self, path: Path) -> None:
        """Read the file, if there is one.

        Args:
            path: ``sign-in.json``; its folder is private.
        """
        self._path = path
        self._salt, self._upstreams = self._read()
        self._worker: ThreadPoolExecutor | None = None

    @property
    def pins(self) -> Mapping[Space, Pin]:
        """What upstreams were when they last accepted a login."""
        return {space: one.pin for space, one in self._upstreams.items() if one.pin}

    def was_rejected(self, space: Space, login: Login) -> Future[bool]:
        """Find out whether an upstream rejected this login in an earlier run."""
        known = self._upstreams.get(space)
        if known is None or not known.rejected:
            return _done(False)
        return self._do(lambda: self._fingerprint(space, login) in known.rejected)

    def rejected(self, space: Space, login: Login) -> None:
        """Remember that an upstream rejected a login."""

        def note() -> None:
            fingerprints = self._upstream(space).rejected
            fingerprint = self._fingerprint(space, login)
            if fingerprint in fingerprints:
                fingerprints.remove(fingerprint)
            fingerprints.append(fingerprint)
            del fingerprints[:-REJECTED_MOST]
            self._write()

        self._do(note)

    def accepted(self, space: Space, login: Login) -> None:
        """Forget that an upstream ever rejected a login."""

        def note() -> None:
            known = self._upstreams.get(space)
            if known is None or not known.rejected:
                return
            fingerprint = self._fingerprint(space, login)
            if fingerprint in known.rejected:
                known.rejected.remove(fingerprint)
                self._write()

        if self._upstreams:
            self._do(note)

    def pin(self, space: Space, pin: Pin | None) -> None:
        """Remember what an upstream is; None: forget it."""

        def note() -> None:
            self._upstream(space).pin = pin
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
        """Have written what there is to write."""
        if self._worker:
            self._worker.shutdown()

    def _do(self, what: Callable[[], Any]) -> Future[Any]:
        """Do something in our thread, which is started when it is needed first."""
        if self._worker is None:
            self._worker = ThreadPoolExecutor(1, "sign-in-memory")
        return self._worker.submit(what)

    def _upstream(self, space: Space) -> _Upstream:
        if space not in self._upstreams:
            while len(self._upstreams) >= SPACES_MOST:
                del self._upstreams[next(iter(self._upstreams))]
            self._upstreams[space] = _Upstream()
        return self._upstreams[space]

    def _fingerprint(self, space: Space, login: Login) -> str:
        """Return what stands for a login at an upstream, and tells next to nothing about it."""
        from hashlib import scrypt  # Not at the top: it loads OpenSSL.

        parts = (space.profile_id, space.upstream, login.user, login.password)
        octets = [part.encode("utf-8", "surrogatepass") for part in parts]
        message = b"".join(len(part).to_bytes(4, "big") + part for part in octets)
        return scrypt(message, salt=self._salt, dklen=_BITS_OCTETS, **_COST).hex()

    # --- The file ----------------------------------------------------------------------------

    def _read(self) -> tuple[bytes, dict[Space, _Upstream]]:
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

    def _write(self) -> None:
        document = {
            "schema": SCHEMA,
            "salt": self._salt.hex(),
            "upstreams": [
                {
                    "profile": space.profile_id,
                    "upstream": space.upstream,
                    "label": one.pin.label if one.pin else None,
                    "realms": list(one.pin.realms) if one.pin else [],
                    "rejected": one.rejected,
                }
                for space, one in self._upstreams.items()
                if one.pin or one.rejected
            ],
        }
        try:
            replace_file(self._path, dumps(document, indent=1).encode("ascii"))
        except OSError as error:
            # It would have spared a question or a log-on in a later run. This one goes on.
            _log.warning("what was learnt of sign-ins cannot be kept: %s", error.strerror)


def _parse(document: Any) -> tuple[bytes, dict[Space, _Upstream]]:
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
    for entry in document["upstreams"][:SPACES_MOST]:
        space = Space(_text(entry["profile"]), _text(entry["upstream"]))
        realms = tuple(_texts(entry["realms"]))
        pin = Pin(_text(entry["label"]), realms) if entry["label"] and realms else None
        rejected = _texts(entry["rejected"])[-REJECTED_MOST:]
        upstreams[space] = _Upstream(pin, rejected)
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


def _done(value: bool) -> Future[bool]:
    done: Future[bool] = Future()
    done.set_result(value)
    return done
