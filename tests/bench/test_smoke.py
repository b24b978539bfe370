"""Tests for the benchmarks; no measured value is asserted."""

from collections.abc import Sequence

import pytest

from tests.bench.contestants import CONTESTANTS, TRAYPROXY
from tests.bench.goals import GOALS
from tests.bench.ntlm import WITH_DOMAIN, measure
from tests.bench.ntlm import render as render_tunnels
from tests.bench.race import Race, Sample
from tests.bench.results import Results
from tests.bench.table import render
from tests.bench.tools import build
from tests.bench.workloads import ALL, Scale

SHORT = Scale(
    rounds=1,
    seconds=0.1,
    warm_up=0.0,
    idle_s=0.1,
    tunnels=(20,),
    beside=(0, 20),
    crowd=(0, 20),
    retries=0,
)
RELAY = next(one for one in CONTESTANTS if one.name == "relay-uvloop")


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Sequence[Sample]:
    race = Race(build(tmp_path_factory.mktemp("bench")), SHORT, print)
    race.run((TRAYPROXY,), ALL)
    race.run((RELAY,), ("W1-50", "W3-50", "W4-u8"))
    return race.samples


@pytest.mark.xdist_group("bench")
def test_nothing_fails_in_any_workload(samples: Sequence[Sample]) -> None:
    assert [one for one in samples if one.failures or one.trouble or not one.figures] == []
    assert {one.workload.partition("-")[0] for one in samples} == {f"W{n}" for n in range(1, 10)}


@pytest.mark.xdist_group("bench")
def test_every_held_tunnel_works(samples: Sequence[Sample]) -> None:
    (held,) = (one for one in samples if one.workload == "W6-20")
    assert (held.figures["opened"], held.figures["alive"]) == (20, 20)


@pytest.mark.xdist_group("bench")
def test_the_tables_contain_all_measurements(samples: Sequence[Sample]) -> None:
    text = render(Results(samples), "Measured.")
    assert text.startswith("Measured.\n\n### Requests\n")
    for title in ("Tunnels", "Start and rest", "Idle tunnels", "Beside idle tunnels", "Goals"):
        assert f"\n### {title}\n" in text
    assert "### What failed" not in text
    assert "\n| trayproxy |" in text


def sample(contestant: str, number: int, rate: float) -> Sample:
    return Sample(contestant, "W1-50", number, {"rate": rate})


def test_ratios_are_taken_within_a_round() -> None:
    """A slow round of the machine changes the figures of both proxies."""
    rounds = [(100.0, 50.0), (10.0, 5.0), (40.0, 20.0)]
    ours = [sample("trayproxy", number, rates[0]) for number, rates in enumerate(rounds)]
    theirs = [sample("haproxy", number, rates[1]) for number, rates in enumerate(rounds)]
    results = Results([*ours, *reversed(theirs)])
    assert results.median("trayproxy", "W1-50", "rate") == 40.0
    assert results.ratio("trayproxy", "haproxy", "W1-50", "rate") == 2.0
    assert results.ratio("trayproxy", "squid", "W1-50", "rate") is None


def test_unmeasured_goals_are_left_out() -> None:
    results = Results([sample("trayproxy", 0, 90.0), sample("haproxy", 0, 100.0)])
    assert [goal.what for goal in GOALS if goal.value(results) is not None] == [
        "W1-50: rate, relative to haproxy"
    ]
    text = render(results, "")
    assert "| W1-50: rate, relative to haproxy | ≥ 0.8 | 0.9 | yes |" in text


def test_failures_are_listed() -> None:
    broken = Sample("px", "W6-5000", 2, {}, trouble="opened 264 tunnels of 5000")
    text = render(Results([broken]), "")
    assert "- px, W6-5000, round 2: opened 264 tunnels of 5000" in text


@pytest.mark.xdist_group("bench")
def test_tunnels_by_ntlm_are_counted_and_timed() -> None:
    found = measure((WITH_DOMAIN,), rounds=1, count=3, pauses_s=(0.0,))
    figures = found["trayproxy", 0.0]
    assert len(figures.opened_ms) == 3
    assert figures.messages >= 3
    assert "\n| 0.0 | trayproxy | " in render_tunnels(found)
