"""A question and a locked screen."""

from tests.end2end.stage import Attach, Run, Use
from tests.support.clients import Clients
from tests.support.keyring_session import KeyringSession
from tests.support.origin import Origin
from tests.support.screen import ScreenSaver
from tests.support.secrets import Canary
from tests.support.squid import Squid
from trayproxy.control.messages import SignInNow


def test_a_question_waits_until_the_person_is_back(
    run: Run,
    attach: Attach,
    use: Use,
    keyring: KeyringSession,
    proxy: Squid,
    canary: Canary,
    clients: Clients,
    origin: Origin,
) -> None:
    saver = ScreenSaver(keyring.environment["DBUS_SESSION_BUS_ADDRESS"], "org.gnome.ScreenSaver")
    try:
        service = run(session=keyring)
        face = attach(service)
        use(face, proxy)
        saver.wait_until(lambda: saver.asked)
        saver.set(active=True)
        # What is told last is known last: the answer to this comes after the lock.
        face.wait_for_status(lambda status: status.screen_locked)
        waiting = clients.curl("-x", service.url, origin.url("/hello"))
        face.wait_for_status(lambda status: status.waiting == 1)
        assert face.questions == []
        saver.set(active=False)
        question = face.wait_for_question()
        face.answer(question, canary.login)
        assert waiting.result().out == "hello"
    finally:
        saver.stop()


def test_who_wants_to_sign_in_is_before_the_screen(
    run: Run, attach: Attach, use: Use, keyring: KeyringSession, proxy: Squid
) -> None:
    bus = keyring.environment["DBUS_SESSION_BUS_ADDRESS"]
    # A locker that never says that it has gone.
    saver = ScreenSaver(bus, "org.gnome.ScreenSaver", active=True)
    try:
        face = attach(run(session=keyring))
        profile = use(face, proxy)
        face.wait_for_status(lambda status: status.screen_locked)
        face.must(SignInNow(profile.id))
        face.wait_for_question()
        face.wait_for_status(lambda status: not status.screen_locked)
    finally:
        saver.stop()
