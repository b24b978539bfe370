"""Tests for trayproxy.ui.icons and the icon files."""

from pathlib import Path

import pytest
from PySide6.QtGui import QColor, QImage, QPalette

from tests.ui.contrast import contrast
from trayproxy.control.icon_state import IconState
from trayproxy.identity import APP_ID, APP_NAME
from trayproxy.ui.icons import TRAY_SIZES, action_icon, app_icon, render, resource_path, tray_icon

DRAWINGS = sorted(path.stem for path in resource_path("icons/tray").glob("*.svg"))
WHITE, BLACK, GREY = QColor("#ffffff"), QColor("#000000"), QColor("#808080")


def colours(image: QImage) -> list[QColor]:
    """Return the colours of all opaque pixels."""
    found = (image.pixelColor(x, y) for x in range(image.width()) for y in range(image.height()))
    return [colour for colour in found if colour.alpha() > 200]


def test_every_state_has_two_drawings() -> None:
    for state in IconState:
        assert {state, f"{state}-symbolic"} <= set(DRAWINGS)


@pytest.mark.usefixtures("qapp")
def test_every_state_is_rendered_at_every_size() -> None:
    for state in IconState:
        sizes = {size.width() for size in tray_icon(state).availableSizes()}
        assert sizes == set(TRAY_SIZES)


@pytest.mark.usefixtures("qapp")
@pytest.mark.parametrize("name", DRAWINGS)
def test_a_drawing_fills_its_16_pixels(name: str) -> None:
    assert 50 <= len(colours(render(f"icons/tray/{name}.svg", 16))) <= 256


@pytest.mark.usefixtures("qapp")
@pytest.mark.parametrize("name", [name for name in DRAWINGS if not name.endswith("symbolic")])
@pytest.mark.parametrize("panel", [WHITE, BLACK, GREY], ids=["white", "black", "grey"])
def test_a_drawing_contrasts_with_the_panel(name: str, panel: QColor) -> None:
    seen = [c for c in colours(render(f"icons/tray/{name}.svg", 16)) if contrast(c, panel) >= 3]
    assert len(seen) >= 20


@pytest.mark.usefixtures("qapp")
def test_drawings_differ_in_shape() -> None:
    shapes = {
        bytes(render(f"icons/tray/{name}.svg", 16, BLACK).constBits())
        for name in DRAWINGS
        if name.endswith("symbolic")
    }
    assert len(shapes) == len([name for name in DRAWINGS if name.endswith("symbolic")])


@pytest.mark.parametrize("name", [name for name in DRAWINGS if name.endswith("symbolic")])
def test_symbolic_drawings_use_the_current_colour(name: str) -> None:
    text = resource_path(f"icons/tray/{name}.svg").read_text()
    assert text.count("<path") == text.count('fill="currentColor"')


@pytest.mark.usefixtures("qapp")
def test_action_icons_have_the_text_colour() -> None:
    palette = QPalette(QColor("#303030"))
    palette.setColor(QPalette.ColorRole.Text, QColor("#ff0000"))
    image = action_icon("eye", palette).pixmap(16).toImage()
    assert {colour.name() for colour in colours(image)} == {"#ff0000"}


@pytest.mark.usefixtures("qapp")
def test_there_is_an_app_icon() -> None:
    assert not app_icon().pixmap(64).isNull()


def test_the_desktop_file_contains_the_application_id() -> None:
    lines = resource_path(f"{APP_ID}.desktop").read_text().splitlines()
    # The window class of Qt programs on X11 is the application name, not the id.
    assert f"StartupWMClass={APP_NAME}" in lines
    assert f"Icon={APP_ID}" in lines


def test_resources_are_found_beside_or_inside_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "trayproxy"
    (package / "resources").mkdir(parents=True)
    monkeypatch.setattr("trayproxy.__file__", str(package / "__init__.py"))
    assert resource_path("x.svg") == package / "resources" / "x.svg"
