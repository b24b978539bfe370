"""Read the system's own proxy setting on this operating system."""

import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from trayproxy.desktop.system_pac.base import SystemSetting, without_own_address
from trayproxy.system_settings.entries import TargetError
from trayproxy.system_settings.journal import Journal, JournalError, JournalFile


def read_system_setting(
    journal: Path, own: Iterable[tuple[str, int]], environ: Mapping[str, str] = os.environ
) -> SystemSetting:
    """Return the system's own proxy setting as it was before TrayProxy. It blocks.

    Args:
        journal: The journal of the system proxy (`Paths.system_proxy_file`).
        own: The hosts and ports at which TrayProxy listens.
        environ: The environment of this process.

    Raises:
        TargetError: The setting cannot be read; the text is the reason, a clause.
    """
    try:
        changes = JournalFile(journal).load()
    except JournalError as error:
        raise TargetError(
            f"the record of the settings from before TrayProxy cannot be read: {error.reason}"
        ) from None
    return without_own_address(_read(changes, environ), own)


def read_system_login(journal: Path, environ: Mapping[str, str] = os.environ) -> tuple[str, str]:
    """Return the login for the manual proxy, if the settings of GNOME contain one. It blocks.

    Windows, macOS and KDE keep no login in their settings.

    Args:
        journal: See `read_system_setting`.
        environ: The environment of this process.

    Returns:
        The user name and the password; empty texts if there is none.
    """
    if sys.platform != "linux":
        return "", ""
    from trayproxy.desktop.system_pac.linux import read_login

    try:
        return read_login(JournalFile(journal).load(), environ)
    except JournalError:
        return "", ""


def _read(journal: Journal | None, environ: Mapping[str, str]) -> SystemSetting:
    if sys.platform == "win32":
        from trayproxy.desktop.system_pac.windows import read_setting
    elif sys.platform == "darwin":
        from trayproxy.desktop.system_pac.macos import read_setting
    elif sys.platform == "linux":
        from trayproxy.desktop.system_pac.linux import read_setting
    else:
        raise TargetError(f"TrayProxy does not know the system proxy of {sys.platform}")
    return read_setting(journal, environ)
