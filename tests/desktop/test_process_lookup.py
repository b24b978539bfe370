"""Tests for trayproxy.desktop.process_lookup."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.support.client_programs import needs_ipv6
from trayproxy.desktop.process_lookup import linux
from trayproxy.desktop.process_lookup.base import RunningProgram
from trayproxy.desktop.process_lookup.names import script_name
from trayproxy.desktop.process_lookup.programs import programs_of
from trayproxy.desktop.socket_owner.base import Endpoint

CONNECT = """
import socket, sys
with socket.create_connection(("127.0.0.1", int(sys.argv[1]))):
    sys.stdin.read()
"""


def program_of(local: Endpoint, peer: Endpoint) -> RunningProgram | None:
    [program] = programs_of([(local, peer)])
    return program


@pytest.fixture
def accepted(listener: socket.socket) -> Iterator[socket.socket]:
    """The accepted end of a connection within this process."""
    with socket.create_connection(listener.getsockname()), listener.accept()[0] as accepted:
        yield accepted


def ends(connection: socket.socket) -> tuple[tuple[str, int], tuple[str, int]]:
    return connection.getsockname()[:2], connection.getpeername()[:2]


def test_the_program_at_the_other_end_is_named(listener: socket.socket) -> None:
    port = str(listener.getsockname()[1])
    with subprocess.Popen([sys.executable, "-c", CONNECT, port], stdin=subprocess.PIPE) as child:
        connection, _ = listener.accept()
        with connection:
            owner = program_of(*ends(connection))
            child.communicate()
            connection.recv(1)
            gone = program_of(*ends(connection))
    assert owner is not None
    assert owner.pid == child.pid
    assert owner.name.startswith("python")
    assert gone is None


def test_a_connection_within_this_process_is_found(accepted: socket.socket) -> None:
    owner = program_of(*ends(accepted))
    assert owner is not None
    assert owner.pid == os.getpid()


@pytest.mark.parametrize(
    ("address", "host"),
    [
        pytest.param("::", "127.0.0.1", id="IPv4-mapped"),
        pytest.param("::1", "::1", id="IPv6", marks=needs_ipv6),
    ],
)
def test_an_ipv6_or_ipv4_mapped_connection_is_found(address: str, host: str) -> None:
    with (
        socket.create_server(
            (address, 0), family=socket.AF_INET6, dualstack_ipv6=address == "::"
        ) as listener,
        socket.create_connection((host, listener.getsockname()[1])),
        listener.accept()[0] as accepted,
    ):
        assert isinstance(program_of(*ends(accepted)), RunningProgram)


def test_several_connections_are_looked_up_in_one_call(accepted: socket.socket) -> None:
    unknown = (("127.0.0.1", 1), ("127.0.0.1", 2))
    owners = programs_of([ends(accepted), unknown, (("no address", 1), unknown[1])])
    assert [owner.pid if owner else None for owner in owners] == [os.getpid(), None, None]
    assert programs_of([]) == []


def test_the_table_is_read_if_sock_diag_fails(
    accepted: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(wanted: object) -> None:
        raise PermissionError("a sandbox")

    monkeypatch.setattr(linux, "pids_of", refuse)
    owner = program_of(*ends(accepted))
    assert owner is not None
    assert owner.pid == os.getpid()


def test_a_closed_connection_has_no_program(listener: socket.socket) -> None:
    client = socket.create_connection(listener.getsockname())
    accepted, _ = listener.accept()
    with accepted:
        both = ends(accepted)
        client.close()
        assert accepted.recv(1) == b""
        assert program_of(*both) is None


@pytest.mark.parametrize("end", [("127.0.0.1", 1), ("no address", 1), ("", 0)])
def test_an_unknown_connection_has_no_program(end: tuple[str, int]) -> None:
    assert program_of(end, ("127.0.0.1", 2)) is None


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (["python3", "/usr/bin/pip", "install", "x"], "pip"),
        (["python3", "-P", "-m", "pip", "install"], "pip"),
        (["python3", "-u", "script.py", "--password=x"], "script.py"),
        (["python.exe", "C:\\tools\\fetch.py"], "fetch.py"),
        (["python3", "-c", "print('secret')"], ""),
        (["node", "-e", "secret"], ""),
        (["python3"], ""),
        (["python3", "-"], ""),
        (["python3", "-m"], ""),
        ([], ""),
    ],
)
def test_a_script_is_named_without_its_arguments(command: list[str], name: str) -> None:
    assert script_name(command) == name
