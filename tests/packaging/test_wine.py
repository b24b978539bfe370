"""Tests for the lists of packaging/wine; packaging/test --windows tests its programs."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOCKED = ROOT / "packaging" / "locked"


@pytest.fixture(scope="module")
def wheels() -> str:
    """The entries of the lock file of the tests for Windows."""
    script = ROOT / "packaging" / "wine" / "wheels.py"
    command = [sys.executable, str(script), str(LOCKED / "test.txt")]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def names(entries: str) -> set[str]:
    return set(re.findall(r"^([a-z0-9-]+)==", entries, re.MULTILINE))


def test_the_wheels_match_the_dependencies_on_windows(wheels: str) -> None:
    found = names(wheels)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    is_for_windows: dict[str, bool] = {}
    for requirement in project["dependencies"]:
        name = re.split(r"[^A-Za-z0-9._-]", requirement)[0].lower().replace(".", "-")
        # A dependency may have several lines, for different systems.
        here = "sys_platform" not in requirement or "win32" in requirement
        is_for_windows[name] = is_for_windows.get(name, False) or here
    assert {name: name in found for name in is_for_windows} == is_for_windows
    assert {"pytest", "hypothesis", "colorama", "pywin32-ctypes"} <= found
    # Under Wine the wheel of cryptography ends the process.
    assert "cryptography" not in found


def test_each_wheel_has_a_version_and_hashes_and_no_marker(wheels: str) -> None:
    lock = (LOCKED / "test.txt").read_text("utf-8")
    for entry in re.split(r"\n(?=\S)", wheels.strip()):
        head, *hashes = entry.split(" \\\n")
        assert ";" not in head
        assert head in lock
        assert hashes
        assert all(line.strip().startswith("--hash=sha256:") for line in hashes)
    pyside = [line for line in wheels.splitlines() if line.startswith("pyside6-essentials==")]
    assert len(pyside) == 1
