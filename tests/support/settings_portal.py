"""A fake desktop portal that reports the preferred colour scheme to programs."""

from enum import IntEnum
from types import MappingProxyType
from typing import Any

from jeepney import Message

from tests.support.tray_host import BusProgram

_NAME = "org.freedesktop.portal.Desktop"
_APPEARANCE = "org.freedesktop.appearance"
_SCHEME = "color-scheme"


class ColorScheme(IntEnum):
    """The preference, with the numbers of the portal's ``color-scheme``."""

    DARK = 1
    LIGHT = 2


class SettingsPortal(BusProgram):
    """Owns the bus name of the desktop portal; implements its settings only."""

    ENVIRONMENT = MappingProxyType({"QT_QPA_PLATFORMTHEME": "xdgdesktopportal"})
    """Variables with which a Qt program reads the portal on any desktop."""

    def __init__(self, bus: str, appearance: ColorScheme) -> None:
        """Connect to the bus."""
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
                # The old method wraps the value in two variants.
                return "v", (("v", value),)
            case "Get":
                # The version of another interface of the portal; 0 means that it is missing.
                return "v", (("u", 0),)
        return None
