"""Tests for trayproxy.ui.profiles_window, its parts, and check_panel."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest
from msgspec import structs
from PySide6.QtCore import QObject, Qt
from PySide6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFileDialog,
    QLabel,
    QLineEdit,
    QListWidget,
    QMessageBox,
    QPushButton,
    QRadioButton,
    QToolButton,
    QWidget,
)
from pytestqt.qtbot import QtBot

from tests.ui.fake_service import LAB, NEEDED, OFFICE, STATUS, STEPS
from trayproxy.control.icon_state import IconState
from trayproxy.control.messages import (
    CheckProfile,
    CheckResult,
    Failed,
    ListenerState,
    Step,
    StepState,
)
from trayproxy.domain.problem import Problem
from trayproxy.domain.signin import KeyringState, KeyringStatus
from trayproxy.profiles.profile import (
    DIRECT_ID,
    Encoding,
    Method,
    Profile,
    ProxyScheme,
    SignIn,
    Upstream,
)
from trayproxy.ui.check_panel import CheckPanel, report, verdict
from trayproxy.ui.profile_draft import draft_from_profile
from trayproxy.ui.profiles_window import ProfilesWindow
from trayproxy.ui.window_questions import Deletion

Widget = TypeVar("Widget", bound=QObject)

NOTHING = structs.replace(STATUS, profile=None, profiles=())


@pytest.fixture
def window(qtbot: QtBot) -> Iterator[ProfilesWindow]:
    window = ProfilesWindow()
    window.has_tray = True
    qtbot.addWidget(window)
    window.show_state(IconState.OK, STATUS)
    window.show()
    yield window
    window.has_tray = True
    window.close()


def child(window: QWidget, kind: type[Widget], name: str) -> Widget:
    found = window.findChild(kind, name)
    assert isinstance(found, kind), name
    return found


def entries(window: ProfilesWindow) -> list[str]:
    rows = child(window, QListWidget, "profile_list")
    return [rows.item(row).text() for row in range(rows.count())]


def select(window: ProfilesWindow, row: int) -> None:
    child(window, QListWidget, "profile_list").setCurrentRow(row)


def type_into(window: ProfilesWindow, name: str, text: str, qtbot: QtBot) -> None:
    line = child(window, QLineEdit, name)
    line.clear()
    if text.isascii():
        qtbot.keyClicks(line, text)
    else:
        # QTest aborts on keys that no keyboard has; insert() works like pasting.
        line.insert(text)


def pick(window: QWidget, name: str, data: object) -> None:
    box = child(window, QComboBox, name)
    box.setCurrentIndex(box.findData(data))
    box.activated.emit(box.currentIndex())


def press(window: QWidget, name: str) -> None:
    child(window, QPushButton, name).click()


def label(window: QWidget, name: str) -> str:
    found = child(window, QLabel, name)
    return found.text().replace("\u200b", "") if found.isVisibleTo(window) else ""


# --- Display -------------------------------------------------------------------------------------


def test_the_window_shows_the_state_the_address_and_the_profiles(window: ProfilesWindow) -> None:
    assert label(window, "state").startswith("Office — connected as CORP\\jdoe · proxy.corp")
    assert label(window, "local_address") == "127.0.0.1:3128"
    assert entries(window) == ["Office (active)", "Lab", "Connect directly"]
    assert child(window, QLineEdit, "host").text() == "proxy.corp.example"


def test_the_window_offers_a_needed_sign_in(window: ProfilesWindow, qtbot: QtBot) -> None:
    assert not child(window, QPushButton, "sign_in_now").isVisible()
    window.show_state(IconState.SIGNIN, NEEDED)
    with qtbot.waitSignal(window.sign_in_requested):
        press(window, "sign_in_now")


def test_the_window_offers_a_retry_without_a_service(window: ProfilesWindow, qtbot: QtBot) -> None:
    window.show_state(IconState.STOPPED, None)
    assert label(window, "state") == "TrayProxy is not running"
    with qtbot.waitSignal(window.retry_requested):
        press(window, "try_again_now")


def test_the_window_offers_another_port(window: ProfilesWindow, qtbot: QtBot) -> None:
    assert not child(window, QPushButton, "use_port_now").isVisible()
    status = structs.replace(STATUS, listener=ListenerState.FAILED, spare_port=3129)
    window.show_state(IconState.STOPPED, status)
    assert child(window, QPushButton, "use_port_now").text() == "Use port 3129 instead"
    assert not child(window, QWidget, "address_row").isVisible()
    with qtbot.waitSignal(window.port_requested) as emitted:
        press(window, "use_port_now")
    assert emitted.args == [3129]
    notice = Problem("TP-111", "TrayProxy uses port 3129 for now", "Set them to 127.0.0.1:3129.")
    window.show_state(IconState.OK, structs.replace(STATUS, wanted_port=3128, notices=(notice,)))
    assert child(window, QPushButton, "use_port_now").text() == "Go back to port 3128"
    assert "Set them to 127.0.0.1:3129." in label(window, "notices")
    with qtbot.waitSignal(window.port_requested) as emitted:
        press(window, "use_port_now")
    assert emitted.args == [0]


def test_problems_are_shown_with_their_id(window: ProfilesWindow) -> None:
    notice = Problem("TP-801", "The settings file has a mistake", "config.toml, line 3: no value.")
    window.show_state(IconState.OK, structs.replace(STATUS, notices=(notice,)))
    assert label(window, "notices") == (
        "The settings file has a mistake. config.toml, line 3: no value. (TP-801)"
    )


def test_a_program_on_the_other_address_of_localhost_is_named(window: ProfilesWindow) -> None:
    title = "<b>python3</b> of user nobody listens on [::1]:3128"
    advice = "Its process id is 4711. End it, or set your programs to 127.0.0.1:3128."
    other = Problem("TP-801", "The settings file has a mistake", "line 3.")
    notices = (other, Problem("TP-110", title, advice))
    window.show_state(IconState.OK, structs.replace(STATUS, notices=notices))
    shown = child(window, QLabel, "notices")
    assert shown.isVisible()
    # A name that contains markup is shown literally.
    assert shown.textFormat() is Qt.TextFormat.PlainText
    assert f"{title}. {advice} (TP-110)" in label(window, "notices").split("\n")
    window.show_state(IconState.OK, structs.replace(STATUS, notices=(other,)))
    assert "TP-110" not in label(window, "notices")
    window.show_state(IconState.OK, STATUS)
    assert not shown.isVisible()


PAGE = Problem("TP-310", "This network wants you to sign in on its own page", "Open it.")


def test_the_window_opens_the_sign_in_page(window: ProfilesWindow, qtbot: QtBot) -> None:
    url = "https://portal.example/login?<b>=1"
    notice = structs.replace(PAGE, url=url)
    window.show_state(IconState.OK, structs.replace(STATUS, notices=(notice,)))
    with qtbot.waitSignal(window.page_requested) as opened:
        press(window, "open_page_now")
    assert opened.args == [url]
    window.show_state(IconState.OK, STATUS)
    assert child(window, QPushButton, "open_page_now").isHidden()


def test_a_temporary_direct_connection_is_offered_with_the_sign_in_page(
    window: ProfilesWindow, qtbot: QtBot
) -> None:
    offered = structs.replace(STATUS, notices=(structs.replace(PAGE, url="http://p.example/"),))
    window.show_state(IconState.OK, offered)
    button = child(window, QPushButton, "direct_for_now")
    assert not button.isHidden()
    assert button.text() == "Connect directly for 5 minutes"
    with qtbot.waitSignal(window.direct_for_now_requested):
        press(window, "direct_for_now")
    # There is no offer while programs connect directly, or without a sign-in page.
    for status in (structs.replace(offered, profile=None, direct=True), STATUS):
        window.show_state(IconState.DIRECT, status)
        assert button.isHidden()


@pytest.mark.parametrize("url", ["", "file:///etc/passwd", "javascript:alert(1)", "//x.example/"])
def test_only_web_pages_can_be_opened(window: ProfilesWindow, url: str) -> None:
    notice = structs.replace(PAGE, url=url)
    window.show_state(IconState.OK, structs.replace(STATUS, notices=(notice,)))
    assert child(window, QPushButton, "open_page_now").isHidden()


def test_the_address_can_be_copied(window: ProfilesWindow, qtbot: QtBot) -> None:
    with qtbot.waitSignal(window.copy_requested):
        press(window, "copy_address")


# --- Editing -------------------------------------------------------------------------------------


def test_the_first_profile_needs_two_inputs(qtbot: QtBot) -> None:
    window = ProfilesWindow()
    qtbot.addWidget(window)
    window.has_tray = True
    window.show_state(IconState.STARTING, NOTHING)
    window.show()
    assert entries(window) == ["New profile"]
    type_into(window, "host", "http://proxy.corp.example:8080/", qtbot)
    with qtbot.waitSignal(window.save_requested) as emitted:
        press(window, "save")
    expected = Profile(
        "proxy-corp-example", "proxy.corp.example", Upstream("proxy.corp.example", 8080)
    )
    assert emitted.args == [expected]


def test_a_change_keeps_the_id(window: ProfilesWindow, qtbot: QtBot) -> None:
    type_into(window, "name", "Head office", qtbot)
    type_into(window, "bypass", "localhost, *.corp.example", qtbot)
    with qtbot.waitSignal(window.save_requested) as emitted:
        press(window, "save")
    assert emitted.args == [
        replace(OFFICE, name="Head office", bypass=("localhost", "*.corp.example"))
    ]


def test_a_profile_can_be_saved_without_sign_in(window: ProfilesWindow, qtbot: QtBot) -> None:
    child(window, QRadioButton, "without_sign_in").click()
    assert not child(window, QLineEdit, "profile_user").isEnabled()
    with qtbot.waitSignal(window.save_requested) as emitted:
        press(window, "save")
    assert emitted.args == [replace(OFFICE, sign_in=SignIn.NONE)]


def test_a_profile_can_be_saved_with_sso(window: ProfilesWindow, qtbot: QtBot) -> None:
    child(window, QRadioButton, "with_own_sign_in").click()
    assert not child(window, QLineEdit, "profile_user").isEnabled()
    pick(window, "method", Method.NEGOTIATE)
    with qtbot.waitSignal(window.save_requested) as emitted:
        press(window, "save")
    assert emitted.args == [replace(OFFICE, sign_in=SignIn.SSO, method=Method.NEGOTIATE)]


def test_a_profile_can_be_saved_with_a_single_method(window: ProfilesWindow, qtbot: QtBot) -> None:
    box = child(window, QComboBox, "method")
    names = [box.itemText(row) for row in range(box.count())]
    assert names == ["Automatic", "Negotiate", "NTLM", "Digest", "Basic"]
    pick(window, "method", Method.NTLM)
    with qtbot.waitSignal(window.save_requested) as emitted:
        press(window, "save")
    assert emitted.args == [replace(OFFICE, method=Method.NTLM)]


def test_a_method_that_needs_a_password_is_rejected_with_sso(
    window: ProfilesWindow, qtbot: QtBot
) -> None:
    child(window, QRadioButton, "with_own_sign_in").click()
    pick(window, "method", Method.BASIC)
    with qtbot.assertNotEmitted(window.save_requested):
        press(window, "save")
    assert "Automatic, Negotiate or NTLM" in label(window, "method_error")
    way = child(window, QRadioButton, "with_own_sign_in")
    assert "Automatic, Negotiate or NTLM" in way.accessibleDescription()
    pick(window, "method", Method.NTLM)
    assert label(window, "method_error") == ""
    with qtbot.waitSignal(window.save_requested):
        press(window, "save")


def test_a_profile_can_be_saved_with_a_text_encoding_r_092(
    window: ProfilesWindow, qtbot: QtBot
) -> None:
    box = child(window, QComboBox, "encoding")
    assert not box.isVisible()
    child(window, QToolButton, "advanced").click()
    assert [box.itemText(row) for row in range(box.count())] == ["UTF-8", "Latin-1"]
    pick(window, "encoding", Encoding.LATIN_1)
    with qtbot.waitSignal(window.save_requested) as emitted:
        press(window, "save")
    latin = replace(OFFICE, encoding=Encoding.LATIN_1)
    assert emitted.args == [latin]
    assert draft_from_profile(latin).encoding is Encoding.LATIN_1
    child(window, QRadioButton, "with_own_sign_in").click()
    assert not box.isEnabled()


def test_the_method_is_disabled_if_there_is_no_choice(window: ProfilesWindow) -> None:
    box = child(window, QComboBox, "method")
    assert box.isEnabled()
    pick(window, "scheme", ProxyScheme.SOCKS5)
    assert not box.isEnabled()
    pick(window, "scheme", ProxyScheme.HTTPS)
    assert box.isEnabled()
    child(window, QRadioButton, "without_sign_in").click()
    assert not box.isEnabled()


@pytest.mark.parametrize(
    ("field", "text", "error"),
    [
        ("name", "", "Give the profile a name."),
        ("name", "lab", "Another profile has this name."),
        ("host", "alice:secret@proxy:1", "This is not the name of a computer"),
        ("port", "99999", "The port is a number from 1 to 65535."),
        ("bypass", "\u202e", "host names with commas"),
    ],
)
def test_an_error_is_shown_below_its_field(
    field: str, text: str, error: str, window: ProfilesWindow, qtbot: QtBot
) -> None:
    if field == "name" and not text:
        type_into(window, "host", "bad host", qtbot)
    type_into(window, field, text, qtbot)
    with qtbot.assertNotEmitted(window.save_requested):
        press(window, "save")
    assert error in label(window, f"{field}_error")
    assert error in child(window, QLineEdit, field).accessibleDescription()


def test_the_error_of_a_profile_is_not_kept_for_the_next_profile(
    window: ProfilesWindow, qtbot: QtBot
) -> None:
    type_into(window, "port", "99999", qtbot)
    press(window, "save")
    select(window, 1)
    assert child(window, QLabel, "port_error").isHidden()
    assert child(window, QLineEdit, "port").accessibleDescription() == ""


def test_a_field_is_checked_when_it_loses_the_focus(window: ProfilesWindow, qtbot: QtBot) -> None:
    window.activateWindow()
    qtbot.waitUntil(window.isActiveWindow)
    port = child(window, QLineEdit, "port")
    port.setFocus()
    type_into(window, "port", "0", qtbot)
    child(window, QLineEdit, "name").setFocus()
    assert "The port is a number" in label(window, "port_error")


def test_a_draft_is_kept_when_another_profile_is_selected(
    window: ProfilesWindow, qtbot: QtBot
) -> None:
    type_into(window, "name", "Head office", qtbot)
    select(window, 1)
    assert child(window, QLineEdit, "name").text() == "Lab"
    select(window, 0)
    assert child(window, QLineEdit, "name").text() == "Head office"
    press(window, "revert")
    assert child(window, QLineEdit, "name").text() == "Office"


def test_a_new_status_does_not_overwrite_a_draft(window: ProfilesWindow, qtbot: QtBot) -> None:
    type_into(window, "name", "Head office", qtbot)
    changed = replace(OFFICE, user="bob")
    window.show_state(
        IconState.OK, structs.replace(STATUS, profile=changed, profiles=(changed, LAB))
    )
    assert child(window, QLineEdit, "name").text() == "Head office"
    select(window, 1)
    window.show_state(IconState.OK, STATUS)
    assert child(window, QLineEdit, "name").text() == "Lab"


def saved(window: ProfilesWindow, qtbot: QtBot) -> Profile:
    """Save the profile; return the profile of the request."""
    with qtbot.waitSignal(window.save_requested) as emitted:
        press(window, "save")
    [profile] = emitted.args or []
    assert isinstance(profile, Profile)
    return profile


def added(window: ProfilesWindow, qtbot: QtBot) -> Profile:
    """Add a profile and save it; return the profile of the request."""
    child(window, QToolButton, "add_profile").click()
    type_into(window, "host", "branch-px:3128", qtbot)
    type_into(window, "name", "Branch", qtbot)
    return saved(window, qtbot)


@pytest.mark.parametrize("status_first", [True, False])
def test_a_saved_new_profile_is_selected(
    status_first: bool, window: ProfilesWindow, qtbot: QtBot
) -> None:
    profile = added(window, qtbot)
    after = structs.replace(STATUS, profiles=(OFFICE, LAB, profile))
    if status_first:
        window.show_state(IconState.OK, after)
        window.show_saved(profile)
    else:
        window.show_saved(profile)
        window.show_state(IconState.OK, STATUS)
        window.show_state(IconState.OK, after)
    assert entries(window) == ["Office (active)", "Lab", "Branch", "Connect directly"]
    assert child(window, QLineEdit, "name").text() == "Branch"
    assert not child(window, QPushButton, "revert").isEnabled()


def test_the_first_saved_profile_leaves_no_empty_entry(qtbot: QtBot) -> None:
    window = ProfilesWindow()
    qtbot.addWidget(window)
    window.has_tray = True
    window.show_state(IconState.STARTING, NOTHING)
    window.show()
    type_into(window, "host", "proxy:8080", qtbot)
    profile = saved(window, qtbot)
    window.show_saved(profile)
    window.show_state(IconState.STARTING, NOTHING)
    window.show_state(
        IconState.READY, structs.replace(STATUS, profile=profile, profiles=(profile,))
    )
    assert entries(window) == ["proxy (active)", "Connect directly"]


def test_input_after_saving_is_kept(window: ProfilesWindow, qtbot: QtBot) -> None:
    type_into(window, "name", "Head", qtbot)
    profile = saved(window, qtbot)
    qtbot.keyClicks(child(window, QLineEdit, "name"), " office")
    window.show_saved(profile)
    window.show_state(
        IconState.OK, structs.replace(STATUS, profile=profile, profiles=(profile, LAB))
    )
    assert child(window, QLineEdit, "name").text() == "Head office"


def test_the_problem_of_a_failed_save_is_shown(window: ProfilesWindow) -> None:
    window.show_save_problem(Problem("TP-801", "The settings file has a mistake", "Line 3."))
    assert "TP-801" in label(window, "message")


def test_another_profile_can_be_activated(window: ProfilesWindow, qtbot: QtBot) -> None:
    assert not child(window, QPushButton, "use").isVisible()
    select(window, 1)
    with qtbot.waitSignal(window.use_requested) as emitted:
        press(window, "use")
    assert emitted.args == ["lab"]


def test_connect_directly_can_be_activated_like_a_profile(
    window: ProfilesWindow, qtbot: QtBot
) -> None:
    select(window, 2)
    assert label(window, "direct_note").startswith("Programs reach every address directly")
    assert not child(window, QPushButton, "save").isVisible()
    assert not child(window, QToolButton, "delete_profile").isEnabled()
    with qtbot.waitSignal(window.use_requested) as emitted:
        press(window, "use")
    assert emitted.args == [DIRECT_ID]
    window.show_state(IconState.DIRECT, structs.replace(STATUS, profile=None, direct=True))
    assert entries(window) == ["Office", "Lab", "Connect directly (active)"]
    assert label(window, "state") == "Connecting directly"
    assert not child(window, QPushButton, "use").isVisible()
    select(window, 0)
    assert child(window, QPushButton, "save").isVisible()
    assert not label(window, "direct_note")


def test_every_field_of_a_profile_is_kept_when_it_is_saved(
    window: ProfilesWindow, qtbot: QtBot
) -> None:
    """An https proxy must not become an http proxy because its name was changed."""
    full = replace(
        OFFICE,
        upstream=replace(OFFICE.upstream, scheme=ProxyScheme.HTTPS),
        fallbacks=(Upstream("other.example", 1080, ProxyScheme.SOCKS5),),
        ca_file="/etc/company.pem",
    )
    window.show_state(IconState.OK, structs.replace(STATUS, profile=full, profiles=(full,)))
    assert label(window, "state").endswith("(encrypted)")
    assert child(window, QLineEdit, "ca_file").isVisible()
    type_into(window, "name", "Head office", qtbot)
    with qtbot.waitSignal(window.save_requested) as emitted:
        press(window, "save")
    assert emitted.args == [replace(full, name="Head office")]


def test_the_scheme_of_the_proxy_can_be_selected(window: ProfilesWindow, qtbot: QtBot) -> None:
    scheme = child(window, QComboBox, "scheme")
    assert [scheme.itemText(n) for n in range(3)] == ["http://", "https://", "socks5://"]
    qtbot.keyClick(scheme, Qt.Key.Key_S)
    profile = saved(window, qtbot)
    assert profile.upstream == replace(OFFICE.upstream, scheme=ProxyScheme.SOCKS5)


def test_advanced_fields_are_hidden_until_requested(window: ProfilesWindow, qtbot: QtBot) -> None:
    assert not child(window, QLineEdit, "fallbacks").isVisible()
    child(window, QToolButton, "advanced").click()
    type_into(window, "fallbacks", "b:1, https://c:2", qtbot)
    type_into(window, "ca_file", "/etc/company.pem", qtbot)
    profile = saved(window, qtbot)
    assert profile.fallbacks == (Upstream("b", 1), Upstream("c", 2, ProxyScheme.HTTPS))
    assert profile.ca_file == "/etc/company.pem"


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("fallbacks", "b"),
        ("fallbacks", "proxy.corp.example:8080"),
        ("fallbacks", "b:1, b:1"),
        ("ca_file", "company.pem"),
    ],
)
def test_an_error_in_an_advanced_field_is_shown(
    window: ProfilesWindow, qtbot: QtBot, field: str, text: str
) -> None:
    advanced = child(window, QToolButton, "advanced")
    advanced.click()
    type_into(window, field, text, qtbot)
    advanced.click()
    with qtbot.assertNotEmitted(window.save_requested):
        press(window, "save")
    assert child(window, QLineEdit, field).isVisible()
    assert label(window, f"{field}_error")


def test_a_certificate_file_can_be_selected(window: ProfilesWindow, tmp_path: Path) -> None:
    child(window, QToolButton, "advanced").click()
    press(window, "choose_ca_file")
    dialog = child(window, QFileDialog, "ca_file_dialog")
    dialog.fileSelected.emit(str(tmp_path / "company.pem"))
    dialog.close()
    assert child(window, QLineEdit, "ca_file").text() == str(tmp_path / "company.pem")
    assert child(window, QPushButton, "revert").isEnabled()


def test_a_saved_password_can_be_forgotten(window: ProfilesWindow, qtbot: QtBot) -> None:
    assert label(window, "password_kept") == (
        "Kept in GNOME Keyring once the proxy has accepted it"
    )
    with qtbot.waitSignal(window.forget_requested) as emitted:
        press(window, "forget_password")
    assert emitted.args == ["office"]


def test_the_form_shows_whether_a_password_is_saved(window: ProfilesWindow) -> None:
    window.show_state(IconState.OK, structs.replace(STATUS, saved=True))
    assert label(window, "password_kept") == "Kept in GNOME Keyring"
    assert child(window, QPushButton, "forget_password").isEnabled()
    # The status contains no information about passwords of other profiles.
    select(window, 1)
    assert label(window, "password_kept") == "Kept in GNOME Keyring once the proxy has accepted it"
    assert child(window, QPushButton, "forget_password").isEnabled()
    select(window, 0)
    window.show_state(IconState.OK, structs.replace(STATUS, saved=False))
    assert not child(window, QPushButton, "forget_password").isEnabled()


def test_an_unsafe_keyring_is_shown(window: ProfilesWindow) -> None:
    keyring = KeyringStatus(KeyringState.UNSAFE, "PlaintextKeyring")
    window.show_state(IconState.OK, structs.replace(STATUS, keyring=keyring))
    assert "unprotected" in label(window, "password_kept")


# --- Deleting and closing ------------------------------------------------------------------------


def message_box(window: ProfilesWindow, qtbot: QtBot) -> QMessageBox:
    qtbot.waitUntil(lambda: window.findChild(QMessageBox, "question") is not None)
    return child(window, QMessageBox, "question")


def choose(box: QMessageBox, text: str) -> None:
    next(button for button in box.buttons() if button.text() == text).click()


@pytest.mark.parametrize("forget", [True, False])
def test_deleting_asks_first_and_offers_to_remove_the_password(
    forget: bool, window: ProfilesWindow, qtbot: QtBot
) -> None:
    child(window, QToolButton, "delete_profile").click()
    box = message_box(window, qtbot)
    assert box.text() == "Delete “Office”?"
    too = child(box, QCheckBox, "forget_too")
    assert too.text() == "Also remove its saved password from GNOME Keyring"
    too.setChecked(forget)
    with qtbot.waitSignal(window.delete_requested) as emitted:
        choose(box, "Delete")
    assert emitted.args == [Deletion("office", forget)]


@pytest.mark.parametrize(("row", "warns"), [(0, True), (1, False)])
def test_deleting_the_profile_in_use_warns_first(
    row: int, warns: bool, window: ProfilesWindow, qtbot: QtBot
) -> None:
    select(window, row)
    child(window, QToolButton, "delete_profile").click()
    warning = message_box(window, qtbot).informativeText()
    assert ("programs cannot connect" in warning) is warns


def test_deleting_can_be_cancelled(window: ProfilesWindow, qtbot: QtBot) -> None:
    child(window, QToolButton, "delete_profile").click()
    with qtbot.assertNotEmitted(window.delete_requested):
        choose(message_box(window, qtbot), "Keep")


def test_with_a_tray_the_window_closes(window: ProfilesWindow) -> None:
    window.close()
    assert not window.isVisible()


def test_without_a_tray_closing_asks_first(window: ProfilesWindow, qtbot: QtBot) -> None:
    window.has_tray = False
    window.close()
    assert window.isVisible()
    choose(message_box(window, qtbot), "Keep running")
    assert not window.isVisible()


def test_without_a_tray_closing_can_quit(window: ProfilesWindow, qtbot: QtBot) -> None:
    window.has_tray = False
    window.close()
    with qtbot.waitSignal(window.quit_requested):
        choose(message_box(window, qtbot), "Quit")


def test_escape_closes(window: ProfilesWindow, qtbot: QtBot) -> None:
    window.activateWindow()
    qtbot.waitUntil(window.isActiveWindow)
    qtbot.keyClick(window, Qt.Key.Key_Escape)
    qtbot.waitUntil(lambda: not window.isVisible())


# --- Test panel ----------------------------------------------------------------------------------

NOT_FOUND = CheckResult(
    (
        Step(
            "find",
            StepState.FAILED,
            problem=Problem("TP-201", "proxy.corp was not found", "You may be outside the VPN."),
        ),
        Step("connect", StepState.NOT_TRIED),
    )
)


def test_the_panel_shows_the_steps_of_a_test(window: ProfilesWindow, qtbot: QtBot) -> None:
    with qtbot.waitSignal(window.check_requested) as emitted:
        press(window, "test")
    [request] = emitted.args or []
    assert request == CheckProfile(OFFICE)
    panel = child(window, CheckPanel, "check_panel")
    assert label(panel, "verdict") == "Testing…"
    window.show_check(request, STEPS)
    assert child(panel, QLabel, "step_find").text() == "Find proxy.corp.example"
    assert child(panel, QLabel, "detail_sign-in").text() == "as CORP\\jdoe"
    assert label(panel, "verdict") == "All good."
    panel.close()


def test_a_test_can_be_repeated(window: ProfilesWindow, qtbot: QtBot) -> None:
    with qtbot.waitSignal(window.check_requested) as first:
        press(window, "test")
    panel = child(window, CheckPanel, "check_panel")
    assert not child(panel, QPushButton, "test_again").isEnabled()
    window.show_check((first.args or [])[0], NOT_FOUND)
    with qtbot.waitSignal(window.check_requested) as second:
        press(panel, "test_again")
    assert label(panel, "verdict") == "Testing…"
    # A reply to the previous test is ignored.
    window.show_check((first.args or [])[0], NOT_FOUND)
    assert label(panel, "verdict") == "Testing…"
    window.show_check((second.args or [])[0], STEPS)
    assert label(panel, "verdict") == "All good."
    panel.close()


def test_a_late_reply_of_an_earlier_test_is_dropped(window: ProfilesWindow, qtbot: QtBot) -> None:
    with qtbot.waitSignal(window.check_requested) as first:
        press(window, "test")
    press(window, "test")
    window.show_check((first.args or [])[0], STEPS)
    assert [p for p in window.findChildren(CheckPanel) if label(p, "verdict") == "Testing…"]
    for panel in window.findChildren(CheckPanel):
        panel.close()


def test_a_test_that_needs_a_sign_in_offers_it(window: ProfilesWindow, qtbot: QtBot) -> None:
    with qtbot.waitSignal(window.check_requested) as emitted:
        press(window, "test")
    panel = child(window, CheckPanel, "check_panel")
    button = child(panel, QPushButton, "sign_in")
    window.show_check((emitted.args or [])[0], NOT_FOUND)
    assert not button.isVisible()
    press(panel, "test_again")
    snoozed = Problem("TP-301", "TrayProxy does not ask for a sign-in now", "Sign in.")
    failed = Step("sign-in", StepState.FAILED, problem=snoozed)
    window.show_check(panel.request, CheckResult((failed,)))
    assert button.isVisible()
    with qtbot.waitSignal(window.test_sign_in_requested) as signed_in:
        press(panel, "sign_in")
    assert signed_in.args == [OFFICE.id]
    panel.close()


def test_the_failing_step_is_explained() -> None:
    assert verdict(NOT_FOUND) == "proxy.corp was not found. You may be outside the VPN. (TP-201)"


def test_the_panel_shows_why_a_test_could_not_run(qtbot: QtBot) -> None:
    panel = CheckPanel(CheckProfile(OFFICE))
    qtbot.addWidget(panel)
    panel.show_reply(Failed(Problem("TP-901", "Gone", "Try again.")))
    assert "TP-901" in child(panel, QLabel, "verdict").text()


def test_the_report_contains_the_upstream_and_the_steps() -> None:
    text = report(OFFICE, STEPS)
    assert text.startswith("TrayProxy test of http://proxy.corp.example:8080\n")
    assert "sign-in: ok as CORP\\jdoe (31 ms)" in text
