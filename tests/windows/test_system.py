"""Functions of Windows used by the service and the tray, as far as Wine implements them."""

import asyncio
import ctypes
import os
from typing import Any

from tests.desktop.lock_reports import LockReports
from tests.support.process_output import PATIENCE
from trayproxy.desktop.hardening import harden
from trayproxy.desktop.network_change.windows import WindowsNetworkWatch
from trayproxy.desktop.screen_lock.windows import (
    WM_WTSSESSION_CHANGE,
    WTS_SESSION_LOCK,
    WTS_SESSION_UNLOCK,
    WindowsScreenLock,
)
from trayproxy.desktop.users import own_user
from trayproxy.desktop.window import set_application_id
from trayproxy.desktop.windows_library import load_library
from trayproxy.identity import APP_ID


def user32() -> Any:
    library = load_library("user32")
    library.FindWindowW.restype = ctypes.c_void_p
    library.PostMessageW.argtypes = [ctypes.c_void_p, ctypes.c_uint, ctypes.c_size_t, ctypes.c_long]
    return library


def test_the_application_id_can_be_set() -> None:
    assert set_application_id(APP_ID)


def test_the_user_of_this_process_is_known() -> None:
    assert str(own_user()).startswith("S-1-5-")


def test_a_locked_screen_is_reported() -> None:
    reports = LockReports()
    screen = WindowsScreenLock(reports.add)
    screen.start()
    assert screen.window_created.wait(PATIENCE)
    window = user32().FindWindowW("TrayProxyScreen", None)
    assert window
    # Wine locks no screen: the test sends the message in place of Windows.
    for event, is_locked in ((WTS_SESSION_LOCK, True), (WTS_SESSION_UNLOCK, False)):
        assert user32().PostMessageW(window, WM_WTSSESSION_CHANGE, event, 0)
        assert reports.next() is is_locked
    screen.stop()
    assert user32().FindWindowW("TrayProxyScreen", None) is None


async def test_a_watch_of_the_network_can_be_started_and_closed() -> None:
    WindowsNetworkWatch(asyncio.get_running_loop(), lambda: None).close()


def test_the_process_can_be_hardened() -> None:
    harden()
    assert os.getpid()
