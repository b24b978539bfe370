"""The texts can be translated: lupdate finds each with its context (ux §6.3)."""

import subprocess
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import PySide6
import pytest

import trayproxy.ui

SOURCES = sorted(Path(trayproxy.ui.__file__).parent.glob("*.py"))
CONTEXTS = {"Check", "Counted", "Notification", "Profiles", "SignIn", "Tray", "Window"}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> ElementTree.Element:
    """What lupdate makes of the sources."""
    file = tmp_path_factory.mktemp("translation") / "texts.ts"
    tool = Path(PySide6.__file__).parent / "lupdate"
    argv = [str(tool), *map(str, SOURCES), "-ts", str(file)]
    subprocess.run(argv, check=True, capture_output=True)
    return ElementTree.parse(file).getroot()


def test_every_context_is_a_literal_one(found: ElementTree.Element) -> None:
    assert {name.text for name in found.findall("context/name")} == CONTEXTS


def test_every_text_is_found(found: ElementTree.Element) -> None:
    calls = sum(path.read_text(encoding="utf-8").count("translate(") for path in SOURCES)
    sources = [text.text or "" for text in found.findall("context/message/source")]
    # Equal texts in one context are one entry.
    assert len(sources) >= 0.85 * calls
    assert all(sources)


def test_plurals_are_marked_as_such(found: ElementTree.Element) -> None:
    for message in found.findall("context/message"):
        source = message.findtext("source") or ""
        assert ("%n" in source) == (message.get("numerus") == "yes"), source
