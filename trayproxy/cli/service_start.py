"""Connect the command line to the service; start the service if none is running."""

import os
import time

from trayproxy.cli.output import CommandError, printable_line
from trayproxy.cli.service_client import connect_if_running, fetch_status, request
from trayproxy.control.client import Client
from trayproxy.control.messages import ListenerState, Status, StatusChanged, Subscribe
from trayproxy.control.transport import ControlError
from trayproxy.domain.problem import ExitCode
from trayproxy.paths import Paths

START_TIMEOUT_S = 20.0
"""The timeout for a starting service to accept connections. A start takes about 300 ms."""

_ATTEMPTS = 2
"""Two commands may start a service at the same time. One of the two services ends (TP-104), perhaps
a moment before the other one accepts connections."""


def local_address(paths: Paths) -> str:
    """Return the address ``127.0.0.1:3128`` at which programs can connect now; start the service
    if none is running.

    Raises:
        CommandError: The service could not be started, or another program uses its port (exit code
            7).
    """
    with connect_or_start(paths) as client:
        status = _wait_for_listener(client)
    if status.listener is ListenerState.FAILED and status.problem is not None:
        raise CommandError.from_problem(status.problem, ExitCode.PORT)
    if status.listener is not ListenerState.UP:
        raise CommandError("TrayProxy is running, but programs cannot connect to it yet.")
    return status.address


def connect_or_start(paths: Paths) -> Client:
    """Return a connection to the service; start the service if none is running."""
    client = connect_if_running(paths)
    for _ in range(_ATTEMPTS):
        if client is not None:
            return client
        _launch(paths)
        client = connect_if_running(paths)
    if client is not None:
        return client
    raise CommandError(_not_started(paths))


def _launch(paths: Paths) -> None:
    # Imported here: with a running service, the modules are not needed.
    from trayproxy.desktop.process import launch_service

    try:
        launch_service(paths, lambda: _is_running(paths), START_TIMEOUT_S, os.environ)
    except OSError as error:
        raise CommandError(f"TrayProxy cannot be started: {error.strerror or error}.") from None


def _is_running(paths: Paths) -> bool:
    client = connect_if_running(paths)
    if client is not None:
        client.close()
    return client is not None


def _not_started(paths: Paths) -> str:
    from trayproxy.desktop.process import OUTPUT_FILE, last_words

    if words := printable_line(last_words(paths)):
        return f"TrayProxy could not be started. {words}"
    return f"TrayProxy could not be started; it writes to {paths.log / OUTPUT_FILE}."


def _wait_for_listener(client: Client) -> Status:
    """Return the status once the service listens or has failed to listen, or after the timeout."""
    status = fetch_status(client)
    if status.listener is not ListenerState.STARTING:
        return status
    deadline = time.monotonic() + START_TIMEOUT_S
    reply = request(client, Subscribe(), START_TIMEOUT_S)
    status = reply if isinstance(reply, Status) else status
    try:
        while status.listener is ListenerState.STARTING:
            left_s = deadline - time.monotonic()
            event = next(client.events(left_s), None) if left_s > 0 else None
            if event is None:
                break
            if isinstance(event, StatusChanged):
                status = event.status
    except ControlError as error:
        raise CommandError(f"TrayProxy has ended while it was starting ({error}).") from None
    return status
