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
from trayproxy.paths import HOME_VARIABLE, Paths, locate
from trayproxy.profiles.profile import Profile, Upstream

PICTURE = Path(__file__).parents[1] / "artefacts" / "tray-on-windows.png"
_WM_NULL = 0
_SMTO_ABORTIFHUNG = 2


def windows() -> Any:
    """Return user32."""
    load: Any = getattr(ctypes, "WinDLL", None)
    return load("user32", use_last_error=True)


def visible_windows(pid: int) -> dict[str, int]:
    """Return the handles of a process's visible windows by their titles."""
    user32, found = windows(), {}
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
    """Return whether a window's thread takes messages."""
    answer = ctypes.c_size_t()
    return bool(
        windows().SendMessageTimeoutW(
            ctypes.c_void_p(window), _WM_NULL, 0, 0, _SMTO_ABORTIFHUNG, 5000, ctypes.byref(answer)
        )
    )


def screen() -> QImage:
    """Return what the X server under Wine shows, from its frame buffer (XWD, 32 bits a pixel)."""
    octets = Path(os.environ["TRAYPROXY_FRAME_BUFFER"]).read_bytes()
    header, _, _, _, width, height = struct.unpack_from(">6I", octets)
    (colours,) = struct.unpack_from(">I", octets, 19 * 4)
    pixels = octets[header + 12 * colours :]
    return QImage(pixels, width, height, 4 * width, QImage.Format.Format_RGB32).copy()


def wait_until(holds: Any, what: str) -> Any:
    """Wait until a function returns something; return that."""
    deadline, pause = monotonic() + LONG, Event()
    while not (found := holds()):
        assert monotonic() < deadline, what
        pause.wait(0.1)
    return found


@pytest.fixture(scope="module")
def own_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home where no service runs yet."""
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
    """The tray, which starts its service itself, though an address of a dead one is there."""
    paths.runtime.mkdir()
    paths.socket.write_text(f"9 {'00' * 32}\n", "ascii")
    with program(own_home) as started:
        yield started
        ask(paths, Quit())


def ask(paths: Paths, request: Request) -> Reply | None:
    """Ask the service; return its reply, None if it does not run."""
    try:
        with connect(paths) as client:
            client.hello("cli", can_prompt=False)
            return client.request(request)
    except (NotRunningError, DisconnectedError, NoReplyError, OSError):
        return None


def window_of(tray: WindowsProgram) -> int | None:
    """Return the tray's window, None if it shows none."""
    found = [handle for title, handle in visible_windows(tray.pid).items() if "TrayProxy" in title]
    return found[0] if found else None


def drawn() -> QImage | None:
    """Return the screen once there is text on it, which has many shades."""
    picture = screen()
    columns, rows = range(0, picture.width(), 3), range(0, picture.height(), 3)
    shades = {picture.pixel(x, y) for x in columns for y in rows}
    return picture if len(shades) > 50 else None


def test_the_tray_starts_its_service_and_shows_its_window(
    tray: WindowsProgram, paths: Paths
) -> None:
    # The service tells the tray, which has to have read that from its socket.
    wait_until(lambda: isinstance(ask(paths, ShowWindow()), Done), "a tray at the service")
    window = wait_until(lambda: window_of(tray), "a window")
    assert responds(window)
    picture = wait_until(drawn, "something on the screen")
    PICTURE.parent.mkdir(exist_ok=True)
    assert picture.save(str(PICTURE))


def test_the_window_takes_messages_while_the_service_sends_events(
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
