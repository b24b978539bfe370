"""Restore the system settings from before TrayProxy: for the service, the watchdog and the verb."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from trayproxy.desktop.system_proxy.dead_proxy import without_dead_proxies
from trayproxy.desktop.system_proxy.factory import find_target
from trayproxy.system_settings.journal import DamagedJournalError, Journal, JournalFile
from trayproxy.system_settings.lock import changing_settings
from trayproxy.system_settings.restore import Restored, all_work, restore

LOCK_TIMEOUT_S = 20.0
"""Seconds to wait for another process that changes the settings. Each of its commands has a time
limit."""


class RestorePolicy(StrEnum):
    """The treatment of original values that cannot be restored now, or would not work."""

    KEEP = "keep"
    """They stay in the journal. An address at which no program answers is not restored; an address
    that was not restored earlier is not tried again."""
    RETRY = "retry"
    """As `KEEP`, but an address that was not restored earlier is tried again."""
    FORCE = "force"
    """Also an address at which no program answers is restored."""
    FORGET = "forget"
    """As `RETRY`, but values that could not be restored are removed from the journal."""


@dataclass(frozen=True, slots=True)
class Repair:
    """The result of a repair.

    Attributes:
        restored: The result of the restoration.
        damaged: The new path of a journal that could not be read, None if there was none. Nothing
            was restored from a damaged journal.
        was_set: True if values of TrayProxy were in the settings; False if only earlier values
            waited to be restored.
        is_unwanted: True if nothing was restored because `is_wanted` returned False.
    """

    restored: Restored
    damaged: Path | None = None
    was_set: bool = False
    is_unwanted: bool = False


def repair(
    file: JournalFile,
    lock: Path,
    policy: RestorePolicy = RestorePolicy.KEEP,
    *,
    everything: bool = False,
    is_wanted: Callable[[Journal], bool] = lambda journal: True,
    is_chosen: Callable[[str], bool] = lambda name: True,
    timeout_s: float = LOCK_TIMEOUT_S,
) -> Repair:
    """Restore the settings of the journal; set a damaged journal aside.

    Args:
        file: The journal.
        lock: The lock file for changes of the settings.
        policy: The treatment of original values that cannot be restored.
        everything: True to restore also the units that other programs have changed.
        is_wanted: Returns False for a journal of which nothing is to be restored.
        is_chosen: Returns False for the name of a target that is not to be restored now.
        timeout_s: The time to wait for another process that changes the settings, in seconds.

    Raises:
        SettingsBusyError: Another process is changing the settings.
        JournalError: The journal cannot be read, renamed, written or removed.
        OSError: The lock file cannot be created.
    """
    with changing_settings(lock, timeout_s):
        try:
            journal = file.load()
            if journal is None or not is_wanted(journal):
                return Repair(Restored(), is_unwanted=journal is not None)
            result = restore(
                file,
                find_target,
                all_work if policy is RestorePolicy.FORCE else without_dead_proxies,
                everything=everything,
                # Any program may listen there by now.
                keeps_withheld=policy is RestorePolicy.KEEP and not journal.pid,
                is_chosen=is_chosen,
            )
        except DamagedJournalError:
            return Repair(Restored(), file.set_aside())
        if policy is RestorePolicy.FORGET and not result.failures:
            file.remove()
            result = replace(result, rest=())
        return Repair(result, was_set=journal.pid != 0)
