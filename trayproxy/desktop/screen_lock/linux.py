"""Linux: whether the screen is locked, by what the desktop says on both D-Buses.

Two have to be heard, because no desktop says it everywhere:

- logind keeps a ``LockedHint`` for each session (org.freedesktop.login1(5)). Its signals ``Lock``
  and ``Unlock`` are not facts but requests to the desktop, and ``Unlock`` comes only where
  somebody asks for it by ``loginctl``: a screen that has no locker would stay locked for us.
- screen savers say ``ActiveChanged`` (Idle Inhibition Service specification; GNOME, Cinnamon, MATE
  and Xfce each have a name of their own for it). One that leaves the bus locks nothing any more.

Nothing is started that does not run, and nothing wakes up but for a message.
"""

import logging
import select
import socket
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from trayproxy.desktop.screen_lock.base import ChangeFilter, OnLockChange

if TYPE_CHECKING:
    from jeepney import Message
    from jeepney.io.blocking import DBusConnection

logger = logging.getLogger(__name__)

SAVERS = {
    "org.freedesktop.ScreenSaver": "/org/freedesktop/ScreenSaver",
    "org.gnome.ScreenSaver": "/org/gnome/ScreenSaver",
    "org.cinnamon.ScreenSaver": "/org/cinnamon/ScreenSaver",
    "org.mate.ScreenSaver": "/org/mate/ScreenSaver",
    "org.xfce.ScreenSaver": "/org/xfce/ScreenSaver",
}
"""Names on the session bus, which are those of their interfaces, too; and their objects."""

LOGIND = "org.freedesktop.login1"
_MANAGER_PATH = "/org/freedesktop/login1"
_MANAGER = "org.freedesktop.login1.Manager"
_SESSION = "org.freedesktop.login1.Session"
_HINT = "LockedHint"
_PROPERTIES = "org.freedesktop.DBus.Properties"
_BUS = "org.freedesktop.DBus"
_STOP_S = 2.0
"""More than a bus may take at the start."""


class LinuxScreenLock:
    """Listens to both buses in a thread."""

    def __init__(
        self, on_change: OnLockChange, session: str = "SESSION", system: str = "SYSTEM"
    ) -> None:
        """Open nothing.

        Args:
            on_change: Told of each change.
            session: The address of the session bus; by default the environment's.
            system: The address of the system bus.
        """
        self._changes = ChangeFilter(on_change)
        self._buses: tuple[tuple[str, type[BusSource]], ...] = (
            (session, ScreenSaverSource),
            (system, LogindSource),
        )
        self._wake, self._waker = socket.socketpair()
        self._thread = threading.Thread(target=self._run, name="screen", daemon=True)

    def start(self) -> None:
        """Watch from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Watch no more."""
        self._waker.close()
        if self._thread.ident is not None:
            self._thread.join(_STOP_S)
        self._wake.close()

    def _run(self) -> None:
        connections = [
            connection for bus, source in self._buses if (connection := _open(bus, source))
        ]
        try:
            while connections:
                self._changes.update(any(connection.source.is_locked for connection in connections))
                sources: list[socket.socket | BusConnection] = [self._wake, *connections]
                ready, _, _ = select.select(sources, [], [])
                if self._wake in ready:
                    return
                # A bus that has gone says nothing any more, and keeps nothing locked.
                connections = [
                    connection
                    for connection in connections
                    if connection not in ready or connection.process_messages()
                ]
            self._changes.update(False)
        finally:
            for connection in connections:
                connection.close()


class BusSource(Protocol):
    """What says on one bus whether the screen is locked."""

    @property
    def is_locked(self) -> bool:
        """Whether it says so at present."""
        ...

    def start(self, connection: "BusConnection") -> None:
        """Ask for what is to be known."""
        ...

    def on_signal(self, message: "Message") -> None:
        """Take in a signal."""
        ...


class ScreenSaverSource:
    """The screen savers of the session bus."""

    def __init__(self) -> None:
        """Know of none."""
        self._active: dict[str, bool] = {}
        self._connection: BusConnection | None = None

    @property
    def is_locked(self) -> bool:
        """Whether one of them is active."""
        return any(self._active.values())

    def start(self, connection: "BusConnection") -> None:
        """Listen to each that there is now, and that comes later."""
        self._connection = connection
        for name in SAVERS:
            connection.subscribe(sender=name, interface=name, member="ActiveChanged")
            connection.subscribe(sender=_BUS, interface=_BUS, member="NameOwnerChanged", arg0=name)
            self._request_state(name)

    def on_signal(self, message: "Message") -> None:
        """Take in what one of them says, or that it has come or gone."""
        match _interface_and_member(message), message.body:
            case (interface, "ActiveChanged"), (bool(is_active),) if interface in SAVERS:
                self._active[interface] = is_active
            case (_, "NameOwnerChanged"), (str(name), _, str(new)) if name in SAVERS:
                self._active[name] = False
                if new:
                    self._request_state(name)

    def _request_state(self, name: str) -> None:
        def on_reply(body: "Sequence[object]") -> None:
            self._active[name] = list(body) == [True]

        if self._connection is not None:
            self._connection.call(name, SAVERS[name], name, "GetActive", on_reply)


class LogindSource:
    """The session of this person in logind, on the system bus."""

    def __init__(self) -> None:
        """Know nothing."""
        self.is_locked = False

    def start(self, connection: "BusConnection") -> None:
        """Find the session, and listen to it.

        ``auto`` is the session of the caller or, of a service without one, the graphical session of
        its user (since systemd 243).
        """

        def on_session(body: "Sequence[object]") -> None:
            match body:
                case (str(path),):
                    connection.subscribe(
                        sender=LOGIND, path=path, interface=_PROPERTIES, member="PropertiesChanged"
                    )
                    connection.call(
                        LOGIND, path, _PROPERTIES, "Get", self._set_hint, _SESSION, _HINT
                    )

        connection.call(LOGIND, _MANAGER_PATH, _MANAGER, "GetSession", on_session, "auto")

    def on_signal(self, message: "Message") -> None:
        """Take in a change of the session."""
        match _interface_and_member(message), message.body:
            case (_, "PropertiesChanged"), (str(interface), dict(changed), _):
                if interface == _SESSION and _HINT in changed:
                    self._set_hint([changed[_HINT]])

    def _set_hint(self, body: "Sequence[object]") -> None:
        # A variant comes with its signature.
        self.is_locked = list(body) == [("b", True)]


class BusConnection:
    """A connection to a bus, and what is asked on it."""

    def __init__(self, connection: "DBusConnection", source: BusSource) -> None:
        """Ask what the source wants to know."""
        self._connection = connection
        self._pending_replies: dict[int, Callable[[Sequence[object]], None]] = {}
        self.source = source
        source.start(self)

    def fileno(self) -> int:
        """Return what to wait for."""
        return int(self._connection.sock.fileno())

    def subscribe(self, *, arg0: str | None = None, **match: str) -> None:
        """Have signals sent to us.

        Args:
            arg0: The first argument that they must have.
            match: What else they must be.
        """
        from jeepney import MatchRule, message_bus

        rule = MatchRule(type="signal", **match)
        if arg0 is not None:
            rule.add_arg_condition(0, arg0)
        self._connection.send(message_bus.AddMatch(rule))

    def call(
        self,
        name: str,
        path: str,
        interface: str,
        member: str,
        on_reply: Callable[[Sequence[object]], None],
        *arguments: str,
    ) -> None:
        """Call a method of something that runs; nothing is started for it.

        Args:
            name: Whose.
            path: Its object.
            interface: Of the method.
            member: The method.
            on_reply: Gets what it returned, nothing if it was an error.
            arguments: Its arguments.
        """
        from jeepney import DBusAddress, new_method_call
        from jeepney.low_level import MessageFlag

        address = DBusAddress(path, bus_name=name, interface=interface)
        message = new_method_call(address, member, "s" * len(arguments), arguments)
        message.header.flags = MessageFlag.no_auto_start
        serial = next(self._connection.outgoing_serial)
        self._pending_replies[serial] = on_reply
        self._connection.send(message, serial=serial)

    def process_messages(self) -> bool:
        """Take in what has come; return whether the bus is still there."""
        try:
            while True:
                self._dispatch(self._connection.receive(timeout=0))
        except TimeoutError:
            return True
        except (OSError, ValueError) as error:
            logger.info("a bus says no more whether the screen is locked: %s", error)
            self.close()
            return False

    def close(self) -> None:
        """Leave the bus."""
        self._connection.close()

    def _dispatch(self, message: "Message") -> None:
        from jeepney import HeaderFields, MessageType

        kind = message.header.message_type
        if kind is MessageType.signal:
            self.source.on_signal(message)
        elif on_reply := self._pending_replies.pop(
            message.header.fields.get(HeaderFields.reply_serial, 0), None
        ):
            on_reply(message.body if kind is MessageType.method_return else ())


def _open(bus: str, source: Callable[[], BusSource]) -> BusConnection | None:
    """Return a line to a bus, None if there is no such bus."""
    from jeepney.io.blocking import open_dbus_connection

    try:
        return BusConnection(open_dbus_connection(bus=bus), source())
    except (OSError, KeyError, ValueError, RuntimeError) as error:
        # KeyError: there is no address in the environment, as in a container.
        logger.info("whether the screen is locked is not known by the %s bus: %r", bus, error)
        return None


def _interface_and_member(message: "Message") -> tuple[str, str]:
    from jeepney import HeaderFields

    fields = message.header.fields
    return fields.get(HeaderFields.interface, ""), fields.get(HeaderFields.member, "")
