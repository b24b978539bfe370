"""A keyring may be locked, slow or dying: nobody waits for it who needs no password."""

from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import pytest

from tests.end2end.stage import Attach, Run, Use
from tests.support.clients import Clients
from tests.support.display import Desktop, x_server
from tests.support.keyring_session import MASTER_PASSWORD, KeyringSession
from tests.support.origin import Origin
from tests.support.panel import window_manager
from tests.support.processes import Home, running
from tests.support.secrets import Canary
from tests.support.squid import Squid
from trayproxy.control.messages import KeyringState, SaveProfile, UseProfile, Why
from trayproxy.profiles.profile import Profile, Upstream

PROMPTER = Path("/usr/libexec/gcr-prompter")
PROMPT = "^Unlock"
SOFT_LIMIT_S = 8.0
"""How long the person waits for the keyring at most (ux.md, section 3.4)."""


@pytest.fixture
def saved(
    run: Run,
    attach: Attach,
    use: Use,
    keyring: KeyringSession,
    proxy: Squid,
    canary: Canary,
    clients: Clients,
    origin: Origin,
) -> None:
    """The password lies in the keyring since an earlier run."""
    service = run(session=keyring)
    use(attach(service, [canary.login]), proxy)
    assert clients.curl("-x", service.url, origin.url("/hello")).result().out == "hello"
    keyring.wait_for_entries(1)
    assert service.stop() == 0


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
    run: Run,
    attach: Attach,
    keyring: KeyringSession,
    screen: Desktop,
    proxy: Squid,
    clients: Clients,
    origin: Origin,
) -> None:
    keyring.lock()
    service = run(session=keyring)
    face = attach(service)
    waiting = clients.curl("-x", service.url, origin.url("/hello"))
    screen.wait_until_active(screen.wait_for_window(PROMPT))
    screen.type(MASTER_PASSWORD)
    screen.press("Return")
    assert waiting.result().out == "hello"
    assert proxy.failed_logons() == 0
    assert face.wait_for_status(lambda status: status.keyring.state is KeyringState.OK)


@pytest.mark.xdist_group("display")
@pytest.mark.usefixtures("saved")
def test_a_keyring_that_stays_locked_leads_to_a_question(
    run: Run,
    attach: Attach,
    keyring: KeyringSession,
    screen: Desktop,
    canary: Canary,
    clients: Clients,
    origin: Origin,
) -> None:
    keyring.lock()
    service = run(session=keyring)
    face = attach(service)
    waiting = clients.curl("-x", service.url, origin.url("/hello"))
    screen.wait_until_active(screen.wait_for_window(PROMPT))
    screen.press("Escape")
    question = face.wait_for_question()
    assert question.why is Why.KEYRING_LOCKED
    assert question.keyring.state is KeyringState.LOCKED
    face.answer(question, canary.login)
    assert waiting.result().out == "hello"


@pytest.mark.usefixtures("saved")
def test_a_keyring_that_dies_in_the_middle_leads_to_a_question(
    run: Run,
    attach: Attach,
    keyring: KeyringSession,
    canary: Canary,
    clients: Clients,
    origin: Origin,
) -> None:
    service = run(session=keyring)
    face = attach(service)
    keyring.freeze()
    began = monotonic()
    waiting = clients.curl("-x", service.url, origin.url("/hello"))
    face.wait_for_status(lambda status: status.waiting == 1)
    keyring.kill()
    question = face.wait_for_question()
    assert monotonic() - began < SOFT_LIMIT_S + 2
    assert question.keyring.state is not KeyringState.OK
    face.answer(question, canary.login)
    assert waiting.result().out == "hello"


@pytest.mark.usefixtures("saved")
def test_who_needs_no_password_is_served_while_the_keyring_hangs(
    run: Run,
    attach: Attach,
    keyring: KeyringSession,
    proxy: Squid,
    clients: Clients,
    origin: Origin,
) -> None:
    service = run(session=keyring)
    face = attach(service)
    bypass = (f"localhost:{origin.port}",)
    upstream = Upstream(proxy.host, proxy.port)
    face.must(SaveProfile(Profile("office", "Office", upstream, user="alice", bypass=bypass)))
    face.must(UseProfile("office"))
    keyring.freeze()
    began = monotonic()
    clients.curl("-x", service.url, origin.url("/hello"))
    face.wait_for_status(lambda status: status.waiting == 1)
    direct = f"http://localhost:{origin.port}/hello"
    got = clients.curl("-x", service.url, direct).result()
    assert got.out == "hello"
    assert not face.questions
    question = face.wait_for_question()
    assert question.keyring.state is KeyringState.SILENT
    assert monotonic() - began < SOFT_LIMIT_S + 4
