"""Fake screen savers and a fake logind on a bus; the test locks the screen."""

from typing import Any

from jeepney import Message

from tests.support.tray_host import BusProgram

LOGIND = "org.freedesktop.login1"
SESSION = "/org/freedesktop/login1/session/_31"
_PROPERTIES = "org.freedesktop.DBus.Properties"


class ScreenSaver(BusProgram):
    """The screen saver of a desktop; the name on the bus is also the name of its interface."""

    def __init__(self, bus: str, name: str, *, active: bool = False) -> None:
        self._name = name
        self.active = active
        self.asked = 0
        super().__init__(bus, name)

    def set(self, active: bool) -> None:
        """Change the state, and emit a signal."""
        self.active = active
        path = "/" + self._name.replace(".", "/")
        self._emit(path, self._name, "ActiveChanged", "b", active)

    def _call(self, member: str, message: Message) -> tuple[str, tuple[Any, ...]] | None:
        if member != "GetActive":
            return None
        self.asked += 1
        return "b", (self.active,)


class Logind(BusProgram):
    """A logind with one session."""

    def __init__(self, bus: str, *, locked: bool = False) -> None:
        """Connect to the bus; `locked` is the initial ``LockedHint`` of the session."""
        self.locked = locked
        self.asked = 0
        super().__init__(bus, LOGIND)

    def set(self, locked: bool) -> None:
        """Change the hint, and emit a signal."""
        self.locked = locked
        changed = {"LockedHint": ("b", locked), "IdleHint": ("b", locked)}
        signature, interface = "sa{sv}as", "org.freedesktop.login1.Session"
        self._emit(SESSION, _PROPERTIES, "PropertiesChanged", signature, interface, changed, [])

    def ask_to_lock(self) -> None:
        """Request the desktop to lock the session, like ``loginctl lock-session``."""
        self._emit(SESSION, "org.freedesktop.login1.Session", "Lock")

    def _call(self, member: str, message: Message) -> tuple[str, tuple[Any, ...]] | None:
        match member, message.body:
            case "GetSession", ("auto",):
                return "o", (SESSION,)
            case "Get", ("org.freedesktop.login1.Session", "LockedHint"):
                self.asked += 1
                return "v", (("b", self.locked),)
        return None
