"""A minute of everything at once; ten with ``python -m tests.soak``."""

import pytest

from tests.soak.soak import soak
from tests.soak.watch import Quiet, growth
from tests.support.memory import MIB
from tests.support.processes import Home


@pytest.mark.timeout(240)
@pytest.mark.xdist_group("soak")
def test_everybody_is_told_and_nothing_grows(place: Home) -> None:
    report = soak(place, 60.0, 1, print)
    print(report)
    assert dict(report.wrong) == {}
    assert report.done.total() > 500
    assert report.questions >= 2


def moment(at_s: float, mib: float, sockets: int = 5, pipes: int = 10) -> Quiet:
    return Quiet(at_s, round(mib * MIB), sockets, pipes, others=6, threads=2, active=0)


def test_memory_that_goes_up_and_down_does_not_grow() -> None:
    assert growth([moment(n * 60, 30 + n % 2) for n in range(10)]) == []


def test_memory_that_leaks_grows() -> None:
    moments = [moment(n * 60, 30 + n) for n in range(10)]
    assert growth(moments) == ["memory grew by 9.00 MiB"]


def test_a_socket_that_is_left_behind_is_found() -> None:
    assert growth([moment(15, 30), moment(30, 30, sockets=6)]) == ["6 sockets are open, not 5"]


def test_pipes_may_be_kept_for_later() -> None:
    assert growth([moment(15, 30), moment(30, 30, pipes=38)]) == []
