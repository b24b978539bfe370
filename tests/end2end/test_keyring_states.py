"""Requests without a password do not wait for a locked, slow or crashing keyring."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from time import monotonic

import pytest

from tests.end2end.scenario import HELLO, KEYRING_LIMIT_S, Scenario, UserSession
from tests.support.bus import wait_for_name
from tests.support.display import Desktop, x_server
from tests.support.keyring_session import MASTER_PASSWORD, KeyringSession
from tests.support.processes import Home, Job, running
from tests.support.window_manager import fluxbox
from trayproxy.control.messages import SaveProfile, UseProfile
from trayproxy.domain.signin import KeyringState, PromptReason

PROMPTER = Path("/usr/libexec/gcr-prompter")


@pytest.fixture
def saved(scenario: Scenario) -> None:
    """An earlier run has saved the password in the keyring."""
    scenario.sign_in_earlier()


@pytest.fixture
def screen(keyring: KeyringSession, place: Home) -> Iterator[Desktop]:
    """A desktop with a prompter for the password of the keyring."""
    with x_server(place) as display:
        desktop = Desktop(place, display, keyring.bus)
        with fluxbox(desktop), running([PROMPTER], env=desktop.environment(), cwd=place.root):
            wait_for_name(keyring.bus, "org.gnome.keyring.SystemPrompter")
            yield desktop


def visit_with_locked_keyring(scenario: Scenario, screen: Desktop) -> tuple[UserSession, Job]:
    """Start a request for which the desktop prompts for the password of the locked keyring."""
    scenario.keyring.lock()
    user = scenario.restart()
    waiting = user.visit()
    screen.wait_until_active(screen.wait_for_window("^Unlock"))
    return user, waiting


@pytest.mark.xdist_group("display")
@pytest.mark.usefixtures("saved")
def test_a_locked_keyring_is_unlocked_by_the_desktop_and_used(
    scenario: Scenario, screen: Desktop
) -> None:
    user, waiting = visit_with_locked_keyring(scenario, screen)
    screen.type(MASTER_PASSWORD)
    screen.press("Return")
    assert waiting.result().out == HELLO
    assert scenario.proxy.failed_logons() == 0
    assert user.front_end.wait_for_status(lambda status: status.keyring.state is KeyringState.OK)


@pytest.mark.xdist_group("display")
@pytest.mark.usefixtures("saved")
def test_a_keyring_left_locked_leads_to_a_prompt(scenario: Scenario, screen: Desktop) -> None:
    user, waiting = visit_with_locked_keyring(scenario, screen)
    screen.press("Escape")
    question = user.front_end.wait_for_prompt()
    assert question.reason is PromptReason.KEYRING_LOCKED
    assert question.keyring.state is KeyringState.LOCKED
    user.front_end.answer(question, scenario.login)
    assert waiting.result().out == HELLO


@pytest.mark.xdist_group("display")
@pytest.mark.usefixtures("saved")
@pytest.mark.parametrize("is_dismissed", [True, False], ids=["dismissed", "left open"])
def test_a_prompt_is_answered_by_a_keyring_unlocked_by_another_program(
    scenario: Scenario, screen: Desktop, is_dismissed: bool
) -> None:
    user, waiting = visit_with_locked_keyring(scenario, screen)
    if is_dismissed:
        screen.press("Escape")
    user.front_end.wait_for_prompt()
    scenario.keyring.unlock()
    assert waiting.result().out == HELLO
    assert scenario.proxy.failed_logons() == 0


@pytest.mark.usefixtures("saved")
def test_a_keyring_ending_during_a_lookup_leads_to_a_prompt(scenario: Scenario) -> None:
    user = scenario.restart()
    scenario.keyring.freeze()
    began = monotonic()
    waiting = user.visit()
    user.front_end.wait_for_status(lambda status: status.waiting == 1)
    scenario.keyring.kill()
    question = user.front_end.wait_for_prompt()
    assert monotonic() - began < KEYRING_LIMIT_S + 2
    assert question.keyring.state is not KeyringState.OK
    user.front_end.answer(question, scenario.login)
    assert waiting.result().out == HELLO


@pytest.mark.usefixtures("saved")
def test_a_request_without_a_password_is_served_while_the_keyring_hangs(scenario: Scenario) -> None:
    user = scenario.restart()
    user.front_end.request_done(
        SaveProfile(replace(scenario.profile, bypass=(f"localhost:{scenario.origin.port}",)))
    )
    user.front_end.request_done(UseProfile(scenario.profile.id))
    scenario.keyring.freeze()
    began = monotonic()
    user.visit()
    user.front_end.wait_for_status(lambda status: status.waiting == 1)
    assert user.curl(f"http://localhost:{scenario.origin.port}/hello").result().out == "hello"
    assert not user.front_end.prompts
    question = user.front_end.wait_for_prompt()
    assert question.keyring.state is KeyringState.SILENT
    assert monotonic() - began < KEYRING_LIMIT_S + 4
