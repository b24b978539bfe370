"""The tier of a test: the requirements of the test, derived from its folder and its fixtures.

`packaging/test --unit` runs the first tier only, and installs nothing with apt.
"""

from collections.abc import Callable, Iterable
from enum import StrEnum
from pathlib import PurePath


class Tier(StrEnum):
    """The tiers, from the fewest requirements to the most; the values are the markers."""

    UNIT = "unit"
    """Uses values only: opens no connection, starts no program and loads no Qt."""
    SOCKET = "socket"
    """Uses loopback sockets, Unix sockets or Python programs of the project."""
    COUNTERPART = "counterpart"
    """Uses programs that packaging/test installs: Squid, GNOME Keyring, curl, Chromium."""
    DESKTOP = "desktop"
    """Uses Qt, on the offscreen platform or on an X server of its own."""


DESCRIPTIONS = {
    Tier.UNIT: "uses values only: no connection, no program, no Qt",
    Tier.SOCKET: "uses loopback or Unix sockets, or Python programs of the project",
    Tier.COUNTERPART: "uses programs that packaging/test installs",
    Tier.DESKTOP: "uses Qt",
}

FOLDERS = {
    "auth": Tier.UNIT,
    "bench": Tier.COUNTERPART,
    "cli": Tier.SOCKET,
    "control": Tier.SOCKET,
    "demo": Tier.SOCKET,
    "desk": Tier.UNIT,
    "desktop": Tier.COUNTERPART,
    "domain": Tier.UNIT,
    "end2end": Tier.COUNTERPART,
    "engine": Tier.SOCKET,
    "fuzz": Tier.UNIT,
    "http": Tier.UNIT,
    "importers": Tier.SOCKET,
    "mutation": Tier.UNIT,
    "pac": Tier.SOCKET,
    "packaging": Tier.COUNTERPART,
    "profiles": Tier.UNIT,
    "recipes": Tier.COUNTERPART,
    "routing": Tier.UNIT,
    "service": Tier.SOCKET,
    "soak": Tier.COUNTERPART,
    "support": Tier.COUNTERPART,
    "system_settings": Tier.UNIT,
    "ui": Tier.DESKTOP,
    "windows": Tier.DESKTOP,
}
"""By the folder below ``tests``. The modules in ``tests`` itself check the project as a whole; they
are in the tier `Tier.COUNTERPART`."""

UNIT_FOLDER = "unit"
"""A folder of this name below another folder holds the unit tests of that folder."""

FIXTURES = {
    "clients": Tier.COUNTERPART,
    "namespace": Tier.SOCKET,
    "no_session": Tier.COUNTERPART,
    "qapp": Tier.DESKTOP,
    "qtbot": Tier.DESKTOP,
    "run_python": Tier.SOCKET,
    "service": Tier.SOCKET,
    "session": Tier.COUNTERPART,
    "start": Tier.SOCKET,
}
"""By fixture, for tests with more requirements than the other tests of their folder."""

_ORDER = list(Tier)
_FORBIDDEN = frozenset(("socket.bind", "socket.connect", "subprocess.Popen", "os.posix_spawn"))


class TierError(AssertionError):
    """A test of the tier `Tier.UNIT` uses more than values."""


def folder_tier(folder: PurePath) -> Tier:
    """Return the tier of a folder, given relative to the folder ``tests``."""
    if UNIT_FOLDER in folder.parts:
        return Tier.UNIT
    return FOLDERS.get(folder.parts[0], Tier.COUNTERPART) if folder.parts else Tier.COUNTERPART


def tier_of(path: PurePath, fixtures: Iterable[str]) -> Tier:
    """Return the tier of a test.

    Args:
        path: The module of the test, relative to the folder ``tests``.
        fixtures: The names of the fixtures that the test uses, directly or by another fixture.
    """
    needs = [folder_tier(path.parent), *(FIXTURES[name] for name in fixtures if name in FIXTURES)]
    return max(needs, key=_ORDER.index)


def unit_guard(is_unit: Callable[[], bool]) -> Callable[[str, tuple[object, ...]], None]:
    """Return an audit hook (`sys.addaudithook`) that raises `TierError` where a unit test opens a
    connection or starts a program.

    Args:
        is_unit: Returns True while a test of the tier `Tier.UNIT` runs.
    """

    def audit(event: str, arguments: tuple[object, ...]) -> None:
        if event in _FORBIDDEN and is_unit():
            raise TierError(f"a unit test must not do this: {event} {arguments[:2]!r}")

    return audit
