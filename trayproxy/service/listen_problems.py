"""The problems of an address at which TrayProxy cannot listen; imported when one occurs."""

import errno
from collections.abc import Callable

from trayproxy.desktop.ports import free_port_after, is_taken
from trayproxy.domain.problem import Problem
from trayproxy.service.process_names import ListeningProgram


def find_free_port(error: OSError, address: str) -> int:
    """Return a free port if the port of the address is taken, else 0.

    The error of a taken port is EADDRINUSE, on Windows also EACCES.
    """
    if not is_taken(error):
        return 0
    host, _, port = address.rpartition(":")
    return free_port_after(int(port), host.strip("[]"))


def listen_problem(
    error: OSError, address: str, listener_at: Callable[[str], ListeningProgram], hint: str
) -> Problem:
    """Return the problem of an address at which TrayProxy cannot listen.

    `hint` is the advice if another program, returned by `listener_at`, uses the address.
    """
    if is_taken(error):
        owner = listener_at(address)
        if owner.program:
            who = f"{owner.program} (PID {owner.pid})"
        elif owner.user:
            who = f"A program of user {owner.user}"
        elif error.errno == errno.EACCES:
            who = "Another program, or Windows itself,"
        else:
            who = "Another program"
        body = f"{who} already uses {address}. {hint}"
        return Problem("TP-101", f"Port {address.rpartition(':')[2]} is taken", body)
    body = (
        "This computer has no such address, or the system does not allow it "
        f"({error.strerror or error})."
    )
    return Problem("TP-102", f"TrayProxy cannot listen on {address}", body)
