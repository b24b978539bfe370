"""Tests for trayproxy.desktop.autostart.windows with the registry of Windows."""

import sys
import winreg as module
from collections.abc import Iterator
from types import ModuleType

import pytest

from trayproxy.desktop.autostart.base import AutostartState, StartCommand
from trayproxy.desktop.autostart.windows import APPROVED, RUN, VALUE, RunKeyAutostart, UserRegistry
from trayproxy.desktop.installation import InstalledProgram

winreg: ModuleType = module


@pytest.fixture
def autostart() -> Iterator[RunKeyAutostart]:
    program = InstalledProgram(sys.executable, ("-P", "-m", "trayproxy"))
    made = RunKeyAutostart(StartCommand(program, ("--background",)), UserRegistry())
    made.turn_off()
    yield made
    made.turn_off()
    UserRegistry().delete(APPROVED, VALUE)


def test_on_and_off(autostart: RunKeyAutostart) -> None:
    assert autostart.status().state is AutostartState.OFF
    autostart.turn_off()
    autostart.turn_on()
    assert autostart.status().state is AutostartState.ON
    with winreg.OpenKey(winreg.HKEY_CURRENT_USER, RUN) as key:
        found = winreg.QueryValueEx(key, VALUE)
    assert found == (f'"{sys.executable}" -P -m trayproxy --background', winreg.REG_SZ)
    autostart.turn_off()
    assert autostart.status().state is AutostartState.OFF


def test_the_choice_in_the_task_manager_is_read(autostart: RunKeyAutostart) -> None:
    autostart.turn_on()
    with winreg.CreateKeyEx(winreg.HKEY_CURRENT_USER, APPROVED) as key:
        winreg.SetValueEx(key, VALUE, 0, winreg.REG_BINARY, b"\x03" + bytes(11))
    assert autostart.status().state is AutostartState.DISABLED


def test_another_program_is_named_and_corrected(autostart: RunKeyAutostart) -> None:
    UserRegistry().write(RUN, VALUE, r'"C:\old program\trayproxyw.exe" --background')
    status = autostart.status()
    assert (status.state, status.program) == (
        AutostartState.OTHER,
        r"C:\old program\trayproxyw.exe",
    )
    assert status.is_missing
    autostart.turn_on()
    assert autostart.status().state is AutostartState.ON
