"""Tests for trayproxy.ui.profiles_window, its parts, and check_panel."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs
from PySide6.QtCore import Qt, SignalInstance
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

from tests.support.values import upstream_of
from tests.ui.fake_service import LAB, NEEDED, OFFICE, STATUS, STEPS
from tests.ui.named_widgets import Part, child, label, press
from trayproxy.control.icon_state import IconState
from trayproxy.control.messages import (
    CheckProfile,
    CheckResult,
    DeleteProfile,
    Failed,
    ListenerState,
    Step,
    StepState,
    SystemProxyState,
    SystemProxyStatus,
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
from trayproxy.ui.action_signals import ActionSignals
from trayproxy.ui.check_panel import CheckPanel, report, verdict
from trayproxy.ui.profile_draft import draft_from_profile
from trayproxy.ui.profiles_window import ProfilesWindow


class WindowDriver:
    """Operates a `ProfilesWindow` by the object names of its parts.

    Attributes:
        actions: The signals that the window emits.
        window: The shown window.
        qtbot: The fixture.
    """

    def __init__(self, qtbot: QtBot, state: IconState = IconState.OK, **changes: object) -> None:
        """Show a window with the `STATUS` after some changes."""
        self.qtbot = qtbot
        self.actions = ActionSignals()
        self.window = ProfilesWindow(self.actions)
        self.window.has_tray = True
        qtbot.addWidget(self.window, before_close_func=_allow_closing)
        self.show(state, **changes)
        self.window.show()

    def show(self, state: IconState = IconState.OK, **changes: object) -> None:
        """Show the `STATUS` after some changes."""
        self.window.show_state(state, structs.replace(STATUS, **changes))

    def child(self, kind: type[Part], name: str) -> Part:
        return child(self.window, kind, name)

    def label(self, name: str) -> str:
        return label(self.window, name)

    def press(self, name: str) -> None:
        press(self.window, name)

    def entries(self) -> list[str]:
        rows = self.child(QListWidget, "profile_list")
        return [rows.item(row).text() for row in range(rows.count())]

    def select(self, row: int) -> None:
        self.child(QListWidget, "profile_list").setCurrentRow(row)

    def type_into(self, name: str, text: str) -> None:
        line = self.child(QLineEdit, name)
        line.clear()
        if text.isascii():
            self.qtbot.keyClicks(line, text)
        else:
            # QTest aborts on keys that no keyboard has; insert() works like pasting.
            line.insert(text)

    def pick(self, name: str, data: object) -> None:
        box = self.child(QComboBox, name)
        box.setCurrentIndex(box.findData(data))
        box.activated.emit(box.currentIndex())

    def emitted(self, signal: SignalInstance, button: str) -> list[Any]:
        """Press a button; return the arguments of the signal that follows."""
        with self.qtbot.waitSignal(signal) as blocker:
            self.press(button)
        return blocker.args or []

    def saved(self) -> Profile:
        """Save the selected profile; return the profile of the request."""
        [profile] = self.emitted(self.actions.save_profile, "save")
        assert isinstance(profile, Profile)
        return profile

    def save_invalid(self) -> None:
        """Press *Save*; check that the window requests nothing."""
        with self.qtbot.assertNotEmitted(self.actions.save_profile):
            self.press("save")

    def added(self) -> Profile:
        """Add a profile and save it; return the profile of the request."""
        self.child(QToolButton, "add_profile").click()
        self.type_into("host", "branch-px:3128")
        self.type_into("name", "Branch")
        return self.saved()

    def message_box(self) -> QMessageBox:
        self.qtbot.waitUntil(lambda: self.window.findChild(QMessageBox, "question") is not None)
        return self.child(QMessageBox, "question")


def _allow_closing(window: ProfilesWindow) -> None:
    window.has_tray = True


@pytest.fixture
def ui(qtbot: QtBot) -> WindowDriver:
    return WindowDriver(qtbot)


# --- Display -------------------------------------------------------------------------------------


def test_the_window_shows_the_state_the_address_and_the_profiles(ui: WindowDriver) -> None:
    assert ui.label("state").startswith("Office — connected as CORP\\jdoe · proxy.corp")
    assert ui.label("local_address") == "127.0.0.1:3128"
    assert ui.entries() == ["Office (active)", "Lab", "Connect directly"]
    assert ui.child(QLineEdit, "host").text() == "proxy.corp.example"


def test_the_window_offers_a_needed_sign_in(ui: WindowDriver) -> None:
    assert not ui.child(QPushButton, "sign_in_now").isVisible()
    ui.window.show_state(IconState.SIGNIN, NEEDED)
    ui.emitted(ui.actions.sign_in, "sign_in_now")


def test_the_window_offers_a_retry_without_a_service(ui: WindowDriver) -> None:
    ui.window.show_state(IconState.STOPPED, None)
    assert ui.label("state") == "TrayProxy is not running"
    ui.emitted(ui.actions.retry, "try_again_now")


def test_the_window_offers_another_port(ui: WindowDriver) -> None:
    assert not ui.child(QPushButton, "use_port_now").isVisible()
    status = structs.replace(STATUS, listener=ListenerState.FAILED, spare_port=3129)
    ui.window.show_state(IconState.STOPPED, status)
    assert ui.child(QPushButton, "use_port_now").text() == "Use port 3129 instead"
    assert not ui.child(QWidget, "address_row").isVisible()
    assert ui.emitted(ui.actions.use_port, "use_port_now") == [3129]
    notice = Problem("TP-111", "TrayProxy uses port 3129 for now", "Set them to 127.0.0.1:3129.")
    ui.show(wanted_port=3128, notices=(notice,))
    assert ui.child(QPushButton, "use_port_now").text() == "Go back to port 3128"
    assert "Set them to 127.0.0.1:3129." in ui.label("notices")
    assert ui.emitted(ui.actions.use_port, "use_port_now") == [0]


def test_problems_are_shown_with_their_id(ui: WindowDriver) -> None:
    notice = Problem("TP-801", "The settings file has a mistake", "config.toml, line 3: no value.")
    ui.show(notices=(notice,))
    assert ui.label("notices") == (
        "The settings file has a mistake. config.toml, line 3: no value. (TP-801)"
    )


def test_a_program_on_the_other_address_of_localhost_is_named(ui: WindowDriver) -> None:
    title = "<b>python3</b> of user nobody listens on [::1]:3128"
    advice = "Its process id is 4711. End it, or set your programs to 127.0.0.1:3128."
    other = Problem("TP-801", "The settings file has a mistake", "line 3.")
    notices = (other, Problem("TP-110", title, advice))
    ui.show(notices=notices)
    shown = ui.child(QLabel, "notices")
    assert shown.isVisible()
    # A name that contains markup is shown literally.
    assert shown.textFormat() is Qt.TextFormat.PlainText
    assert f"{title}. {advice} (TP-110)" in ui.label("notices").split("\n")
    ui.show(notices=(other,))
    assert "TP-110" not in ui.label("notices")
    ui.show()
    assert not shown.isVisible()


@pytest.mark.parametrize(
    ("system_proxy", "note"),
    [
        (SystemProxyStatus(SystemProxyState.ON, hints=("After log-in.",)), "After log-in."),
        (SystemProxyStatus(hints=("After log-in.",)), ""),
        (
            SystemProxyStatus(waiting=("Wi-Fi\n", "LAN")),
            "System proxy not put back yet: Wi-Fi, LAN. TrayProxy tries again when it starts and "
            "when the network changes.",
        ),
    ],
)
def test_notes_about_the_system_proxy_are_shown(
    ui: WindowDriver, system_proxy: SystemProxyStatus, note: str
) -> None:
    ui.show(system_proxy=system_proxy)
    assert ui.label("notices") == note


PAGE = Problem("TP-310", "This network wants you to sign in on its own page", "Open it.")


def test_the_window_opens_the_sign_in_page(ui: WindowDriver) -> None:
    url = "https://portal.example/login?<b>=1"
    notice = structs.replace(PAGE, url=url)
    ui.show(notices=(notice,))
    assert ui.emitted(ui.actions.open_page, "open_page_now") == [url]
    ui.show()
    assert ui.child(QPushButton, "open_page_now").isHidden()


def test_a_temporary_direct_connection_is_offered_with_the_sign_in_page(ui: WindowDriver) -> None:
    offered = structs.replace(STATUS, notices=(structs.replace(PAGE, url="http://p.example/"),))
    ui.window.show_state(IconState.OK, offered)
    button = ui.child(QPushButton, "direct_for_now")
    assert not button.isHidden()
    assert button.text() == "Connect directly for 5 minutes"
    ui.emitted(ui.actions.connect_directly_for_now, "direct_for_now")
    # There is no offer while programs connect directly, or without a sign-in page.
    for status in (structs.replace(offered, profile=None, direct=True), STATUS):
        ui.window.show_state(IconState.DIRECT, status)
        assert button.isHidden()


@pytest.mark.parametrize("url", ["", "file:///etc/passwd", "javascript:alert(1)", "//x.example/"])
def test_only_web_pages_can_be_opened(ui: WindowDriver, url: str) -> None:
    notice = structs.replace(PAGE, url=url)
    ui.show(notices=(notice,))
    assert ui.child(QPushButton, "open_page_now").isHidden()


def test_the_address_can_be_copied_and_offered_to_other_devices(ui: WindowDriver) -> None:
    ui.emitted(ui.actions.copy_address, "copy_address")
    ui.emitted(ui.actions.show_devices, "show_devices")


# --- Editing -------------------------------------------------------------------------------------


def test_the_first_profile_needs_two_inputs(qtbot: QtBot) -> None:
    ui = WindowDriver(qtbot, IconState.STARTING, profile=None, profiles=())
    assert ui.entries() == ["New profile"]
    ui.type_into("host", "http://proxy.corp.example:8080/")
    assert ui.saved() == Profile(
        "proxy-corp-example", "proxy.corp.example", Upstream("proxy.corp.example", 8080)
    )


def test_a_change_keeps_the_id(ui: WindowDriver) -> None:
    ui.type_into("name", "Head office")
    ui.type_into("bypass", "localhost, *.corp.example")
    assert ui.saved() == replace(OFFICE, name="Head office", bypass=("localhost", "*.corp.example"))


def test_a_profile_can_be_saved_without_sign_in(ui: WindowDriver) -> None:
    ui.child(QRadioButton, "without_sign_in").click()
    assert not ui.child(QLineEdit, "profile_user").isEnabled()
    assert ui.saved() == replace(OFFICE, sign_in=SignIn.NONE)


def test_a_profile_can_be_saved_with_sso(ui: WindowDriver) -> None:
    ui.child(QRadioButton, "with_own_sign_in").click()
    assert not ui.child(QLineEdit, "profile_user").isEnabled()
    ui.pick("method", Method.NEGOTIATE)
    assert ui.saved() == replace(OFFICE, sign_in=SignIn.SSO, method=Method.NEGOTIATE)


def test_a_profile_can_be_saved_with_a_single_method(ui: WindowDriver) -> None:
    box = ui.child(QComboBox, "method")
    names = [box.itemText(row) for row in range(box.count())]
    assert names == ["Automatic", "Negotiate", "NTLM", "Digest", "Basic"]
    ui.pick("method", Method.NTLM)
    assert ui.saved() == replace(OFFICE, method=Method.NTLM)


def test_a_method_that_needs_a_password_is_rejected_with_sso(ui: WindowDriver) -> None:
    ui.child(QRadioButton, "with_own_sign_in").click()
    ui.pick("method", Method.BASIC)
    ui.save_invalid()
    assert "Automatic, Negotiate or NTLM" in ui.label("method_error")
    way = ui.child(QRadioButton, "with_own_sign_in")
    assert "Automatic, Negotiate or NTLM" in way.accessibleDescription()
    ui.pick("method", Method.NTLM)
    assert ui.label("method_error") == ""
    ui.emitted(ui.actions.save_profile, "save")


def test_a_profile_can_be_saved_with_a_text_encoding_r_092(ui: WindowDriver) -> None:
    box = ui.child(QComboBox, "encoding")
    assert not box.isVisible()
    ui.child(QToolButton, "advanced").click()
    assert [box.itemText(row) for row in range(box.count())] == ["UTF-8", "Latin-1"]
    ui.pick("encoding", Encoding.LATIN_1)
    latin = replace(OFFICE, encoding=Encoding.LATIN_1)
    assert ui.saved() == latin
    assert draft_from_profile(latin).encoding is Encoding.LATIN_1
    ui.child(QRadioButton, "with_own_sign_in").click()
    assert not box.isEnabled()


def test_the_name_for_kerberos_can_be_saved_where_kerberos_is_possible(ui: WindowDriver) -> None:
    ui.child(QToolButton, "advanced").click()
    spn, canonical = ui.child(QLineEdit, "spn"), ui.child(QCheckBox, "canonical_name")
    spn.setText("HTTP/p.corp.example")
    canonical.click()
    ui.save_invalid()
    assert "canonical name" in ui.label("spn_error")
    canonical.click()
    assert ui.saved() == replace(OFFICE, spn="HTTP/p.corp.example")
    ui.pick("method", Method.BASIC)
    assert not spn.isVisible()
    assert not canonical.isVisible()


def test_a_client_certificate_can_be_saved_for_an_https_proxy(ui: WindowDriver) -> None:
    ui.child(QToolButton, "advanced").click()
    line = ui.child(QLineEdit, "client_certificate")
    assert not line.isVisible()
    ui.pick("scheme", ProxyScheme.HTTPS)
    assert line.isVisible()
    ui.type_into("client_key", "/home/jd/key.pem")
    ui.save_invalid()
    assert "certificate of this key" in ui.label("client_key_error")
    ui.type_into("client_certificate", "/home/jd/c.pem")
    profile = ui.saved()
    assert profile.client_certificate == "/home/jd/c.pem"
    assert profile.client_key == "/home/jd/key.pem"


def test_a_ticket_can_be_requested_for_the_own_sign_in(ui: WindowDriver) -> None:
    box = ui.child(QCheckBox, "get_ticket")
    assert not box.isVisible()
    ui.child(QRadioButton, "with_own_sign_in").click()
    assert box.isVisible()
    assert not ui.child(QLineEdit, "profile_user").isEnabled()
    box.click()
    assert ui.child(QLineEdit, "profile_user").isEnabled()
    ui.pick("method", Method.NTLM)
    ui.save_invalid()
    assert "Automatic or Negotiate" in ui.label("method_error")
    ui.pick("method", Method.AUTOMATIC)
    assert ui.saved() == replace(OFFICE, sign_in=SignIn.SSO, get_ticket=True)


def test_the_networks_of_a_profile_can_be_saved(ui: WindowDriver) -> None:
    ui.child(QToolButton, "advanced").click()
    use_on = ui.child(QLineEdit, "use_on")
    use_on.setText("Branch")
    ui.save_invalid()
    assert "Write a network as wifi:NAME" in ui.label("use_on_error")
    use_on.setText("wifi:Branch Office, answers")
    ui.child(QCheckBox, "else_direct").click()
    networks = ("wifi:Branch Office", "answers")
    saved = ui.saved()
    assert saved == replace(OFFICE, use_on=networks, else_direct=True)
    assert draft_from_profile(saved).use_on == "wifi:Branch Office, answers"


def test_the_method_is_disabled_if_there_is_no_choice(ui: WindowDriver) -> None:
    box = ui.child(QComboBox, "method")
    assert box.isEnabled()
    ui.pick("scheme", ProxyScheme.SOCKS5)
    assert not box.isEnabled()
    ui.pick("scheme", ProxyScheme.HTTPS)
    assert box.isEnabled()
    ui.child(QRadioButton, "without_sign_in").click()
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
    field: str, text: str, error: str, ui: WindowDriver
) -> None:
    if field == "name" and not text:
        ui.type_into("host", "bad host")
    ui.type_into(field, text)
    ui.save_invalid()
    assert error in ui.label(f"{field}_error")
    assert error in ui.child(QLineEdit, field).accessibleDescription()


def test_the_error_of_a_profile_is_not_kept_for_the_next_profile(ui: WindowDriver) -> None:
    ui.type_into("port", "99999")
    ui.press("save")
    ui.select(1)
    assert ui.child(QLabel, "port_error").isHidden()
    assert ui.child(QLineEdit, "port").accessibleDescription() == ""


def test_a_field_is_checked_when_it_loses_the_focus(ui: WindowDriver) -> None:
    ui.window.activateWindow()
    ui.qtbot.waitUntil(ui.window.isActiveWindow)
    port = ui.child(QLineEdit, "port")
    port.setFocus()
    ui.type_into("port", "0")
    ui.child(QLineEdit, "name").setFocus()
    assert "The port is a number" in ui.label("port_error")


def test_a_draft_is_kept_when_another_profile_is_selected(ui: WindowDriver) -> None:
    ui.type_into("name", "Head office")
    ui.select(1)
    assert ui.child(QLineEdit, "name").text() == "Lab"
    ui.select(0)
    assert ui.child(QLineEdit, "name").text() == "Head office"
    ui.press("revert")
    assert ui.child(QLineEdit, "name").text() == "Office"


def test_a_new_status_does_not_overwrite_a_draft(ui: WindowDriver) -> None:
    ui.type_into("name", "Head office")
    changed = replace(OFFICE, user="bob")
    ui.show(profile=changed, profiles=(changed, LAB))
    assert ui.child(QLineEdit, "name").text() == "Head office"
    ui.select(1)
    ui.show()
    assert ui.child(QLineEdit, "name").text() == "Lab"


@pytest.mark.parametrize("status_first", [True, False])
def test_a_saved_new_profile_is_selected(status_first: bool, ui: WindowDriver) -> None:
    profile = ui.added()
    after = structs.replace(STATUS, profiles=(OFFICE, LAB, profile))
    if status_first:
        ui.window.show_state(IconState.OK, after)
        ui.window.show_saved(profile)
    else:
        ui.window.show_saved(profile)
        ui.show()
        ui.window.show_state(IconState.OK, after)
    assert ui.entries() == ["Office (active)", "Lab", "Branch", "Connect directly"]
    assert ui.child(QLineEdit, "name").text() == "Branch"
    assert not ui.child(QPushButton, "revert").isEnabled()


def test_the_first_saved_profile_leaves_no_empty_entry(qtbot: QtBot) -> None:
    ui = WindowDriver(qtbot, IconState.STARTING, profile=None, profiles=())
    ui.type_into("host", "proxy:8080")
    profile = ui.saved()
    ui.window.show_saved(profile)
    ui.show(IconState.STARTING, profile=None, profiles=())
    ui.show(IconState.READY, profile=profile, profiles=(profile,))
    assert ui.entries() == ["proxy (active)", "Connect directly"]


def test_input_after_saving_is_kept(ui: WindowDriver) -> None:
    ui.type_into("name", "Head")
    profile = ui.saved()
    ui.qtbot.keyClicks(ui.child(QLineEdit, "name"), " office")
    ui.window.show_saved(profile)
    ui.show(profile=profile, profiles=(profile, LAB))
    assert ui.child(QLineEdit, "name").text() == "Head office"


def test_the_problem_of_a_failed_save_is_shown(ui: WindowDriver) -> None:
    ui.window.show_save_problem(Problem("TP-801", "The settings file has a mistake", "Line 3."))
    assert "TP-801" in ui.label("message")


def test_another_profile_can_be_activated(ui: WindowDriver) -> None:
    assert not ui.child(QPushButton, "use").isVisible()
    ui.select(1)
    assert ui.emitted(ui.actions.use_profile, "use") == ["lab"]


def test_connect_directly_can_be_activated_like_a_profile(ui: WindowDriver) -> None:
    ui.select(2)
    assert ui.label("direct_note").startswith("Programs reach every address directly")
    assert not ui.child(QPushButton, "save").isVisible()
    assert not ui.child(QToolButton, "delete_profile").isEnabled()
    assert ui.emitted(ui.actions.use_profile, "use") == [DIRECT_ID]
    ui.show(IconState.DIRECT, profile=None, direct=True)
    assert ui.entries() == ["Office", "Lab", "Connect directly (active)"]
    assert ui.label("state") == "Connecting directly"
    assert not ui.child(QPushButton, "use").isVisible()
    ui.select(0)
    assert ui.child(QPushButton, "save").isVisible()
    assert not ui.label("direct_note")


def test_every_field_of_a_profile_is_kept_when_it_is_saved(ui: WindowDriver) -> None:
    """An https proxy must not become an http proxy because its name was changed."""
    full = replace(
        OFFICE,
        upstream=replace(upstream_of(OFFICE), scheme=ProxyScheme.HTTPS),
        fallbacks=(Upstream("other.example", 1080, ProxyScheme.SOCKS5),),
        ca_file="/etc/company.pem",
    )
    ui.show(profile=full, profiles=(full,))
    assert ui.label("state").endswith("(encrypted)")
    assert ui.child(QLineEdit, "ca_file").isVisible()
    ui.type_into("name", "Head office")
    assert ui.saved() == replace(full, name="Head office")


def test_the_scheme_of_the_proxy_can_be_selected(ui: WindowDriver) -> None:
    scheme = ui.child(QComboBox, "scheme")
    assert [scheme.itemText(n) for n in range(3)] == ["http://", "https://", "socks5://"]
    ui.qtbot.keyClick(scheme, Qt.Key.Key_S)
    profile = ui.saved()
    assert profile.upstream == replace(upstream_of(OFFICE), scheme=ProxyScheme.SOCKS5)


def test_advanced_fields_are_hidden_until_requested(ui: WindowDriver) -> None:
    assert not ui.child(QLineEdit, "fallbacks").isVisible()
    ui.child(QToolButton, "advanced").click()
    ui.type_into("fallbacks", "b:1, https://c:2")
    ui.type_into("ca_file", "/etc/company.pem")
    profile = ui.saved()
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
def test_an_error_in_an_advanced_field_is_shown(ui: WindowDriver, field: str, text: str) -> None:
    advanced = ui.child(QToolButton, "advanced")
    advanced.click()
    ui.type_into(field, text)
    advanced.click()
    ui.save_invalid()
    assert ui.child(QLineEdit, field).isVisible()
    assert ui.label(f"{field}_error")


def test_a_certificate_file_can_be_selected(ui: WindowDriver, tmp_path: Path) -> None:
    ui.child(QToolButton, "advanced").click()
    ui.press("choose_ca_file")
    dialog = ui.child(QFileDialog, "ca_file_dialog")
    dialog.fileSelected.emit(str(tmp_path / "company.pem"))
    dialog.close()
    assert ui.child(QLineEdit, "ca_file").text() == str(tmp_path / "company.pem")
    assert ui.child(QPushButton, "revert").isEnabled()


def test_a_saved_password_can_be_forgotten(ui: WindowDriver) -> None:
    assert ui.label("password_kept") == ("Kept in GNOME Keyring once the proxy has accepted it")
    assert ui.emitted(ui.actions.forget_login, "forget_password") == ["office"]


def test_the_form_shows_whether_a_password_is_saved(ui: WindowDriver) -> None:
    ui.show(saved=True)
    assert ui.label("password_kept") == "Kept in GNOME Keyring"
    assert ui.child(QPushButton, "forget_password").isEnabled()
    # The status contains no information about passwords of other profiles.
    ui.select(1)
    assert ui.label("password_kept") == "Kept in GNOME Keyring once the proxy has accepted it"
    assert ui.child(QPushButton, "forget_password").isEnabled()
    ui.select(0)
    ui.show(saved=False)
    assert not ui.child(QPushButton, "forget_password").isEnabled()


def test_an_unsafe_keyring_is_shown(ui: WindowDriver) -> None:
    keyring = KeyringStatus(KeyringState.UNSAFE, "PlaintextKeyring")
    ui.show(keyring=keyring)
    assert "unprotected" in ui.label("password_kept")


# --- Deleting and closing ------------------------------------------------------------------------


def choose(box: QMessageBox, text: str) -> None:
    next(button for button in box.buttons() if button.text() == text).click()


@pytest.mark.parametrize("forget", [True, False])
def test_deleting_asks_first_and_offers_to_remove_the_password(
    forget: bool, ui: WindowDriver
) -> None:
    ui.child(QToolButton, "delete_profile").click()
    box = ui.message_box()
    assert box.text() == "Delete “Office”?"
    too = child(box, QCheckBox, "forget_too")
    assert too.text() == "Also remove its saved password from GNOME Keyring"
    too.setChecked(forget)
    with ui.qtbot.waitSignal(ui.actions.delete_profile) as emitted:
        choose(box, "Delete")
    assert emitted.args == [DeleteProfile("office", forget)]


@pytest.mark.parametrize(("row", "warns"), [(0, True), (1, False)])
def test_deleting_the_profile_in_use_warns_first(row: int, warns: bool, ui: WindowDriver) -> None:
    ui.select(row)
    ui.child(QToolButton, "delete_profile").click()
    warning = ui.message_box().informativeText()
    assert ("programs cannot connect" in warning) is warns


def test_deleting_can_be_cancelled(ui: WindowDriver) -> None:
    ui.child(QToolButton, "delete_profile").click()
    with ui.qtbot.assertNotEmitted(ui.actions.delete_profile):
        choose(ui.message_box(), "Keep")


def test_with_a_tray_the_window_closes(ui: WindowDriver) -> None:
    ui.window.close()
    assert not ui.window.isVisible()


def test_without_a_tray_closing_asks_first(ui: WindowDriver) -> None:
    ui.window.has_tray = False
    ui.window.close()
    assert ui.window.isVisible()
    choose(ui.message_box(), "Keep running")
    assert not ui.window.isVisible()


def test_without_a_tray_closing_can_quit(ui: WindowDriver) -> None:
    ui.window.has_tray = False
    ui.window.close()
    with ui.qtbot.waitSignal(ui.actions.quit):
        choose(ui.message_box(), "Quit")


def test_escape_closes(ui: WindowDriver) -> None:
    ui.window.activateWindow()
    ui.qtbot.waitUntil(ui.window.isActiveWindow)
    ui.qtbot.keyClick(ui.window, Qt.Key.Key_Escape)
    ui.qtbot.waitUntil(lambda: not ui.window.isVisible())


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


def test_the_panel_shows_the_steps_of_a_test(ui: WindowDriver) -> None:
    [request] = ui.emitted(ui.actions.check_profile, "test")
    assert request == CheckProfile(OFFICE)
    panel = ui.child(CheckPanel, "check_panel")
    assert label(panel, "verdict") == "Testing…"
    ui.window.show_check(request, STEPS)
    assert child(panel, QLabel, "step_find").text() == "Find proxy.corp.example"
    assert child(panel, QLabel, "detail_sign-in").text() == "as CORP\\jdoe"
    inspected = "TLS is inspected by “Corp TLS Inspection Authority 2”"
    assert child(panel, QLabel, "detail_tls").text() == inspected
    assert label(panel, "verdict") == "All good."
    panel.close()


def test_a_test_can_be_repeated(ui: WindowDriver) -> None:
    [first] = ui.emitted(ui.actions.check_profile, "test")
    panel = ui.child(CheckPanel, "check_panel")
    assert not child(panel, QPushButton, "test_again").isEnabled()
    ui.window.show_check(first, NOT_FOUND)
    [second] = ui.emitted(ui.actions.check_profile, "test_again")
    assert label(panel, "verdict") == "Testing…"
    # A reply to the previous test is ignored.
    ui.window.show_check(first, NOT_FOUND)
    assert label(panel, "verdict") == "Testing…"
    ui.window.show_check(second, STEPS)
    assert label(panel, "verdict") == "All good."
    panel.close()


def test_a_late_reply_of_an_earlier_test_is_dropped(ui: WindowDriver) -> None:
    [first] = ui.emitted(ui.actions.check_profile, "test")
    ui.press("test")
    ui.window.show_check(first, STEPS)
    assert [p for p in ui.window.findChildren(CheckPanel) if label(p, "verdict") == "Testing…"]
    for panel in ui.window.findChildren(CheckPanel):
        panel.close()


def test_a_test_that_needs_a_sign_in_offers_it(ui: WindowDriver) -> None:
    [request] = ui.emitted(ui.actions.check_profile, "test")
    panel = ui.child(CheckPanel, "check_panel")
    button = child(panel, QPushButton, "sign_in")
    ui.window.show_check(request, NOT_FOUND)
    assert not button.isVisible()
    press(panel, "test_again")
    snoozed = Problem("TP-301", "TrayProxy does not ask for a sign-in now", "Sign in.")
    failed = Step("sign-in", StepState.FAILED, problem=snoozed)
    ui.window.show_check(panel.request, CheckResult((failed,)))
    assert button.isVisible()
    assert ui.emitted(ui.actions.sign_in_to_profile, "sign_in") == [OFFICE.id]
    panel.close()


def test_the_failing_step_is_explained() -> None:
    assert verdict(NOT_FOUND) == "proxy.corp was not found. You may be outside the VPN. (TP-201)"


def test_the_panel_shows_why_a_test_could_not_run(qtbot: QtBot) -> None:
    panel = CheckPanel(OFFICE, ActionSignals())
    panel.start()
    qtbot.addWidget(panel)
    panel.show_reply(panel.request, Failed(Problem("TP-901", "Gone", "Try again.")))
    assert "TP-901" in child(panel, QLabel, "verdict").text()


def test_the_report_contains_the_upstream_and_the_steps() -> None:
    text = report(OFFICE, STEPS)
    assert text.startswith("TrayProxy test of http://proxy.corp.example:8080\n")
    assert "sign-in: ok as CORP\\jdoe (31 ms)" in text
