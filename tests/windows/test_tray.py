"""The tray and its window, drawn by Qt's plugin for Windows."""

import ctypes
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from time import monotonic
from typing import Any

import pytest
from PySide6.QtGui import QImage

from tests.windows.conftest import LONG, SETTINGS, WindowsProgram, program
from trayproxy.control.client import DisconnectedError, NoReplyError, connect
from trayproxy.control.messages import Done, Quit, Reply, Request, SaveProfile, ShowWindow
from trayproxy.control.transport import NotRunningError
from trayproxy.desktop.windows_library import load_library
from trayproxy.paths import HOME_VARIABLE, Paths, locate
from trayproxy.profiles.profile import Profile, Upstream

PICTURE = Path(__file__).parents[1] / "artefacts" / "tray-on-windows.png"
_WM_NULL = 0
_SMTO_ABORTIFHUNG = 2


def visible_windows(pid: int) -> dict[str, int]:
    """Return the handles of a process's visible windows by their titles."""
    user32, found = load_library("user32"), {}
    kind: Any = getattr(ctypes, "WINFUNCTYPE", None)

    def look(window: int, _: int) -> bool:
        owner = ctypes.c_ulong()
        user32.GetWindowThreadProcessId(ctypes.c_void_p(window), ctypes.byref(owner))
        if owner.value == pid and user32.IsWindowVisible(ctypes.c_void_p(window)):
            title = ctypes.create_unicode_buffer(200)
            user32.GetWindowTextW(ctypes.c_void_p(window), title, 200)
            found[title.value] = window
        return True

    user32.EnumWindows(kind(ctypes.c_bool, ctypes.c_void_p, ctypes.c_void_p)(look), None)
    return found


def responds(window: int) -> bool:
    """Return whether the thread of a window processes messages."""
    answer = ctypes.c_size_t()
    return bool(
        load_library("user32").SendMessageTimeoutW(
            ctypes.c_void_p(window), _WM_NULL, 0, 0, _SMTO_ABORTIFHUNG, 5000, ctypes.byref(answer)
        )
    )


def screen() -> QImage:
    """Return the screen of the X server under Wine, from its frame buffer (XWD, 32-bit pixels)."""
    octets = Path(os.environ["TRAYPROXY_FRAME_BUFFER"]).read_bytes()
    header, _, _, _, width, height = struct.unpack_from(">6I", octets)
    (colours,) = struct.unpack_from(">I", octets, 19 * 4)
    pixels = octets[header + 12 * colours :]
    return QImage(pixels, width, height, 4 * width, QImage.Format.Format_RGB32).copy()


def wait_until(holds: Any, expected: str) -> Any:
    """Wait until the result of a function is true; return the result."""
    deadline, pause = monotonic() + LONG, Event()
    while not (found := holds()):
        assert monotonic() < deadline, expected
        pause.wait(0.1)
    return found


@pytest.fixture(scope="module")
def own_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home without a running service."""
    home = tmp_path_factory.mktemp("tray")
    (home / "config").mkdir()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (home / "config" / "config.toml").write_text(f"{SETTINGS}port = {port}\n", "utf-8")
    return home


@pytest.fixture(scope="module")
def paths(own_home: Path) -> Paths:
    return locate({HOME_VARIABLE: str(own_home)})


@pytest.fixture(scope="module")
def tray(own_home: Path, paths: Paths) -> Iterator[WindowsProgram]:
    """The tray, which starts its service although there is an address of an ended service."""
    paths.runtime.mkdir()
    paths.socket.write_text(f"9 {'00' * 32}\n", "ascii")
    with program(own_home) as started:
        yield started
        ask(paths, Quit())


def ask(paths: Paths, request: Request) -> Reply | None:
    """Return the reply of the service, None if the service does not run."""
    try:
        with connect(paths) as client:
            client.hello("cli", can_prompt=False)
            return client.request(request)
    except (NotRunningError, DisconnectedError, NoReplyError, OSError):
        return None


def window_of(tray: WindowsProgram) -> int | None:
    """Return the window of the tray, None if it is not shown."""
    found = [handle for title, handle in visible_windows(tray.pid).items() if "TrayProxy" in title]
    return found[0] if found else None


def drawn() -> QImage | None:
    """Return the screen if it shows text, which has many shades; otherwise None."""
    picture = screen()
    columns, rows = range(0, picture.width(), 3), range(0, picture.height(), 3)
    shades = {picture.pixel(x, y) for x in columns for y in rows}
    return picture if len(shades) > 50 else None


def test_the_tray_starts_its_service_and_shows_its_window(
    tray: WindowsProgram, paths: Paths
) -> None:
    # Done: the service has a tray as its client.
    wait_until(lambda: isinstance(ask(paths, ShowWindow()), Done), "a tray at the service")
    window = wait_until(lambda: window_of(tray), "a window")
    assert responds(window)
    picture = wait_until(drawn, "text on the screen")
    PICTURE.parent.mkdir(exist_ok=True)
    assert picture.save(str(PICTURE))


def test_the_window_processes_messages_while_the_service_sends_events(
    tray: WindowsProgram, paths: Paths
) -> None:
    window = wait_until(lambda: window_of(tray), "a window")
    for number in range(20):
        profile = Profile(f"p{number}", f"Profile {number}", Upstream("proxy.example", 3128))
        assert isinstance(ask(paths, SaveProfile(profile)), Done)
        assert responds(window)


def test_the_tray_ends_with_its_service(tray: WindowsProgram, paths: Paths) -> None:
    assert isinstance(ask(paths, Quit()), Done)
    assert tray.wait() == 0
