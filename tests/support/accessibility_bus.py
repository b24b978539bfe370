"""The real accessibility bus of a Linux desktop (at-spi2-core), and a listener on it.

For tests that only read windows, `tests.support.screen_reader` has a fake registry instead.
"""

from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from jeepney import DBusAddress, HeaderFields, Message, MessageType, new_method_call
from jeepney.bus_messages import Monitoring
from jeepney.io.blocking import DBusConnection, open_dbus_connection

from tests.support.bus import session_bus, wait_for_name
from tests.support.process_output import PATIENCE
from tests.support.processes import Home, running
from tests.support.tray_host import BusReceiver

PASSWORD_TEXT = 40
"""AtspiRole of a field with hidden text."""
TEXT = 61
"""AtspiRole of a field with visible text."""

_LAUNCHER = "/usr/libexec/at-spi-bus-launcher"
_BUS = "org.a11y.Bus"
_REGISTRY = "org.a11y.atspi.Registry"
_ACCESSIBLE = "org.a11y.atspi.Accessible"
_TEXT = "org.a11y.atspi.Text"
_COMPONENT = "org.a11y.atspi.Component"
_ROOT = "/org/a11y/atspi/accessible/root"
_EVENTS = ("object:text-changed", "object:text-caret-moved", "object:property-change")


@dataclass(frozen=True, slots=True)
class AccessibilityBus:
    """A running accessibility bus; programs request its address on the session bus."""

    session: str
    address: str

    def environment(self) -> dict[str, str]:
        """Return variables with which a Qt program connects to this bus."""
        return {
            "DBUS_SESSION_BUS_ADDRESS": self.session,
            "QT_ACCESSIBILITY": "1",
            "QT_LINUX_ACCESSIBILITY_ALWAYS_ON": "1",
        }


@contextmanager
def accessibility_bus(place: Home) -> Iterator[AccessibilityBus]:
    """Run a session bus and an accessibility bus, like a desktop."""
    with session_bus(place) as session:
        environment = place.environment(DBUS_SESSION_BUS_ADDRESS=session)
        argv = [_LAUNCHER, "--launch-immediately", "--a11y=1"]
        with running(argv, env=environment, cwd=place.root):
            wait_for_name(session, _BUS)
            with closing(open_dbus_connection(bus=session)) as connection:
                launcher = DBusAddress("/org/a11y/bus", _BUS, _BUS)
                (address,) = _ask(connection, new_method_call(launcher, "GetAddress"))
            yield AccessibilityBus(session, address)


@dataclass(frozen=True, slots=True)
class Field:
    """An object with text in a window: the bus name of the program, the path and the AtspiRole."""

    program: str
    path: str
    role: int


@dataclass(frozen=True, slots=True)
class TextChange:
    """A reported change of a text; the kind is ``insert`` or ``delete``."""

    path: str
    kind: str
    text: str


class BusListener(BusReceiver):
    """Records all messages on the accessibility bus, as any program of the session can."""

    def __init__(self, bus: AccessibilityBus) -> None:
        """Register for the events of screen readers, and start recording."""
        self._asking = open_dbus_connection(bus=bus.address)
        registry = DBusAddress("/org/a11y/atspi/registry", _REGISTRY, _REGISTRY)
        for event in _EVENTS:
            _ask(self._asking, new_method_call(registry, "RegisterEvent", "sass", (event, [], "")))
        self._messages: list[Message] = []
        monitor = open_dbus_connection(bus=bus.address)
        _ask(monitor, Monitoring().BecomeMonitor([]))
        super().__init__(monitor, "listener")

    def close(self) -> None:
        """Disconnect from the bus."""
        super().close()
        self._asking.close()

    def changes(self, field: Field) -> list[TextChange]:
        """Return the changes of a text so far, in their order."""
        with self.changed:
            found = map(_text_change, self._messages)
            return [one for one in found if one and one.path == field.path]

    def heard(self) -> str:
        """Return all values in messages, including calls and replies."""
        with self.changed:
            return "\n".join(repr(message.body) for message in self._messages)

    def wait_for_field(self, role: int) -> Field:
        """Wait until a program shows a field of a role; return it."""
        found: list[Field] = []

        def is_there() -> bool:
            found.extend(field for field in self._fields() if field.role == role)
            return bool(found)

        self.wait_until(is_there)
        return found[0]

    def read(self, field: Field) -> str:
        """Return the text of a field as read by a screen reader."""
        address = DBusAddress(field.path, field.program, _TEXT)
        (text,) = _ask(self._asking, new_method_call(address, "GetText", "ii", (0, -1)))
        return str(text)

    def centre(self, field: Field) -> tuple[int, int]:
        """Return the middle of a field in pixels of the screen."""
        address = DBusAddress(field.path, field.program, _COMPONENT)
        ((x, y, width, height),) = _ask(
            self._asking, new_method_call(address, "GetExtents", "u", (0,))
        )
        return x + width // 2, y + height // 2

    def _fields(self) -> Iterator[Field]:
        yield from _walk(self._asking, _REGISTRY, _ROOT)

    def _handle(self, message: Message) -> None:
        with self.changed:
            self._messages.append(message)


def _text_change(message: Message) -> TextChange | None:
    fields = message.header.fields
    if (
        message.header.message_type is not MessageType.signal
        or fields.get(HeaderFields.member) != "TextChanged"
    ):
        return None
    kind, _, _, (_, text), *_ = message.body
    return TextChange(fields[HeaderFields.path], kind.partition("/")[0], text)


def _walk(connection: DBusConnection, program: str, path: str) -> Iterator[Field]:
    """Yield an object and its descendants; removed objects are left out."""
    here = DBusAddress(path, program, _ACCESSIBLE)
    with suppress(_RefusedError):
        (role,) = _ask(connection, new_method_call(here, "GetRole"))
        yield Field(program, path, role)
        (children,) = _ask(connection, new_method_call(here, "GetChildren"))
        for child_program, child in children:
            yield from _walk(connection, child_program, child)


class _RefusedError(Exception):
    """A program on the bus replied with an error."""


def _ask(connection: DBusConnection, call: Message) -> tuple[Any, ...]:
    reply = connection.send_and_get_reply(call, timeout=PATIENCE)
    if reply.header.message_type is MessageType.error:
        raise _RefusedError(reply.body)
    return tuple(reply.body)
