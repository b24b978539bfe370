"""The values of a group of settings: entries, units, and the changes between two states."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

Value = str | None
"""The value of an entry in the notation of its target; None if the entry is unset.

Unset differs from a default: a later version of the desktop may change its default.
"""

Values = Mapping[str, Value]
"""The values of a target by the keys of its entries."""


@dataclass(frozen=True, slots=True)
class Unit:
    """Entries that only have a meaning together, such as the host and the port of a proxy.

    When another program has changed one entry of a unit, the whole unit is the other program's.

    Attributes:
        name: The name of the unit, unique in its target.
        keys: The keys of its entries.
        used_by: The names of units that have an effect only through this unit, as the host and the
            port of a proxy have only while the mode of the system proxy is "manual". The unit is
            not restored while another program's values in those units rely on it.
        part: The part of the target that the unit belongs to, such as a network connection. A part
            with a name may be missing for a time, or refuse a change that the other parts accept;
            the part without a name is required.
    """

    name: str
    keys: tuple[str, ...]
    used_by: tuple[str, ...] = ()
    part: str = ""


@dataclass(frozen=True, slots=True)
class Change:
    """The new value of one entry.

    Attributes:
        key: The key of the entry.
        value: The new value; None to unset the entry.
    """

    key: str
    value: Value


class TargetError(Exception):
    """The settings of a target cannot be read or changed; the text is the reason, a clause."""


class SettingsTarget(Protocol):
    """A store of settings, such as dconf or the file ``kioslaverc``."""

    @property
    def name(self) -> str:
        """The name of the target in the journal, ``gsettings``."""

    @property
    def units(self) -> Sequence[Unit]:
        """The units of the settings in the order in which they are changed.

        The last unit is the one without which the others have no effect, such as the mode.
        """

    def read(self) -> Values:
        """Return the present values of all entries, except for parts that are missing now.

        Raises:
            TargetError: The values cannot be read.
        """

    def write(self, changes: Sequence[Change]) -> None:
        """Change entries in the given order.

        Raises:
            TargetError: An entry was not changed; earlier entries, and entries of other parts, may
                have been.
        """
