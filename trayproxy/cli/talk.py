"""Talking to the running service, or finding out that there is none."""

from trayproxy.cli.words import EndError, Exit
from trayproxy.control.address import NotRunningError, StrangerError
from trayproxy.control.client import (
    Client,
    DisconnectedError,
    NoReplyError,
    RefusedError,
    connect,
)
from trayproxy.control.codec import ProtocolError
from trayproxy.control.messages import Failed, GetStatus, Reply, Request, Status
from trayproxy.paths import Paths

NOT_RUNNING = "TrayProxy is not running. Start it with “trayproxy”."


def attach(paths: Paths) -> Client | None:
    """Return a connection to the service, None if none runs.

    Raises:
        EndError: There is one that does not talk to us.
    """
    try:
        client = connect(paths)
    except NotRunningError:
        return None
    except StrangerError as error:
        raise EndError(f"What runs in the place of TrayProxy is not yours: {error}.") from None
    try:
        client.hello("cli", asks=False)
    except RefusedError as error:
        raise EndError.refused(error.failed) from None
    except (DisconnectedError, NoReplyError, ProtocolError) as error:
        raise _silent(error) from None
    return client


def need(paths: Paths) -> Client:
    """Return a connection to the service.

    Raises:
        EndError: None runs (exit code 3), or it does not talk to us.
    """
    client = attach(paths)
    if client is None:
        raise EndError(NOT_RUNNING, Exit.NOT_RUNNING)
    return client


def request(client: Client, message: Request, timeout_s: float = 30.0) -> Reply:
    """Return the reply to a request.

    Args:
        client: The connection.
        message: The request.
        timeout_s: How long to wait. A keyring may ask a person to unlock it.

    Raises:
        EndError: It was not done, or there is no reply.
    """
    try:
        reply = client.request(message, timeout_s)
    except (DisconnectedError, NoReplyError, ProtocolError) as error:
        raise _silent(error) from None
    if isinstance(reply, Failed):
        raise EndError.refused(reply)
    return reply


def status(client: Client) -> Status:
    """Return what the service knows.

    Raises:
        EndError: It does not tell.
    """
    reply = request(client, GetStatus(), 5.0)
    if not isinstance(reply, Status):
        raise EndError("TrayProxy gave an answer that was not asked for.")
    return reply


def _silent(error: Exception) -> EndError:
    return EndError(f"TrayProxy runs, but does not answer ({error}). Try “trayproxy quit”.")
