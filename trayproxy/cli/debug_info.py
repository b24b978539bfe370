"""``trayproxy --debug-info``: print the facts about this computer that a bug report needs."""

import os
import platform
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from trayproxy import __version__
from trayproxy.cli.output import CommandError, print_line, printable_line
from trayproxy.cli.service_client import connect_if_running, fetch_status
from trayproxy.cli.status import keyring_text, state
from trayproxy.desktop.company_ca import inspecting_upstreams
from trayproxy.paths import Paths
from trayproxy.recipes.journal import RecipeJournals

_PACKAGES = (
    "PySide6-Essentials",
    "proxy.py",
    "keyring",
    "msgspec",
    "uvloop",
    "winloop",
    "jeepney",
    "psutil",
    "platformdirs",
    "tomlkit",
    "truststore",
    "certifi",
)
_DESKTOP_VARIABLES = (
    "XDG_CURRENT_DESKTOP",
    "XDG_SESSION_TYPE",
    "QT_QPA_PLATFORM",
    "WAYLAND_DISPLAY",
)
_OWN_VARIABLES = ("TRAYPROXY_HOME", "TRAYPROXY_LOG_LEVEL")


def show(paths: Paths) -> None:
    """Print the debug information; it contains no user name, no proxy and no password."""
    for title, text in debug_lines(paths, os.environ):
        print_line(f"{title + ':':<20} {text}")


def debug_lines(paths: Paths, environ: Mapping[str, str]) -> Iterable[tuple[str, str]]:
    """Yield the title and the text of each line of the debug information."""
    yield "TrayProxy", __version__
    yield "Python", f"{platform.python_version()} ({platform.python_implementation()})"
    yield "System", platform.platform()
    for package in _PACKAGES:
        try:
            yield package, version(package)
        except PackageNotFoundError:
            yield package, "not installed"
    for name in (*_DESKTOP_VARIABLES, *_OWN_VARIABLES):
        if value := environ.get(name):
            yield name, _without_home(printable_line(value))
    yield "Settings", _without_home(str(paths.config_file))
    yield "Log", _without_home(str(paths.log_file))
    if inspecting_upstreams(paths):
        yield "TLS inspection", f"seen; certificates in {_without_home(str(paths.ca_file))}"
    if applied := RecipeJournals(paths.recipes_folder).tools():
        yield "Recipes", printable_line(", ".join(applied))
    yield from _service_lines(paths)


def _service_lines(paths: Paths) -> Iterable[tuple[str, str]]:
    try:
        client = connect_if_running(paths)
        if client is None:
            yield "Service", "not running"
            return
        with client:
            status = fetch_status(client)
    except CommandError as error:
        yield "Service", error.message
        return
    yield "Service", f"{status.version}, on {status.address}"
    # State names only: sentences would contain the profile, its proxy or the user name.
    yield "State", f"{state(status)} (sign-in {status.sign_in}, proxy {status.upstream})"
    yield "Keyring", keyring_text(status.keyring)


def _without_home(text: str) -> str:
    return text.replace(str(Path.home()), "~") if len(str(Path.home())) > 1 else text
