"""Tests for trayproxy.desktop.window."""

from typing import Any

import pytest

from trayproxy.desktop.dock_macos import become_accessory
from trayproxy.identity import APP_ID
from trayproxy.paths import locate
from trayproxy.ui import app


class FakeObjectiveC:
    """The Objective-C runtime, with a class NSApplication that has one object."""

    def __init__(self, *, agrees: bool) -> None:
        self.policy = 0
        self._agrees = agrees

    def objc_getClass(self, name: bytes) -> bytes:  # noqa: N802  # its own name
        return name

    sel_registerName = objc_getClass  # noqa: N815

    def send(self, receiver: bytes, selector: bytes) -> bytes:
        assert (receiver, selector) == (b"NSApplication", b"sharedApplication")
        return b"the application"

    def send_number(self, receiver: bytes, selector: bytes, number: int) -> bool:
        assert (receiver, selector) == (b"the application", b"setActivationPolicy:")
        self.policy = number
        return self._agrees


@pytest.mark.parametrize("agrees", [True, False])
def test_the_icon_is_removed_from_the_dock(agrees: bool) -> None:
    runtime = FakeObjectiveC(agrees=agrees)
    assert become_accessory(runtime) is agrees
    assert runtime.policy == 1


def test_without_the_objective_c_runtime_the_icon_stays() -> None:
    assert become_accessory() is False


def test_the_tray_sets_its_application_id_before_its_first_window(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[Any] = []

    class StoppedError(Exception):
        pass

    def application(arguments: list[str]) -> None:
        calls.append("QApplication")

    def hide() -> None:
        calls.append("hidden")
        raise StoppedError

    monkeypatch.setattr(app, "set_application_id", calls.append)
    monkeypatch.setattr(app, "QApplication", application)
    monkeypatch.setattr(app, "hide_from_dock", hide)
    with pytest.raises(StoppedError):
        app.run(locate(), lambda: None)
    assert calls == [APP_ID, "QApplication", "hidden"]
