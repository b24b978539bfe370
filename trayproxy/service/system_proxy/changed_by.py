"""Find the program to which another program's system proxy leads.

No system records who has changed its proxy: dconf(1), the file of KDE, the registry of Windows and
the settings of macOS have only the values. But programs that set the system proxy usually set an
address on this computer at which they listen themselves.
"""

import os
from collections.abc import Callable, Iterator

from trayproxy.desktop.process_lookup.base import RunningProgram
from trayproxy.desktop.socket_owner.base import Endpoint
from trayproxy.desktop.system_proxy.base import ProxyView
from trayproxy.desktop.system_proxy.dead_proxy import endpoints_here


def _listener_at(address: Endpoint) -> RunningProgram | None:
    # Imported here: with psutil this takes 30 ms, and is rarely needed.
    from trayproxy.desktop.process_lookup.programs import listener_at

    return listener_at(address)


def listening_program(
    view: ProxyView, listener_at: Callable[[Endpoint], RunningProgram | None] = _listener_at
) -> str:
    """Return the name of the program that listens at the system proxy; empty if it is unknown.

    The system proxy may be on another computer, no program may listen there, or the program may be
    another user's. This process does not count.

    Args:
        view: The system proxy.
        listener_at: Returns the program that listens at an address; the search blocks.
    """
    for endpoint in _addresses(view):
        program = listener_at(endpoint)
        if program is not None and program.pid != os.getpid():
            return program.name
    return ""


def _addresses(view: ProxyView) -> Iterator[Endpoint]:
    for host, port in endpoints_here(view):
        if host.lower() == "localhost":
            yield "127.0.0.1", port
            yield "::1", port
        else:
            yield host, port
