"""A target in memory that counts its writes and fails where a test wants it to."""

from collections.abc import Callable, Sequence

from trayproxy.system_settings.entries import Change, TargetError, Unit, Value, Values

UNITS = (
    Unit("address", ("host", "port")),
    Unit("exceptions", ("exceptions",)),
    Unit("mode", ("mode",), used_by=("address",)),
)
"""Units like those of a system proxy: the mode makes the address take effect."""


class FakeTarget:
    """A target whose entries are in a dictionary.

    Attributes:
        values: The present values.
        refused: Keys that the target refuses to change.
        ignored: Keys whose changes the target reports as done and ignores.
        before_write: Called before each change of an entry; may raise, as a crash would end the
            process.
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

    def read(self) -> Values:
        if self.unreadable:
            raise TargetError("it cannot be read")
        return dict(self.values)

    def write(self, changes: Sequence[Change]) -> None:
        for change in changes:
            self.before_write()
            if change.key in self.refused:
                raise TargetError(f"{change.key} is read-only")
            if change.key not in self.ignored:
                self.values[change.key] = change.value
