"""Tests of the real tray on a real X server, with a StatusNotifierItem host and an XEmbed host.

Only the host and the service run in the process of the test.
"""

import signal
from collections.abc import Iterator
from dataclasses import replace

import pytest
from msgspec import structs

from tests.support.display import Desktop, desktop
from tests.support.processes import Home, Process, running
from tests.support.tray_host import FakeTrayHost, TrayItem
from tests.ui.fake_service import LAB, NEEDED, OFFICE, PROMPT, STATUS
from tests.ui.scripted_service import ScriptedService, scripted_service, tray
from trayproxy.auth.login import Login
from trayproxy.control.messages import AnswerPrompt, DeclinePrompt, Quit, SignInNow, UseProfile
from trayproxy.domain.signin import Snooze
from trayproxy.ui.icons import TRAY_SIZES

SIGN_IN_TITLE = "Sign in to proxy"
WINDOW_TITLE = "^TrayProxy$"


@pytest.fixture
def here(place: Home) -> Iterator[Desktop]:
    with desktop(place) as started:
        yield started


@pytest.fixture
def service(here: Desktop) -> Iterator[ScriptedService]:
    with scripted_service(here) as started:
        yield started


@pytest.fixture
def host(here: Desktop) -> Iterator[FakeTrayHost]:
    with FakeTrayHost(here.bus) as started:
        yield started


@pytest.fixture
def program(here: Desktop, service: ScriptedService, host: FakeTrayHost) -> Iterator[Process]:
    with tray(here) as process:
        yield process
        # A warning of Qt is a bug of TrayProxy.
        assert not process.err.text


@pytest.fixture
def item(program: Process, host: FakeTrayHost) -> TrayItem:
    return host.wait_for_item()


# --- Icon and menu -------------------------------------------------------------------------------


def test_the_icon_has_all_sizes_and_a_tooltip_with_the_state(
    item: TrayItem, host: FakeTrayHost
) -> None:
    host.wait_until(lambda: "connected" in item.tooltip)
    assert item.pixmap_sizes == set(TRAY_SIZES)
    assert item.tooltip == "Office — connected as CORP\\jdoe\n127.0.0.1:3128"


def test_another_state_changes_the_picture(
    item: TrayItem, host: FakeTrayHost, service: ScriptedService
) -> None:
    host.wait_until(lambda: "connected" in item.tooltip)
    before = item.pixels
    service.set_status(NEEDED)
    host.wait_until(lambda: item.tooltip.startswith("Office: sign-in needed"))
    assert item.pixels != before


def test_the_exported_menu_has_the_designed_rows(item: TrayItem, host: FakeTrayHost) -> None:
    host.wait_until(lambda: item.labels()[0].startswith("Office"))
    assert item.labels() == [
        "Office — connected as CORP\\jdoe",
        "127.0.0.1:3128",
        "Profile",
        "Office — proxy.corp.example:8080",
        "Lab — lab-px:3128",
        "Connect directly",
        "Profiles…",
        "Use as system proxy",
        "Copy settings for",
        "Quit TrayProxy",
    ]
    assert item.row("Office — proxy").is_checked
    assert item.row("Lab").properties["toggle-type"] == "radio"
    assert not item.row("Profile").properties.get("enabled", True)


def test_names_are_exported_unescaped(
    item: TrayItem, host: FakeTrayHost, service: ScriptedService
) -> None:
    profile = replace(OFFICE, name="R&D corp_proxy")
    service.set_status(structs.replace(STATUS, profile=profile, profiles=(profile,)))
    host.wait_until(lambda: item.labels()[0].startswith("R&D corp_proxy — connected"))


def test_a_profile_is_switched_from_the_exported_menu(
    item: TrayItem, host: FakeTrayHost, service: ScriptedService
) -> None:
    host.wait_until(lambda: "Lab — lab-px:3128" in item.labels())
    item.click("Lab — lab-px")
    assert service.wait_for(UseProfile) == UseProfile("lab")
    host.wait_until(lambda: item.row("Lab — lab-px").is_checked)
    assert not item.row("Office — proxy").is_checked


def test_profile_rows_are_replaced_in_the_exported_menu(
    item: TrayItem, host: FakeTrayHost, service: ScriptedService
) -> None:
    branch = replace(LAB, id="branch", name="Branch")
    service.set_status(structs.replace(STATUS, profiles=(OFFICE, branch)))
    host.wait_until(lambda: "Branch — lab-px:3128" in item.labels())
    assert "Lab — lab-px:3128" not in item.labels()


def test_sign_in_is_requested_from_the_exported_menu(
    item: TrayItem, host: FakeTrayHost, service: ScriptedService
) -> None:
    service.set_status(NEEDED)
    host.wait_until(lambda: "Sign in to Office…" in item.labels())
    item.click("Sign in to Office")
    assert service.wait_for(SignInNow) == SignInNow("office")


def test_not_now_is_in_the_menu_while_a_prompt_is_open(
    item: TrayItem, host: FakeTrayHost, service: ScriptedService
) -> None:
    service.open_prompt(PROMPT)
    host.wait_until(lambda: "Not now" in item.labels())
    item.click("Until I choose")
    assert service.wait_for(DeclinePrompt) == DeclinePrompt(1, Snooze.UNTIL_CHOSEN)


def test_quit_ends_the_service_and_the_tray(
    program: Process, host: FakeTrayHost, service: ScriptedService
) -> None:
    host.wait_for_item().click("Quit")
    service.wait_for(Quit)
    assert program.wait() == 0


# --- Tray hosts ----------------------------------------------------------------------------------


def test_a_host_that_starts_later_gets_the_icon(here: Desktop, service: ScriptedService) -> None:
    with tray(here, "--background"):
        service.wait_for_tray()
        with FakeTrayHost(here.bus) as host:
            assert host.wait_for_item(timeout=5).tooltip


def test_the_icon_survives_a_restart_of_the_host(here: Desktop, service: ScriptedService) -> None:
    with tray(here):
        with FakeTrayHost(here.bus) as host:
            host.wait_for_item()
        with FakeTrayHost(here.bus) as host:
            item = host.wait_for_item(timeout=5)
            assert "Quit TrayProxy" in item.labels()


@pytest.mark.usefixtures("service")
def test_without_a_tray_there_is_a_window(here: Desktop) -> None:
    with tray(here):
        assert here.wait_for_window(WINDOW_TITLE)


@pytest.mark.usefixtures("service")
def test_a_watcher_without_a_host_is_no_tray(here: Desktop) -> None:
    with FakeTrayHost(here.bus, has_host=False), tray(here):
        assert here.wait_for_window(WINDOW_TITLE)


def test_an_xembed_host_shows_the_icon(here: Desktop, service: ScriptedService) -> None:
    argv = ["trayer", "--edge", "top", "--align", "left", "--widthtype", "request"]
    with running(argv, env=here.environment(), cwd=here.place.root), tray(here):
        service.wait_for_tray()
        here.wait_for_icon("TrayProxy")
        here.run("xdotool", "mousemove", "12", "12", "click", "1")
        assert here.wait_for_window(WINDOW_TITLE)


# --- Service connection --------------------------------------------------------------------------


def test_a_restarted_tray_shows_the_same_prompt(
    here: Desktop, service: ScriptedService, host: FakeTrayHost
) -> None:
    service.open_prompt(PROMPT)
    for _ in range(2):
        with tray(here) as process:
            assert here.wait_for_window(SIGN_IN_TITLE)
            process.signal(signal.SIGKILL)
            process.wait()
    assert not [r for r in service.handler.requests if isinstance(r, DeclinePrompt)]


def test_the_tray_reconnects_to_a_restarted_service(here: Desktop, host: FakeTrayHost) -> None:
    with scripted_service(here) as first, tray(here):
        item = host.wait_for_item()
        first.wait_for_tray()
        first.close()
        host.wait_until(lambda: "connected" not in item.tooltip)
        second = ScriptedService(first.paths)
        second.wait_for_tray()
        host.wait_until(lambda: "connected" in item.tooltip)
        second.close()


def test_the_menu_shows_a_missing_service(here: Desktop, host: FakeTrayHost) -> None:
    with tray(here):
        item = host.wait_for_item()
        host.wait_until(lambda: "TrayProxy is not running" in item.labels())
        assert "Try again" in item.labels()


# --- Start and exit ------------------------------------------------------------------------------


@pytest.mark.usefixtures("program")
def test_a_second_start_shows_the_window_of_the_first(
    here: Desktop, service: ScriptedService, host: FakeTrayHost
) -> None:
    host.wait_for_item()
    service.wait_for_tray()
    with tray(here) as second:
        assert second.wait() == 0
    assert here.wait_for_window(WINDOW_TITLE)


@pytest.mark.usefixtures("program")
def test_a_second_start_in_the_background_shows_nothing(
    here: Desktop, service: ScriptedService, host: FakeTrayHost
) -> None:
    host.wait_for_item()
    with tray(here, "--background") as second:
        assert second.wait() == 0
    assert not here.windows(WINDOW_TITLE)


def test_a_start_without_profiles_opens_the_window(here: Desktop, host: FakeTrayHost) -> None:
    with scripted_service(here, structs.replace(STATUS, profile=None, profiles=())), tray(here):
        assert here.wait_for_window(WINDOW_TITLE)


def test_sigterm_ends_only_the_tray(
    program: Process, service: ScriptedService, host: FakeTrayHost
) -> None:
    host.wait_for_item()
    program.signal(signal.SIGTERM)
    assert program.wait() == 0
    assert not [r for r in service.handler.requests if isinstance(r, Quit)]


def test_ctrl_c_quits_the_tray_and_the_service(
    program: Process, service: ScriptedService, host: FakeTrayHost
) -> None:
    host.wait_for_item()
    service.wait_for_tray()
    program.signal(signal.SIGINT)
    assert program.wait() == 130
    service.wait_for(Quit)


# --- Sign-in dialog ------------------------------------------------------------------------------


def test_the_dialog_accepts_real_key_presses(here: Desktop, service: ScriptedService) -> None:
    # Without an ö on the keyboard, xdotool remaps a key, and a busy program sees the new map too
    # late.
    assert here.run("setxkbmap", "de").code == 0
    with tray(here):
        service.wait_for_tray()
        service.open_prompt(PROMPT)
        window = here.wait_for_window(SIGN_IN_TITLE)
        here.run("xdotool", "windowfocus", "--sync", window)
        here.run("xdotool", "type", "Sesam öffne dich")
        here.run("xdotool", "key", "Return")
        answer = service.wait_for(AnswerPrompt)
        assert answer == AnswerPrompt(1, Login("CORP\\jdoe", "Sesam öffne dich"), remember=True)
