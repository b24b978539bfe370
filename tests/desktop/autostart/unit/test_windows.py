"""Tests for trayproxy.desktop.autostart.windows, with a replacement of the registry."""

from dataclasses import replace

import pytest

from trayproxy.desktop.autostart.base import AutostartState, AutostartStatus, StartCommand
from trayproxy.desktop.autostart.windows import APPROVED, RUN, VALUE, RunKeyAutostart
from trayproxy.desktop.installation import InstalledProgram
from trayproxy.system_settings.entries import TargetError

PROGRAM = r"C:\Users\J Doe\trayproxyw.exe"
PLACE = r"HKEY_CURRENT_USER\Software\Microsoft\Windows\CurrentVersion\Run\TrayProxy"
COMMAND = StartCommand(InstalledProgram(PROGRAM), ("--background",))


class FakeRunKeyRegistry:
    """The registry of the user; `refuses` lets changes fail."""

    def __init__(self) -> None:
        self.values: dict[tuple[str, str], str | bytes] = {}
        self.refuses = False

    def read(self, key: str, name: str) -> str | bytes | None:
        return self.values.get((key, name))

    def write(self, key: str, name: str, text: str) -> None:
        self._check()
        self.values[key, name] = text

    def delete(self, key: str, name: str) -> None:
        self._check()
        self.values.pop((key, name), None)

    def _check(self) -> None:
        if self.refuses:
            raise TargetError("the registry refuses: Access is denied")


@pytest.fixture
def registry() -> FakeRunKeyRegistry:
    return FakeRunKeyRegistry()


@pytest.fixture
def missing() -> set[str]:
    """The programs that do not exist."""
    return {""}


@pytest.fixture
def autostart(registry: FakeRunKeyRegistry, missing: set[str]) -> RunKeyAutostart:
    return make(COMMAND, registry, missing)


def make(command: StartCommand, registry: FakeRunKeyRegistry, missing: set[str]) -> RunKeyAutostart:
    return RunKeyAutostart(command, registry, lambda name: None if name in missing else name)


def test_on_and_off(autostart: RunKeyAutostart, registry: FakeRunKeyRegistry) -> None:
    assert autostart.status() == AutostartStatus(AutostartState.OFF, PLACE)
    autostart.turn_on()
    assert registry.values == {(RUN, VALUE): f'"{PROGRAM}" --background'}
    assert autostart.status() == AutostartStatus(AutostartState.ON, PLACE, PROGRAM)
    autostart.turn_off()
    autostart.turn_off()
    assert registry.values == {}


def test_an_interpreter(registry: FakeRunKeyRegistry, missing: set[str]) -> None:
    program = InstalledProgram(r"C:\Python\pythonw.exe", ("-P", "-m", "trayproxy"))
    autostart = make(StartCommand(program, ("--background",)), registry, missing)
    autostart.turn_on()
    assert registry.values[RUN, VALUE] == (r'"C:\Python\pythonw.exe" -P -m trayproxy --background')
    assert autostart.status().state is AutostartState.ON
    registry.values[RUN, VALUE] = r'"C:\Python\pythonw.exe" -m other'
    assert autostart.status().state is AutostartState.OTHER


@pytest.mark.parametrize(
    "line", [r'"C:\old\trayproxyw.exe" --background', r"C:\old\trayproxyw.exe"]
)
def test_another_installation_is_named_and_corrected(
    autostart: RunKeyAutostart, registry: FakeRunKeyRegistry, missing: set[str], line: str
) -> None:
    registry.values[RUN, VALUE] = line
    old = r"C:\old\trayproxyw.exe"
    assert autostart.status() == AutostartStatus(AutostartState.OTHER, PLACE, old)
    missing.add(old)
    assert autostart.status() == AutostartStatus(AutostartState.OTHER, PLACE, old, True)
    autostart.turn_on()
    assert autostart.status().state is AutostartState.ON


@pytest.mark.parametrize("value", ["", b"\x01\x02"])
def test_a_value_without_a_command_is_corrected(
    autostart: RunKeyAutostart, registry: FakeRunKeyRegistry, value: str | bytes
) -> None:
    registry.values[RUN, VALUE] = value
    assert autostart.status() == AutostartStatus(AutostartState.OTHER, PLACE, "", True)
    autostart.turn_on()
    assert autostart.status().state is AutostartState.ON


@pytest.mark.parametrize(
    ("approved", "state"),
    [
        (b"\x02" + bytes(11), AutostartState.ON),
        (b"\x06" + bytes(11), AutostartState.ON),
        (b"", AutostartState.ON),
        ("text", AutostartState.ON),
        (b"\x03" + bytes(11), AutostartState.DISABLED),
        (b"\x07" + bytes(11), AutostartState.DISABLED),
        (b"\x01", AutostartState.DISABLED),
    ],
)
def test_the_choice_in_the_task_manager_is_read_and_kept(
    autostart: RunKeyAutostart,
    registry: FakeRunKeyRegistry,
    approved: bytes | str,
    state: AutostartState,
) -> None:
    registry.values[APPROVED, VALUE] = approved
    assert autostart.status().state is AutostartState.OFF
    autostart.turn_on()
    status = autostart.status()
    assert status.state is state
    assert ("Task Manager" in status.reason) == (state is AutostartState.DISABLED)
    autostart.turn_off()
    assert registry.values == {(APPROVED, VALUE): approved}


def test_a_program_not_startable_by_windows_is_refused(
    registry: FakeRunKeyRegistry, missing: set[str]
) -> None:
    long = StartCommand(InstalledProgram("C:\\" + 260 * "x"), ())
    with pytest.raises(TargetError, match="260 characters"):
        make(long, registry, missing).turn_on()
    with pytest.raises(TargetError, match="TRAYPROXY_HOME"):
        make(replace(COMMAND, home="C:\\home"), registry, missing).turn_on()
    assert registry.values == {}


def test_a_refusal_of_the_registry_is_reported(
    autostart: RunKeyAutostart, registry: FakeRunKeyRegistry
) -> None:
    registry.refuses = True
    for action in (autostart.turn_on, autostart.turn_off):
        with pytest.raises(TargetError, match="Access is denied"):
            action()
