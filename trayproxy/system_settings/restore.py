"""Restore the settings from before TrayProxy, as far as no other program has changed them."""

from collections.abc import Callable
from dataclasses import dataclass

from trayproxy.system_settings.apply import write_and_check
from trayproxy.system_settings.compare import (
    Owner,
    original_changes,
    owners,
    restoring_changes,
)
from trayproxy.system_settings.entries import SettingsTarget, TargetError
from trayproxy.system_settings.journal import JournalFile
from trayproxy.system_settings.record import TargetRecord

FindTarget = Callable[[str], SettingsTarget]
"""Returns the target with a name from the journal; raises `TargetError` for an unknown name."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A target that could not be restored.

    Attributes:
        target: The name of the target.
        reason: The reason, a clause.
    """

    target: str
    reason: str


@dataclass(frozen=True, slots=True)
class Restored:
    """The result of a restoration.

    Attributes:
        had_journal: False if there was nothing to restore.
        changed: The names of the targets with restored values.
        left: The targets and units that other programs have changed, and which were left alone.
        failures: The targets that could not be restored; the journal still exists for them.
    """

    had_journal: bool = False
    changed: tuple[str, ...] = ()
    left: tuple[tuple[str, str], ...] = ()
    failures: tuple[Failure, ...] = ()


def restore(file: JournalFile, find_target: FindTarget, *, everything: bool = False) -> Restored:
    """Restore the original values, and remove the journal if no value of TrayProxy is left.

    Running it again changes nothing more.

    Args:
        file: The journal.
        find_target: Finds the targets of the journal.
        everything: True to restore also what other programs have changed, because the user wants
            the settings from before TrayProxy.

    Raises:
        JournalError: The journal cannot be read or removed. Nothing was changed if it cannot be
            read.
    """
    journal = file.load()
    if journal is None:
        return Restored()
    changed: list[str] = []
    left: list[tuple[str, str]] = []
    failures: list[Failure] = []
    for record in reversed(journal.targets):
        try:
            if _restore_target(record, find_target(record.target), left, everything=everything):
                changed.append(record.target)
        except TargetError as error:
            failures.append(Failure(record.target, str(error)))
    if not failures:
        file.remove()
    return Restored(True, tuple(changed), tuple(left), tuple(failures))


def _restore_target(
    record: TargetRecord, target: SettingsTarget, left: list[tuple[str, str]], *, everything: bool
) -> bool:
    """Restore one target; return whether values were changed."""
    present = target.read()
    if everything:
        changes = original_changes(record, present)
    else:
        changes = restoring_changes(record, present)
        found = owners(record, present)
        left += ((record.target, name) for name, owner in found.items() if owner is Owner.OTHER)
    write_and_check(target, changes)
    return bool(changes)
