"""A keyring may be locked, slow or dying: nobody waits for it who needs no password."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from time import monotonic

import pytest

from tests.end2end.stage import HELLO, KEYRING_LIMIT_S, Office
from tests.support.display import Desktop, x_server
from tests.support.keyring_session import MASTER_PASSWORD, KeyringSession
from tests.support.panel import window_manager
from tests.support.processes import Home, running
from trayproxy.control.messages import SaveProfile, UseProfile
from trayproxy.domain.signin import KeyringState, PromptReason

PROMPTER = Path("/usr/libexec/gcr-prompter")
PROMPT = "^Unlock"


@pytest.fixture
def saved(office: Office) -> None:
    """The password lies in the keyring since an earlier run."""
    office.sign_in_before()


@pytest.fixture
def screen(keyring: KeyringSession, place: Home) -> Iterator[Desktop]:
    """Where the desktop can ask for the keyring's password."""
    with x_server(place) as display:
        desktop = Desktop(place, display, keyring.bus)
        with (
            window_manager(desktop),
            running([PROMPTER], env=desktop.environment(), cwd=place.root),
        ):
            keyring.wait_for_name("org.gnome.keyring.SystemPrompter")
            yield desktop


@pytest.mark.xdist_group("display")
@pytest.mark.usefixtures("saved")
def test_a_locked_keyring_is_unlocked_by_the_desktop_and_used(
    office: Office, screen: Desktop
) -> None:
    office.keyring.lock()
    here = office.resume()
    waiting = here.visit()
    screen.wait_until_active(screen.wait_for_window(PROMPT))
    screen.type(MASTER_PASSWORD)
    screen.press("Return")
    assert waiting.result().out == HELLO
    assert office.proxy.failed_logons() == 0
    assert here.front_end.wait_for_status(lambda status: status.keyring.state is KeyringState.OK)


@pytest.mark.xdist_group("display")
@pytest.mark.usefixtures("saved")
def test_a_keyring_that_stays_locked_leads_to_a_question(office: Office, screen: Desktop) -> None:
    office.keyring.lock()
    here = office.resume()
    waiting = here.visit()
    screen.wait_until_active(screen.wait_for_window(PROMPT))
    screen.press("Escape")
    question = here.front_end.wait_for_prompt()
    assert question.reason is PromptReason.KEYRING_LOCKED
    assert question.keyring.state is KeyringState.LOCKED
    here.front_end.answer(question, office.login)
    assert waiting.result().out == HELLO


@pytest.mark.xdist_group("display")
@pytest.mark.usefixtures("saved")
@pytest.mark.parametrize("is_dismissed", [True, False], ids=["dismissed", "left open"])
def test_a_keyring_that_another_program_unlocks_answers_the_question(
    office: Office, screen: Desktop, is_dismissed: bool
) -> None:
    """Whether the person has dismissed the window of the keyring or left it open."""
    office.keyring.lock()
    here = office.resume()
    waiting = here.visit()
    screen.wait_until_active(screen.wait_for_window(PROMPT))
    if is_dismissed:
        screen.press("Escape")
    here.front_end.wait_for_prompt()
    office.keyring.unlock()
    assert waiting.result().out == HELLO
    assert office.proxy.failed_logons() == 0


@pytest.mark.usefixtures("saved")
def test_a_keyring_that_dies_in_the_middle_leads_to_a_question(office: Office) -> None:
    here = office.resume()
    office.keyring.freeze()
    began = monotonic()
    waiting = here.visit()
    here.front_end.wait_for_status(lambda status: status.waiting == 1)
    office.keyring.kill()
    question = here.front_end.wait_for_prompt()
    assert monotonic() - began < KEYRING_LIMIT_S + 2
    assert question.keyring.state is not KeyringState.OK
    here.front_end.answer(question, office.login)
    assert waiting.result().out == HELLO


@pytest.mark.usefixtures("saved")
def test_who_needs_no_password_is_served_while_the_keyring_hangs(office: Office) -> None:
    here = office.resume()
    here.front_end.request_done(
        SaveProfile(replace(office.profile, bypass=(f"localhost:{office.origin.port}",)))
    )
    here.front_end.request_done(UseProfile(office.profile.id))
    office.keyring.freeze()
    began = monotonic()
    here.visit()
    here.front_end.wait_for_status(lambda status: status.waiting == 1)
    assert here.curl(f"http://localhost:{office.origin.port}/hello").result().out == "hello"
    assert not here.front_end.prompts
    question = here.front_end.wait_for_prompt()
    assert question.keyring.state is KeyringState.SILENT
    assert monotonic() - began < KEYRING_LIMIT_S + 4
