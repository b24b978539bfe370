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
        here.front_end.wait_for_status(lambda status: status.screen_locked)
        waiting = here.visit()
        here.front_end.wait_for_status(lambda status: status.waiting == 1)
        assert here.front_end.prompts == []
        saver.set(active=False)
        here.front_end.answer(here.front_end.wait_for_prompt(), office.login)
        assert waiting.result().out == HELLO
    finally:
        saver.stop()


def test_who_wants_to_sign_in_is_before_the_screen(office: Office) -> None:
    # A locker that never says that it has gone.
    saver = ScreenSaver(office.keyring.bus, "org.gnome.ScreenSaver", active=True)
    try:
        here = office.start()
        here.front_end.wait_for_status(lambda status: status.screen_locked)
        here.front_end.request_done(SignInNow(office.profile.id))
        here.front_end.wait_for_prompt()
        here.front_end.wait_for_status(lambda status: not status.screen_locked)
    finally:
        saver.stop()
