"""Tests for what tests/conftest.py makes of a test that is skipped."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

TESTS = """
import pytest

def test_needs_a_tool():
    pytest.skip("needs ip")

@pytest.mark.skipif(True, reason="only root may")
def test_needs_root():
    pass
"""
MODULE = """
import pytest

pytest.importorskip("a_module_that_is_not_there")
"""


@pytest.mark.parametrize(
    ("everything", "outcome"),
    [(True, {"failed": 1, "skipped": 1, "error": 1}), (False, {"skipped": 3})],
    ids=["packaging/test", "by hand"],
)
def test_what_is_skipped_has_failed_where_everything_is_installed(
    tmp_path: Path, everything: bool, outcome: dict[str, int]
) -> None:
    (tmp_path / "test_one.py").write_text(TESTS, "utf-8")
    (tmp_path / "test_two.py").write_text(MODULE, "utf-8")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("TRAYPROXY_TEST_EVERYTHING", None)
    if everything:
        environment["TRAYPROXY_TEST_EVERYTHING"] = "1"
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "tests.conftest",
        "--rootdir",
        str(tmp_path),
    ]
    options = ["-p", "no:cacheprovider", "--continue-on-collection-errors", str(tmp_path)]
    done = subprocess.run(
        [*command, *options], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    summary = done.stdout.splitlines()[-1]
    for word, count in outcome.items():
        assert f"{count} {word}" in summary, done.stdout
