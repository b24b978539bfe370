"""What the tray asks of Windows for its windows."""

import ctypes
from typing import Any

from trayproxy.desktop.window import name_program
from trayproxy.identity import APP_ID


def test_the_task_bar_is_told_which_application_this_is() -> None:
    assert name_program(APP_ID)
    load: Any = getattr(ctypes, "WinDLL", None)
    told = ctypes.c_wchar_p()
    assert load("shell32").GetCurrentProcessExplicitAppUserModelID(ctypes.byref(told)) == 0
    assert told.value == APP_ID
