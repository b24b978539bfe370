"""What the service does not load before it listens: start-up time is chosen, not found."""

import subprocess
import sys
from pathlib import Path

import pytest

SOURCES = Path(__file__).parents[2]

NOT_NEEDED = (
    "PySide6",
    "email",
    "jeepney",
    "keyring",
    "proxy.http",
    "proxy.plugin",
    "proxy.proxy",
    "psutil",
    "secretstorage",
    "spnego",
    "tomlkit",
    "truststore",
    "unittest",
)


@pytest.fixture(scope="module")
def loaded() -> set[str]:
    code = "import sys, trayproxy.cli.run; print(*sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=SOURCES, capture_output=True, text=True, check=True
    )
    return set(run.stdout.split())


@pytest.mark.parametrize("module", NOT_NEEDED)
def test_it_is_loaded_when_it_is_needed_and_not_before(loaded: set[str], module: str) -> None:
    assert module not in loaded
    assert not [name for name in loaded if name.startswith(f"{module}.")]


def test_the_modules_of_the_start_are_few(loaded: set[str]) -> None:
    assert len(loaded) < 400
