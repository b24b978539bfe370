"""The password lies in the real keyring, or nowhere."""

from time import monotonic

import pytest

from tests.end2end.stage import HELLO, KEYRING_LIMIT_S, Office
from tests.support.keyring_session import State, keyring_session
from tests.support.processes import home
from tests.support.secrets import Canary, files_below
from trayproxy.control.messages import ForgetLogin
from trayproxy.domain.signin import KeyringState


def test_an_accepted_password_lies_in_the_keyring(office: Office) -> None:
    here = office.start(office.login)
    assert here.fetch() == HELLO
    (entry,) = office.keyring.wait_for_entries(1)
    assert entry.secret == office.login.password
    assert entry.attributes["username"] == office.login.user


def test_a_rejected_password_never_gets_there(office: Office) -> None:
    here = office.start(office.wrong)
    here.visit()
    here.front_end.wait_for_prompt(lambda question: question.rejections == 1)
    assert office.keyring.entries() == []


def test_a_password_that_shall_not_be_remembered_never_gets_there(office: Office) -> None:
    here = office.start(office.login)
    here.front_end.remember = False
    assert here.fetch() == HELLO
    here.front_end.wait_for_ending(here.front_end.prompts[0])
    assert here.service.stop() == 0
    assert office.keyring.entries() == []


def test_the_next_run_asks_nobody(office: Office) -> None:
    office.sign_in_before()
    here = office.resume()
    assert here.fetch() == HELLO
    assert here.front_end.prompts == []
    assert office.proxy.failed_logons() == 0


def test_a_saved_password_that_was_changed_costs_one_failed_log_on(office: Office) -> None:
    office.sign_in_before()
    new = Canary()
    office.proxy.set_password(new.user, new.password)
    here = office.resume(new.login)
    assert here.fetch() == HELLO
    assert office.proxy.failed_logons() == 1
    assert len(here.front_end.prompts) == 1


def test_a_forgotten_password_is_gone_from_the_keyring(office: Office) -> None:
    here = office.start(office.login)
    here.fetch()
    office.keyring.wait_for_entries(1)
    here.front_end.request_done(ForgetLogin(office.profile.id))
    assert office.keyring.entries() == []


@pytest.mark.parametrize(
    ("state", "told"), [(State.ABSENT, KeyringState.MISSING), (State.LOCKED, KeyringState.LOCKED)]
)
def test_without_a_usable_keyring_a_sign_in_works_and_the_person_is_told(
    office: Office, state: State, told: KeyringState
) -> None:
    with home() as place, keyring_session(place, state) as session:
        here = office.begin(office.run(session=session), office.login)
        began = monotonic()
        assert here.fetch() == HELLO
        assert monotonic() - began < KEYRING_LIMIT_S + 2
        assert here.front_end.prompts[0].keyring.state is told
        assert here.front_end.wait_for_status(lambda status: status.keyring.state is told)
        # In memory it stays until the end, and it is nowhere else.
        assert here.fetch() == HELLO
        assert len(here.front_end.prompts) == 1
        office.canary.assert_absent(files_below(place.root))


def test_without_any_session_bus_a_sign_in_works(office: Office) -> None:
    here = office.begin(office.run(), office.login)
    assert here.fetch() == HELLO
    assert here.front_end.prompts[0].keyring.state is KeyringState.MISSING


def test_a_frozen_keyring_does_not_keep_the_question_from_opening(office: Office) -> None:
    here = office.start()
    office.keyring.freeze()
    waiting = here.visit()
    question = here.front_end.wait_for_prompt()
    assert question.keyring.state is KeyringState.SILENT
    here.front_end.answer(question, office.login)
    assert waiting.result().out == HELLO
