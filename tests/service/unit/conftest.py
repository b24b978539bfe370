"""Fixtures for the unit tests of the service."""

from pathlib import Path

import pytest

from tests.service.unit.system_proxy_bench import Bench, use


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    bench = Bench(tmp_path)
    use(bench, monkeypatch)
    return bench
