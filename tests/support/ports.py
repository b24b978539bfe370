"""Free ports for programs that cannot choose a port themselves."""

import socket
from collections.abc import Callable
from random import SystemRandom

from tests.support.processes import Process, wait_until_accepting

# Below the range of the local ports of outgoing connections on Linux (32768 and above), so that no
# connection of another test takes a port before the program binds it.
_FIRST, _LAST = 12000, 31999


def free_port() -> int:
    """Return a port on which no program listens at present.

    Another test may bind the port first: see `start_on_free_port`.
    """
    draw = SystemRandom()
    while True:
        port = draw.randint(_FIRST, _LAST)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def start_on_free_port(
    start: Callable[[int], Process], wait: Callable[[Process, int], None] = wait_until_accepting
) -> tuple[Process, int]:
    """Start a program on a free port; start it again if another program has bound the port first.

    Args:
        start: Starts the program with a port of 127.0.0.1.
        wait: Waits until the program accepts connections on the port; raises `AssertionError` if
            the program has ended.

    Returns:
        The program, which accepts connections, and its port.
    """
    for _ in range(5):
        port = free_port()
        process = start(port)
        try:
            wait(process, port)
        except AssertionError:
            process.end()
            if "in use" not in f"{process.out.text} {process.err.text}":
                raise
        else:
            return process, port
    raise AssertionError(f"{process.name} found no free port in five tries")
