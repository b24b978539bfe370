"""Restore the settings from before TrayProxy, as far as no other program has changed them."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeVar

from trayproxy.system_settings.apply import write_and_check
from trayproxy.system_settings.compare import Restoration, restoration
from trayproxy.system_settings.entries import SettingsTarget, TargetError, Values
from trayproxy.system_settings.journal import Journal, JournalError, JournalFile
from trayproxy.system_settings.record import TargetRecord

T = TypeVar("T", bound=SettingsTarget)


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
        failures: The targets that could not be restored.
        rest: The records that are still in the journal: of the failed targets, of units that are
            missing or refuse the change at the moment, and of original values that do not work.
    """

    had_journal: bool = False
    changed: tuple[str, ...] = ()
    left: tuple[tuple[str, str], ...] = ()
    failures: tuple[Failure, ...] = ()
    rest: tuple[TargetRecord, ...] = ()


def all_work(target: SettingsTarget, record: TargetRecord, values: Values) -> Values:
    """Return the values unchanged: all original values are restored."""
    return values


def restore(
    file: JournalFile,
    find_target: Callable[[str], T],
    working: Callable[[T, TargetRecord, Values], Values] = all_work,
    *,
    everything: bool = False,
    keeps_withheld: bool = False,
    is_chosen: Callable[[str], bool] = lambda name: True,
) -> Restored:
    """Restore the original values, and remove the restored units from the journal.

    A second call changes nothing more.

    Args:
        file: The journal.
        find_target: Finds the targets of the journal; raises `TargetError` for an unknown name.
        working: Returns the values that a target can have, see `trayproxy.system_settings.compare`.
        everything: True to restore also the units that other programs have changed, because the
            user wants the settings from before TrayProxy.
        keeps_withheld: True to try no original values again that did not work before.
        is_chosen: Returns False for the name of a target that is not to be restored now.

    Raises:
        JournalError: The journal cannot be read or written. Nothing was changed if it cannot be
            read.
    """
    journal = file.load()
    if journal is None:
        return Restored()
    chosen = [record for record in journal.targets if is_chosen(record.target)]
    plans: list[_Plan] = []
    failures: list[Failure] = []
    for record in reversed(chosen):
        try:
            target = find_target(record.target)
            planned = restoration(
                record,
                target.read(),
                partial(working, target, record),
                everything=everything,
                keeps_withheld=keeps_withheld,
            )
        except TargetError as error:
            failures.append(Failure(record.target, str(error)))
        else:
            record = record.with_written(planned.instead, planned.withheld)
            plans.append(_Plan(record, target, planned))
    rest = {failure.target: journal.record_of(failure.target) for failure in failures}
    _save_replacements(file, journal, plans)
    changed, failed = _carry_out(plans, rest)
    failures += failed
    after = _with_records(journal, rest)
    _save_rest(file, after, is_set=bool(failures) or len(chosen) < len(journal.targets))
    left = tuple((plan.record.target, name) for plan in plans for name in plan.restoration.left)
    return Restored(True, changed, left, tuple(failures), after.targets)


@dataclass(frozen=True, slots=True)
class _Plan:
    """The planned restoration of one target."""

    record: TargetRecord
    target: SettingsTarget
    restoration: Restoration

    def carry_out(self) -> TargetRecord | None:
        """Restore the target; return the record of the units not restored, None if there are none.

        Raises:
            TargetError: The target was not restored.
        """
        units = self.record.units
        refusing = write_and_check(self.target, self.restoration.changes, units)
        names = {*self.restoration.missing, *self.restoration.withheld}
        names |= {unit.name for unit in units if unit.part in refusing}
        return self.record.only(names) if names else None


def _save_replacements(file: JournalFile, journal: Journal, plans: Sequence[_Plan]) -> None:
    """Write the values that replace original values that do not work into the journal."""
    if any(plan.restoration.instead for plan in plans):
        # A journal that cannot be written must not leave an address of TrayProxy in the settings.
        with suppress(JournalError):
            file.save(_with_records(journal, {plan.record.target: plan.record for plan in plans}))


def _carry_out(
    plans: Sequence[_Plan], rest: dict[str, TargetRecord | None]
) -> tuple[tuple[str, ...], list[Failure]]:
    """Restore the targets of the plans; return the names of the changed targets, and the failures.

    The record that must stay in the journal is added to `rest` for each target, None if there is
    none.
    """
    changed: list[str] = []
    failures: list[Failure] = []
    for plan in plans:
        name = plan.record.target
        try:
            rest[name] = plan.carry_out()
        except TargetError as error:
            failures.append(Failure(name, str(error)))
            rest[name] = plan.record
        else:
            changed += [name] if plan.restoration.changes else []
    return tuple(changed), failures


def _save_rest(file: JournalFile, rest: Journal, *, is_set: bool) -> None:
    """Write the journal after a restoration if it has changed; remove it if it has no records.

    `is_set` is True if values of TrayProxy may still be in the settings. Otherwise the remaining
    records may wait for a long time, and no process is responsible for the journal.
    """
    if not rest.targets:
        file.remove()
        return
    rest = rest if is_set else replace(rest, pid=0)
    if rest != file.load():
        file.save(rest)


def _with_records(journal: Journal, records: Mapping[str, TargetRecord | None]) -> Journal:
    """Return the journal with the given records; a record is removed if its value is None."""
    found = (records.get(record.target, record) for record in journal.targets)
    return replace(journal, targets=tuple(record for record in found if record is not None))
