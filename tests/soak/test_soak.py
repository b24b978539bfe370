"""Runs the soak test for a minute; ``python -m tests.soak`` runs it for ten minutes."""

import pytest

from tests.soak.soak import soak
from tests.soak.watch import IdleSample, growth
from tests.support.memory import MIB
from tests.support.processes import Home


@pytest.mark.timeout(240)
@pytest.mark.xdist_group("soak")
def test_each_program_is_answered_and_nothing_grows(place: Home) -> None:
    report = soak(place, 60.0, 1, print)
    print(report)
    assert dict(report.errors) == {}
    assert report.done.total() > 500
    assert report.prompts >= 2


def sample(at_s: float, mib: float, sockets: int = 5, pipes: int = 10) -> IdleSample:
    return IdleSample(at_s, round(mib * MIB), sockets, pipes, others=6, threads=2, active=0)


def test_varying_memory_does_not_grow() -> None:
    assert growth([sample(n * 60, 30 + n % 2) for n in range(10)]) == []


def test_leaking_memory_grows() -> None:
    samples = [sample(n * 60, 30 + n * 2) for n in range(10)]
    assert growth(samples) == ["memory grew by 18.00 MiB"]


def test_an_unclosed_socket_is_found() -> None:
    assert growth([sample(15, 30), sample(30, 30, sockets=6)]) == ["6 sockets are open, not 5"]


def test_pipes_may_be_kept_for_later() -> None:
    assert growth([sample(15, 30), sample(30, 30, pipes=38)]) == []
