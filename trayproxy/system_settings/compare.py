"""Compare the present values of a target with a record, and decide what to restore."""

from enum import StrEnum

from trayproxy.system_settings.entries import Change, Unit, Values
from trayproxy.system_settings.record import TargetRecord


class Owner(StrEnum):
    """Whose values a unit has."""

    ORIGINAL = "original"
    """The values before the first change."""
    TRAYPROXY = "trayproxy"
    """Values that TrayProxy has written, or, after an interrupted change, partly these and partly
    the original ones."""
    OTHER = "other"
    """Values that another program has written."""
    MISSING = "missing"
    """No values: the unit does not exist any more, as after a network connection was deleted."""


def owners(record: TargetRecord, present: Values) -> dict[str, Owner]:
    """Return the owner of each unit, by the name of the unit.

    Args:
        record: What TrayProxy has changed.
        present: The present values; keys of deleted units are missing.
    """
    return {unit.name: _owner(unit, record, present) for unit in record.units}


def restoring_changes(record: TargetRecord, present: Values) -> tuple[Change, ...]:
    """Return the changes that restore the original values.

    Values of other programs stay, and so do units that the values of other programs rely on. The
    order is the reverse of the order of the changes: the unit that makes the others take effect is
    restored first.

    Args:
        record: What TrayProxy has changed.
        present: The present values; keys of deleted units are missing.
    """
    found = owners(record, present)
    return tuple(
        Change(key, record.original[key])
        for unit in reversed(record.units)
        if found[unit.name] is Owner.TRAYPROXY and not _is_in_use(unit, found)
        for key in unit.keys
        if present[key] != record.original[key]
    )


def original_changes(record: TargetRecord, present: Values) -> tuple[Change, ...]:
    """Return the changes that restore all original values, also over values of other programs.

    Args:
        record: What TrayProxy has changed.
        present: The present values; keys of deleted units are missing.
    """
    return tuple(
        Change(key, record.original[key])
        for key in reversed(record.keys)
        if key in present and present[key] != record.original[key]
    )


def _owner(unit: Unit, record: TargetRecord, present: Values) -> Owner:
    if any(key not in present for key in unit.keys):
        return Owner.MISSING
    if all(present[key] == record.original[key] for key in unit.keys):
        return Owner.ORIGINAL
    if all(
        present[key] == record.original[key] or present[key] in record.written[key]
        for key in unit.keys
    ):
        return Owner.TRAYPROXY
    return Owner.OTHER


def _is_in_use(unit: Unit, found: dict[str, Owner]) -> bool:
    """Return whether values of another program have an effect only through the unit."""
    return any(found.get(name) is Owner.OTHER for name in unit.used_by)
