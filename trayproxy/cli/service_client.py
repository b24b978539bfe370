"""Connect the command line to the running service, or report that no service is running.

Each function raises `CommandError` if the service is another user's, has another version, does not
respond or rejects the request.
"""

from trayproxy.cli.output import CommandError
from trayproxy.control.client import Client, ServiceRefusedError, connect
from trayproxy.control.messages import Failed, GetStatus, Reply, Request, Status
from trayproxy.control.transport import ControlError, NotRunningError, UntrustedPeerError
from trayproxy.domain.problem import ExitCode
from trayproxy.paths import Paths

NOT_RUNNING = "TrayProxy is not running. Start it with “trayproxy”."


def connect_if_running(paths: Paths) -> Client | None:
    """Return a connection to the service, None if no service is running."""
    try:
        client = connect(paths)
    except NotRunningError:
        return None
    except UntrustedPeerError as error:
        raise CommandError(
            f"The program in the place of TrayProxy is not yours: {error}."
        ) from None
    try:
        client.hello("cli", can_prompt=False)
    except ServiceRefusedError as error:
        raise CommandError.from_reply(error.failed) from None
    except ControlError as error:
        raise _no_reply_error(error) from None
    return client


def require_service(paths: Paths) -> Client:
    """Return a connection to the service; raise `CommandError` (exit code 3) if none is running."""
    client = connect_if_running(paths)
    if client is None:
        raise CommandError(NOT_RUNNING, ExitCode.NOT_RUNNING)
    return client


def request(client: Client, message: Request, timeout_s: float = 30.0) -> Reply:
    """Send a request and return its reply; the keyring may ask the user to unlock it meanwhile."""
    try:
        reply = client.request(message, timeout_s)
    except ControlError as error:
        raise _no_reply_error(error) from None
    if isinstance(reply, Failed):
        raise CommandError.from_reply(reply)
    return reply


def fetch_status(client: Client) -> Status:
    """Return the status of the service."""
    reply = request(client, GetStatus(), 5.0)
    if not isinstance(reply, Status):
        raise CommandError("TrayProxy sent an unexpected reply.")
    return reply


def _no_reply_error(error: Exception) -> CommandError:
    return CommandError(
        f"TrayProxy is running, but does not answer ({error}). Try “trayproxy quit”."
    )
