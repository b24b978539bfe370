"""The password lies in the real keyring, or nowhere."""

from time import monotonic

import pytest

from tests.end2end.stage import Attach, Run, Use
from tests.support.clients import Clients
from tests.support.keyring_session import KeyringSession, State, keyring_session
from tests.support.origin import Origin
from tests.support.processes import home
from tests.support.secrets import Canary, files_below
from tests.support.service import Service
from tests.support.squid import Squid
from trayproxy.auth.login import Login
from trayproxy.control.messages import ForgetLogin, KeyringState

SOFT_LIMIT_S = 8.0
"""How long the person waits for the keyring at most (ux.md, section 3.4)."""


def fetch(service: Service, clients: Clients, origin: Origin) -> str:
    """Return what curl gets through the service: ``hello``, and the status."""
    arguments = ("-x", service.url, "-w", "%{http_code}", "-o", "/dev/null")
    return clients.curl(*arguments, origin.url("/hello")).result().out


def test_an_accepted_password_lies_in_the_keyring(
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
    use(attach(service, [canary.login]), proxy)
    assert fetch(service, clients, origin) == "200"
    (entry,) = keyring.wait_for_entries(1)
    assert entry.secret == canary.password
    assert entry.attributes["username"] == canary.user


def test_a_rejected_password_never_gets_there(
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
    face = attach(service, [Login(canary.user, "wrong")])
    use(face, proxy)
    clients.curl("-x", service.url, origin.url("/hello"))
    face.wait_for_question(lambda question: question.rejections == 1)
    assert keyring.entries() == []


def test_a_password_that_shall_not_be_remembered_never_gets_there(
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
    face = attach(service, [canary.login])
    face.remember = False
    use(face, proxy)
    assert fetch(service, clients, origin) == "200"
    face.wait_for_ending(face.questions[0])
    assert service.stop() == 0
    assert keyring.entries() == []


def test_the_next_run_asks_nobody(
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
    use(attach(first, [canary.login]), proxy)
    fetch(first, clients, origin)
    keyring.wait_for_entries(1)
    assert first.stop() == 0
    second = run(session=keyring)
    face = attach(second)
    assert fetch(second, clients, origin) == "200"
    assert face.questions == []
    assert proxy.failed_logons() == 0


def test_a_saved_password_that_was_changed_costs_one_failed_log_on(
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
    use(attach(first, [canary.login]), proxy)
    fetch(first, clients, origin)
    keyring.wait_for_entries(1)
    assert first.stop() == 0
    new = Canary()
    proxy.set_password(new.user, new.password)
    second = run(session=keyring)
    face = attach(second, [new.login])
    assert fetch(second, clients, origin) == "200"
    assert proxy.failed_logons() == 1
    assert len(face.questions) == 1


def test_a_forgotten_password_is_gone_from_the_keyring(
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
    face = attach(service, [canary.login])
    profile = use(face, proxy)
    fetch(service, clients, origin)
    keyring.wait_for_entries(1)
    face.must(ForgetLogin(profile.id))
    assert keyring.entries() == []


@pytest.mark.parametrize(
    ("state", "told"), [(State.ABSENT, KeyringState.MISSING), (State.LOCKED, KeyringState.LOCKED)]
)
def test_without_a_usable_keyring_a_sign_in_works_and_the_person_is_told(
    run: Run,
    attach: Attach,
    use: Use,
    proxy: Squid,
    canary: Canary,
    clients: Clients,
    origin: Origin,
    state: State,
    told: KeyringState,
) -> None:
    with home() as place, keyring_session(place, state) as session:
        service = run(session=session)
        face = attach(service, [canary.login])
        use(face, proxy)
        began = monotonic()
        assert fetch(service, clients, origin) == "200"
        assert monotonic() - began < SOFT_LIMIT_S + 2
        assert face.questions[0].keyring.state is told
        assert face.wait_for_status(lambda status: status.keyring.state is told)
        # In memory it stays until the end, and it is nowhere else.
        assert fetch(service, clients, origin) == "200"
        assert len(face.questions) == 1
        canary.assert_absent(files_below(place.root))


def test_without_any_session_bus_a_sign_in_works(
    run: Run,
    attach: Attach,
    use: Use,
    proxy: Squid,
    canary: Canary,
    clients: Clients,
    origin: Origin,
) -> None:
    service = run()
    face = attach(service, [canary.login])
    use(face, proxy)
    assert fetch(service, clients, origin) == "200"
    assert face.questions[0].keyring.state is KeyringState.MISSING


def test_a_frozen_keyring_does_not_keep_the_question_from_opening(
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
    keyring.freeze()
    job = clients.curl("-x", service.url, origin.url("/hello"))
    question = face.wait_for_question()
    assert question.keyring.state is KeyringState.SILENT
    face.answer(question, canary.login)
    assert job.result().out == "hello"
