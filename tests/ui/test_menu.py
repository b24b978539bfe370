"""Tests for trayproxy.ui.menu, trayproxy.ui.texts and the gestures of trayproxy.ui.tray."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import structs
from PySide6.QtCore import SignalInstance
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QSystemTrayIcon
from pytestqt.qtbot import QtBot

from tests.ui.fake_service import LAB, NEEDED, OFFICE, STATUS
from tests.ui.named_widgets import child
from trayproxy.control.icon_state import IconState
from trayproxy.control.messages import (
    ListenerState,
    RefusedClients,
    Status,
    SystemProxyState,
    SystemProxyStatus,
    UpstreamState,
    UseSystemProxy,
)
from trayproxy.domain.problem import Problem, utf16_units
from trayproxy.domain.signin import SignInState, Snooze
from trayproxy.profiles.profile import DIRECT_ID, Profile, SignIn, Upstream
from trayproxy.recipes.catalogue import tools
from trayproxy.ui import texts
from trayproxy.ui.action_signals import ActionSignals
from trayproxy.ui.menu import TrayMenu
from trayproxy.ui.menu_rows import PROFILES_SHOWN
from trayproxy.ui.text_sanitizer import MENU_WIDTH, TOOLTIP_UNITS
from trayproxy.ui.tray import Gesture, gesture_of

Reason = QSystemTrayIcon.ActivationReason


class MenuDriver:
    """Operates a `TrayMenu` by the object names of its rows.

    Attributes:
        actions: The signals that the menu emits.
        menu: The menu.
    """

    def __init__(self, qtbot: QtBot) -> None:
        self._qtbot = qtbot
        self.actions = ActionSignals()
        self.menu = TrayMenu(self.actions)
        qtbot.addWidget(self.menu.menu)

    def show(
        self,
        state: IconState = IconState.OK,
        status: Status = STATUS,
        *,
        has_prompt: bool = False,
        **changes: object,
    ) -> None:
        """Show a status after some changes."""
        self.menu.update(state, structs.replace(status, **changes), has_prompt=has_prompt)

    def rows(self) -> list[str]:
        """Return the texts of the visible rows, ``---`` for a separator."""
        visible = [action for action in self.menu.menu.actions() if action.isVisible()]
        return ["---" if action.isSeparator() else action.text() for action in visible]

    def row(self, name: str) -> QAction:
        return child(self.menu, QAction, name)

    def emitted(self, signal: SignalInstance, row: QAction) -> list[Any]:
        """Trigger a row; return the arguments of the signal that follows."""
        with self._qtbot.waitSignal(signal) as blocker:
            row.trigger()
        return blocker.args or []


@pytest.fixture
def ui(qtbot: QtBot) -> MenuDriver:
    return MenuDriver(qtbot)


def test_the_menu_while_connected(ui: MenuDriver) -> None:
    ui.menu.update(IconState.OK, structs.replace(STATUS, active=3), received_per_s=1.2e6)
    assert ui.rows() == [
        "Office — connected as CORP\\jdoe",
        "127.0.0.1:3128 · 3 active · ↓ 1.2 MB/s",
        "---",
        "Profile",
        "Office — proxy.corp.example:8080",
        "Lab — lab-px:3128",
        "Connect directly",
        "---",
        "Profiles…",
        "---",
        "Use as system proxy",
        "Copy settings for",
        "---",
        "Quit TrayProxy",
    ]


@pytest.mark.parametrize(
    ("state", "rows", "checked", "enabled"),
    [
        (SystemProxyState.OFF, ["Use as system proxy"], False, True),
        (SystemProxyState.ON, ["Use as system proxy"], True, True),
        (
            SystemProxyState.CHANGED,
            ["Use as system proxy", "Changed by another program"],
            False,
            True,
        ),
        (SystemProxyState.MANAGED, ["System proxy: managed by your organisation"], False, False),
        # A click makes the window show the reason.
        (SystemProxyState.UNAVAILABLE, ["System proxy: not available…"], False, True),
    ],
)
def test_the_system_proxy_in_the_menu(
    ui: MenuDriver, state: SystemProxyState, rows: list[str], checked: bool, enabled: bool
) -> None:
    ui.show(system_proxy=SystemProxyStatus(state))
    check = ui.row("system_proxy")
    found = ui.rows()
    start = found.index(rows[0])
    assert found[start : start + len(rows) + 2] == [*rows, "Copy settings for", "---"]
    assert (check.isChecked(), check.isEnabled()) == (checked, enabled)
    assert all(len(row) <= MENU_WIDTH for row in rows)


def test_the_program_that_has_changed_the_system_proxy_is_named(ui: MenuDriver) -> None:
    name = "<R&D>\n" + "W" * 100
    ui.show(system_proxy=SystemProxyStatus(SystemProxyState.CHANGED, program=name))
    [row] = [text for text in ui.rows() if text.startswith("Changed by ")]
    assert row.startswith("Changed by <R&&D> WW")
    assert len(row) <= MENU_WIDTH


def test_without_a_listener_the_system_proxy_can_only_be_turned_off(ui: MenuDriver) -> None:
    ui.show(listener=ListenerState.FAILED)
    assert not ui.row("system_proxy").isEnabled()
    ui.show(listener=ListenerState.FAILED, system_proxy=SystemProxyStatus(SystemProxyState.ON))
    assert ui.row("system_proxy").isEnabled()


@pytest.mark.parametrize(
    ("row", "state", "use"),
    [
        ("system_proxy", SystemProxyState.OFF, True),
        ("system_proxy", SystemProxyState.ON, False),
        ("system_proxy", SystemProxyState.CHANGED, True),
        ("system_proxy", SystemProxyState.UNAVAILABLE, True),
        ("system_proxy_take_back", SystemProxyState.CHANGED, True),
        ("system_proxy_leave", SystemProxyState.CHANGED, False),
    ],
)
def test_the_check_shows_the_state_and_not_the_click(
    ui: MenuDriver, row: str, state: SystemProxyState, use: bool
) -> None:
    ui.show(system_proxy=SystemProxyStatus(state))
    check = ui.row("system_proxy")
    before = check.isChecked()
    assert ui.emitted(ui.actions.use_system_proxy, ui.row(row)) == [UseSystemProxy(use)]
    assert check.isChecked() is before


def test_the_settings_for_programs_can_be_copied(ui: MenuDriver) -> None:
    rows = {"powershell": "PowerShell", "git": "git", "npm": "npm", "pip": "pip"}
    for tool, text in {**rows, "docker": "Docker"}.items():
        row = ui.row(f"copy_settings_{tool}")
        assert row.text() == text
        assert ui.emitted(ui.actions.copy_settings, row) == [tool]
        assert tool in tools()
    assert ui.row("copy_settings_all").text() == "All tools…"
    ui.emitted(ui.actions.show_recipes, ui.row("copy_settings_all"))


@pytest.mark.parametrize(
    ("shell", "tool"), [("/usr/bin/fish", "fish"), ("/bin/zsh", "zsh"), ("/bin/dash", "bash")]
)
def test_the_settings_for_the_terminal_are_those_of_the_users_shell(
    qtbot: QtBot, monkeypatch: pytest.MonkeyPatch, shell: str, tool: str
) -> None:
    monkeypatch.setenv("SHELL", shell)
    ui = MenuDriver(qtbot)
    assert ui.row(f"copy_settings_{tool}").text() == "Terminal"


def test_without_a_local_address_no_settings_can_be_copied(ui: MenuDriver) -> None:
    ui.show(listener=ListenerState.FAILED)
    assert "Copy settings for" not in ui.rows()


def test_connect_directly_is_in_the_profile_group(ui: MenuDriver) -> None:
    direct = ui.row("connect_directly")
    ui.show()
    assert not direct.isChecked()
    assert ui.emitted(ui.actions.use_profile, direct) == [DIRECT_ID]
    ui.show(IconState.DIRECT, profile=None, direct=True)
    assert ui.rows()[0] == "Connecting directly"
    assert direct.isChecked()
    assert not ui.row("profile_office").isChecked()
    ui.show()
    assert not direct.isChecked()
    assert ui.row("profile_office").isChecked()
    ui.show(IconState.STARTING, profile=None)
    assert not direct.isChecked()


def test_the_menu_when_a_sign_in_is_needed(ui: MenuDriver) -> None:
    ui.show(IconState.SIGNIN, NEEDED, has_prompt=True)
    assert ui.rows()[:4] == [
        "Office — sign-in needed (4 requests waiting)",
        "Sign in to Office…",
        "Not now",
        "---",
    ]
    assert ui.menu.menu.defaultAction() is ui.row("sign_in")


def test_the_sign_in_row_stays_while_snoozed(ui: MenuDriver) -> None:
    ui.show(IconState.SIGNIN, NEEDED, sign_in=SignInState.SNOOZED, waiting=0)
    assert "Sign in to Office…" in ui.rows()
    assert "Not now" not in ui.rows()


def test_the_menu_without_a_service(ui: MenuDriver) -> None:
    ui.menu.update(IconState.STOPPED, None)
    assert ui.rows()[:2] == ["TrayProxy is not running", "Try again"]


def test_the_menu_shows_why_the_listener_failed(ui: MenuDriver) -> None:
    problem = Problem("TP-101", "Port 3128 is taken", "squid uses it.")
    status = structs.replace(STATUS, listener=ListenerState.FAILED, problem=problem)
    ui.menu.update(IconState.STOPPED, status)
    assert ui.rows()[0] == "Not running — port 3128 is taken"
    assert not ui.row("use_port").isVisible()
    # Another program has the address: it must not be offered for copying.
    assert STATUS.address not in " ".join(ui.rows())


def test_a_free_port_is_offered_when_the_configured_port_is_taken(ui: MenuDriver) -> None:
    status = structs.replace(STATUS, listener=ListenerState.FAILED, spare_port=3129)
    ui.menu.update(IconState.STOPPED, status)
    assert "Use port 3129 instead" in ui.rows()
    assert ui.emitted(ui.actions.use_port, ui.row("use_port")) == [3129]
    ui.menu.update(IconState.OK, structs.replace(status, listener=ListenerState.UP))
    assert "Use port 3129 instead" not in ui.rows()


def test_the_menu_shows_the_other_port_and_offers_the_configured_port(ui: MenuDriver) -> None:
    notice = Problem("TP-111", "TrayProxy uses port 3129 for now", "Set them to 127.0.0.1:3129.")
    status = structs.replace(STATUS, wanted_port=3128, notices=(notice,))
    ui.menu.update(IconState.OK, status)
    assert "TrayProxy uses port 3129 for now" in ui.rows()
    assert "Go back to port 3128" in ui.rows()
    assert ui.emitted(ui.actions.use_port, ui.row("use_port")) == [0]
    ui.show()
    assert "Go back to port 3128" not in ui.rows()


def test_the_program_on_the_other_address_of_localhost_is_named(ui: MenuDriver) -> None:
    title = "python3 of user nobody listens on [::1]:3128"
    other = Problem("TP-801", "The settings file has a mistake", "line 3.")
    notices = (other, Problem("TP-110", title, "End it."))
    ui.show(notices=notices)
    assert ui.rows()[2] == title
    ui.emitted(ui.actions.show_window, ui.row("warning"))
    assert title in texts.tray_tooltip(IconState.OK, structs.replace(STATUS, notices=notices))
    ui.show(notices=(other,))
    assert not ui.row("warning").isVisible()


def test_profiles_are_a_radio_group(ui: MenuDriver) -> None:
    ui.show()
    assert ui.row("profile_office").isChecked()
    assert ui.emitted(ui.actions.use_profile, ui.row("profile_lab")) == ["lab"]
    assert not ui.row("profile_office").isChecked()


def test_a_failed_switch_is_undone_in_the_menu(ui: MenuDriver) -> None:
    ui.show()
    ui.row("profile_lab").trigger()
    ui.show()
    assert ui.row("profile_office").isChecked()


def test_rows_are_reused_when_a_profile_changes(ui: MenuDriver) -> None:
    ui.show()
    before = ui.menu.menu.actions()
    renamed = replace(OFFICE, name="Head office")
    ui.show(IconState.SIGNIN, NEEDED, profile=renamed, profiles=(renamed, LAB))
    assert ui.menu.menu.actions() == before
    assert "Head office — proxy.corp.example:8080" in ui.rows()


def test_profile_rows_are_added_and_removed(ui: MenuDriver) -> None:
    ui.show()
    ui.show(profiles=(OFFICE,))
    assert "Lab — lab-px:3128" not in ui.rows()
    ui.show(IconState.STARTING, profile=None, profiles=())
    assert "Profile" not in ui.rows()
    assert ui.rows()[0] == "No profile yet"


@pytest.mark.parametrize(
    ("state", "profile", "heading"),
    [
        (IconState.STOPPED, None, "No profile is in use — choose one"),
        (IconState.TROUBLE, OFFICE, "Office: no common way to sign in"),
        (
            IconState.TROUBLE,
            replace(OFFICE, sign_in=SignIn.NONE),
            "Office: the proxy wants a sign-in",
        ),
    ],
    ids=["no-profile", "no-common-method", "profile-without-sign-in"],
)
def test_the_heading_shows_why_programs_cannot_sign_in(
    state: IconState, profile: Profile | None, heading: str, ui: MenuDriver
) -> None:
    ui.show(state, profile=profile, sign_in=SignInState.UNUSABLE)
    assert ui.rows()[0] == heading
    assert not ui.row("sign_in").isVisible()


def test_more_than_seven_profiles_are_in_a_submenu(ui: MenuDriver) -> None:
    many = tuple(Profile(f"p{n}", f"P{n}", Upstream("px", 3128)) for n in range(20))
    ui.show(IconState.SIGNIN, NEEDED, profile=many[0], profiles=many, has_prompt=True)
    assert "More profiles" in ui.rows()
    assert len([text for text in ui.rows() if "px:3128" in text]) == PROFILES_SHOWN
    assert len([text for text in ui.rows() if text != "---"]) <= 17


@pytest.mark.parametrize(
    ("name", "signal"),
    [
        ("address", "copy_address"),
        ("sign_in", "sign_in"),
        ("try_again", "retry"),
        ("profiles", "show_window"),
        ("quit", "quit"),
    ],
)
def test_each_row_emits_its_signal(name: str, signal: str, ui: MenuDriver) -> None:
    ui.emitted(getattr(ui.actions, signal), ui.row(name))


@pytest.mark.parametrize(
    ("name", "snooze"),
    [("not_now_a_while", Snooze.A_WHILE), ("not_now_until_chosen", Snooze.UNTIL_CHOSEN)],
)
def test_not_now_offers_two_snoozes(name: str, snooze: Snooze, ui: MenuDriver) -> None:
    found = child(ui.menu.menu, QAction, name)
    assert ui.emitted(ui.actions.decline, found) == [snooze]


def test_the_address_row_shows_a_check_mark_after_copying(ui: MenuDriver, qtbot: QtBot) -> None:
    ui.row("address").trigger()
    assert not ui.row("address").icon().isNull()
    qtbot.waitUntil(lambda: ui.row("address").icon().isNull())


def test_names_contain_no_mnemonics(ui: MenuDriver) -> None:
    ui.menu.set_over_dbus(over_dbus=True)
    profile = replace(OFFICE, name="R&D_1")
    ui.show(IconState.READY, profile=profile, profiles=(profile,))
    assert ui.rows()[0] == "R&&D__1 — ready, not used yet"


STATUSES = st.builds(
    Status,
    version=st.just("0.1.0"),
    pid=st.just(1),
    listener=st.sampled_from(ListenerState),
    address=st.just("127.0.0.1:65535"),
    profile=st.builds(
        Profile,
        id=st.just("p"),
        name=st.text(max_size=120),
        upstream=st.builds(Upstream, host=st.text(max_size=250), port=st.integers(1, 65535)),
    ),
    user=st.text(max_size=300),
    waiting=st.integers(0, 512),
    sign_in=st.sampled_from(SignInState),
    upstream=st.sampled_from(UpstreamState),
    problem=st.none() | st.builds(Problem, id=st.just("TP-1"), title=st.text(), body=st.text()),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(status=STATUSES, state=st.sampled_from(IconState))
def test_texts_are_within_their_length_limits(
    status: Status, state: IconState, qapp: object
) -> None:
    for text in (
        texts.heading(state, status),
        texts.first_line(state, status),
        texts.profile_row(status.profile) if status.profile else "",
        texts.sign_in_row(status.profile.name if status.profile else ""),
    ):
        assert len(text.replace("\u2068", "").replace("\u2069", "")) <= MENU_WIDTH, text
        assert len(text.splitlines()) <= 1
    assert utf16_units(texts.tray_tooltip(state, status)) <= TOOLTIP_UNITS


@pytest.mark.parametrize(
    ("octets", "text"),
    [(0, "0 B/s"), (1500, "1.5 kB/s"), (1.2e6, "1.2 MB/s"), (25e6, "25 MB/s"), (3e9, "3.0 GB/s")],
)
def test_rates_have_two_significant_figures(octets: float, text: str) -> None:
    assert texts.rate(octets) == text


@pytest.mark.parametrize(
    ("platform", "reason", "expected"),
    [
        ("xcb", Reason.Trigger, Gesture.PRIMARY),
        ("wayland", Reason.Trigger, Gesture.PRIMARY),
        ("xcb", Reason.DoubleClick, Gesture.NOTHING),
        ("xcb", Reason.Context, Gesture.NOTHING),
        ("xcb", Reason.MiddleClick, Gesture.TOGGLE_DIRECT),
        ("windows", Reason.Trigger, Gesture.PRIMARY_UNLESS_DOUBLE),
        ("windows", Reason.DoubleClick, Gesture.WINDOW),
        ("windows", Reason.Context, Gesture.NOTHING),
        ("windows", Reason.MiddleClick, Gesture.TOGGLE_DIRECT),
        ("cocoa", Reason.Trigger, Gesture.NOTHING),
        ("cocoa", Reason.MiddleClick, Gesture.NOTHING),
        ("cocoa", Reason.DoubleClick, Gesture.NOTHING),
    ],
)
def test_the_gesture_table(platform: str, reason: Reason, expected: Gesture) -> None:
    assert gesture_of(reason, platform) is expected


@pytest.mark.qt_log_ignore("grabbing the keyboard", extend=True)
def test_an_open_menu_is_filled_and_stays_on_the_screen(ui: MenuDriver) -> None:
    room = ui.menu.menu.screen().availableGeometry()
    ui.menu.menu.popup(room.bottomLeft())
    ui.show()
    assert ui.row("address").text() == "127.0.0.1:3128"
    assert room.contains(ui.menu.menu.geometry())
    ui.menu.menu.hide()


def test_the_tooltip_shows_the_number_of_refused_connections(qapp: object) -> None:
    status = Status("1", 1, ListenerState.UP, "127.0.0.1:3128")
    assert texts.tray_tooltip(IconState.READY, status).splitlines()[1:] == ["127.0.0.1:3128"]
    for count, line in (
        (1, "1 connection of other users refused"),
        (7, "7 connections of other users refused"),
    ):
        refused = structs.replace(status, refused_clients=RefusedClients(count))
        assert texts.tray_tooltip(IconState.READY, refused).splitlines()[2:] == [line]
