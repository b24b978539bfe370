"""Tests of the translatable texts: lupdate finds each text with its context (ux §6.3)."""

import subprocess
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import PySide6
import pytest
from msgspec.structs import replace
from PySide6.QtCore import QTranslator
from PySide6.QtWidgets import QApplication

import trayproxy.ui
from tests.support.values import PROMPT
from trayproxy.control import texts as shared
from trayproxy.domain.signin import PromptReason
from trayproxy.ui.texts import rejection_line

SOURCES = [*sorted(Path(trayproxy.ui.__file__).parent.glob("*.py")), Path(shared.__file__)]
CONTEXTS = {
    "Check",
    "Devices",
    "Plurals",
    "Notification",
    "Profiles",
    "Recipes",
    "SignIn",
    "Tray",
    "Window",
}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> ElementTree.Element:
    """Return the output of lupdate for all sources."""
    file = tmp_path_factory.mktemp("translation") / "texts.ts"
    tool = Path(PySide6.__file__).parent / "lupdate"
    argv = [str(tool), *map(str, SOURCES), "-ts", str(file)]
    subprocess.run(argv, check=True, capture_output=True)
    return ElementTree.parse(file).getroot()


def test_every_context_is_known(found: ElementTree.Element) -> None:
    assert {name.text for name in found.findall("context/name")} == CONTEXTS


def test_every_text_is_found(found: ElementTree.Element) -> None:
    calls = sum(path.read_text(encoding="utf-8").count("translate(") for path in SOURCES)
    sources = [text.text or "" for text in found.findall("context/message/source")]
    # Equal texts in a context are a single entry.
    assert len(sources) >= 0.85 * calls
    assert all(sources)


def test_plurals_are_marked_as_such(found: ElementTree.Element) -> None:
    for message in found.findall("context/message"):
        source = message.findtext("source") or ""
        assert ("%n" in source) == (message.get("numerus") == "yes"), source


def test_the_reasons_of_a_prompt_are_found(found: ElementTree.Element) -> None:
    contexts = {context.findtext("name"): context for context in found.findall("context")}
    texts = {text.text for text in contexts["SignIn"].findall("message/source")}
    assert {*shared.REASON_TEXTS.values(), shared.NO_PREVIOUS_REALM_TEXT} <= texts


def test_the_dialog_shows_the_translation_of_a_reason(qapp: QApplication) -> None:
    class Reversed(QTranslator):
        def translate(
            self, context: str, text: str, disambiguation: str | None = None, n: int = -1
        ) -> str:
            return text[::-1] if context == "SignIn" else ""

    prompt = replace(PROMPT, reason=PromptReason.TYPED_REJECTED)
    translator = Reversed()
    qapp.installTranslator(translator)
    try:
        shown = rejection_line(prompt)
    finally:
        qapp.removeTranslator(translator)
    assert shown == shared.REASON_TEXTS[PromptReason.TYPED_REJECTED][::-1]
