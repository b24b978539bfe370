"""Tests for trayproxy.ui.menu, trayproxy.ui.texts and the gestures of trayproxy.ui.tray."""

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import structs
from PySide6.QtGui import QAction
from PySide6.QtWidgets import QSystemTrayIcon
from pytestqt.qtbot import QtBot

from tests.ui.fake_service import LAB, NEEDED, OFFICE, STATUS
from trayproxy.control.icon_state import IconState
from trayproxy.control.messages import ListenerState, RefusedClients, Status, UpstreamState
from trayproxy.domain.problem import Problem, utf16_units
from trayproxy.domain.signin import SignInState, Snooze
from trayproxy.profiles.profile import DIRECT_ID, Profile, SignIn, Upstream
from trayproxy.ui import texts
from trayproxy.ui.menu import TrayMenu
from trayproxy.ui.menu_rows import PROFILES_SHOWN
from trayproxy.ui.text_sanitizer import MENU_WIDTH, TOOLTIP_UNITS
from trayproxy.ui.tray import Gesture, gesture_of

Reason = QSystemTrayIcon.ActivationReason


@pytest.fixture
def menu(qtbot: QtBot) -> TrayMenu:
    menu = TrayMenu()
    qtbot.addWidget(menu.menu)
    return menu


def rows(menu: TrayMenu) -> list[str]:
    visible = [action for action in menu.menu.actions() if action.isVisible()]
    return ["---" if action.isSeparator() else action.text() for action in visible]


def row(menu: TrayMenu, name: str) -> QAction:
    found = menu.findChild(QAction, name)
    assert isinstance(found, QAction)
    return found


def test_the_menu_while_connected(menu: TrayMenu) -> None:
    menu.update(IconState.OK, structs.replace(STATUS, active=3), received_per_s=1.2e6)
    assert rows(menu) == [
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
        "Quit TrayProxy",
    ]


def test_connect_directly_is_in_the_profile_group(menu: TrayMenu, qtbot: QtBot) -> None:
    direct = row(menu, "connect_directly")
    menu.update(IconState.OK, STATUS)
    assert not direct.isChecked()
    with qtbot.waitSignal(menu.profile_chosen) as chosen:
        direct.trigger()
    assert chosen.args == [DIRECT_ID]
    menu.update(IconState.DIRECT, structs.replace(STATUS, profile=None, direct=True))
    assert rows(menu)[0] == "Connecting directly"
    assert direct.isChecked()
    assert not row(menu, "profile_office").isChecked()
    menu.update(IconState.OK, STATUS)
    assert not direct.isChecked()
    assert row(menu, "profile_office").isChecked()
    menu.update(IconState.STARTING, structs.replace(STATUS, profile=None))
    assert not direct.isChecked()


def test_the_menu_when_a_sign_in_is_needed(menu: TrayMenu) -> None:
    menu.update(IconState.SIGNIN, NEEDED, has_prompt=True)
    assert rows(menu)[:4] == [
        "Office — sign-in needed (4 requests waiting)",
        "127.0.0.1:3128",
        "Sign in to Office…",
        "Not now",
    ]
    assert menu.menu.defaultAction() is row(menu, "sign_in")


def test_the_sign_in_row_stays_while_snoozed(menu: TrayMenu) -> None:
    menu.update(IconState.SIGNIN, structs.replace(NEEDED, sign_in=SignInState.SNOOZED, waiting=0))
    assert "Sign in to Office…" in rows(menu)
    assert "Not now" not in rows(menu)


def test_the_menu_without_a_service(menu: TrayMenu) -> None:
    menu.update(IconState.STOPPED, None)
    assert rows(menu)[:2] == ["TrayProxy is not running", "Try again"]


def test_the_menu_shows_why_the_listener_failed(menu: TrayMenu) -> None:
    problem = Problem("TP-101", "Port 3128 is taken", "squid uses it.")
    status = structs.replace(STATUS, listener=ListenerState.FAILED, problem=problem)
    menu.update(IconState.STOPPED, status)
    assert rows(menu)[0] == "Not running — port 3128 is taken"
    assert not row(menu, "use_port").isVisible()
    # Another program has the address: it must not be offered for copying.
    assert STATUS.address not in " ".join(rows(menu))


def test_a_free_port_is_offered_when_the_configured_port_is_taken(
    menu: TrayMenu, qtbot: QtBot
) -> None:
    status = structs.replace(STATUS, listener=ListenerState.FAILED, spare_port=3129)
    menu.update(IconState.STOPPED, status)
    assert "Use port 3129 instead" in rows(menu)
    with qtbot.waitSignal(menu.port_chosen) as chosen:
        row(menu, "use_port").trigger()
    assert chosen.args == [3129]
    menu.update(IconState.OK, structs.replace(status, listener=ListenerState.UP))
    assert "Use port 3129 instead" not in rows(menu)


def test_the_menu_shows_the_other_port_and_offers_the_configured_port(
    menu: TrayMenu, qtbot: QtBot
) -> None:
    notice = Problem("TP-111", "TrayProxy uses port 3129 for now", "Set them to 127.0.0.1:3129.")
    status = structs.replace(STATUS, wanted_port=3128, notices=(notice,))
    menu.update(IconState.OK, status)
    assert "TrayProxy uses port 3129 for now" in rows(menu)
    assert "Go back to port 3128" in rows(menu)
    with qtbot.waitSignal(menu.port_chosen) as chosen:
        row(menu, "use_port").trigger()
    assert chosen.args == [0]
    menu.update(IconState.OK, STATUS)
    assert "Go back to port 3128" not in rows(menu)


def test_the_program_on_the_other_address_of_localhost_is_named(
    menu: TrayMenu, qtbot: QtBot
) -> None:
    title = "python3 of user nobody listens on [::1]:3128"
    other = Problem("TP-801", "The settings file has a mistake", "line 3.")
    notices = (other, Problem("TP-110", title, "End it."))
    menu.update(IconState.OK, structs.replace(STATUS, notices=notices))
    assert rows(menu)[2] == title
    with qtbot.waitSignal(menu.profiles_chosen):
        row(menu, "warning").trigger()
    assert title in texts.tray_tooltip(IconState.OK, structs.replace(STATUS, notices=notices))
    menu.update(IconState.OK, structs.replace(STATUS, notices=(other,)))
    assert not row(menu, "warning").isVisible()


def test_profiles_are_a_radio_group(menu: TrayMenu, qtbot: QtBot) -> None:
    menu.update(IconState.OK, STATUS)
    assert row(menu, "profile_office").isChecked()
    with qtbot.waitSignal(menu.profile_chosen) as chosen:
        row(menu, "profile_lab").trigger()
    assert chosen.args == ["lab"]
    assert not row(menu, "profile_office").isChecked()


def test_a_failed_switch_is_undone_in_the_menu(menu: TrayMenu) -> None:
    menu.update(IconState.OK, STATUS)
    row(menu, "profile_lab").trigger()
    menu.update(IconState.OK, STATUS)
    assert row(menu, "profile_office").isChecked()


def test_rows_are_reused_when_a_profile_changes(menu: TrayMenu) -> None:
    menu.update(IconState.OK, STATUS)
    before = menu.menu.actions()
    renamed = replace(OFFICE, name="Head office")
    menu.update(IconState.SIGNIN, structs.replace(NEEDED, profile=renamed, profiles=(renamed, LAB)))
    assert menu.menu.actions() == before
    assert "Head office — proxy.corp.example:8080" in rows(menu)


def test_profile_rows_are_added_and_removed(menu: TrayMenu) -> None:
    menu.update(IconState.OK, STATUS)
    menu.update(IconState.OK, structs.replace(STATUS, profiles=(OFFICE,)))
    assert "Lab — lab-px:3128" not in rows(menu)
    menu.update(IconState.STARTING, structs.replace(STATUS, profile=None, profiles=()))
    assert "Profile" not in rows(menu)
    assert rows(menu)[0] == "No profile yet"


def test_the_heading_says_no_profile_is_in_use(menu: TrayMenu) -> None:
    menu.update(IconState.STOPPED, structs.replace(STATUS, profile=None))
    assert rows(menu)[0] == "No profile is in use — choose one"


def test_the_heading_says_no_sign_in_is_possible(menu: TrayMenu) -> None:
    menu.update(IconState.TROUBLE, structs.replace(STATUS, sign_in=SignInState.UNUSABLE))
    assert rows(menu)[0] == "Office: no common way to sign in"
    assert not row(menu, "sign_in").isVisible()


def test_the_heading_says_that_a_profile_without_sign_in_needs_one(menu: TrayMenu) -> None:
    profile = replace(OFFICE, sign_in=SignIn.NONE)
    menu.update(
        IconState.TROUBLE,
        structs.replace(STATUS, profile=profile, sign_in=SignInState.UNUSABLE),
    )
    assert rows(menu)[0] == "Office: the proxy wants a sign-in"


def test_more_than_seven_profiles_are_in_a_submenu(menu: TrayMenu) -> None:
    many = tuple(Profile(f"p{n}", f"P{n}", Upstream("px", 3128)) for n in range(20))
    menu.update(
        IconState.SIGNIN, structs.replace(NEEDED, profile=many[0], profiles=many), has_prompt=True
    )
    assert "More profiles" in rows(menu)
    assert len([text for text in rows(menu) if "px:3128" in text]) == PROFILES_SHOWN
    assert len([text for text in rows(menu) if text != "---"]) <= 16


@pytest.mark.parametrize(
    ("name", "signal"),
    [
        ("address", "address_chosen"),
        ("sign_in", "sign_in_chosen"),
        ("try_again", "retry_chosen"),
        ("profiles", "profiles_chosen"),
        ("quit", "quit_chosen"),
    ],
)
def test_each_row_emits_its_signal(name: str, signal: str, menu: TrayMenu, qtbot: QtBot) -> None:
    with qtbot.waitSignal(getattr(menu, signal)):
        row(menu, name).trigger()


@pytest.mark.parametrize(
    ("name", "snooze"),
    [("not_now_a_while", Snooze.A_WHILE), ("not_now_until_chosen", Snooze.UNTIL_CHOSEN)],
)
def test_not_now_offers_two_snoozes(
    name: str, snooze: Snooze, menu: TrayMenu, qtbot: QtBot
) -> None:
    found = menu.menu.findChild(QAction, name)
    assert isinstance(found, QAction)
    with qtbot.waitSignal(menu.not_now_chosen) as chosen:
        found.trigger()
    assert chosen.args == [snooze]


def test_the_address_row_shows_a_check_mark_after_copying(menu: TrayMenu, qtbot: QtBot) -> None:
    row(menu, "address").trigger()
    assert not row(menu, "address").icon().isNull()
    qtbot.waitUntil(lambda: row(menu, "address").icon().isNull())


def test_names_contain_no_mnemonics(menu: TrayMenu) -> None:
    menu.set_over_dbus(over_dbus=True)
    profile = replace(OFFICE, name="R&D_1")
    menu.update(IconState.READY, structs.replace(STATUS, profile=profile, profiles=(profile,)))
    assert rows(menu)[0] == "R&&D__1 — ready, not used yet"


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
def test_an_open_menu_is_filled_and_stays_on_the_screen(menu: TrayMenu) -> None:
    room = menu.menu.screen().availableGeometry()
    menu.menu.popup(room.bottomLeft())
    menu.update(IconState.OK, STATUS)
    assert row(menu, "address").text() == "127.0.0.1:3128"
    assert room.contains(menu.menu.geometry())
    menu.menu.hide()


def test_the_tooltip_shows_the_number_of_refused_connections(qapp: object) -> None:
    status = Status("1", 1, ListenerState.UP, "127.0.0.1:3128")
    assert texts.tray_tooltip(IconState.READY, status).splitlines()[1:] == ["127.0.0.1:3128"]
    for count, line in (
        (1, "1 connection of other users refused"),
        (7, "7 connections of other users refused"),
    ):
        refused = structs.replace(status, refused_clients=RefusedClients(count))
        assert texts.tray_tooltip(IconState.READY, refused).splitlines()[2:] == [line]
