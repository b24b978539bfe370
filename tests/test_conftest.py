"""Tests for the treatment of skipped tests in tests/conftest.py."""

from typing import cast

import pytest

from tests import conftest

VARIABLE = "TRAYPROXY_TEST_EVERYTHING"


def outcome_of(reason: str) -> str:
    """Return the outcome of a module that skips all its tests for a reason."""
    report = pytest.CollectReport("test_one.py", "skipped", ("test_one.py", 1, reason), [])
    hook = conftest.pytest_make_collect_report(cast(pytest.Collector, None))
    next(hook)
    with pytest.raises(StopIteration) as done:
        hook.send(report)
    assert done.value.value is report
    return str(report.outcome)


def test_a_skip_is_a_failure_if_everything_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "1")
    assert outcome_of("Skipped: needs ip") == "failed"
    assert outcome_of("Skipped: only root may give files away") == "skipped"
    assert outcome_of("Skipped: this computer has no IPv6") == "skipped"


def test_a_deselected_test_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert outcome_of("Skipped: needs ip") == "skipped"


@pytest.mark.xdist_group("guard")
def test_the_tests_of_a_group_run_in_one_worker(request: pytest.FixtureRequest) -> None:
    if request.config.getoption("loadgroup", False):
        # pytest-xdist gives tests with the same end of their id to the same worker.
        assert request.node.nodeid.endswith("@guard")
