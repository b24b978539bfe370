"""Tests for trayproxy.ui.found_settings, .settings_search and .background_commands."""

import msgspec
import pytest
from msgspec import structs
from PySide6.QtCore import QProcess, Qt
from PySide6.QtWidgets import QPushButton, QWidget
from pytestqt.qtbot import QtBot

from tests.support.processes import Home
from tests.ui.fake_service import STATUS
from tests.ui.named_widgets import child, label
from trayproxy.control.icon_state import IconState
from trayproxy.profiles.profile import Method, Profile, ProxyScheme, SignIn, Upstream
from trayproxy.ui.action_signals import ActionSignals
from trayproxy.ui.found_settings import MAX_BUTTONS, FoundSettings, password_note
from trayproxy.ui.profiles_window import ProfilesWindow
from trayproxy.ui.settings_search import FoundPasswordView, FoundSettingsView, SettingsSearch

EMPTY = structs.replace(STATUS, profile=None, profiles=())
PX = FoundSettingsView(
    "Px",
    "/home/jdoe/.config/px/px.ini",
    "new",
    "proxy.corp.example",
    ("http://proxy.corp.example:8080", "https://second.corp.example:8443"),
    "",
    "CORP\\jdoe",
    SignIn.PASSWORD,
    Method.NTLM,
    ("localhost", "*.corp.example"),
    FoundPasswordView("clear text", "/home/jdoe/.config/px/px.ini", 7),
    ("Its setting “useragent” is not carried over.",),
)


@pytest.fixture
def actions() -> ActionSignals:
    return ActionSignals()


@pytest.fixture
def window(actions: ActionSignals, qtbot: QtBot) -> ProfilesWindow:
    window = ProfilesWindow(actions)
    window.has_tray = True
    qtbot.addWidget(window)
    window.show_state(IconState.READY, EMPTY)
    window.show()
    return window


def is_offered(window: QWidget) -> bool:
    return child(window, FoundSettings, "found_settings").isVisible()


def test_settings_of_another_program_fill_in_the_first_profile(
    window: ProfilesWindow, actions: ActionSignals, qtbot: QtBot
) -> None:
    assert not is_offered(window)
    window.show_found([PX])
    assert is_offered(window)
    button = child(window, QPushButton, "found_0")
    assert button.text() == "Use proxy.corp.example:8080 — from Px"
    assert button.accessibleDescription() == PX.place
    button.setFocus()
    qtbot.keyClick(button, Qt.Key.Key_Space)
    message = label(window, "message").replace("\u200b", "")
    assert message == (
        "A password for this proxy is in /home/jdoe/.config/px/px.ini, line 7, where other "
        "programs can read it. TrayProxy asks for the password, and keeps it in the keyring; "
        "delete it there afterwards.\nIts setting “useragent” is not carried over."
    )
    saved: list[Profile] = []
    actions.save_profile.connect(saved.append)
    child(window, QPushButton, "save").click()
    assert saved == [
        Profile(
            "proxy-corp-example",
            "proxy.corp.example",
            Upstream("proxy.corp.example", 8080),
            user="CORP\\jdoe",
            bypass=("localhost", "*.corp.example"),
            fallbacks=(Upstream("second.corp.example", 8443, ProxyScheme.HTTPS),),
            method=Method.NTLM,
        )
    ]


def test_settings_are_offered_only_for_the_first_profile(window: ProfilesWindow) -> None:
    window.show_found([PX])
    window.show_state(IconState.OK, STATUS)
    assert not is_offered(window)
    window.add_profile()
    assert not is_offered(window)


def test_untrusted_texts_are_plain_and_short(qtbot: QtBot) -> None:
    found = FoundSettings()
    qtbot.addWidget(found)
    host = f"http://{'a' * 60}.{'b' * 60}:1"
    hostile = structs.replace(PX, title="<b>R&D\u202e</b>", place="<img>", upstreams=(host,))
    found.show_found([hostile] * 10)
    buttons = [child(found, QPushButton, f"found_{number}") for number in range(MAX_BUTTONS)]
    assert not any(button.isHidden() for button in buttons)
    assert "<b>R&&D</b>" in buttons[0].text()
    assert len(buttons[0].text()) < 80
    assert buttons[0].toolTip() == "<span>&lt;img&gt;</span>"


def test_a_pac_address_makes_an_automatic_profile(
    window: ProfilesWindow, actions: ActionSignals
) -> None:
    address = "http://pac.corp.example/proxy.pac?token=1"
    window.show_found([FoundSettingsView("system", "GNOME", "new", "pac", (), address)])
    button = child(window, QPushButton, "found_0")
    assert button.text() == "Use http://pac.corp.example/proxy.pac — from system"
    button.click()
    saved: list[Profile] = []
    actions.save_profile.connect(saved.append)
    child(window, QPushButton, "save").click()
    assert [(each.name, str(each.pac), each.upstream) for each in saved] == [("pac", address, None)]


def test_settings_without_an_address_are_not_offered(qtbot: QtBot) -> None:
    found = FoundSettings()
    qtbot.addWidget(found)
    found.show_found([structs.replace(PX, upstreams=())])
    assert not found.has_any


def test_an_encrypted_password_needs_no_note() -> None:
    assert password_note(FoundPasswordView("keyring", "Px")) == ""


class Searcher:
    """A search whose command prints a text.

    Attributes:
        calls: The arguments of the commands.
        results: The results.
    """

    def __init__(self, text: str) -> None:
        self.calls: list[tuple[str, ...]] = []
        self.results: list[tuple[FoundSettingsView, ...]] = []
        self.search = SettingsSearch(self.results.append, make_command=self._make_command)
        self._text = text

    def _make_command(self, *arguments: str) -> list[str]:
        self.calls.append(arguments)
        return ["echo", self._text]


def test_the_search_reports_settings_that_can_become_profiles_once(qtbot: QtBot) -> None:
    known = structs.replace(PX, state="known")
    searcher = Searcher(msgspec.json.encode({"schema": 1, "profiles": [known, PX]}).decode())
    searcher.search.show_status(EMPTY)
    searcher.search.show_status(EMPTY)
    qtbot.waitUntil(lambda: bool(searcher.results))
    assert searcher.results == [(PX,)]
    assert searcher.calls == [("import", "--dry-run", "--json")]


def test_nothing_is_searched_with_a_profile(qtbot: QtBot) -> None:
    searcher = Searcher("")
    searcher.search.show_status(STATUS)
    searcher.search.show_status(structs.replace(EMPTY, direct=True))
    qtbot.wait(1)
    assert searcher.calls == []
    searcher.search.close()


@pytest.mark.parametrize("text", ["", "{", '{"profiles": 1}'])
def test_a_failed_search_offers_nothing(text: str, qtbot: QtBot) -> None:
    searcher = Searcher(text)
    searcher.search.show_status(EMPTY)
    [process] = searcher.search.findChildren(QProcess)
    with qtbot.waitSignal(process.finished):
        pass
    assert searcher.results == []


def test_the_real_command_finds_the_settings_of_this_computer(
    place: Home, monkeypatch: pytest.MonkeyPatch, qtbot: QtBot
) -> None:
    for name, value in place.trayproxy_environment().items():
        monkeypatch.setenv(name, value)
    text = "[proxy]\nserver = proxy.corp.example:8080\nusername = CORP\\jdoe\n"
    (place.path("config/px") / "px.ini").write_text(text, "utf-8")
    results: list[tuple[FoundSettingsView, ...]] = []
    searching = SettingsSearch(results.append)
    searching.show_status(EMPTY)
    qtbot.waitUntil(lambda: bool(results), timeout=20_000)
    searching.close()
    [found] = [each for each in results[0] if each.title == "Px"]
    assert (found.upstreams, found.user) == (("http://proxy.corp.example:8080",), "CORP\\jdoe")
