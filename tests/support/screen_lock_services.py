"""Screen savers and logind on a bus, which lock the screen when a test says so."""

from typing import Any

from jeepney import DBusAddress, Message, new_signal

from tests.support.tray_host import BusProgram

LOGIND = "org.freedesktop.login1"
SESSION = "/org/freedesktop/login1/session/_31"
_PROPERTIES = "org.freedesktop.DBus.Properties"


class ScreenSaver(BusProgram):
    """One desktop's screen saver."""

    def __init__(self, bus: str, name: str, *, active: bool = False) -> None:
        """Appear on the bus.

        Args:
            bus: Its address.
            name: Its name there, and that of its interface.
            active: Whether it is active already.
        """
        self._name = name
        self.active = active
        self.asked = 0
        super().__init__(bus, name)

    def set(self, active: bool) -> None:
        """Become active, or inactive, and say so."""
        self.active = active
        path = "/" + self._name.replace(".", "/")
        emitter = DBusAddress(path, interface=self._name)
        self._send(new_signal(emitter, "ActiveChanged", "b", (active,)))

    def _call(self, member: str, message: Message) -> tuple[str, tuple[Any, ...]] | None:
        if member != "GetActive":
            return None
        self.asked += 1
        return "b", (self.active,)


class Logind(BusProgram):
    """logind with one session."""

    def __init__(self, bus: str, *, locked: bool = False) -> None:
        """Appear on the bus.

        Args:
            bus: Its address.
            locked: The session's hint.
        """
        self.locked = locked
        self.asked = 0
        super().__init__(bus, LOGIND)

    def set(self, locked: bool) -> None:
        """Change the hint, and say so."""
        self.locked = locked
        changed = {"LockedHint": ("b", locked), "IdleHint": ("b", locked)}
        emitter = DBusAddress(SESSION, interface=_PROPERTIES)
        body: tuple[Any, ...] = ("org.freedesktop.login1.Session", changed, [])
        self._send(new_signal(emitter, "PropertiesChanged", "sa{sv}as", body))

    def ask_to_lock(self) -> None:
        """Ask the desktop to lock the session, as ``loginctl lock-session`` does."""
        emitter = DBusAddress(SESSION, interface="org.freedesktop.login1.Session")
        self._send(new_signal(emitter, "Lock"))

    def _call(self, member: str, message: Message) -> tuple[str, tuple[Any, ...]] | None:
        match member, message.body:
            case "GetSession", ("auto",):
                return "o", (SESSION,)
            case "Get", ("org.freedesktop.login1.Session", "LockedHint"):
                self.asked += 1
                return "v", (("b", self.locked),)
        return None
