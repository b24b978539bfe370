"""Choose the autostart of this operating system."""

import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from trayproxy.desktop.autostart.base import Autostart, AutostartState, StartCommand
from trayproxy.desktop.commands import command_runner
from trayproxy.desktop.installation import InstallationError, installed_program
from trayproxy.paths import HOME_VARIABLE
from trayproxy.system_settings.entries import TargetError


def autostart(*, is_headless: bool = False, environ: Mapping[str, str] = os.environ) -> Autostart:
    """Return the autostart of this installation.

    Args:
        is_headless: True for a service without a tray, False for the tray.
        environ: The environment, with the folders of the user and of the desktop.

    Raises:
        TargetError: The system has no autostart that TrayProxy knows, or could not start this
            TrayProxy.
    """
    command = _command(is_headless, environ)
    if is_headless:
        if sys.platform != "linux":
            raise TargetError("a service without a tray needs systemd, which only Linux has")
        from trayproxy.desktop.autostart.systemd import SystemdAutostart, config_folder

        return SystemdAutostart(command, config_folder(environ), command_runner(environ))
    if sys.platform == "win32":
        from trayproxy.desktop.autostart.windows import RunKeyAutostart, UserRegistry

        return RunKeyAutostart(command, UserRegistry())
    if sys.platform == "darwin":
        from trayproxy.desktop.autostart.macos import LaunchAgentAutostart

        folder = Path.home() / "Library" / "LaunchAgents"
        return LaunchAgentAutostart(command, folder, command_runner(environ), os.getuid())
    if sys.platform == "linux":
        from trayproxy.desktop.autostart.linux import xdg_autostart

        return xdg_autostart(command, environ)
    raise TargetError(f"TrayProxy does not know how {sys.platform} starts programs")


def starts_at_log_in(environ: Mapping[str, str] = os.environ) -> bool:
    """Return True if the system starts this TrayProxy, with or without a tray, when the user logs
    in.
    """
    for is_headless in (False, True):
        with suppress(TargetError):
            entry = autostart(is_headless=is_headless, environ=environ)
            if entry.status().state is AutostartState.ON:
                return True
    return False


def _command(is_headless: bool, environ: Mapping[str, str]) -> StartCommand:
    try:
        program = installed_program(has_console=is_headless, environ=environ)
    except InstallationError as error:
        raise TargetError(f"{error}; install it first, for example with pipx or uv") from None
    home = environ.get(HOME_VARIABLE, "")
    return StartCommand(
        program,
        ("run",) if is_headless else ("--background",),
        # TrayProxy starts in another working folder.
        os.path.abspath(os.path.expanduser(home)) if home else "",
    )
