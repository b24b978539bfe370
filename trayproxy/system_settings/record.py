"""The record of TrayProxy's changes in one target."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from trayproxy.system_settings.entries import Unit, Value, Values


@dataclass(frozen=True, slots=True)
class TargetRecord:
    """The changes of TrayProxy in one target.

    Attributes:
        target: The name of the target.
        units: The changed units, in the order in which they were changed.
        original: The values before the first change, for every key of `units`.
        written: All values that TrayProxy has written or is about to write, by key. While TrayProxy
            changes a value that it has written before, the entry may have either of the two.
        withheld: The names of the units whose original values were not restored because they would
            not work; the values that were written instead are in `written`.
        restores_dead: True if the user wants the original values back even if they do not work.
    """

    target: str
    units: tuple[Unit, ...]
    original: Mapping[str, Value]
    written: Mapping[str, tuple[Value, ...]]
    withheld: tuple[str, ...] = ()
    restores_dead: bool = False

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys of all changed entries, in the order in which they were changed."""
        return tuple(key for unit in self.units for key in unit.keys)

    def merged(self, newer: "TargetRecord") -> "TargetRecord":
        """Return the record with the changes of a newer record.

        The original values of this record stay; of the newer record, only the units that were not
        changed before are added with their original values.

        Args:
            newer: The record of the next change of the same target.
        """
        known = {unit.name for unit in self.units}
        written = dict(self.written)
        for key in newer.keys:
            written[key] = _with_values(written.get(key, ()), newer.written[key])
        changed = {unit.name for unit in newer.units}
        return TargetRecord(
            self.target,
            (*self.units, *(unit for unit in newer.units if unit.name not in known)),
            {**newer.original, **self.original},
            written,
            tuple(name for name in self.withheld if name not in changed),
            self.restores_dead or newer.restores_dead,
        )

    def with_written(self, values: Values, withheld: Collection[str]) -> "TargetRecord":
        """Return the record with more values that count as earlier values of TrayProxy.

        Args:
            values: The values by key.
            withheld: The names of the withheld units.
        """
        written = dict(self.written)
        for key, value in values.items():
            written[key] = (value, *(known for known in written[key] if known != value))
        return replace(self, written=written, withheld=tuple(withheld))

    def only(self, names: Collection[str]) -> "TargetRecord":
        """Return the record of the units with the given names."""
        units = tuple(unit for unit in self.units if unit.name in names)
        keys = [key for unit in units for key in unit.keys]
        return replace(
            self,
            units=units,
            original={key: self.original[key] for key in keys},
            written={key: self.written[key] for key in keys},
            withheld=tuple(name for name in self.withheld if name in names),
        )


def new_record(
    target: str,
    units: Sequence[Unit],
    present: Values,
    wanted: Values,
    *,
    restores_dead: bool = False,
) -> TargetRecord:
    """Return the record of a first change.

    Args:
        target: The name of the target.
        units: All units of the target, in the order of changes.
        present: The present values. Units without a present value do not exist at the moment, and
            are not changed.
        wanted: The new values. Units without a key in `wanted` are not changed; of the other
            units, every key must be in `wanted`.
        restores_dead: See `TargetRecord`.
    """
    changed = tuple(
        unit for unit in units if all(key in wanted and key in present for key in unit.keys)
    )
    keys = [key for unit in changed for key in unit.keys]
    return TargetRecord(
        target,
        changed,
        {key: present[key] for key in keys},
        {key: (wanted[key],) for key in keys},
        restores_dead=restores_dead,
    )


def _with_values(values: tuple[Value, ...], last: tuple[Value, ...]) -> tuple[Value, ...]:
    """Return a tuple of values with further values added at its end, without repetition."""
    return (*(value for value in values if value not in last), *last)
