"""Change settings: write the journal, change the targets, read back, roll back after a failure."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from trayproxy.system_settings.entries import Change, SettingsTarget, TargetError, Values
from trayproxy.system_settings.journal import Journal, JournalError, JournalFile
from trayproxy.system_settings.record import TargetRecord, new_record

MakeJournal = Callable[[tuple[TargetRecord, ...]], Journal]
"""Returns a journal of this process and this moment with the given records."""


@dataclass(frozen=True, slots=True)
class TargetChange:
    """The planned change of one target.

    Attributes:
        target: The target.
        present: The values before the change.
        wanted: The new values, for all keys of each unit to change.
        original: The values to restore later, if they are not the present ones: those of the
            journal come first, then these, then the present ones.
    """

    target: SettingsTarget
    present: Values
    wanted: Values
    original: Values | None = None


class NotAppliedError(Exception):
    """The settings were not changed.

    Attributes:
        target: The name of the target that could not be changed; empty for the journal.
        reason: The reason, a clause.
        is_rolled_back: False if values of TrayProxy may be left. The journal still exists then.
    """

    def __init__(self, target: str, reason: str, *, is_rolled_back: bool) -> None:
        super().__init__(f"{target or 'journal'}: {reason}")
        self.target = target
        self.reason = reason
        self.is_rolled_back = is_rolled_back


def apply(file: JournalFile, changes: Sequence[TargetChange], make_journal: MakeJournal) -> Journal:
    """Change the settings of all targets, or of none.

    Args:
        file: The journal. Its original values are kept if it exists.
        changes: The change of each target, in order.
        make_journal: Makes the journal to write.

    Returns:
        The journal as written.

    Raises:
        NotAppliedError: A target was not changed, or the journal was not written. The changed
            targets have their present values again, unless the error says otherwise.
    """
    try:
        before = file.load()
        journal = make_journal(_records(before, changes))
        file.save(journal)
    except JournalError as error:
        raise NotAppliedError("", error.reason, is_rolled_back=True) from None
    begun: list[TargetChange] = []
    for change in changes:
        begun.append(change)
        try:
            write_and_check(change.target, _changes(change, change.present, change.wanted))
        except TargetError as error:
            is_rolled_back = _roll_back(file, before, journal, begun)
            raise NotAppliedError(
                change.target.name, str(error), is_rolled_back=is_rolled_back
            ) from None
    return journal


def write_and_check(target: SettingsTarget, changes: Sequence[Change]) -> None:
    """Change entries, and read them back.

    Some commands report success although they have changed nothing: ``gsettings set`` does without
    a session bus.

    Raises:
        TargetError: An entry was not changed.
    """
    if not changes:
        return
    target.write(changes)
    present = target.read()
    for change in changes:
        if present.get(change.key) != change.value:
            raise TargetError(f"“{change.key}” does not keep its new value")


def _records(journal: Journal | None, changes: Sequence[TargetChange]) -> tuple[TargetRecord, ...]:
    records = {record.target: record for record in journal.targets} if journal else {}
    for change in changes:
        name = change.target.name
        base = change.present if change.original is None else change.original
        new = new_record(name, change.target.units, base, change.wanted)
        records[name] = records[name].merged(new) if name in records else new
    return tuple(records.values())


def _roll_back(
    file: JournalFile, before: Journal | None, failed: Journal, begun: Sequence[TargetChange]
) -> bool:
    """Write the values from before the failed change; return whether all targets have them."""
    for change in reversed(begun):
        try:
            now = change.target.read()
            changes = _changes(change, now, change.present)
            write_and_check(change.target, tuple(reversed(changes)))
        except TargetError:
            return False
    with suppress(JournalError):
        # A journal that stays only mentions values that nothing has: it does no harm.
        if before is None:
            file.remove()
        else:
            # This process is responsible for the journal of an earlier one now.
            file.save(replace(before, pid=failed.pid, boot=failed.boot))
    return True


def _changes(change: TargetChange, now: Values, new: Values) -> tuple[Change, ...]:
    """Return the changes of the entries of a planned change, in the order of the target."""
    return tuple(
        Change(key, new[key])
        for unit in change.target.units
        for key in unit.keys
        if key in change.wanted and key in now and key in new and now[key] != new[key]
    )
