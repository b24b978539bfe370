"""Find the local address that programs get, without starting the service."""

from trayproxy.cli.output import CommandError
from trayproxy.cli.service_client import NOT_RUNNING, connect_if_running, fetch_status
from trayproxy.control.messages import ListenerState
from trayproxy.desktop.ports import is_in_use
from trayproxy.domain.problem import ExitCode, Problem
from trayproxy.paths import Paths
from trayproxy.profiles.config import Config
from trayproxy.profiles.store import SettingsError, SettingsStore


def present_address(paths: Paths) -> str:
    """Return the local address of the running service, or the address of the settings file.

    Raises:
        CommandError: Another program uses the address (exit code 7), or the port is not fixed.
    """
    client = connect_if_running(paths)
    if client is not None:
        with client:
            status = fetch_status(client)
        if status.listener is ListenerState.FAILED and status.problem is not None:
            raise CommandError.from_problem(status.problem, ExitCode.PORT)
        return status.address
    try:
        listen = SettingsStore(paths.config_file).load().listen
    except SettingsError:
        listen = Config().listen
    if listen.port == 0:
        raise CommandError(NOT_RUNNING, ExitCode.NOT_RUNNING)
    if is_in_use(listen.port, listen.local_host):
        body = f"Another program already uses {listen}."
        problem = Problem("TP-101", f"Port {listen.port} is taken", body)
        raise CommandError.from_problem(problem, ExitCode.PORT)
    return str(listen)
