"""Compare the present values of a target with a record, and decide what to restore."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from trayproxy.system_settings.entries import Change, Unit, Value, Values
from trayproxy.system_settings.record import TargetRecord

Working = Callable[[Values], Values]
"""Returns the values to restore: the given values, with replacements for the values that would
not work, such as the address of a proxy that has ended."""


class Owner(StrEnum):
    """The origin of the present values of a unit."""

    ORIGINAL = "original"
    """The values before the first change."""
    TRAYPROXY = "trayproxy"
    """Values that TrayProxy has written, or, after an interrupted change, partly these and partly
    the original ones."""
    OTHER = "other"
    """Values that another program has written."""
    MISSING = "missing"
    """No values: the part of the unit does not exist at the moment, as while a network connection
    is disabled."""


@dataclass(frozen=True, slots=True)
class Restoration:
    """The changes that restore a target, and the units that must be restored later.

    Attributes:
        changes: The changes. The order is the reverse of the order of the record: the unit that
            makes the others take effect is restored first.
        left: The names of the units that another program has changed, and that stay.
        instead: The values written instead of original values that do not work, by key.
        withheld: The names of the units whose original values do not work.
        missing: The names of the units that are missing at the moment.
    """

    changes: tuple[Change, ...]
    left: tuple[str, ...]
    instead: Mapping[str, Value]
    withheld: tuple[str, ...]
    missing: tuple[str, ...]


def owners(record: TargetRecord, present: Values) -> dict[str, Owner]:
    """Return the owner of each unit, by the name of the unit.

    Args:
        record: The changes of TrayProxy.
        present: The present values; keys of missing units are missing.
    """
    parts = {unit.part for unit in record.units if not present.keys().isdisjoint(unit.keys)}
    return {unit.name: _owner(unit, record, present, parts) for unit in record.units}


def restoration(
    record: TargetRecord,
    present: Values,
    working: Working = lambda values: values,
    *,
    everything: bool = False,
    keeps_withheld: bool = False,
) -> Restoration:
    """Return the changes that restore the original values.

    Values of other programs stay, and so do units that the values of other programs rely on.

    Args:
        record: The changes of TrayProxy.
        present: The present values; keys of missing units are missing.
        working: Replaces the values that would not work, in all values of the restored target.
        everything: True to restore also the units that other programs have changed.
        keeps_withheld: True to withhold again the original values that did not work before.
    """
    found = owners(record, present)
    missing = tuple(name for name, owner in found.items() if owner is Owner.MISSING)
    kept = [name for name in record.withheld if keeps_withheld and found[name] is Owner.TRAYPROXY]
    restored = [
        unit
        for unit in record.units
        if unit.name not in kept
        and present.keys() >= set(unit.keys)
        and (everything or not (found[unit.name] is Owner.OTHER or _is_in_use(unit, found)))
    ]
    values = {**present, **{key: record.original[key] for unit in restored for key in unit.keys}}
    able = working(values)
    changed = _changed_parts(record, restored, found, present)
    withheld = [
        unit
        for unit in restored
        if unit.part in changed and any(able[key] != values[key] for key in unit.keys)
    ]
    instead = {key: able[key] for unit in withheld for key in unit.keys}
    values |= instead
    return Restoration(
        tuple(
            Change(key, values[key])
            for unit in reversed(restored)
            for key in unit.keys
            if present[key] != values[key]
        ),
        () if everything else tuple(n for n, owner in found.items() if owner is Owner.OTHER),
        instead,
        (*kept, *(unit.name for unit in withheld)),
        missing,
    )


def _owner(unit: Unit, record: TargetRecord, present: Values, parts: set[str]) -> Owner:
    if any(key not in present for key in unit.keys):
        # A part that is there without the unit: another program has made the unit unreadable.
        return Owner.OTHER if unit.part in parts else Owner.MISSING
    if all(present[key] == record.original[key] for key in unit.keys):
        return Owner.ORIGINAL
    if all(
        present[key] == record.original[key] or present[key] in record.written[key]
        for key in unit.keys
    ):
        return Owner.TRAYPROXY
    return Owner.OTHER


def _changed_parts(
    record: TargetRecord, restored: list[Unit], found: Mapping[str, Owner], present: Values
) -> set[str]:
    """Return the names of the parts of a target that have values written by TrayProxy.

    The original values may equal the values of TrayProxy, if TrayProxy has got the address of
    another program.
    """
    parts = {unit.part for unit in restored if found[unit.name] is not Owner.ORIGINAL}
    unlike = {
        unit.part
        for unit in restored
        if any(present[key] not in record.written[key] for key in unit.keys)
    }
    return parts | {unit.part for unit in restored} - unlike


def _is_in_use(unit: Unit, found: dict[str, Owner]) -> bool:
    """Return True if the values of another program would lose their effect without this unit."""
    return any(found.get(name) is Owner.OTHER for name in unit.used_by)
