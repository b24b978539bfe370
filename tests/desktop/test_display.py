"""Tests for trayproxy.desktop.display: displays at which Qt would abort are reported before."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.display import x_server
from tests.support.processes import SOURCES, Home
from trayproxy.desktop.display import display_problem


@pytest.fixture(scope="module")
def unserved_display() -> str:
    """The name of a display without an X server."""
    return ":59731"


@pytest.fixture
def display(place: Home) -> Iterator[str]:
    with x_server(place) as display:
        yield display


@pytest.fixture
def compositor(place: Home) -> Iterator[Path]:
    """The path of a socket that accepts connections, like the socket of a Wayland compositor."""
    path = place.path("run") / "wayland-7"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        yield path


def aborts(**environ: str) -> bool:
    """Return True if Qt ends a process that creates a QApplication."""
    code = "from PySide6.QtWidgets import QApplication; QApplication([])"
    path = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(SOURCES)}
    run = subprocess.run(
        [sys.executable, "-c", code], env={**path, **environ}, capture_output=True, timeout=60
    )
    return run.returncode != 0


def test_a_display_that_can_be_opened_is_no_problem(display: str) -> None:
    assert display_problem({"DISPLAY": display}) == ""
    assert not aborts(DISPLAY=display)


@pytest.mark.parametrize("name", [":59731", "nonsense", "unix:59731", ":x", "127.0.0.1:59"])
def test_the_problem_names_a_display_that_cannot_be_opened(name: str) -> None:
    assert display_problem({"DISPLAY": name}) == f"The display {name} cannot be opened."
    assert aborts(DISPLAY=name)


def test_the_problem_names_a_display_that_requires_an_authorisation_key(place: Home) -> None:
    key = place.root / "key"
    subprocess.run(
        ["xauth", "-q", "-f", str(key), "add", ":0", "MIT-MAGIC-COOKIE-1", "ab" * 16], check=True
    )
    with x_server(place, "640x480", "-auth", str(key)) as display:
        code = "from trayproxy.desktop.display import display_problem; print(display_problem())"
        run = subprocess.run(
            [sys.executable, "-c", code],
            env={"DISPLAY": display, "PYTHONPATH": str(SOURCES), "XAUTHORITY": "/dev/null"},
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert run.stdout == f"The display {display} cannot be opened.\n"


def test_a_missing_display_is_a_problem() -> None:
    assert display_problem({}) == "There is no display."
    assert display_problem({"QT_QPA_PLATFORM": "xcb"}) == "There is no display."


def test_a_platform_without_a_display_is_no_problem(unserved_display: str) -> None:
    for platform in ("offscreen", "minimal:enable_fonts", "xcb;offscreen"):
        assert display_problem({"QT_QPA_PLATFORM": platform, "DISPLAY": unserved_display}) == ""


def test_a_wayland_display_is_checked(compositor: Path, unserved_display: str) -> None:
    where = {"XDG_RUNTIME_DIR": str(compositor.parent), "WAYLAND_DISPLAY": compositor.name}
    assert display_problem(where) == ""
    assert display_problem({"WAYLAND_DISPLAY": str(compositor)}) == ""
    assert display_problem({**where, "DISPLAY": unserved_display}) == ""
    assert display_problem({**where, "QT_QPA_PLATFORM": "wayland-egl"}) == ""
    assert display_problem({**where, "QT_QPA_PLATFORM": "xcb", "DISPLAY": unserved_display})
    gone = {**where, "WAYLAND_DISPLAY": "wayland-8"}
    assert display_problem(gone) == "The display wayland-8 cannot be opened."
