"""A fake tray host and a fake notification service on a session bus, which record calls.

The host acts as a panel: it owns ``org.kde.StatusNotifierWatcher``, reads the properties and the
menu of an item, and clicks. It draws nothing.
"""

import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from jeepney import (
    DBusAddress,
    HeaderFields,
    MatchRule,
    Message,
    MessageType,
    message_bus,
    new_error,
    new_method_call,
    new_method_return,
    new_signal,
)
from jeepney.io.blocking import DBusConnection, open_dbus_connection
from jeepney.low_level import MessageFlag

from tests.support.closeable import Closeable
from tests.support.process_output import PATIENCE

WATCHER = "org.kde.StatusNotifierWatcher"
ITEM = "org.kde.StatusNotifierItem"
MENU = "com.canonical.dbusmenu"
NOTIFICATIONS = "org.freedesktop.Notifications"
_PROPERTIES = "org.freedesktop.DBus.Properties"
_WATCHER_PATH = "/StatusNotifierWatcher"
_NOTIFICATIONS_PATH = "/org/freedesktop/Notifications"


class BusReceiver(Closeable):
    """A connection to the bus whose messages are handled in a thread."""

    def __init__(self, connection: DBusConnection, name: str) -> None:
        self._connection = connection
        self.changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Disconnect from the bus, like a crashed program."""
        with suppress(OSError):
            self._connection.sock.shutdown(socket.SHUT_RDWR)
        self._thread.join(PATIENCE)
        self._connection.close()

    def wait_until(self, holds: Callable[[], object], timeout: float = PATIENCE) -> None:
        """Wait until a condition holds; it is evaluated after each message."""
        deadline = time.monotonic() + timeout
        while not holds():
            with self.changed:
                left = deadline - time.monotonic()
                assert left > 0, f"the condition does not hold after {timeout} s"
                self.changed.wait(min(left, 0.5))

    def _work(self) -> None:
        while True:
            try:
                message = self._connection.receive()
            except (OSError, EOFError):
                return
            self._handle(message)
            with self.changed:
                self.changed.notify_all()

    def _handle(self, message: Message) -> None:
        """Handle a message."""
        raise NotImplementedError


class BusProgram(BusReceiver):
    """A program on the bus that answers calls in a thread."""

    def __init__(self, bus: str, name: str) -> None:
        connection = open_dbus_connection(bus=bus)
        self._sending = threading.Lock()
        for rule in self._matches():
            connection.send_and_get_reply(message_bus.AddMatch(rule), timeout=PATIENCE)
        reply = connection.send_and_get_reply(message_bus.RequestName(name), timeout=PATIENCE)
        assert reply.body == (1,), f"{name} is taken"
        super().__init__(connection, name)

    def _matches(self) -> list[MatchRule]:
        return []

    def _handle(self, message: Message) -> None:
        if message.header.message_type is MessageType.method_call:
            self._answer(message)
        elif message.header.message_type is MessageType.signal:
            self._handle_signal(message)

    def _answer(self, message: Message) -> None:
        fields = message.header.fields
        result = self._call(fields.get(HeaderFields.member, ""), message)
        if message.header.flags & MessageFlag.no_reply_expected:
            return
        if result is None:
            self._send(new_error(message, "org.freedesktop.DBus.Error.UnknownMethod"))
        else:
            self._send(new_method_return(message, *result))

    def _call(self, member: str, message: Message) -> tuple[str, tuple[Any, ...]] | None:
        """Return the signature and values of the reply; None for an unknown method."""
        raise NotImplementedError

    def _handle_signal(self, message: Message) -> None:
        """Handle a signal."""

    def _emit(
        self, path: str, interface: str, member: str, signature: str = "", *body: object
    ) -> None:
        """Emit a signal."""
        emitter = DBusAddress(path, interface=interface)
        self._send(new_signal(emitter, member, signature or None, body))

    def _send(self, message: Message) -> None:
        with self._sending, suppress(OSError):
            self._connection.send(message)


class FakeTrayHost(BusProgram):
    """Owns the bus name of the watcher."""

    def __init__(self, bus: str, *, has_host: bool = True) -> None:
        """Connect to the bus; `has_host` is True if a panel draws registered items."""
        self.has_host = has_host
        self.items: list[str] = []
        super().__init__(bus, WATCHER)
        self._bus = bus

    def wait_for_item(self, timeout: float = PATIENCE) -> "TrayItem":
        """Wait until an icon is registered."""
        self.wait_until(lambda: self.items, timeout)
        return TrayItem(self._bus, self.items[-1])

    def draw(self) -> None:
        """Start drawing registered items, like a panel that has become ready."""
        self.has_host = True
        self._emit(_WATCHER_PATH, WATCHER, "StatusNotifierHostRegistered")

    def _matches(self) -> list[MatchRule]:
        # Signals of items and menus wake up `wait_until`.
        return [MatchRule(type="signal", interface=name) for name in (ITEM, MENU)]

    def _call(self, member: str, message: Message) -> tuple[str, tuple[Any, ...]] | None:
        match member:
            case "RegisterStatusNotifierItem":
                [service] = message.body
                sender = message.header.fields[HeaderFields.sender]
                self.items.append(sender if service.startswith("/") else service)
                self._emit(_WATCHER_PATH, WATCHER, "StatusNotifierItemRegistered", "s", service)
                return "", ()
            case "Get":
                return "v", (self._property(message.body[1]),)
            case "GetAll":
                names = ("IsStatusNotifierHostRegistered", "ProtocolVersion")
                return "a{sv}", ({name: self._property(name) for name in names},)
        return None

    def _property(self, name: str) -> tuple[str, Any]:
        if name == "IsStatusNotifierHostRegistered":
            return "b", self.has_host
        if name == "RegisteredStatusNotifierItems":
            return "as", self.items
        return "i", 0


@dataclass(frozen=True, slots=True)
class MenuRow:
    """An entry of an exported menu; default values of properties are left out."""

    id: int
    properties: dict[str, Any]
    rows: "tuple[MenuRow, ...]"

    @property
    def label(self) -> str:
        """The displayed text: without the mark of the mnemonic, with doubled marks made single."""
        text = str(self.properties.get("label", ""))
        return text.replace("__", "\0").replace("_", "").replace("\0", "_")

    @property
    def is_visible(self) -> bool:
        """True if the entry is shown."""
        return bool(self.properties.get("visible", True))

    @property
    def is_checked(self) -> bool:
        """True if the radio button is on."""
        return bool(self.properties.get("toggle-state", 0) == 1)


class TrayItem:
    """A tray item as seen by its host."""

    def __init__(self, bus: str, service: str) -> None:
        self._bus = bus
        self._address = DBusAddress("/StatusNotifierItem", bus_name=service, interface=ITEM)

    def get(self, name: str) -> Any:
        """Return a property of the icon."""
        reply = self._call(_PROPERTIES, "Get", "ss", (ITEM, name))
        return reply[0][1]

    @property
    def tooltip(self) -> str:
        """The text of the tooltip."""
        return str(self.get("ToolTip")[2])

    @property
    def pixmap_sizes(self) -> set[int]:
        """The widths of the exported pictures."""
        return {width for width, _, _ in self.get("IconPixmap")}

    @property
    def pixels(self) -> bytes:
        """The picture 22 pixels wide."""
        return next(bytes(data) for width, _, data in self.get("IconPixmap") if width == 22)

    def activate(self) -> None:
        """Click."""
        self._call(ITEM, "Activate", "ii", (0, 0))

    def rows(self) -> tuple[MenuRow, ...]:
        """Return the visible rows of the menu."""
        return tuple(row for row in self._all_rows() if row.is_visible)

    def labels(self) -> list[str]:
        """Return the texts of the visible rows, without separators."""
        return [row.label for row in self.rows() if row.properties.get("type") != "separator"]

    def row(self, label: str) -> MenuRow:
        """Return the visible row with a text that starts with the label, also in submenus."""
        found = [row for row in _flat(self.rows()) if row.label.startswith(label)]
        assert found, f"no {label!r} in {self.labels()}"
        return found[0]

    def click(self, label: str) -> None:
        """Choose a row of the menu."""
        event = (self.row(label).id, "clicked", ("i", 0), 0)
        self._call(MENU, "Event", "isvu", event, path=self.get("Menu"))

    def open_menu(self) -> None:
        """Report that the menu is about to be shown."""
        self._call(MENU, "AboutToShow", "i", (0,), path=self.get("Menu"))

    def _all_rows(self) -> tuple[MenuRow, ...]:
        menu = self.get("Menu")
        _, layout = self._call(MENU, "GetLayout", "iias", (0, -1, []), path=menu)
        return _row(layout).rows

    def _call(
        self, interface: str, member: str, signature: str, body: tuple[Any, ...], path: str = ""
    ) -> Any:
        address = DBusAddress(path or self._address.object_path, self._address.bus_name, interface)
        connection = open_dbus_connection(bus=self._bus)
        try:
            call = new_method_call(address, member, signature, body)
            reply = connection.send_and_get_reply(call, timeout=PATIENCE)
        finally:
            connection.close()
        assert reply.header.message_type is MessageType.method_return, reply.body
        return reply.body


def _row(layout: Any) -> MenuRow:
    number, properties, children = layout
    values = {name: value for name, (_, value) in properties.items()}
    return MenuRow(number, values, tuple(_row(child) for _, child in children))


def _flat(rows: tuple[MenuRow, ...]) -> list[MenuRow]:
    return [found for row in rows for found in (row, *_flat(row.rows))]


@dataclass(frozen=True, slots=True)
class ShownNotification:
    """A requested notification.

    Attributes:
        replaces: The id of the replaced notification, 0 for none.
        actions: Keys and texts alternately.
        expires: The timeout in milliseconds, 0 for none.
    """

    number: int
    replaces: int
    title: str
    body: str
    actions: tuple[str, ...]
    hints: dict[str, Any]
    expires: int


class NotificationService(BusProgram):
    """Owns ``org.freedesktop.Notifications``."""

    def __init__(self, bus: str, capabilities: tuple[str, ...] = ("actions", "body")) -> None:
        """Connect to the bus."""
        self._capabilities = capabilities
        self._all: list[ShownNotification] = []
        self._open: dict[int, ShownNotification] = {}
        super().__init__(bus, NOTIFICATIONS)

    @property
    def open(self) -> list[ShownNotification]:
        """The notifications on the screen."""
        return list(self._open.values())

    @property
    def all(self) -> list[ShownNotification]:
        """All notifications so far."""
        return list(self._all)

    def wait_for_one(self) -> ShownNotification:
        """Wait for a notification on the screen; return it."""
        self.wait_until(lambda: self.open)
        return self.open[-1]

    def choose(self, notification: ShownNotification, key: str, token: str = "") -> None:
        """Click an action, with the activation token of the compositor."""
        if token:
            self._signal("ActivationToken", "us", notification.number, token)
        self._signal("ActionInvoked", "us", notification.number, key)

    def _signal(self, member: str, signature: str, *body: object) -> None:
        self._emit(_NOTIFICATIONS_PATH, NOTIFICATIONS, member, signature, *body)

    def _call(self, member: str, message: Message) -> tuple[str, tuple[Any, ...]] | None:
        match member:
            case "GetCapabilities":
                return "as", (list(self._capabilities),)
            case "GetServerInformation":
                return "ssss", ("test", "test", "1", "1.2")
            case "Notify":
                return "u", (self._notify(message),)
            case "CloseNotification":
                [number] = message.body
                if self._open.pop(number, None) is not None:
                    self._signal("NotificationClosed", "uu", number, 3)
                return "", ()
        return None

    def _notify(self, message: Message) -> int:
        assert message.header.fields[HeaderFields.signature] == "susssasa{sv}i"
        _, replaces, _, title, body, actions, hints, expires = message.body
        number = replaces or len(self._all) + 1
        values = {name: value for name, (_, value) in hints.items()}
        made = ShownNotification(number, replaces, title, body, tuple(actions), values, expires)
        self._all.append(made)
        self._open[number] = made
        return number
