"""The journal and the lock of the system proxy, shared by all services of a user."""

from collections.abc import Callable
from pathlib import Path

from trayproxy.paths import Paths
from trayproxy.system_settings.journal import Journal, JournalFile


class SystemProxyFiles:
    """The journal of the system proxy and the lock for its changes.

    Attributes:
        journal: The journal.
        lock: The lock file.
        settings: The settings file of this TrayProxy.
    """

    def __init__(
        self,
        journal: Path,
        lock: Path,
        settings: str = "",
        is_running: Callable[[int, float], bool] = lambda pid, since: True,
    ) -> None:
        """Set the paths.

        Args:
            journal: The journal.
            lock: The lock file.
            settings: The settings file of this TrayProxy.
            is_running: Returns True if a process with an id runs since a time or earlier, in
                seconds since the epoch.
        """
        self.journal = JournalFile(journal)
        self.lock = lock
        self.settings = settings
        self._is_running = is_running

    def is_of_another(self, journal: Journal) -> bool:
        """Return True if another running TrayProxy of the user has set the system proxy."""
        return (
            journal.pid != 0
            and journal.settings not in ("", self.settings)
            and self._is_running(journal.pid, journal.written_at)
        )


def files_of(paths: Paths) -> SystemProxyFiles:
    """Return the files of the system proxy.

    Args:
        paths: The folders of TrayProxy.
    """
    settings = str(paths.config_file)
    return SystemProxyFiles(paths.system_proxy_file, paths.system_proxy_lock, settings, _is_running)


def _is_running(pid: int, since: float) -> bool:
    import psutil  # Here, because it is needed only if there is another TrayProxy.

    try:
        # The system may have given the id to a new process.
        return bool(psutil.Process(pid).create_time() <= since)
    except psutil.Error:
        return False
