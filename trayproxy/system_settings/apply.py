"""Change settings: write the journal, change the targets, read back, roll back after a failure."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from trayproxy.system_settings.compare import Owner, owners, restoration
from trayproxy.system_settings.entries import Change, SettingsTarget, TargetError, Unit, Values
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
            journal come first, then these, then the present values.
        restores_dead: See `TargetRecord`.
    """

    target: SettingsTarget
    present: Values
    wanted: Values
    original: Values | None = None
    restores_dead: bool = False


@dataclass(frozen=True, slots=True)
class RefusedPart:
    """A part of a target that refuses its change, and has its original values.

    Attributes:
        target: The name of the target.
        part: The name of the part.
        reason: The reason, a clause.
    """

    target: str
    part: str
    reason: str


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


def apply(
    file: JournalFile, changes: Sequence[TargetChange], make_journal: MakeJournal
) -> tuple[RefusedPart, ...]:
    """Change the settings of all targets, or of none.

    Args:
        file: The journal. Its original values are kept if it exists.
        changes: The change of each target, in order.
        make_journal: Makes the journal to write.

    Returns:
        The parts of targets that were not changed, because they refuse the change.

    Raises:
        NotAppliedError: A target was not changed, or the journal was not written. The changed
            targets have their present values again, unless the error says otherwise.
    """
    try:
        before = file.load()
        journal = make_journal(_records(before, changes))
        during = _during(journal, before, changes)
        file.save(during)
    except JournalError as error:
        raise NotAppliedError("", error.reason, is_rolled_back=True) from None
    begun: list[TargetChange] = []
    refusals: list[RefusedPart] = []
    for change in changes:
        begun.append(change)
        name, units = change.target.name, change.target.units
        new = _changes(change, change.present, change.wanted)
        try:
            refusing = write_and_check(change.target, new, units)
        except TargetError as error:
            is_rolled_back = _roll_back(file, before, journal, begun)
            raise NotAppliedError(name, str(error), is_rolled_back=is_rolled_back) from None
        refusals += (RefusedPart(name, part, reason) for part, reason in refusing.items())
        for part in refusing:
            journal = _without_part(journal, during, change, part)
    if journal != during:
        with suppress(JournalError):
            # A journal that mentions more values than necessary does no harm.
            file.save(journal)
    return tuple(refusals)


def _during(journal: Journal, before: Journal | None, changes: Sequence[TargetChange]) -> Journal:
    """Return the journal that must be on the disk while the changes are written.

    Another program may have changed a unit that TrayProxy now changes again. After an interruption
    the unit may have some values of each, so the other program's values are recorded as
    TrayProxy's.
    """
    records = {record.target: record for record in journal.targets}
    for change in changes:
        known = before.record_of(change.target.name) if before is not None else None
        for name, owner in owners(known, change.present).items() if known is not None else ():
            if owner is Owner.OTHER:
                record = records[change.target.name]
                keys = record.only({name}).keys
                values = {key: change.present[key] for key in keys if key in change.wanted}
                records[record.target] = record.with_written(values, record.withheld)
    return replace(journal, targets=tuple(records.values()))


def write_and_check(
    target: SettingsTarget, changes: Sequence[Change], units: Sequence[Unit]
) -> dict[str, str]:
    """Change entries, and read them back.

    Some commands report success although they have changed nothing: ``gsettings set`` does without
    a session bus.

    Args:
        target: The target.
        changes: The changes, in order.
        units: The units of the target, or those of its record.

    Returns:
        The reason of each refusal by a part with a name, by the name of the part.

    Raises:
        TargetError: The part without a name refused its change, or all parts did.
    """
    if not changes:
        return {}
    reason = ""
    try:
        target.write(changes)
    except TargetError as error:
        reason = str(error)
    try:
        present = target.read()
    except TargetError as error:
        raise TargetError(reason or str(error)) from None
    failed = {change.key for change in changes if present.get(change.key) != change.value}
    if not failed:
        return {}
    reason = reason or f"“{min(failed)}” does not keep its new value"
    asked = _parts(units, {change.key for change in changes})
    refusing = _parts(units, failed)
    if "" in refusing or refusing == asked:
        raise TargetError(reason)
    return dict.fromkeys(sorted(refusing), reason)


def _parts(units: Sequence[Unit], keys: set[str]) -> set[str]:
    return {unit.part for unit in units if not keys.isdisjoint(unit.keys)}


def _without_part(journal: Journal, during: Journal, change: TargetChange, part: str) -> Journal:
    """Undo the change of a part that refuses it; return the journal afterwards.

    A part that another program had changed gets the values of that program, any other part its
    original values: an earlier address of TrayProxy may not work any more. A part that refuses
    these as well stays in the journal.

    Args:
        journal: The journal after the changes.
        during: The journal for the time of the changes, from `_during`.
        change: The change of the target.
        part: The name of the part.
    """
    target = change.target
    record, known = journal.record_of(target.name), during.record_of(target.name)
    assert record is not None  # The journals have a record of each changed target.
    assert known is not None
    own = known.only({unit.name for unit in known.units if unit.part == part})
    was = {key: change.present[key] for key in own.keys}
    is_of_other = (
        Owner.OTHER in owners(record.only({unit.name for unit in own.units}), was).values()
    )
    try:
        now = target.read()
        undo = restoration(own, now).changes
        if is_of_other:
            undo = tuple(
                Change(key, was[key]) for key in reversed(own.keys) if now[key] != was[key]
            )
        write_and_check(target, undo, own.units)
        now = target.read()
    except (KeyError, TargetError):
        now = {}
    found = {key: now.get(key, "") for key in own.keys}
    rest = known
    if found == own.original:
        rest = record.only({unit.name for unit in record.units if unit.part != part})
    elif found == was:
        rest = record
    targets = (rest if old is record else old for old in journal.targets)
    return replace(journal, targets=tuple(targets))


def _records(journal: Journal | None, changes: Sequence[TargetChange]) -> tuple[TargetRecord, ...]:
    records = {record.target: record for record in journal.targets} if journal else {}
    for change in changes:
        name = change.target.name
        base = change.present if change.original is None else change.original
        new = new_record(
            name, change.target.units, base, change.wanted, restores_dead=change.restores_dead
        )
        records[name] = records[name].merged(new) if name in records else new
    return tuple(records.values())


def _roll_back(
    file: JournalFile, before: Journal | None, failed: Journal, begun: Sequence[TargetChange]
) -> bool:
    """Write back the values from before a failed change.

    Return True if every target has its earlier values again.
    """
    for change in reversed(begun):
        try:
            now = change.target.read()
            changes = _changes(change, now, change.present)
            if write_and_check(change.target, tuple(reversed(changes)), change.target.units):
                return False
        except TargetError:
            return False
    with suppress(JournalError):
        # A journal that stays only mentions values that nothing has: it does no harm.
        if before is None:
            file.remove()
        elif before.pid:
            # This process is responsible for the journal of an earlier one now.
            file.save(replace(before, pid=failed.pid, boot=failed.boot))
        else:
            file.save(before)
    return True


def _changes(change: TargetChange, now: Values, new: Values) -> tuple[Change, ...]:
    """Return a planned change as changes of single entries, in the order of the target."""
    return tuple(
        Change(key, new[key])
        for unit in change.target.units
        for key in unit.keys
        if key in change.wanted and key in now and key in new and now[key] != new[key]
    )
