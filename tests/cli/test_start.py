"""Tests for trayproxy.cli.start and trayproxy.demo.main without a usable display."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.cli.fake_service import ROOT
from tests.cli.terminal_screen import TerminalScreen
from tests.support.ports import free_port
from trayproxy.paths import Paths

DEAD = ":59731"
DISPLAYS = ("DISPLAY", "WAYLAND_DISPLAY", "QT_QPA_PLATFORM")


@pytest.fixture
def person(paths: Paths) -> Iterator[Callable[..., TerminalScreen]]:
    """Start a program in a terminal, with or without a display."""
    home = {"TRAYPROXY_HOME": str(paths.config.parent), "PYTHONPATH": str(ROOT)}
    others = {name: value for name, value in os.environ.items() if name not in DISPLAYS}
    with ExitStack() as stack:

        def make(*command: str, **display: str) -> TerminalScreen:
            made = TerminalScreen(*command, environ={**others, **home, **display})
            stack.callback(made.close)
            return made

        yield make


def test_if_the_display_cannot_be_opened_trayproxy_runs_without_a_tray(
    person: Callable[..., TerminalScreen], paths: Paths
) -> None:
    paths.prepare()
    port = free_port()
    paths.config_file.write_text(f"[listen]\nport = {port}\n")
    at = person("trayproxy", DISPLAY=DEAD)
    at.wait_for(f"The display {DEAD} cannot be opened. TrayProxy runs without a tray icon, as ")
    at.answer(f"listening on 127.0.0.1:{port}\n", "\x03")
    assert at.end() == 0


def test_without_a_display_the_demonstration_prompts_in_the_terminal(
    person: Callable[..., TerminalScreen],
) -> None:
    at = person("trayproxy", "demo", DISPLAY=DEAD)
    at.wait_for(f"The display {DEAD} cannot be opened. TrayProxy runs without a tray icon")
    at.wait_for("it asks in this terminal")
    at.answer("Ctrl\\+C ends the demonstration", "\x03")
    assert at.end() == 0
