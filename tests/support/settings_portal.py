"""The part of a desktop that tells programs whether the person wants light or dark windows."""

from enum import IntEnum
from types import MappingProxyType
from typing import Any

from jeepney import Message

from tests.support.tray_host import BusProgram

_NAME = "org.freedesktop.portal.Desktop"
_APPEARANCE = "org.freedesktop.appearance"
_SCHEME = "color-scheme"


class ColorScheme(IntEnum):
    """What the person prefers, with the numbers of the portal's ``color-scheme``."""

    DARK = 1
    LIGHT = 2


class SettingsPortal(BusProgram):
    """Owns the name of the desktop portal, and answers for its settings alone."""

    ENVIRONMENT = MappingProxyType({"QT_QPA_PLATFORMTHEME": "xdgdesktopportal"})
    """What makes a Qt program ask the portal, whatever desktop it is on."""

    def __init__(self, bus: str, appearance: ColorScheme) -> None:
        """Appear on the bus.

        Args:
            bus: Its address.
            appearance: What programs are told.
        """
        self._appearance = appearance
        super().__init__(bus, _NAME)

    def _call(self, member: str, message: Message) -> tuple[str, tuple[Any, ...]] | None:
        value = ("u", int(self._appearance))
        match member:
            case "ReadAll":
                return "a{sa{sv}}", ({_APPEARANCE: {_SCHEME: value}},)
            case "ReadOne" if message.body == (_APPEARANCE, _SCHEME):
                return "v", (value,)
            case "Read" if message.body == (_APPEARANCE, _SCHEME):
                # The old call wraps the value twice.
                return "v", (("v", value),)
            case "Get":
                # The version of a part of the portal: there is none.
                return "v", (("u", 0),)
        return None
