"""Tests for trayproxy.desktop.ports."""

import socket

import pytest

from tests.support.strangers import needs_ipv6
from trayproxy.desktop.ports import HIGHEST_PORT, free_port_after


@pytest.mark.parametrize("host", ["127.0.0.1", pytest.param("::1", marks=needs_ipv6)])
def test_the_next_port_that_is_free_can_be_listened_at(host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as taken:
        taken.bind((host, 0))
        taken.listen()
        port = taken.getsockname()[1]
        found = free_port_after(port - 1, host)
        assert found != port
        if found:  # Below it, all of the next may be taken.
            assert port - 1 < found <= HIGHEST_PORT


def test_after_the_last_port_there_is_none() -> None:
    assert free_port_after(HIGHEST_PORT, "127.0.0.1") == 0
