"""A screen reader: reads the texts of windows by the accessibility interface.

It implements the registry of AT-SPI, the accessibility interface of Linux desktops, on the session
bus; a real desktop has a separate bus for it. Programs with its address in ``AT_SPI_BUS_ADDRESS``
register themselves, and can then be read.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from typing import Any

from jeepney import (
    DBusAddress,
    HeaderFields,
    MatchRule,
    Message,
    MessageType,
    Properties,
    new_method_call,
)
from jeepney.io.blocking import DBusConnection, open_dbus_connection

from tests.support.process_output import PATIENCE
from tests.support.tray_host import BusProgram

_REGISTRY = "org.a11y.atspi.Registry"
_ACCESSIBLE = "org.a11y.atspi.Accessible"
_EVENTS = "org.a11y.atspi.Event.Object"
_ROOT = "/org/a11y/atspi/accessible/root"
_STATE_SHOWING = 25
"""AtspiStateType: the object is on the screen."""


class ScreenReader(BusProgram):
    """The registry, and the bus names of the registered programs, oldest first."""

    def __init__(self, bus: str) -> None:
        """Connect to the bus."""
        self._bus = bus
        self._focused: list[tuple[str, str]] = []
        self.programs: list[str] = []
        super().__init__(bus, _REGISTRY)

    @staticmethod
    def environment(bus: str) -> dict[str, str]:
        """Return variables with which a Qt program registers itself."""
        return {
            "AT_SPI_BUS_ADDRESS": bus,
            "QT_ACCESSIBILITY": "1",
            "QT_LINUX_ACCESSIBILITY_ALWAYS_ON": "1",
        }

    def wait_until_said(self, text: str) -> None:
        """Wait until a text on the screen contains this text."""
        deadline = time.monotonic() + PATIENCE
        while text not in (seen := self.read()):
            assert time.monotonic() < deadline, f"nobody says {text!r}, but:\n{seen}"

    def read(self) -> str:
        """Return the texts on the screen of the newest program, one in each line."""
        if not self.programs:
            return ""
        with closing(open_dbus_connection(bus=self._bus)) as connection:
            return "\n".join(_walk(connection, self.programs[-1], _ROOT))

    def follow(self, step: Callable[[], object], to: str, steps: int = 20) -> None:
        """Move the focus by `step`, such as a key, to a text that starts with `to`."""
        passed = []
        for number in range(len(self._focused), len(self._focused) + steps):
            step()
            self.wait_until(partial(self._has_moved, number))
            passed.append(self._name(*self._focused[number]))
            if passed[-1].startswith(to):
                return
        raise AssertionError(f"no {to!r} among {passed}")

    def _has_moved(self, times: int) -> bool:
        return len(self._focused) > times

    def _name(self, program: str, path: str) -> str:
        with closing(open_dbus_connection(bus=self._bus)) as connection:
            here = DBusAddress(path, program, _ACCESSIBLE)
            name = _ask(connection, Properties(here).get("Name"))
        return str(name[0][1]) if name else ""

    def _matches(self) -> list[MatchRule]:
        return [MatchRule(type="signal", interface=_EVENTS, member="StateChanged")]

    def _handle_signal(self, message: Message) -> None:
        fields = message.header.fields
        if message.body[0] == "focused" and message.body[1]:
            self._focused.append((fields[HeaderFields.sender], fields[HeaderFields.path]))

    def _call(self, member: str, message: Message) -> tuple[str, tuple[Any, ...]] | None:
        match member:
            case "Embed":
                self.programs.append(message.header.fields[HeaderFields.sender])
                return "(so)", ((_REGISTRY, _ROOT),)
            case "GetRegisteredEvents":
                return "a(ss)", ([(_REGISTRY, "focus:")],)
            case "NotifyListenersSync":
                return "b", (False,)
        return None


def _walk(connection: DBusConnection, program: str, path: str) -> Iterator[str]:
    """Yield the texts on the screen of an object and its descendants.

    Removed objects are left out.
    """
    here = DBusAddress(path, program, _ACCESSIBLE)
    name = _ask(connection, Properties(here).get("Name"))
    states = _ask(connection, new_method_call(here, "GetState"))
    if name and name[0][1] and states and states[0][0] >> _STATE_SHOWING & 1:
        yield name[0][1]
    children = _ask(connection, new_method_call(here, "GetChildren"))
    for child_program, child in children[0] if children else ():
        yield from _walk(connection, child_program, child)


def _ask(connection: DBusConnection, call: Message) -> tuple[Any, ...] | None:
    reply = connection.send_and_get_reply(call, timeout=PATIENCE)
    is_error = reply.header.message_type is MessageType.error
    return None if is_error else reply.body
