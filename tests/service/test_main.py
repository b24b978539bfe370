"""Tests for the decisions of trayproxy.service.main."""

import errno
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from trayproxy.engine.engine import Engine
from trayproxy.options import RunOptions
from trayproxy.paths import Paths
from trayproxy.service import main
from trayproxy.service.main import Service, limits_for
from trayproxy.service.process_names import ListeningProgram, ProcessNames


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
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: ListeningProgram, who: str
) -> None:
    monkeypatch.setattr(main, "is_taken", lambda error: error.errno == errno.EACCES)
    monkeypatch.setattr(main, "free_port_after", lambda port, host: port + 1)
    service = Service(RunOptions(wait_for_port=True), Paths(*[tmp_path] * 5), on_ready=print)
    service._engine = cast(Engine, SimpleNamespace(address="127.0.0.1:3128"))
    service._process_names = cast(ProcessNames, SimpleNamespace(listener_at=lambda address: owner))
    refused = OSError(errno.EACCES, "WSAEACCES")
    assert service._find_free_port(refused) == 3129
    problem = service._start_problem(refused, 3129)
    assert (problem.id, problem.title) == ("TP-101", "Port 3128 is taken")
    assert problem.body.startswith(f"{who} 127.0.0.1:3128.")
