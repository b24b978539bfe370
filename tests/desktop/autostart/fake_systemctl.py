"""A replacement of ``systemctl --user`` with the units of a folder."""

from collections.abc import Sequence
from pathlib import Path

from trayproxy.desktop.commands import CommandResult
from trayproxy.system_settings.entries import TargetError


class FakeSystemctl:
    """Enables and disables units, and notes the verbs.

    Attributes:
        verbs: The verbs, in the order of the calls.
        enabled: The names of the enabled units.
        masked: The names of the masked units.
        failing: Verbs that fail.
        is_missing: True if there is no systemctl.
        is_running: False if there is no bus of the user.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.verbs: list[str] = []
        self.enabled: set[str] = set()
        self.masked: set[str] = set()
        self.failing: set[str] = set()
        self.is_missing = False
        self.is_running = True

    def __call__(self, argv: Sequence[str]) -> CommandResult:
        """Run a command; raise `TargetError` if there is no systemctl."""
        assert argv[:2] == ["systemctl", "--user"]
        if self.is_missing:
            raise TargetError("systemctl cannot be run: No such file or directory")
        verb, *names = argv[2:]
        self.verbs.append(verb)
        if not self.is_running:
            return CommandResult(1, "", "Failed to connect to bus: No medium found\n")
        if verb in self.failing:
            return CommandResult(1, "", f"Failed to {verb} unit: Access denied\n")
        if verb == "is-enabled":
            state = "enabled" if names[0] in self.enabled else "disabled"
            state = "masked" if names[0] in self.masked else state
            return CommandResult(0 if state == "enabled" else 1, f"{state}\n")
        if verb == "enable":
            assert (self._folder / names[0]).is_file()
            self.enabled.update(names)
        elif verb == "disable":
            self.enabled.difference_update(names)
        else:
            assert verb in ("daemon-reload", "show")
        return CommandResult(0)
