"""Nothing that a person typed is lost, and no password costs a log-on twice."""

import pytest

from tests.end2end.stage import HELLO, Office, Sitting
from trayproxy.auth.login import Login
from trayproxy.control.messages import Done, Failed, KeepPromptOpen, SaveLogin, SignInNow
from trayproxy.desk.history import HistoryFile
from trayproxy.desk.protection_space import UpstreamFingerprint, UpstreamId
from trayproxy.domain.signin import Ending, Prompt, PromptReason, SignInState


def nobody_waits(question: Prompt) -> bool:
    return question.waiting == 0


def was_rejected(question: Prompt) -> bool:
    return question.reason is PromptReason.TYPED_REJECTED


def give_up_while_typing(here: Sitting) -> Prompt:
    """Let a program go away whose question the person is about to answer."""
    impatient = here.visit()
    question = here.front_end.wait_for_prompt()
    here.front_end.request_done(KeepPromptOpen(question.number))
    impatient.process.end()
    here.front_end.wait_for_prompt(nobody_waits)
    return question


def save(office: Office, here: Sitting) -> None:
    """Let the person save the right password before anything asks for it."""
    assert isinstance(here.front_end.request(SaveLogin(office.profile.id, office.login)), Done)


def test_an_answer_counts_although_the_program_gave_up_while_the_person_typed(
    office: Office,
) -> None:
    here = office.start()
    question = give_up_while_typing(here)
    here.front_end.answer(question, office.login)
    assert here.front_end.wait_for_ending(question) is Ending.ACCEPTED
    (entry,) = office.keyring.wait_for_entries(1)
    assert entry.secret == office.login.password
    assert here.fetch() == HELLO
    assert len(here.front_end.prompts) == 1
    assert office.proxy.failed_logons() == 0


def test_a_wrong_answer_is_told_although_the_program_gave_up(office: Office) -> None:
    here = office.start()
    question = give_up_while_typing(here)
    here.front_end.answer(question, office.wrong)
    here.front_end.wait_for_prompt(was_rejected)
    here.front_end.answer(question, office.login)
    assert here.front_end.wait_for_ending(question) is Ending.ACCEPTED
    assert office.proxy.failed_logons() == 1


def test_signing_in_from_the_menu_says_at_once_whether_it_is_right(office: Office) -> None:
    here = office.start()
    here.front_end.request_done(SignInNow(office.profile.id))
    question = here.front_end.wait_for_prompt()
    here.front_end.answer(question, office.wrong)
    here.front_end.wait_for_prompt(was_rejected)
    here.front_end.answer(question, office.login)
    assert here.front_end.wait_for_ending(question) is Ending.ACCEPTED
    assert here.front_end.wait_for_status(lambda status: status.sign_in is SignInState.OK)
    assert len(office.keyring.wait_for_entries(1)) == 1


def test_a_working_password_is_not_replaced_by_one_that_does_not_work(office: Office) -> None:
    here = office.start()
    save(office, here)
    refused = here.front_end.request(SaveLogin(office.profile.id, office.wrong))
    assert isinstance(refused, Failed)
    assert refused.problem.id == "TP-302"
    (entry,) = office.keyring.entries()
    assert entry.secret == office.login.password
    assert office.proxy.failed_logons() == 1


def test_a_saved_password_that_is_wrong_costs_one_log_on_in_all_runs_together(
    office: Office,
) -> None:
    first = office.start()
    save(office, first)
    first.end()
    office.proxy.set_password(office.login.user, "changed meanwhile")
    for _ in range(3):
        again = office.resume()
        waiting = again.visit()
        assert again.front_end.wait_for_prompt().reason is PromptReason.SAVED_REJECTED
        waiting.process.end()
        again.end()
    assert office.proxy.failed_logons() == 1


def test_a_password_that_is_changed_while_it_works_costs_two_failed_log_ons(
    office: Office,
) -> None:
    """A refusal may be about the address alone, also where the address was reached before.

    So a second try, at another address, tells whether it is the password. Requests that are on
    their way together in the seconds after an acceptance all carry it.
    """
    here = office.begin(office.run())
    tunnel = ("--proxytunnel", office.origin.url("/hello"))
    first = here.curl(*tunnel)
    here.front_end.answer(here.front_end.wait_for_prompt(), office.login)
    assert first.result().out == "hello"
    office.proxy.set_password(office.login.user, "changed meanwhile")
    waiting = [here.curl(*tunnel)]
    question = here.front_end.wait_for_prompt(lambda asked: asked.rejections == 1)
    waiting += [here.curl(*tunnel) for _ in range(9)]
    here.front_end.wait_for_prompt(lambda asked: asked.waiting == len(waiting))
    assert office.proxy.failed_logons() == 2
    here.front_end.answer(question, Login(office.login.user, "changed meanwhile"))
    assert [one.result().out for one in waiting] == ["hello"] * len(waiting)
    assert office.proxy.failed_logons() == 2


@pytest.mark.parametrize(
    ("label", "realm", "why", "before"),
    [
        ("ntlm", "Corporate Internet", PromptReason.DOWNGRADE, "NTLM"),
        ("basic", "Headquarters", PromptReason.REALM_CHANGED, "Headquarters"),
    ],
)
def test_a_proxy_that_is_not_what_it_was_gets_no_password_unasked(
    office: Office, label: str, realm: str, why: PromptReason, before: str
) -> None:
    first = office.start()
    save(office, first)
    first.end()
    memory = HistoryFile(first.service.paths.state / "sign-in.json")
    memory.set_fingerprint(UpstreamId.of(office.profile), UpstreamFingerprint(label, (realm,)))
    memory.close()
    signed_in = sum(access.signed for access in office.proxy.accesses())
    second = office.resume()
    waiting = second.visit()
    question = second.front_end.wait_for_prompt()
    assert (question.reason, question.before, question.method) == (why, before, "Basic")
    assert sum(access.signed for access in office.proxy.accesses()) == signed_in
    second.front_end.answer(question, office.login)
    assert waiting.result().out == HELLO
    second.end()
    third = office.resume()
    assert third.fetch() == HELLO
    assert third.front_end.prompts == []
