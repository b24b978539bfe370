"""A target in memory that counts its writes and fails where a test wants it to."""

from collections.abc import Callable, Sequence

from trayproxy.system_settings.entries import Change, TargetError, Unit, Value, Values

UNITS = (
    Unit("address", ("host", "port")),
    Unit("exceptions", ("exceptions",)),
    Unit("mode", ("mode",), used_by=("address",)),
)
"""Units like those of a system proxy: the mode makes the address take effect."""

VPN_UNITS = (
    Unit("address of vpn", ("host of vpn", "port of vpn"), part="vpn"),
    Unit("mode of vpn", ("mode of vpn",), used_by=("address of vpn",), part="vpn"),
)
"""Units of a connection that may be missing."""


class FakeTarget:
    """A target whose entries are in a dictionary.

    Attributes:
        values: The present values.
        refused: Keys that the target refuses to change.
        ignored: Keys whose changes the target reports as done and ignores.
        before_write: Called before each change of an entry; may raise, as a crash would end the
            process.
        unreadable: True if the target cannot be read.
        missing: The parts that cannot be read at the moment.
    """

    def __init__(
        self, values: dict[str, Value], name: str = "fake", units: Sequence[Unit] = UNITS
    ) -> None:
        self.values = values
        self.name = name
        self.units = units
        self.refused: set[str] = set()
        self.ignored: set[str] = set()
        self.before_write: Callable[[], None] = lambda: None
        self.unreadable = False
        self.missing: set[str] = set()

    def read(self) -> Values:
        if self.unreadable:
            raise TargetError("it cannot be read")
        return {
            key: self.values[key]
            for unit in self.units
            if unit.part not in self.missing
            for key in unit.keys
        }

    def write(self, changes: Sequence[Change]) -> None:
        refusal: TargetError | None = None
        for change in changes:
            [part] = [unit.part for unit in self.units if change.key in unit.keys]
            self.before_write()
            if part in self.missing or change.key in self.refused:
                refusal = TargetError(f"{change.key} is read-only")
                if not part:
                    raise refusal
            elif change.key not in self.ignored:
                self.values[change.key] = change.value
        if refusal is not None:
            raise refusal
