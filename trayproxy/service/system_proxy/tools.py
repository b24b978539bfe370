"""The parts of the system that the switch of the system proxy uses, and its blocking operations."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from trayproxy.control.messages import LeftoverChoice
from trayproxy.desktop.system_proxy.base import ProxySetting, ProxyTargets
from trayproxy.desktop.system_proxy.repair import Repair, RestorePolicy, repair
from trayproxy.service.system_proxy.files import SystemProxyFiles
from trayproxy.service.system_proxy.operations import ReadBack, TurnedOn, read_back, turn_on
from trayproxy.system_settings.entries import TargetError


class Watchdog(Protocol):
    """The process that restores the settings if this process ends without doing so."""

    def start(self) -> None:
        """Start the process if it does not run; raise OSError if it cannot be started."""

    def stop(self, *, keep: bool = False) -> None:
        """End the process; with `keep`, it leaves the settings in place."""


class SystemWatch(Protocol):
    """Reports changes of the system proxy."""

    def close(self) -> None:
        """Stop reporting changes of the system proxy."""


class Watching:
    """Watches the system proxy from `begin` until `end`; both may be called again."""

    def __init__(
        self, watch: Callable[[Callable[[], None]], SystemWatch], report: Callable[[], None]
    ) -> None:
        """Create the watch; `begin` starts it.

        Args:
            watch: Starts to report changes of the system proxy.
            report: Called for each change.
        """
        self._start = watch
        self._report = report
        self._watch: SystemWatch | None = None

    def begin(self) -> None:
        """Report changes from now on."""
        if self._watch is None:
            self._watch = self._start(self._report)

    def end(self) -> None:
        """Stop the watch, if it runs: report no more changes."""
        if self._watch is not None:
            self._watch.close()
            self._watch = None


@dataclass(frozen=True, slots=True)
class SystemProxyTools:
    """The parts of the system that the switch uses; the methods block.

    Attributes:
        files: The journal and the lock.
        find_targets: Returns the targets of this desktop; raises `TargetError` if there are none.
        watchdog: Restores the settings if this process ends without doing so.
        watch: Starts to report changes of the system proxy; the argument is called for each.
        is_dead: Returns True if no program listens at an address of this computer.
        serve_pac: Serves a PAC file at the local address from now on; the arguments are its path
            and its text.
    """

    files: SystemProxyFiles
    find_targets: Callable[[], ProxyTargets]
    watchdog: Watchdog
    watch: Callable[[Callable[[], None]], SystemWatch]
    is_dead: Callable[[str, int], bool]
    serve_pac: Callable[[str, str], None]

    def read(self) -> ReadBack:
        """Read the system proxy; see `read_back` for errors."""
        return read_back(self.files, self.find_targets())

    def turn_on(self, setting: ProxySetting, leftovers: LeftoverChoice | None) -> TurnedOn:
        """Start the watchdog, and set the system proxy; see `turn_on` in `operations`."""
        targets = self.find_targets()
        self.watchdog.start()
        try:
            return turn_on(self.files, targets, setting, leftovers, self.is_dead)
        finally:
            if not self.files.journal.path.exists():
                self.watchdog.stop()

    def restore(self, policy: RestorePolicy, everything: bool, stays: frozenset[str]) -> Repair:
        """Restore the system proxy, and stop the watchdog if that succeeds; see `repair`.

        Args:
            policy: The treatment of settings that cannot be restored.
            everything: True to restore also the values that other programs have changed.
            stays: The names of the targets that are not restored, as far as they are in use now.
        """
        if stays:
            # Whether TrayProxy starts at log-in may have changed since the system proxy was set.
            stays &= self._target_names()
        result = repair(
            self.files.journal,
            self.files.lock,
            policy,
            everything=everything,
            is_wanted=lambda journal: not self.files.is_of_another(journal),
            is_chosen=lambda name: name not in stays,
        )
        if not result.restored.failures:
            self.watchdog.stop(keep=bool(stays))
        return result

    def _target_names(self) -> frozenset[str]:
        try:
            targets = self.find_targets()
        except TargetError:
            return frozenset()
        return frozenset(target.name for target in (*targets.required, *targets.optional))
