"""Restore the system settings from before TrayProxy: for the service, the watchdog and the verb."""

from dataclasses import dataclass
from pathlib import Path

from trayproxy.desktop.system_proxy.factory import find_target
from trayproxy.system_settings.journal import DamagedJournalError, JournalFile
from trayproxy.system_settings.lock import changing_settings
from trayproxy.system_settings.restore import Restored, restore

LOCK_TIMEOUT_S = 20.0
"""Seconds to wait for another process that changes the settings. Each of its commands has a time
limit."""


@dataclass(frozen=True, slots=True)
class Repair:
    """The result of a repair.

    Attributes:
        restored: What was restored.
        damaged: The new path of a journal that could not be read, None if there was none. Nothing
            was restored from a damaged journal.
    """

    restored: Restored
    damaged: Path | None = None


def repair(
    file: JournalFile,
    lock: Path,
    *,
    everything: bool = False,
    only_of_pid: int = 0,
    timeout_s: float = LOCK_TIMEOUT_S,
) -> Repair:
    """Restore the settings of the journal; set a damaged journal aside.

    Args:
        file: The journal.
        lock: The lock file for changes of the settings; its folder must exist and be private.
        everything: True to restore also what other programs have changed.
        only_of_pid: Restore nothing if another process than this one has written the journal; 0:
            restore in any case.
        timeout_s: The time to wait for another process that changes the settings, in seconds.

    Raises:
        SettingsBusyError: Another process is changing the settings.
        JournalError: The journal cannot be read, renamed or removed.
        OSError: The lock file cannot be created.
    """
    with changing_settings(lock, timeout_s):
        try:
            journal = file.load()
            if journal is None or only_of_pid not in (0, journal.pid):
                return Repair(Restored())
            return Repair(restore(file, find_target, everything=everything))
        except DamagedJournalError:
            return Repair(Restored(), file.set_aside())
