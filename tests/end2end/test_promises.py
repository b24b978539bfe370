"""No typed login is lost, and no password costs a log-on twice."""

import pytest

from tests.end2end.scenario import HELLO, Scenario, UserSession
from trayproxy.auth.login import Login
from trayproxy.control.messages import Done, Failed, SaveLogin, SignInNow
from trayproxy.desk.history import HistoryFile
from trayproxy.desk.machine.events import RecordFingerprint
from trayproxy.desk.protection_space import UpstreamFingerprint, UpstreamId
from trayproxy.domain.signin import Ending, Prompt, PromptReason, SignInState


def was_rejected(question: Prompt) -> bool:
    return question.reason is PromptReason.TYPED_REJECTED


def save(scenario: Scenario, user: UserSession) -> None:
    """Save the right password before any prompt."""
    assert isinstance(user.front_end.request(SaveLogin(scenario.profile.id, scenario.login)), Done)


def test_a_wrong_login_is_reported_although_the_program_has_disconnected(
    scenario: Scenario,
) -> None:
    user = scenario.start()
    question = user.disconnect_during_prompt()
    user.front_end.answer(question, scenario.wrong)
    user.front_end.wait_for_prompt(was_rejected)
    user.front_end.answer(question, scenario.login)
    assert user.front_end.wait_for_ending(question) is Ending.ACCEPTED
    (entry,) = scenario.keyring.wait_for_entries(1)
    assert entry.secret == scenario.login.password
    assert user.fetch() == HELLO
    assert len(user.front_end.prompts) == 1
    assert scenario.proxy.failed_logons() == 1


def test_a_login_typed_from_the_menu_is_verified_at_once(scenario: Scenario) -> None:
    user = scenario.start()
    user.front_end.request_done(SignInNow(scenario.profile.id))
    question = user.front_end.wait_for_prompt()
    user.front_end.answer(question, scenario.wrong)
    user.front_end.wait_for_prompt(was_rejected)
    user.front_end.answer(question, scenario.login)
    assert user.front_end.wait_for_ending(question) is Ending.ACCEPTED
    assert user.front_end.wait_for_status(lambda status: status.sign_in is SignInState.OK)
    assert len(scenario.keyring.wait_for_entries(1)) == 1


def test_a_right_saved_password_is_not_replaced_by_a_wrong_password(scenario: Scenario) -> None:
    user = scenario.start()
    save(scenario, user)
    refused = user.front_end.request(SaveLogin(scenario.profile.id, scenario.wrong))
    assert isinstance(refused, Failed)
    assert refused.problem.id == "TP-302"
    (entry,) = scenario.keyring.entries()
    assert entry.secret == scenario.login.password
    assert scenario.proxy.failed_logons() == 1


def test_a_wrong_saved_password_costs_one_log_on_in_all_runs_together(scenario: Scenario) -> None:
    first = scenario.start()
    save(scenario, first)
    first.end()
    scenario.proxy.set_password(scenario.login.user, "changed meanwhile")
    for _ in range(3):
        again = scenario.restart()
        waiting = again.visit()
        assert again.front_end.wait_for_prompt().reason is PromptReason.SAVED_REJECTED
        waiting.process.end()
        again.end()
    assert scenario.proxy.failed_logons() == 1


def test_a_password_changed_after_its_acceptance_costs_two_failed_log_ons(
    scenario: Scenario,
) -> None:
    """A refusal may be about the address alone, also where the address was reached before.

    So a second try, at another address, tells whether it is the password. Requests on
    their way together in the seconds after an acceptance all carry it.
    """
    user = scenario.begin(scenario.run())
    tunnel = ("--proxytunnel", scenario.origin.url("/hello"))
    first = user.curl(*tunnel)
    user.front_end.answer(user.front_end.wait_for_prompt(), scenario.login)
    assert first.result().out == "hello"
    scenario.proxy.set_password(scenario.login.user, "changed meanwhile")
    waiting = [user.curl(*tunnel)]
    question = user.front_end.wait_for_prompt(lambda asked: asked.rejections == 1)
    waiting += [user.curl(*tunnel) for _ in range(9)]
    user.front_end.wait_for_prompt(lambda asked: asked.waiting == len(waiting))
    assert scenario.proxy.failed_logons() == 2
    user.front_end.answer(question, Login(scenario.login.user, "changed meanwhile"))
    assert [one.result().out for one in waiting] == ["hello"] * len(waiting)
    assert scenario.proxy.failed_logons() == 2


@pytest.mark.parametrize(
    ("label", "realm", "why", "before"),
    [
        ("ntlm", "Corporate Internet", PromptReason.DOWNGRADE, "NTLM"),
        ("basic", "Headquarters", PromptReason.REALM_CHANGED, "Headquarters"),
    ],
)
def test_a_changed_proxy_gets_no_password_without_a_prompt(
    scenario: Scenario, label: str, realm: str, why: PromptReason, before: str
) -> None:
    first = scenario.start()
    save(scenario, first)
    first.end()
    memory = HistoryFile(first.service.paths.state / "sign-in.json")
    memory.update(
        RecordFingerprint(UpstreamId.of(scenario.profile), UpstreamFingerprint(label, (realm,)))
    )
    memory.close()
    signed_in = sum(bool(access.scheme) for access in scenario.proxy.accesses())
    second = scenario.restart()
    waiting = second.visit()
    question = second.front_end.wait_for_prompt()
    assert (question.reason, question.before, question.method) == (why, before, "Basic")
    assert sum(bool(access.scheme) for access in scenario.proxy.accesses()) == signed_in
    second.front_end.answer(question, scenario.login)
    assert waiting.result().out == HELLO
    second.end()
    third = scenario.restart()
    assert third.fetch() == HELLO
    assert third.front_end.prompts == []
