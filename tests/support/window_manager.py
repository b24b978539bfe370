"""Fluxbox: a real window manager whose toolbar hosts tray icons by XEmbed."""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.support.display import Desktop
from tests.support.process_output import PATIENCE
from tests.support.processes import running

_SETTINGS = """\
session.configVersion: 13
session.styleFile: {style}
session.screen0.titlebar.left:
session.screen0.titlebar.right: Close
session.screen0.toolbar.tools: systemtray
session.screen0.toolbar.widthPercent: 30
session.screen0.toolbar.placement: BottomRight
"""

# Without this background setting, Fluxbox starts a program that looks for an image viewer.
_STYLE = """\
background: none
toolbar.height: 28
toolbar: flat
toolbar.color: #d8d8d8
window.title.height: 22
window.title.focus: flat
window.title.focus.color: #d8d8d8
window.label.focus: parentrelative
window.label.focus.textColor: #202020
window.label.focus.font: DejaVu Sans-10
window.borderWidth: 1
window.handleWidth: 0
"""


@contextmanager
def fluxbox(desktop: Desktop) -> Iterator[None]:
    """Run Fluxbox; it manages the display when the block begins."""
    # Without this folder, Fluxbox writes its default settings.
    home = desktop.place.path(".fluxbox")
    (home / "style").write_text(_STYLE)
    (home / "init").write_text(_SETTINGS.format(style=home / "style"))
    with running(["fluxbox"], env=desktop.environment(), cwd=desktop.place.root):
        desktop.wait_for_manager()
        yield


def open_menu(desktop: Desktop, name: str) -> str:
    """Click on a tray icon with the right button; return the window id of its menu."""
    left, top = _middle(_wait_for(desktop, name, _is_icon))
    desktop.run("xdotool", "mousemove", left, top, "click", "3")
    return _wait_for(desktop, name, _is_menu).window


@dataclass(frozen=True, slots=True)
class ShownWindow:
    """A window of a program, with its size and position in pixels."""

    window: str
    width: int
    height: int
    left: int
    top: int


def _is_icon(shown: ShownWindow) -> bool:
    # Other windows are larger, or auxiliary windows of a few pixels.
    return 8 <= shown.width <= 64 and 8 <= shown.height <= 64


def _is_menu(shown: ShownWindow) -> bool:
    return shown.width > 64


def _middle(shown: ShownWindow) -> tuple[str, str]:
    return str(shown.left + shown.width // 2), str(shown.top + shown.height // 2)


def _wait_for(desktop: Desktop, name: str, holds: Callable[[ShownWindow], bool]) -> ShownWindow:
    """Wait for a window of a program that meets a condition."""
    # A line of the window tree begins with the id and ends with the size and the position.
    line = re.compile(rf'(0x\w+) "{name}": .* (\d+)x(\d+)\S*  \+(\d+)\+(\d+)$', re.MULTILINE)
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        tree = desktop.run("xwininfo", "-root", "-tree").out
        for window, *numbers in line.findall(tree):
            shown = ShownWindow(window, *map(int, numbers))
            if holds(shown) and "IsViewable" in desktop.run("xwininfo", "-id", window).out:
                return shown
    raise AssertionError(f"no such window of {name!r} after {PATIENCE} s")
