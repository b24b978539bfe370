"""Tests for trayproxy.engine.upstream.stale_connections (F12)."""

import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.client_programs import needs_ipv6
from tests.support.namespaces import ALONE, skip_without_namespaces
from trayproxy.engine.upstream import stale_connections
from trayproxy.engine.upstream.stale_connections import (
    close_stale_connections,
    is_local_address,
    is_routable,
)

SOURCES = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def lines() -> list[str]:
    """Return the output of `tests.engine.stale_tunnel`: the view of a client of a tunnel."""
    skip_without_namespaces()
    program = [*ALONE, sys.executable, "-m", "tests.engine.stale_tunnel"]
    run = subprocess.run(program, cwd=SOURCES, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout.splitlines()


def test_a_tunnel_survives_a_short_loss_of_the_network(lines: list[str]) -> None:
    assert "alone: True" in lines


def test_a_tunnel_of_the_old_network_is_closed(lines: list[str]) -> None:
    assert lines == ["hello", "alone: True", "elsewhere: b''"]


def test_usable_connections_are_not_closed() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as one,
        socket.socket() as other,
    ):
        assert close_stale_connections([one, other]) == 0
        one.sendall(b"still here")


@pytest.mark.parametrize("is_local", [True, False])
@pytest.mark.parametrize("can_be_reached", [True, False])
def test_a_connection_with_a_lost_address_is_closed_if_its_peer_can_be_reached(
    monkeypatch: pytest.MonkeyPatch, is_local: bool, can_be_reached: bool
) -> None:
    monkeypatch.setattr(stale_connections, "is_local_address", lambda *address: is_local)
    monkeypatch.setattr(stale_connections, "is_routable", lambda *address: can_be_reached)
    closed: list[int] = []
    connection: Any = SimpleNamespace(
        family=socket.AF_INET,
        getsockname=lambda: ("192.0.2.7", 50_000),
        getpeername=lambda: ("192.0.2.8", 3128),
        shutdown=closed.append,
    )
    is_closed = not is_local and can_be_reached
    assert close_stale_connections([connection] * 2) == (2 if is_closed else 0)
    assert closed == ([socket.SHUT_RDWR] * 2 if is_closed else [])


def test_a_foreign_address_is_not_local() -> None:
    # An address for documentation (RFC 5737).
    assert not is_local_address(socket.AF_INET, ("192.0.2.250", 1))
    assert is_local_address(socket.AF_INET, ("127.0.0.1", 1))


@needs_ipv6
def test_local_ipv6_addresses_are_recognized() -> None:
    assert not is_local_address(socket.AF_INET6, ("2001:db8::250", 1, 0, 0))
    assert is_local_address(socket.AF_INET6, ("::1", 1, 0, 0))


def test_an_address_without_a_route_is_not_routable() -> None:
    assert is_routable(socket.AF_INET, ("127.0.0.1", 1))
    assert not is_routable(socket.AF_INET, ("255.255.255.255", 1))
