"""The settings of listeners beside the local address, and the state of the listeners."""

from collections.abc import Iterable

from trayproxy.cli.output import CommandError, printable_line, problem_line
from trayproxy.cli.service_client import connect_if_running, fetch_status
from trayproxy.control.messages import FurtherListener, Status
from trayproxy.domain.problem import Problem
from trayproxy.paths import Paths
from trayproxy.profiles.config import Config
from trayproxy.profiles.store import SettingsError, SettingsStore


def load_settings(paths: Paths) -> Config:
    """Return the settings of the settings file.

    Raises:
        CommandError: The file has a mistake or cannot be read.
    """
    try:
        return SettingsStore(paths.config_file).load()
    except SettingsError as error:
        raise CommandError.from_problem(Problem(error.id, error.title, error.body)) from None


def running_status(paths: Paths) -> Status | None:
    """Return the status of the running service; None without a service."""
    client = connect_if_running(paths)
    if client is None:
        return None
    with client:
        return fetch_status(client)


def listener_lines(listeners: Iterable[FurtherListener]) -> list[str]:
    """Return a line for each listener, with the problem of a listener that is not open."""
    return [
        f"{one.address} {'not open: ' + problem_line(one.problem) if one.problem else 'open'}"
        for one in listeners
    ]


def as_rows(listeners: Iterable[FurtherListener]) -> list[tuple[str, str]]:
    """Return the name and the text of each listener that is open, for the status."""
    names = {"forward": "Forward", "devices": "Other devices", "containers": "Containers"}
    texts = {
        "forward": "{0} to {1}",
        "devices": "at {0}, allowed: {1}",
        "containers": "at {0} ({1})",
    }
    return [
        (names[one.kind], texts[one.kind].format(one.address, printable_line(one.to)))
        for one in listeners
        if one.problem is None
    ]


def container_address(paths: Paths) -> str:
    """Return the address at which containers and WSL on this computer reach TrayProxy, or will when
    it runs; empty if the settings do not let them connect, or there is no such network."""
    try:
        config = SettingsStore(paths.config_file).load()
    except SettingsError:
        return ""
    if not config.listen.containers:
        return ""
    status = running_status(paths)
    if status is not None:
        found = [(one.to, one.address) for one in status.listeners if one.kind == "containers"]
    else:
        # Here, because only this case needs the adapters.
        from trayproxy.desktop.virtual_adapters.base import adapter_addresses
        from trayproxy.desktop.virtual_adapters.factory import container_addresses
        from trayproxy.service.listener_plan import plan_listeners

        of_containers = container_addresses(adapter_addresses())
        planned = plan_listeners(config, config.listen.port, of_containers, of_containers)
        found = [(one.to, one.address) for one in planned if one.kind == "containers"]
    # Every network of containers reaches every address; docker0 stays when other networks end.
    return min(found, key=lambda one: (one[0] != "docker0", one), default=("", ""))[1]
