"""A question and a locked screen."""

from tests.end2end.stage import HELLO, Office
from tests.support.screen import ScreenSaver
from trayproxy.control.messages import SignInNow


def test_a_question_waits_until_the_person_is_back(office: Office) -> None:
    saver = ScreenSaver(office.keyring.bus, "org.gnome.ScreenSaver")
    try:
        here = office.start()
        saver.wait_until(lambda: saver.asked)
        saver.set(active=True)
        # What is told last is known last: the answer to this comes after the lock.
        here.face.wait_for_status(lambda status: status.screen_locked)
        waiting = here.visit()
        here.face.wait_for_status(lambda status: status.waiting == 1)
        assert here.face.questions == []
        saver.set(active=False)
        here.face.answer(here.face.wait_for_question(), office.login)
        assert waiting.result().out == HELLO
    finally:
        saver.stop()


def test_who_wants_to_sign_in_is_before_the_screen(office: Office) -> None:
    # A locker that never says that it has gone.
    saver = ScreenSaver(office.keyring.bus, "org.gnome.ScreenSaver", active=True)
    try:
        here = office.start()
        here.face.wait_for_status(lambda status: status.screen_locked)
        here.face.must(SignInNow(office.profile.id))
        here.face.wait_for_question()
        here.face.wait_for_status(lambda status: not status.screen_locked)
    finally:
        saver.stop()
