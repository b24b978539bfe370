"""What the tests of the desk share."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.desk.keyrings import Session, gnome_keyring


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:
    """A real, unlocked GNOME Keyring, which this process talks to."""
    # Not below tmp_path: the path of a socket has at most 108 octets.
    with TemporaryDirectory(prefix="desk-") as home, gnome_keyring(Path(home)) as session:
        enter(monkeypatch, session.environment)
        yield session


@pytest.fixture
def no_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No session bus at all, as on a server."""
    enter(monkeypatch, {"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)})


def enter(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> None:
    """Make this process one of a session, and of no other."""
    for name in ("DBUS_SESSION_BUS_ADDRESS", "DISPLAY", "PYTHON_KEYRING_BACKEND"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        if name != "PATH":
            monkeypatch.setenv(name, value)
