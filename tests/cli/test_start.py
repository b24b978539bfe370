"""Tests for trayproxy.cli.start and trayproxy.demo.main without a usable display."""

from collections.abc import Callable

import pytest

from tests.cli.terminal_screen import TerminalScreen
from tests.support.ports import free_port
from trayproxy.paths import Paths

DEAD = ":59731"


@pytest.fixture(autouse=True)
def dead_display(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WAYLAND_DISPLAY", "QT_QPA_PLATFORM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DISPLAY", DEAD)


def test_if_the_display_cannot_be_opened_trayproxy_runs_without_a_tray(
    screen: Callable[..., TerminalScreen], paths: Paths
) -> None:
    paths.prepare()
    port = free_port()
    paths.config_file.write_text(f"[listen]\nport = {port}\n")
    terminal = screen("trayproxy")
    terminal.wait_for(
        f"The display {DEAD} cannot be opened. TrayProxy runs without a tray icon, as "
    )
    terminal.answer(f"listening on 127.0.0.1:{port}\n", "\x03")
    assert terminal.end() == 0


def test_without_a_display_the_demonstration_prompts_in_the_terminal(
    screen: Callable[..., TerminalScreen],
) -> None:
    terminal = screen("trayproxy", "demo")
    terminal.wait_for(f"The display {DEAD} cannot be opened. TrayProxy runs without a tray icon")
    terminal.wait_for("it asks in this terminal")
    terminal.answer("Ctrl\\+C ends the demonstration", "\x03")
    assert terminal.end() == 0
