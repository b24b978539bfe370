"""Nothing that a person typed is lost, and no password costs a log-on twice."""

import pytest

from tests.end2end.stage import Attach, Run, Use
from tests.support.clients import Clients
from tests.support.keyring_session import KeyringSession
from tests.support.origin import Origin
from tests.support.processes import Job
from tests.support.secrets import Canary
from tests.support.service import Service
from tests.support.squid import Squid
from trayproxy.auth.login import Login
from trayproxy.control.messages import (
    Done,
    Ending,
    Failed,
    Question,
    SaveLogin,
    SignInNow,
    SignInState,
    Typing,
    Why,
)
from trayproxy.desk.memory import MemoryFile
from trayproxy.desk.space import Pin, Space


def curl(service: Service, clients: Clients, origin: Origin) -> Job:
    arguments = ("-x", service.url, "-w", "%{http_code}", "-o", "/dev/null")
    return clients.curl(*arguments, origin.url("/hello"))


def nobody_waits(question: Question) -> bool:
    return question.waiting == 0


def test_an_answer_counts_although_the_program_gave_up_while_the_person_typed(
    run: Run,
    attach: Attach,
    use: Use,
    keyring: KeyringSession,
    proxy: Squid,
    canary: Canary,
    clients: Clients,
    origin: Origin,
) -> None:
    service = run(session=keyring)
    face = attach(service)
    use(face, proxy)
    impatient = curl(service, clients, origin)
    question = face.wait_for_question()
    face.must(Typing(question.number))
    impatient.process.end()
    face.wait_for_question(nobody_waits)
    face.answer(question, canary.login)
    assert face.wait_for_ending(question) is Ending.ACCEPTED
    (entry,) = keyring.wait_for_entries(1)
    assert entry.secret == canary.password
    assert curl(service, clients, origin).result().out == "200"
    assert len(face.questions) == 1
    assert proxy.failed_logons() == 0


def test_a_wrong_answer_is_told_although_the_program_gave_up(
    run: Run,
    attach: Attach,
    use: Use,
    keyring: KeyringSession,
    proxy: Squid,
    canary: Canary,
    clients: Clients,
    origin: Origin,
) -> None:
    service = run(session=keyring)
    face = attach(service)
    use(face, proxy)
    impatient = curl(service, clients, origin)
    question = face.wait_for_question()
    face.must(Typing(question.number))
    impatient.process.end()
    face.wait_for_question(nobody_waits)
    face.answer(question, Login(canary.user, "wrong"))
    face.wait_for_question(lambda asked: asked.why is Why.TYPED_REJECTED)
    face.answer(question, canary.login)
    assert face.wait_for_ending(question) is Ending.ACCEPTED
    assert proxy.failed_logons() == 1


def test_signing_in_from_the_menu_says_at_once_whether_it_is_right(
    run: Run, attach: Attach, use: Use, keyring: KeyringSession, proxy: Squid, canary: Canary
) -> None:
    service = run(session=keyring)
    face = attach(service)
    profile = use(face, proxy)
    face.must(SignInNow(profile.id))
    question = face.wait_for_question()
    face.answer(question, Login(canary.user, "wrong"))
    face.wait_for_question(lambda asked: asked.why is Why.TYPED_REJECTED)
    face.answer(question, canary.login)
    assert face.wait_for_ending(question) is Ending.ACCEPTED
    assert face.wait_for_status(lambda status: status.sign_in is SignInState.OK)
    assert len(keyring.wait_for_entries(1)) == 1


def test_a_working_password_is_not_replaced_by_one_that_does_not_work(
    run: Run, attach: Attach, use: Use, keyring: KeyringSession, proxy: Squid, canary: Canary
) -> None:
    service = run(session=keyring)
    face = attach(service)
    profile = use(face, proxy)
    assert isinstance(face.do(SaveLogin(profile.id, canary.login)), Done)
    refused = face.do(SaveLogin(profile.id, Login(canary.user, "wrong")))
    assert isinstance(refused, Failed)
    assert refused.problem.id == "TP-302"
    (entry,) = keyring.entries()
    assert entry.secret == canary.password
    assert proxy.failed_logons() == 1


def test_a_saved_password_that_is_wrong_costs_one_log_on_in_all_runs_together(
    run: Run,
    attach: Attach,
    use: Use,
    keyring: KeyringSession,
    proxy: Squid,
    canary: Canary,
    clients: Clients,
    origin: Origin,
) -> None:
    first = run(session=keyring)
    face = attach(first)
    profile = use(face, proxy)
    assert isinstance(face.do(SaveLogin(profile.id, canary.login)), Done)
    face.close()
    assert first.stop() == 0
    proxy.set_password(canary.user, "changed meanwhile")
    for _ in range(3):
        again = run(session=keyring)
        face = attach(again)
        waiting = curl(again, clients, origin)
        assert face.wait_for_question().why is Why.SAVED_REJECTED
        waiting.process.end()
        face.close()
        assert again.stop() == 0
    assert proxy.failed_logons() == 1


def test_a_password_that_is_changed_while_it_works_costs_one_failed_log_on(
    run: Run,
    attach: Attach,
    use: Use,
    proxy: Squid,
    canary: Canary,
    clients: Clients,
    origin: Origin,
) -> None:
    """The address is not to blame where the password was right: nothing has to be found out.

    Requests that are on their way together in the seconds after an acceptance all carry it.
    """
    service = run()
    face = attach(service)
    use(face, proxy)
    tunnel = ("--proxytunnel", "-x", service.url, origin.url("/hello"))
    first = clients.curl(*tunnel)
    face.answer(face.wait_for_question(), canary.login)
    assert first.result().out == "hello"
    proxy.set_password(canary.user, "changed meanwhile")
    waiting = [clients.curl(*tunnel)]
    question = face.wait_for_question(lambda asked: asked.rejections == 1)
    waiting += [clients.curl(*tunnel) for _ in range(9)]
    face.wait_for_question(lambda asked: asked.waiting == len(waiting))
    assert proxy.failed_logons() == 1
    face.answer(question, Login(canary.user, "changed meanwhile"))
    assert [one.result().out for one in waiting] == ["hello"] * len(waiting)
    assert proxy.failed_logons() == 1


@pytest.mark.parametrize(
    ("label", "realm", "why", "before"),
    [
        ("ntlm", "Corporate Internet", Why.DOWNGRADE, "NTLM"),
        ("basic", "Headquarters", Why.REALM_CHANGED, "Headquarters"),
    ],
)
def test_a_proxy_that_is_not_what_it_was_gets_no_password_unasked(
    run: Run,
    attach: Attach,
    use: Use,
    keyring: KeyringSession,
    proxy: Squid,
    canary: Canary,
    clients: Clients,
    origin: Origin,
    label: str,
    realm: str,
    why: Why,
    before: str,
) -> None:
    first = run(session=keyring)
    face = attach(first)
    profile = use(face, proxy)
    assert isinstance(face.do(SaveLogin(profile.id, canary.login)), Done)
    face.close()
    assert first.stop() == 0
    memory = MemoryFile(first.paths.state / "sign-in.json")
    memory.pin(Space.of(profile), Pin(label, (realm,)))
    memory.close()
    signed_in = sum(access.signed for access in proxy.accesses())
    second = run(session=keyring)
    face = attach(second)
    waiting = curl(second, clients, origin)
    question = face.wait_for_question()
    assert (question.why, question.before, question.method) == (why, before, "Basic")
    assert sum(access.signed for access in proxy.accesses()) == signed_in
    face.answer(question, canary.login)
    assert waiting.result().out == "200"
    face.close()
    assert second.stop() == 0
    third = run(session=keyring)
    face = attach(third)
    assert curl(third, clients, origin).result().out == "200"
    assert face.questions == []
