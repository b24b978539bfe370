"""Waits for events of a request, and meanwhile watches whether its client is still connected."""

from trayproxy.engine.downstream import Downstream
from trayproxy.engine.net.fd_task import READ, TIMED_OUT, IoWait
from trayproxy.engine.transfer.request_writer import ClientGoneError

CLIENT_CHECK_INTERVAL_S = 0.5
"""Seconds between two checks whether a client is still connected while TrayProxy does not read from
it."""


async def wait_beside_client(
    downstream: Downstream, io_wait: IoWait, *, is_parked: bool = False
) -> int:
    """Wait for an event. Meanwhile, read early data of the client and detect its disconnection.

    Args:
        downstream: The client's side of the request.
        io_wait: The event.
        is_parked: True while the request waits for the desk or for a sign-in server. If the client
            disconnects meanwhile, the request is dropped.

    Raises:
        ClientGoneError: The client disconnected while the request was parked, or its connection
            failed.
    """
    client, context = downstream.client, downstream.context
    loop, max_octets = context.loop, context.limits.max_early_octets
    deadline = None if io_wait.timeout is None else loop.time() + io_wait.timeout
    while True:
        is_client_read = not client.ended and len(client.inbox) < max_octets
        events = {**io_wait.events, client.descriptor: READ} if is_client_read else io_wait.events
        wait_s = None if deadline is None else max(0.0, deadline - loop.time())
        if is_parked and not is_client_read:
            _check_client_present(downstream)
            wait_s = (
                CLIENT_CHECK_INTERVAL_S if wait_s is None else min(CLIENT_CHECK_INTERVAL_S, wait_s)
            )
        woken = await IoWait(events, io_wait.future, wait_s)
        if woken == TIMED_OUT and (deadline is None or loop.time() < deadline):
            continue
        if woken != client.descriptor:
            return woken
        try:
            client.fill()
        except OSError:
            raise ClientGoneError from None


def _check_client_present(downstream: Downstream) -> None:
    """Check whether a client is still connected while TrayProxy does not read from it.

    The inbox of such a client is full, or the client has closed its sending side, which it may do
    without leaving. Its socket gives no other sign of a disconnection.

    Raises:
        ClientGoneError: The client has disconnected.
    """
    is_open = downstream.is_client_held()
    if is_open is False or (is_open is None and downstream.client.ended):
        raise ClientGoneError
