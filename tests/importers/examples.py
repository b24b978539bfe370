"""The sample configurations of other programs. px.ini is that of Px, under its MIT licence."""

from pathlib import Path

from trayproxy.importers.found import Found, FoundProfile
from trayproxy.importers.source_text import SourceText

DATA = Path(__file__).parent / "data"
SECRET = "canary-51c7"


def sample(name: str) -> SourceText:
    return SourceText(name, (DATA / name).read_text("utf-8"))


def only(found: Found) -> FoundProfile:
    """Return the only profile; no source could be unreadable."""
    assert found.errors == ()
    [profile] = found.profiles
    return profile
