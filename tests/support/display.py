"""A desktop for one test: an X server without a screen, and a session bus."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.bus import session_bus
from tests.support.process_output import PATIENCE
from tests.support.processes import Home, Job, Process, ProgramResult, running


@dataclass(frozen=True, slots=True)
class Desktop:
    """An X display, such as ``:7``, and a session bus."""

    place: Home
    display: str
    bus: str

    def environment(self, **more: str) -> dict[str, str]:
        """Return an environment for programs with windows on this desktop."""
        return self.place.environment(
            DISPLAY=self.display,
            DBUS_SESSION_BUS_ADDRESS=self.bus,
            QT_QPA_PLATFORM="xcb",
            QT_ACCESSIBILITY="0",
            **more,
        )

    def run(self, *argv: str | Path) -> ProgramResult:
        """Run a program to its end, such as ``xdotool``."""
        return Job(Process(argv, env=self.environment(), cwd=self.place.root)).result()

    def windows(self, title: str) -> list[str]:
        """Return the ids of the visible windows with a title that contains the pattern."""
        return self.run("xdotool", "search", "--onlyvisible", "--name", title).out.split()

    def wait_for_window(self, title: str, timeout: float = PATIENCE) -> str:
        """Wait for a visible window with a title; return its id."""
        self._wait_until(lambda: self.windows(title), f"no window {title!r}", timeout)
        return self.windows(title)[-1]

    def wait_until_gone(self, title: str) -> None:
        """Wait until no visible window has a title that contains the pattern."""
        self._wait_until(lambda: not self.windows(title), f"a window {title!r}")

    def type(self, text: str) -> None:
        """Type a text into the focused widget."""
        self.run("xdotool", "type", "--", text)

    def press(self, *keys: str) -> None:
        """Press keys, given by their X11 names."""
        self.run("xdotool", "key", *keys)

    def wait_for_icon(self, name: str) -> None:
        """Wait until a tray icon, a window embedded by XEmbed, is visible."""
        command = ("xwininfo", "-name", name)
        self._wait_until(lambda: "IsViewable" in self.run(*command).out, f"no icon {name!r}")

    def wait_for_manager(self) -> None:
        """Wait until a window manager is running."""
        command = ("xprop", "-root", "_NET_SUPPORTING_WM_CHECK")
        self._wait_until(lambda: "window id" in self.run(*command).out, "no window manager")

    def wait_until_active(self, window: str) -> None:
        """Wait until a window has the keyboard focus."""
        command = ("xdotool", "getactivewindow")
        self._wait_until(
            lambda: self.run(*command).out.strip() == window, f"window {window} is not active"
        )

    def _wait_until(
        self, holds: Callable[[], object], otherwise: str, timeout: float = PATIENCE
    ) -> None:
        deadline = time.monotonic() + timeout
        while not holds():
            assert time.monotonic() < deadline, f"{otherwise} after {timeout} s"

    def shoot(self, path: Path, window: str = "root") -> None:
        """Take a picture of a window or of the whole screen."""
        result = self.run("import", "-window", window, path)
        assert result.code == 0, result.err


@contextmanager
def desktop(place: Home, size: str = "1280x800") -> Iterator[Desktop]:
    """Run an X server, with a screen of this size in pixels, and a session bus."""
    with x_server(place, size) as display, session_bus(place) as bus:
        yield Desktop(place, display, bus)


@contextmanager
def x_server(place: Home, size: str = "1280x800", *options: str) -> Iterator[str]:
    """Run an X server with a virtual screen of this size in pixels; yield its display, ``:7``."""
    # The server chooses a free number, and writes it when it accepts connections.
    argv = ["Xvfb", "-displayfd", "1", "-screen", "0", f"{size}x24", "-nolisten", "tcp", "-noreset"]
    argv += options
    with running(argv, env=place.environment(), cwd=place.root) as process:
        yield ":" + process.out.wait_for(r"^\d+$")[0]
