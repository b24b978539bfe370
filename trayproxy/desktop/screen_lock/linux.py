"""Linux: the lock of the screen, by D-Bus signals of logind and of screen savers.

The watch listens on the system bus and on the session bus, because no service is available on
every desktop:

- logind has the property ``LockedHint`` for each session (org.freedesktop.login1(5)). The signals
  ``Lock`` and ``Unlock`` of logind are not used: they are requests to the desktop, and ``Unlock``
  is sent only for ``loginctl unlock-session``. On a desktop without a screen locker, the screen
  would count as locked for ever.
- Screen savers send the signal ``ActiveChanged`` (Idle Inhibition Service specification; GNOME,
  Cinnamon, MATE and Xfce each have an interface of their own for it). When a screen saver leaves
  the bus, it no longer counts as active.

The watch starts no D-Bus service, and its thread wakes up only for messages.
"""

import logging
import select
import socket
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from trayproxy.desktop.screen_lock.base import OnLockChange, ThreadedScreenLockWatch

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
"""The object path of each screen saver, by its name on the session bus. Its interface has the same
name."""

LOGIND = "org.freedesktop.login1"
_MANAGER_PATH = "/org/freedesktop/login1"
_MANAGER = "org.freedesktop.login1.Manager"
_SESSION = "org.freedesktop.login1.Session"
_HINT = "LockedHint"
_PROPERTIES = "org.freedesktop.DBus.Properties"
_BUS = "org.freedesktop.DBus"


class LinuxScreenLock(ThreadedScreenLockWatch):
    """A watch that listens to the session bus and the system bus."""

    def __init__(
        self, on_change: OnLockChange, session: str = "SESSION", system: str = "SYSTEM"
    ) -> None:
        """Create a watch without connecting to a bus.

        `session` and `system` are the addresses of the buses; by default, the addresses in the
        environment or the standard address of the system bus.
        """
        super().__init__(on_change)
        self._buses: tuple[tuple[str, type[BusSource]], ...] = (
            (session, ScreenSaverSource),
            (system, LogindSource),
        )
        self._wake, self._waker = socket.socketpair()

    def stop(self) -> None:
        """Stop the thread, and wait until it has ended."""
        super().stop()
        self._wake.close()

    def _interrupt(self) -> None:
        self._waker.close()

    def _run(self) -> None:
        connections = [
            connection for bus, source in self._buses if (connection := _open(bus, source))
        ]
        try:
            while connections:
                self._update(any(connection.source.is_locked for connection in connections))
                sources: list[socket.socket | BusConnection] = [self._wake, *connections]
                ready, _, _ = select.select(sources, [], [])
                if self._wake in ready:
                    return
                # A bus that has closed its connection reports no lock any more.
                connections = [
                    connection
                    for connection in connections
                    if connection not in ready or connection.process_messages()
                ]
            self._update(False)
        finally:
            for connection in connections:
                connection.close()


class BusSource(Protocol):
    """A D-Bus service that reports the lock of the screen."""

    @property
    def is_locked(self) -> bool:
        """True if the service reports a locked screen."""

    def start(self, connection: "BusConnection") -> None:
        """Subscribe to the signals of the service, and request its present state."""

    def on_signal(self, message: "Message") -> None:
        """Update the state from a received signal."""


class ScreenSaverSource:
    """The screen savers on the session bus."""

    def __init__(self) -> None:
        self._active: dict[str, bool] = {}
        self._connection: BusConnection | None = None

    @property
    def is_locked(self) -> bool:
        """True if a screen saver is active."""
        return any(self._active.values())

    def start(self, connection: "BusConnection") -> None:
        """Subscribe to all screen savers, including those not yet started."""
        self._connection = connection
        for name in SAVERS:
            connection.subscribe(sender=name, interface=name, member="ActiveChanged")
            connection.subscribe(sender=_BUS, interface=_BUS, member="NameOwnerChanged", arg0=name)
            self._request_state(name)

    def on_signal(self, message: "Message") -> None:
        """Update the state of a screen saver after it has changed, started or ended."""
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
    """The session of this user in logind, on the system bus."""

    def __init__(self) -> None:
        self.is_locked = False

    def start(self, connection: "BusConnection") -> None:
        """Find the session, subscribe to the changes of its properties, and request its hint.

        ``auto`` is the session of the calling process; if the process has none, the graphical
        session of its user (since systemd 243).
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
        """Update the state from changed properties of the session."""
        match _interface_and_member(message), message.body:
            case (_, "PropertiesChanged"), (str(interface), dict(changed), _):
                if interface == _SESSION and _HINT in changed:
                    self._set_hint([changed[_HINT]])

    def _set_hint(self, body: "Sequence[object]") -> None:
        # jeepney returns a variant as its signature and its value.
        self.is_locked = list(body) == [("b", True)]


class BusConnection:
    """A connection to a bus, with a callback for each pending reply."""

    def __init__(self, connection: "DBusConnection", source: BusSource) -> None:
        """Start a source on a connection to a bus."""
        self._connection = connection
        self._pending_replies: dict[int, Callable[[Sequence[object]], None]] = {}
        self.source = source
        source.start(self)

    def fileno(self) -> int:
        """Return the file descriptor of the connection, for `select.select`."""
        return int(self._connection.sock.fileno())

    def subscribe(self, *, arg0: str | None = None, **match: str) -> None:
        """Subscribe to the signals with these fields and this first argument, None for any."""
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
        """Call a method of a D-Bus service without waiting for the reply.

        The bus does not start a service for this call. `on_reply` is called with the body of the
        reply, or with an empty sequence after an error.
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
        """Process all received messages. Return False, and close, if the bus has disconnected."""
        try:
            while True:
                self._dispatch(self._connection.receive(timeout=0))
        except TimeoutError:
            return True
        except (OSError, ValueError) as error:
            logger.info("a bus that reports the lock of the screen has disconnected: %s", error)
            self.close()
            return False

    def close(self) -> None:
        """Close the connection."""
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
    """Connect to a bus and start a source on it; return None if the bus cannot be reached."""
    from jeepney.io.blocking import open_dbus_connection

    try:
        return BusConnection(open_dbus_connection(bus=bus), source())
    except (OSError, KeyError, ValueError, RuntimeError) as error:
        # KeyError: the environment has no address of the bus, as in a container.
        logger.info("the lock of the screen is not reported by the %s bus: %r", bus, error)
        return None


def _interface_and_member(message: "Message") -> tuple[str, str]:
    from jeepney import HeaderFields

    fields = message.header.fields
    return fields.get(HeaderFields.interface, ""), fields.get(HeaderFields.member, "")
