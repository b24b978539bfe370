"""The targets of the system proxy on Linux, by desktop."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from trayproxy.desktop.atomic_file import read_text
from trayproxy.desktop.commands import command_runner
from trayproxy.desktop.config_home import config_home
from trayproxy.desktop.system_proxy.base import ProxyTarget, ProxyTargets
from trayproxy.desktop.system_proxy.environment_d import EnvironmentTarget, environment_file
from trayproxy.desktop.system_proxy.gsettings import GSettingsTarget, find_gsettings, user_database
from trayproxy.desktop.system_proxy.kde import KdeTarget
from trayproxy.desktop.system_proxy.linux_commands import (
    Which,
    command_finder,
    runtime_folder,
    session_environment,
)
from trayproxy.system_settings.entries import TargetError


class DesktopFamily(StrEnum):
    """The desktops, by where their programs look for the system proxy."""

    GNOME = "gnome"
    """GNOME, Cinnamon, MATE, Pantheon, Unity, Deepin, UKUI, Budgie."""
    KDE = "kde"
    """KDE Plasma."""
    OTHER = "other"
    """XFCE, LXQt, window managers, and sessions without a desktop."""


@dataclass(frozen=True, slots=True)
class TargetChoice:
    """A target of a desktop.

    Attributes:
        name: The name of the target.
        is_required: True if the system proxy cannot be turned on without the target. False if the
            target is skipped when it cannot be read, because only some programs use it.
    """

    name: str
    is_required: bool = True


_GNOME_FAMILY = frozenset(
    {"budgie", "cinnamon", "deepin", "gnome", "mate", "pantheon", "ukui", "unity", "x-cinnamon"}
)
_GNOME_SESSIONS = frozenset({"cinnamon", "deepin", "gnome", "mate", "pantheon", "ubuntu"})
_KDE_SESSIONS = frozenset({"kde", "kde-plasma", "kde4", "plasma", "plasmax11"})


def desktop_of(environ: Mapping[str, str]) -> DesktopFamily:
    """Return the desktop of a session.

    ``XDG_CURRENT_DESKTOP`` is a list with colons, the most specific name first: ``Budgie:GNOME``
    (Desktop Entry Specification). Old sessions set only ``DESKTOP_SESSION`` or variables of their
    own, as in Chromium's ``xdg_util.cc``.
    """
    for name in environ.get("XDG_CURRENT_DESKTOP", "").lower().split(":"):
        if name == "kde":
            return DesktopFamily.KDE
        if name in _GNOME_FAMILY:
            return DesktopFamily.GNOME
    if environ.get("XDG_CURRENT_DESKTOP"):
        return DesktopFamily.OTHER
    session = environ.get("DESKTOP_SESSION", "").lower().rpartition("/")[2]
    if session in _KDE_SESSIONS or environ.get("KDE_FULL_SESSION"):
        return DesktopFamily.KDE
    if session in _GNOME_SESSIONS or environ.get("GNOME_DESKTOP_SESSION_ID"):
        return DesktopFamily.GNOME
    return DesktopFamily.OTHER


_NEEDS_AUTOSTART = (
    "programs of this desktop read environment variables when you log in, and TrayProxy must start "
    "then as well: run “trayproxy autostart on”, then “trayproxy system-proxy on”, and log in again"
)
_NOT_ALL_PROGRAMS = f"Not all programs use TrayProxy: {_NEEDS_AUTOSTART}."


def choose_targets(
    environ: Mapping[str, str], which: Which, *, starts_at_log_in: bool
) -> tuple[TargetChoice, ...]:
    """Return the targets of the desktop, in the order in which they are changed.

    On every desktop, Firefox and GTK programs read the settings of GNOME. Only programs on GNOME
    and its relatives depend on them.

    Args:
        environ: The environment of the session.
        which: Finds a command.
        starts_at_log_in: True if TrayProxy starts when the user logs in.
    """
    gsettings = TargetChoice(GSettingsTarget.name, is_required=False)
    optional = (gsettings,) if find_gsettings(which) else ()
    match desktop_of(environ):
        case DesktopFamily.GNOME:
            return (TargetChoice(GSettingsTarget.name),)
        case DesktopFamily.KDE:
            return (TargetChoice(KdeTarget.name), *optional)
        case DesktopFamily.OTHER if starts_at_log_in:
            return (*optional, TargetChoice(EnvironmentTarget.name))
        case DesktopFamily.OTHER:
            return (TargetChoice(GSettingsTarget.name),) if optional else ()


def proxy_targets(
    starts_at_log_in: Callable[[], bool], environ: Mapping[str, str] = os.environ
) -> ProxyTargets:
    """Return the targets of the desktop of a session.

    Args:
        starts_at_log_in: Returns True if TrayProxy starts when the user logs in.
        environ: The environment of this process.

    Raises:
        TargetError: The programs of the desktop read the system proxy only when the user logs in,
            and TrayProxy does not start then.
    """
    session = session_environment(environ, runtime_folder())
    is_other = desktop_of(session) is DesktopFamily.OTHER
    needs_autostart = is_other and not starts_at_log_in()
    choices = choose_targets(session, command_finder(session), starts_at_log_in=not needs_autostart)
    if not choices:
        raise TargetError(_NEEDS_AUTOSTART)
    hint = _NOT_ALL_PROGRAMS if needs_autostart else ""
    required = (choice.name for choice in choices if choice.is_required)
    optional = (choice.name for choice in choices if not choice.is_required)
    return ProxyTargets(
        tuple(find_target(name, environ, hint) for name in required),
        tuple(find_target(name, environ, hint) for name in optional),
    )


def find_target(name: str, environ: Mapping[str, str] = os.environ, hint: str = "") -> ProxyTarget:
    """Return the target with a name from `choose_targets` or from the journal.

    Args:
        name: The name.
        environ: The environment of this process.
        hint: The `ProxyTarget.hint` about the settings of GNOME on this desktop.

    Raises:
        TargetError: Linux has no target of this name.
    """
    session = session_environment(environ, runtime_folder())
    run, which = command_runner(session), command_finder(session)
    match name:
        case GSettingsTarget.name:
            database = user_database(session, _text)
            return GSettingsTarget(run, find_gsettings(which), which("dconf"), database, hint)
        case KdeTarget.name:
            folders = session.get("XDG_CONFIG_DIRS") or "/etc/xdg"
            site_files = [Path(folder, KdeTarget.name) for folder in folders.split(":") if folder]
            path = config_home(session) / KdeTarget.name
            return KdeTarget(path, run, which, site_files)
        case EnvironmentTarget.name:
            return EnvironmentTarget(environment_file(session))
    raise TargetError(f"there is no target “{name}” on Linux")


def _text(path: str) -> str | None:
    try:
        return read_text(Path(path))
    except TargetError:
        return None
