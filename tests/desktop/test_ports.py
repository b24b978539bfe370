"""Tests for trayproxy.desktop.ports."""

import errno
import socket
import sys

import pytest

from tests.support.client_programs import needs_ipv6
from trayproxy.desktop.ports import HIGHEST_PORT, free_port_after, is_taken


@pytest.mark.parametrize("host", ["127.0.0.1", pytest.param("::1", marks=needs_ipv6)])
def test_the_next_free_port_is_found(host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as taken:
        taken.bind((host, 0))
        taken.listen()
        port = taken.getsockname()[1]
        found = free_port_after(port - 1, host)
        assert found != port
        if found:  # All tried ports may be in use.
            assert port - 1 < found <= HIGHEST_PORT


def test_after_the_highest_port_no_port_is_free() -> None:
    assert free_port_after(HIGHEST_PORT, "127.0.0.1") == 0


@pytest.mark.parametrize(
    ("code", "system", "taken"),
    [
        (errno.EADDRINUSE, "linux", True),
        (errno.EADDRINUSE, "win32", True),
        (errno.EACCES, "win32", True),
        (errno.EACCES, "linux", False),
        (errno.EADDRNOTAVAIL, "win32", False),
    ],
)
def test_windows_reports_a_taken_port_as_access_denied(
    code: int, system: str, taken: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """WSAEACCES: another program uses the port exclusively, or the system has reserved it."""
    monkeypatch.setattr(sys, "platform", system)
    assert is_taken(OSError(code, "no")) is taken


def test_a_free_port_is_found_after_reserved_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows reserves blocks of 100 ports, and several blocks may be adjacent."""

    class Excluded(socket.socket):
        def bind(self, address: object) -> None:
            assert isinstance(address, tuple)
            if address[1] < 3_900:
                raise PermissionError(errno.EACCES, "excluded")

    monkeypatch.setattr(socket, "socket", Excluded)
    assert free_port_after(3_128, "127.0.0.1") == 3_900
