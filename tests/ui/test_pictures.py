"""Pictures of every window, light and dark, saved beside the tests for visual inspection."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PySide6.QtGui import QImage

from tests.support.display import Desktop, desktop
from tests.support.processes import SOURCES, home, running
from tests.ui.pictures import PICTURES

FOLDER = Path(__file__).parents[1] / "artefacts" / "pictures"


@pytest.fixture(scope="module")
def here() -> Iterator[Desktop]:
    with home() as place, desktop(place) as started:
        yield started


@pytest.fixture(scope="module")
def pictures(here: Desktop, tmp_path_factory: pytest.TempPathFactory) -> dict[str, QImage]:
    """Return all pictures by their names."""
    # Another test worker may be saving pictures at the same time.
    drawn = tmp_path_factory.mktemp("pictures")
    # Qt applies a colour scheme set by a program only on desktops that support colour schemes.
    env = here.environment(XDG_CURRENT_DESKTOP="GNOME", PYTHONPATH=str(SOURCES))
    argv = [sys.executable, "-m", "tests.ui.pictures", str(drawn)]
    with running(argv, env=env, cwd=SOURCES) as process:
        assert process.wait(60) == 0, process.err.text
    FOLDER.mkdir(parents=True, exist_ok=True)
    for path in drawn.glob("*.png"):
        shutil.copy(path, FOLDER)
    return {path.stem: QImage(str(path)) for path in drawn.glob("*.png")}


def lightness(image: QImage) -> float:
    """Return the average lightness of a picture, 0 to 255."""
    pixels = [
        image.pixelColor(x, y).lightness()
        for x in range(0, image.width(), 7)
        for y in range(0, image.height(), 7)
    ]
    return sum(pixels) / len(pixels)


@pytest.mark.parametrize("name", PICTURES)
def test_a_window_follows_the_colour_scheme(name: str, pictures: dict[str, QImage]) -> None:
    assert lightness(pictures[f"{name}-light"]) > 180
    assert lightness(pictures[f"{name}-dark"]) < 90


@pytest.mark.parametrize("name", PICTURES)
def test_a_window_fits_a_small_screen(name: str, pictures: dict[str, QImage]) -> None:
    size = pictures[f"{name}-light"].size()
    assert size.width() <= 1024
    assert size.height() <= 700
