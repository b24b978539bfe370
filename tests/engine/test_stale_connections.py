"""Connections that a change of networks has left behind (F12)."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.namespaces import ALONE, skip_without_namespaces
from tests.support.strangers import needs_ipv6
from trayproxy.engine.upstream.stale_connections import (
    close_stale_connections,
    is_local_address,
    is_routable,
)

SOURCES = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def lines() -> list[str]:
    """What a client of a tunnel sees whose computer moves."""
    skip_without_namespaces()
    program = [*ALONE, sys.executable, "-m", "tests.engine.left_behind"]
    run = subprocess.run(program, cwd=SOURCES, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout.splitlines()


def test_a_tunnel_waits_for_a_network_that_may_come_back(lines: list[str]) -> None:
    assert "alone: True" in lines


def test_a_tunnel_of_a_network_that_was_left_ends(lines: list[str]) -> None:
    assert lines == ["hello", "alone: True", "elsewhere: b''"]


def test_what_is_still_connected_is_left_alone() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as one,
        socket.socket() as other,
    ):
        assert close_stale_connections([one, other]) == 0
        one.sendall(b"still here")


def test_an_address_of_somebody_else_is_not_ours() -> None:
    # From the block for documentation (RFC 5737).
    assert not is_local_address(socket.AF_INET, ("192.0.2.250", 1))
    assert is_local_address(socket.AF_INET, ("127.0.0.1", 1))


@needs_ipv6
def test_addresses_of_ipv6_are_known_too() -> None:
    assert not is_local_address(socket.AF_INET6, ("2001:db8::250", 1, 0, 0))
    assert is_local_address(socket.AF_INET6, ("::1", 1, 0, 0))


def test_what_nobody_leads_to_is_out_of_reach() -> None:
    assert is_routable(socket.AF_INET, ("127.0.0.1", 1))
    assert not is_routable(socket.AF_INET, ("255.255.255.255", 1))
