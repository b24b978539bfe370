"""The journal: a file with the values before the first change of each setting.

The journal exists while TrayProxy's values may be in the settings, and while original values wait
for a part of a target that is missing, or were withheld because they do not work. It is on the disk
before the first change, and it is removed when all values have been restored. Its original values
are never replaced: a second journal would contain TrayProxy's own values as original values. All
services of a user share one journal, because they share one system proxy.

The file is JSON (RFC 8259), mode 0600::

    {"schema": 1, "pid": 4711, "boot": "6f0c…", "written_at": 1764513593.0,
     "settings": "/home/user/.config/trayproxy/config.toml",
     "targets": [{"target": "gsettings",
                  "units": [{"name": "http", "keys": ["http host", "http port"], "used_by": [],
                             "part": ""}],
                  "original": {"http host": null, "http port": null},
                  "written": {"http host": ["'127.0.0.1'"], "http port": ["3128"]},
                  "withheld": [], "restores_dead": false}]}
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from trayproxy.file_replacement import remove_file, replace_file, set_aside
from trayproxy.system_settings.entries import Unit, Value
from trayproxy.system_settings.record import TargetRecord

T = TypeVar("T")

SCHEMA = 1
"""The version of the format; another version is refused, because nothing may be guessed."""

MAX_SIZE = 1 << 20
"""The largest journal that is read or written, in octets. Real journals have a few thousand."""


class JournalError(Exception):
    """The journal cannot be read or written.

    Attributes:
        reason: The reason, a clause.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class DamagedJournalError(JournalError):
    """The journal exists and cannot be understood; its values must not be guessed."""


@dataclass(frozen=True, slots=True)
class Journal:
    """The changes of the computer's settings that TrayProxy has to undo.

    Attributes:
        pid: The process that has changed the settings; its watchdog restores only a
            journal with this id. 0 if the settings are restored, except for units that cannot be
            restored yet.
        boot: An identification of the computer's run in which the journal was written; empty if
            unknown.
        written_at: The time of writing, in seconds since the epoch.
        targets: The record of each changed target, in the order of the changes.
        settings: The settings file of the TrayProxy that has changed the settings.
    """

    pid: int
    boot: str
    written_at: float
    targets: tuple[TargetRecord, ...]
    settings: str = ""

    def record_of(self, target: str) -> TargetRecord | None:
        """Return the record of a target, None if the target was not changed."""
        return next((record for record in self.targets if record.target == target), None)


class JournalFile:
    """The file of the journal."""

    def __init__(self, path: Path) -> None:
        """Set the path; the folder must exist and be private.

        Args:
            path: The file.
        """
        self.path = path

    def load(self) -> Journal | None:
        """Return the journal, None if there is none.

        Raises:
            DamagedJournalError: The file is not a journal of this version.
            JournalError: The file cannot be read.
        """
        try:
            with self.path.open("rb") as file:
                octets = file.read(MAX_SIZE + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise JournalError(error.strerror or str(error)) from None
        return decode(octets)

    def save(self, journal: Journal) -> None:
        """Write the journal, and wait until it is on the disk.

        Raises:
            JournalError: The journal was not written; an older journal is unchanged.
        """
        octets = encode(journal)
        if len(octets) > MAX_SIZE:
            # `load` would refuse it, so that nothing could be restored.
            raise JournalError("it would become too large")
        try:
            replace_file(self.path, octets)
        except OSError as error:
            raise JournalError(error.strerror or str(error)) from None

    def remove(self) -> None:
        """Remove the journal, because all values have been restored.

        Raises:
            JournalError: The file cannot be removed.
        """
        try:
            remove_file(self.path)
        except OSError as error:
            raise JournalError(error.strerror or str(error)) from None

    def set_aside(self) -> Path:
        """Rename a damaged journal, so that it is kept and a new one can be written.

        Returns:
            The new path: the path with ``.damaged`` and a number behind it.

        Raises:
            JournalError: The file cannot be renamed.
        """
        try:
            return set_aside(self.path)
        except OSError as error:
            raise JournalError(error.strerror or str(error)) from None


def encode(journal: Journal) -> bytes:
    """Return the journal as JSON."""
    import json  # Here, because the watchdog waits without it, and must stay small.

    members = {"schema": SCHEMA, **asdict(journal)}
    return json.dumps(members, indent=1).encode() + b"\n"


def decode(octets: bytes) -> Journal:
    """Return the journal of a JSON text.

    Raises:
        DamagedJournalError: The text is not a journal of this version.
    """
    if len(octets) > MAX_SIZE:
        raise DamagedJournalError("it is too large")
    import json  # Here, as in `encode`.

    try:
        members = json.loads(octets)
    except (ValueError, RecursionError):
        raise DamagedJournalError("it is not complete") from None
    schema = members.get("schema") if isinstance(members, dict) else None
    if schema != SCHEMA:
        raise DamagedJournalError("it is from another version of TrayProxy")
    try:
        return _journal(members)
    except (KeyError, TypeError, ValueError):
        raise DamagedJournalError("it has unknown contents") from None


def _journal(members: Mapping[str, Any]) -> Journal:
    return Journal(
        _checked(members["pid"], int),
        _checked(members["boot"], str),
        float(members["written_at"]),
        tuple(map(_record, _checked(members["targets"], list))),
        _checked(members["settings"], str),
    )


def _record(members: Mapping[str, Any]) -> TargetRecord:
    record = TargetRecord(
        _checked(members["target"], str),
        tuple(map(_unit, _checked(members["units"], list))),
        {key: _value(value) for key, value in _checked(members["original"], dict).items()},
        {
            key: tuple(map(_value, _checked(v, list)))
            for key, v in _checked(members["written"], dict).items()
        },
        _texts(members["withheld"]),
        _checked(members["restores_dead"], bool),
    )
    if set(record.keys) != set(record.original) or set(record.keys) != set(record.written):
        raise ValueError("the keys differ")
    return record


def _unit(members: Mapping[str, Any]) -> Unit:
    return Unit(
        _checked(members["name"], str),
        _texts(members["keys"]),
        _texts(members["used_by"]),
        _checked(members["part"], str),
    )


def _texts(values: object) -> tuple[str, ...]:
    return tuple(_checked(value, str) for value in _checked(values, list))


def _value(value: object) -> Value:
    return None if value is None else _checked(value, str)


def _checked(value: object, kind: type[T]) -> T:
    if not isinstance(value, kind):
        raise TypeError(kind.__name__)
    return value
