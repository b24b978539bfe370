"""Loads the icon files and renders them at the sizes used by system trays."""

from collections.abc import Iterable
from pathlib import Path

from PySide6.QtCore import QSize, Qt
from PySide6.QtGui import QColor, QGuiApplication, QIcon, QImage, QPainter, QPalette, QPixmap
from PySide6.QtSvg import QSvgRenderer

import trayproxy
from trayproxy.control.icon_state import IconState
from trayproxy.identity import APP_ID

TRAY_SIZES = (16, 20, 22, 24, 32, 40, 44, 48, 64)
"""Pixels. For an SVG icon Qt sends only 22 and 64 pixels, and the desktop scales these."""
_ACTION_SIZES = (16, 24, 32, 48)


def resource_path(name: str) -> Path:
    """Return the path of a file in the ``resources`` folder.

    A wheel contains the folder inside the package; in the source tree the folder is beside the
    package.
    """
    package = Path(trayproxy.__file__).parent
    inside = package / "resources"
    return (inside if inside.is_dir() else package.parent / "resources") / name


def app_icon() -> QIcon:
    """Return the icon of windows and notifications."""
    return QIcon(str(resource_path("icons/trayproxy.svg")))


def tray_icon(state: IconState) -> QIcon:
    """Return the tray icon for a state, in the form that suits the desktop.

    - macOS: a mask, which the system colours.
    - A symbolic icon installed in the icon theme is requested by name; the panel draws it
      in its own colour.
    - Otherwise: colour pixmaps with a light outline, which are visible on any panel.
    """
    if QGuiApplication.platformName() == "cocoa":
        mask = _render_icon(f"icons/tray/{state}-symbolic.svg", TRAY_SIZES)
        mask.setIsMask(True)
        return mask
    themed = f"{APP_ID}-{state}-symbolic"
    if QIcon.hasThemeIcon(themed):
        return QIcon.fromTheme(themed)
    return _render_icon(f"icons/tray/{state}.svg", TRAY_SIZES)


def action_icon(name: str, palette: QPalette) -> QIcon:
    """Return a monochrome icon in the text colour of a palette, for light and dark themes."""
    colour = palette.color(QPalette.ColorRole.Text)
    faded = palette.color(QPalette.ColorGroup.Disabled, QPalette.ColorRole.Text)
    icon = _render_icon(f"icons/actions/{name}.svg", _ACTION_SIZES, colour)
    for size in _ACTION_SIZES:
        pixmap = QPixmap.fromImage(render(f"icons/actions/{name}.svg", size, faded))
        icon.addPixmap(pixmap, QIcon.Mode.Disabled)
    return icon


def render(name: str, size: int, colour: QColor | None = None) -> QImage:
    """Render an SVG file below ``resources`` in a size in pixels; a colour replaces all colours."""
    image = QImage(QSize(size, size), QImage.Format.Format_ARGB32_Premultiplied)
    image.fill(Qt.GlobalColor.transparent)
    painter = QPainter(image)
    QSvgRenderer(str(resource_path(name))).render(painter)
    if colour is not None:
        painter.setCompositionMode(QPainter.CompositionMode.CompositionMode_SourceIn)
        painter.fillRect(image.rect(), colour)
    painter.end()
    return image


def _render_icon(name: str, sizes: Iterable[int], colour: QColor | None = None) -> QIcon:
    icon = QIcon()
    for size in sizes:
        icon.addPixmap(QPixmap.fromImage(render(name, size, colour)))
    return icon
