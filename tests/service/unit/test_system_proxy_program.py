"""The program to which a system proxy of another program leads."""

import os

import pytest

from trayproxy.desktop.process_lookup.base import RunningProgram
from trayproxy.desktop.socket_owner.base import Endpoint
from trayproxy.desktop.system_proxy.base import ProxyKind, ProxyView
from trayproxy.service.system_proxy.changed_by import listening_program

MANUAL, PAC = ProxyKind.MANUAL, ProxyKind.PAC
PROGRAMS = {
    ("127.0.0.1", 8888): RunningProgram("mitmdump", 1),
    ("::1", 7890): RunningProgram("clash", 2),
    ("127.0.0.1", 3128): RunningProgram("trayproxy", os.getpid()),
}


@pytest.mark.parametrize(
    ("view", "program"),
    [
        (ProxyView(MANUAL, "127.0.0.1:8888"), "mitmdump"),
        (ProxyView(MANUAL, "http=127.0.0.1:1;https=127.0.0.1:8888"), "mitmdump"),
        (ProxyView(MANUAL, "localhost:7890"), "clash"),
        (ProxyView(MANUAL, "[::1]:7890"), "clash"),
        (ProxyView(PAC, "http://127.0.0.1:8888/commands/pac"), "mitmdump"),
        (ProxyView(PAC, "http://[half"), ""),
        (ProxyView(MANUAL, "10.0.0.1:8888"), ""),
        (ProxyView(MANUAL, "127.0.0.1:9"), ""),
        # This process: the mode was changed, not the address.
        (ProxyView(MANUAL, "127.0.0.1:3128"), ""),
        (ProxyView(ProxyKind.NONE), ""),
    ],
)
def test_the_program_that_listens_at_the_system_proxy_is_named(
    view: ProxyView, program: str
) -> None:
    def listener_at(address: Endpoint) -> RunningProgram | None:
        return PROGRAMS.get(address)

    assert listening_program(view, listener_at) == program
