"""Fixtures of the tests of the desk."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.desk.machine_driver import MachineDriver
from tests.support.processes import home

if TYPE_CHECKING:
    from tests.support.keyring_session import KeyringSession

# GNOME Keyring runs on Unix only; tests/windows tests the Credential Manager.
collect_ignore = ["test_keyring_store_real.py"] if sys.platform == "win32" else []


@pytest.fixture
def driver() -> MachineDriver:
    """A machine without protection spaces, with a front end."""
    return MachineDriver()


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> Iterator["KeyringSession"]:
    """A real, unlocked GNOME Keyring, which this process talks to."""
    # Here: SecretStorage is for Unix only, and some tests of the desk run on Windows.
    from tests.support.keyring_session import keyring_session

    with home("desk-") as place, keyring_session(place) as session:
        enter(monkeypatch, session.environment)
        yield session


@pytest.fixture
def no_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No session bus at all, as on a server."""
    enter(monkeypatch, {"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)})


def enter(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> None:
    """Set the environment of this process to that of a session."""
    for name in ("DBUS_SESSION_BUS_ADDRESS", "DISPLAY", "PYTHON_KEYRING_BACKEND"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        if name != "PATH":
            monkeypatch.setenv(name, value)
