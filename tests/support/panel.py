"""Fluxbox: a real window manager whose toolbar hosts tray icons by XEmbed."""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.display import Desktop
from tests.support.lines import PATIENCE
from tests.support.processes import running

_SETTINGS = """\
session.configVersion: 13
session.styleFile: {style}
session.screen0.toolbar.tools: systemtray
session.screen0.toolbar.widthPercent: 30
session.screen0.toolbar.placement: BottomRight
"""

# Without a word on the background it starts a program that looks for a picture viewer.
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
def window_manager(desktop: Desktop) -> Iterator[None]:
    """Run it; it has taken over the display when the block begins."""
    # It puts its own settings in place of ours when this folder is not there.
    home = desktop.place.path(".fluxbox")
    (home / "style").write_text(_STYLE)
    (home / "init").write_text(_SETTINGS.format(style=home / "style"))
    with running(["fluxbox"], env=desktop.environment(), cwd=desktop.place.root):
        desktop.wait_for_manager()
        yield


def wait_for_place_of_icon(
    desktop: Desktop, name: str, timeout: float = PATIENCE
) -> tuple[str, str]:
    """Wait until a tray icon is in the toolbar; return where its middle is on the screen.

    Args:
        desktop: Where the window manager runs.
        name: The name of the program.
        timeout: In seconds.
    """
    # A line of the tree of windows ends with width, height and the place on the screen.
    line = re.compile(rf'"{name}": .* (\d+)x(\d+)\S*  \+(\d+)\+(\d+)$', re.MULTILINE)
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        tree = desktop.run("xwininfo", "-root", "-tree").out
        for width, height, left, top in line.findall(tree):
            # Other windows of the program are larger, or are a helper of one pixel.
            if 8 <= int(width) <= 64 and 8 <= int(height) <= 64 and top != "0":
                return str(int(left) + int(width) // 2), str(int(top) + int(height) // 2)
    raise AssertionError(f"no icon of {name!r} after {timeout} s")
