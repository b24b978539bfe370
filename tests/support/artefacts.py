"""Files about failed tests in ``tests/artefacts``: texts of counterparts, pictures of screens."""

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Protocol, runtime_checkable

ARTEFACTS = Path(__file__).parents[1] / "artefacts"


@runtime_checkable
class Screen(Protocol):
    """A fixture of which a picture can be taken, such as `tests.support.display.Desktop`."""

    def shoot(self, path: Path) -> None:
        """Write a picture."""


def artefact(name: str, suffix: str, folder: Path = ARTEFACTS) -> Path:
    """Return the path of a file to be written; its folder exists.

    The name describes the content, ``test_x[y] squid``; the suffix is, for example, ``.png``.
    """
    folder.mkdir(exist_ok=True)
    safe = "".join(c if c.isalnum() or c in "-_.[]" else "-" for c in name)
    return folder / f"{safe[:120]}{suffix}"


def keep_pictures(name: str, fixtures: Iterable[object], folder: Path = ARTEFACTS) -> list[Path]:
    """Take pictures of the screens of a failed test.

    Args:
        fixtures: The values of its fixtures. Each `Screen` among them is kept.

    Returns:
        The pictures; none of an X server after its end.
    """
    pictures = []
    for screen in (value for value in fixtures if isinstance(value, Screen)):
        path = artefact(name, ".png", folder)
        with suppress(AssertionError, OSError):
            screen.shoot(path)
            pictures.append(path)
    return pictures


def keep_windows(name: str, folder: Path = ARTEFACTS) -> list[Path]:
    """Draw the visible windows of this process into files; return the files."""
    # Here, since most tests do not use Qt.
    from PySide6.QtWidgets import QApplication

    pictures = []
    windows = [window for window in QApplication.topLevelWidgets() if window.isVisible()]
    for number, window in enumerate(windows):
        path = artefact(f"{name} {window.objectName()} {number}", ".png", folder)
        if window.grab().save(str(path)):
            pictures.append(path)
    return pictures
