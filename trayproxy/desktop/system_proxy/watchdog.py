"""The watchdog process: restores the system settings when the service ends without doing so.

The service starts the watchdog before its first change. The standard input of the watchdog is a
pipe; only the service has the other end, and the operating system closes it when the service ends
in any way, by kill -9 too. Then the watchdog restores the settings of the journal, and ends. If the
service has restored the settings itself, there is no journal.

All modules of TrayProxy are imported at the start: an update may have replaced their files when the
service ends. The process uses only the standard library, and less than 15 MB of memory; it imports
the largest modules of the standard library when it needs them.
"""

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from trayproxy.desktop.system_proxy.factory import import_targets
from trayproxy.desktop.system_proxy.repair import repair
from trayproxy.system_settings.entries import TargetError
from trayproxy.system_settings.journal import JournalError, JournalFile
from trayproxy.system_settings.lock import SettingsBusyError

LOCK_TIMEOUT_S = 180.0
"""Seconds to wait for a command of the service that still changes the settings. The longest one is
the question of macOS for a password."""

KEEP = b"k"
"""Sent by a service that ends and leaves its settings in place on purpose."""


def main(arguments: Sequence[str]) -> int:
    """Wait for the end of the service, and restore the settings.

    Args:
        arguments: The process id of the service, and the paths of the journal and of the lock.

    Returns:
        0 if the settings are restored or were to stay, else 1; the journal then still exists.
    """
    service, journal, lock = arguments
    with suppress(TargetError):
        import_targets()
    if KEEP in _read_to_end(0):
        return 0
    try:
        # A new service may have taken over the settings already, and written a journal of its own.
        result = repair(
            JournalFile(Path(journal)),
            Path(lock),
            is_wanted=lambda journal: journal.pid == int(service),
            timeout_s=LOCK_TIMEOUT_S,
        )
        return 1 if result.restored.failures else 0
    except (JournalError, SettingsBusyError, OSError):
        # The next start of the service, or “trayproxy system-proxy restore”, tries again.
        return 1


def _read_to_end(descriptor: int) -> bytes:
    received = b""
    while octets := os.read(descriptor, 64):
        received += octets
    return received
