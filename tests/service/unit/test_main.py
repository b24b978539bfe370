"""Tests for the decisions of trayproxy.service.main."""

import errno

import pytest

from trayproxy.service import listen_problems
from trayproxy.service.listen_problems import find_free_port, listen_problem
from trayproxy.service.main import limits_for
from trayproxy.service.process_names import ListeningProgram


@pytest.mark.parametrize(
    ("descriptors", "clients"),
    [
        (32, 1),
        (64, 12),
        (128, 44),
        (256, 108),
        (1_024, 460),
        (20_000, 9_000),
        (36_408, 16_383),
        (65_536, 16_384),
    ],
)
def test_clients_are_limited_before_descriptors_run_out(descriptors: int, clients: int) -> None:
    assert limits_for(descriptors).max_clients == clients
    # Each client needs two descriptors; a tenth is reserved for other uses.
    assert 2 * clients <= descriptors * 0.9
    assert clients == 1 or 2 * clients + 40 <= descriptors


@pytest.mark.parametrize(
    ("owner", "who"),
    [
        (ListeningProgram("jdoe", "squid", 12), "squid (PID 12) already uses"),
        (ListeningProgram("jdoe"), "A program of user jdoe already uses"),
        (ListeningProgram(), "Another program, or Windows itself, already uses"),
    ],
)
def test_a_port_refused_by_windows_is_reported_as_taken_and_another_port_offered(
    monkeypatch: pytest.MonkeyPatch, owner: ListeningProgram, who: str
) -> None:
    address = "127.0.0.1:3128"
    monkeypatch.setattr(listen_problems, "is_taken", lambda error: error.errno == errno.EACCES)
    monkeypatch.setattr(listen_problems, "free_port_after", lambda port, host: port + 1)
    refused = OSError(errno.EACCES, "WSAEACCES")
    assert find_free_port(refused, address) == 3129
    problem = listen_problem(refused, address, {address: owner}.__getitem__, "Hint.")
    assert (problem.id, problem.title) == ("TP-101", "Port 3128 is taken")
    assert problem.body.startswith(f"{who} 127.0.0.1:3128.")
