"""Takes the screenshot of the README: the real tray with a typical sign-in prompt."""

from pathlib import Path

from tests.support.display import Desktop, desktop
from tests.support.processes import SOURCES, Home
from tests.support.settings_portal import ColorScheme, SettingsPortal
from tests.support.window_manager import fluxbox
from tests.ui.fake_service import NEEDED, PROMPT
from tests.ui.scripted_service import scripted_service, tray

SHOT = SOURCES / "tests/artefacts/screenshots/sign-in.png"


def test_the_screenshot_of_the_readme(place: Home) -> None:
    with (
        desktop(place) as here,
        fluxbox(here),
        scripted_service(here, NEEDED) as service,
        SettingsPortal(here.bus, ColorScheme.LIGHT),
        tray(here, **SettingsPortal.ENVIRONMENT),
    ):
        service.wait_for_tray()
        service.open_prompt(PROMPT)
        window = here.wait_for_window("^Sign in to proxy")
        here.wait_until_active(window)
        here.type("a password")
        shoot(here, window, SHOT)


def shoot(here: Desktop, window: str, path: Path) -> None:
    """Save a picture of a window with its frame."""
    path.parent.mkdir(parents=True, exist_ok=True)
    result = here.run("import", "-frame", "-window", window, path)
    assert result.code == 0, result.err
    assert path.stat().st_size < 60_000
