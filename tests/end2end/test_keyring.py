"""The password lies in the real keyring, or nowhere."""

from time import monotonic

import pytest

from tests.end2end.scenario import HELLO, KEYRING_LIMIT_S, Scenario
from tests.support.keyring_session import DaemonState, keyring_session
from tests.support.processes import home
from tests.support.searchable_secret import SearchableSecret, files_below
from trayproxy.control.messages import ForgetLogin
from trayproxy.domain.signin import KeyringState


def test_a_password_is_not_saved_without_consent(scenario: Scenario) -> None:
    user = scenario.start(scenario.login)
    user.front_end.remember = False
    assert user.fetch() == HELLO
    user.front_end.wait_for_ending(user.front_end.prompts[0])
    assert user.service.stop() == 0
    assert scenario.keyring.entries() == []


def test_the_next_run_needs_no_prompt(scenario: Scenario) -> None:
    scenario.sign_in_earlier()
    user = scenario.restart()
    assert user.fetch() == HELLO
    assert user.front_end.prompts == []
    assert scenario.proxy.failed_logons() == 0


def test_a_changed_saved_password_costs_one_failed_log_on(scenario: Scenario) -> None:
    scenario.sign_in_earlier()
    new = SearchableSecret()
    scenario.proxy.set_password(new.user, new.password)
    user = scenario.restart(new.login)
    assert user.fetch() == HELLO
    assert scenario.proxy.failed_logons() == 1
    assert len(user.front_end.prompts) == 1


def test_an_accepted_login_is_saved_in_the_keyring_until_it_is_forgotten(
    scenario: Scenario,
) -> None:
    user = scenario.start(scenario.login)
    assert user.fetch() == HELLO
    (entry,) = scenario.keyring.wait_for_entries(1)
    assert entry.secret == scenario.login.password
    assert entry.attributes["username"] == scenario.login.user
    user.front_end.request_done(ForgetLogin(scenario.profile.id))
    assert scenario.keyring.entries() == []


@pytest.mark.parametrize(
    ("state", "told"),
    [(DaemonState.ABSENT, KeyringState.MISSING), (DaemonState.LOCKED, KeyringState.LOCKED)],
)
def test_a_sign_in_works_without_a_usable_keyring_and_the_prompt_says_so(
    scenario: Scenario, state: DaemonState, told: KeyringState
) -> None:
    with home() as place, keyring_session(place, state) as session:
        user = scenario.begin(scenario.run(session=session), scenario.login)
        began = monotonic()
        assert user.fetch() == HELLO
        assert monotonic() - began < KEYRING_LIMIT_S + 2
        assert user.front_end.prompts[0].keyring.state is told
        assert user.front_end.wait_for_status(lambda status: status.keyring.state is told)
        # In memory it stays until the end, and it is nowhere else.
        assert user.fetch() == HELLO
        assert len(user.front_end.prompts) == 1
        scenario.account.assert_absent(files_below(place.root))


def test_without_any_session_bus_a_sign_in_works(scenario: Scenario) -> None:
    user = scenario.begin(scenario.run(), scenario.login)
    assert user.fetch() == HELLO
    assert user.front_end.prompts[0].keyring.state is KeyringState.MISSING


def test_a_frozen_keyring_does_not_prevent_a_prompt(scenario: Scenario) -> None:
    user = scenario.start()
    scenario.keyring.freeze()
    waiting = user.visit()
    question = user.front_end.wait_for_prompt()
    assert question.keyring.state is KeyringState.SILENT
    user.front_end.answer(question, scenario.login)
    assert waiting.result().out == HELLO
