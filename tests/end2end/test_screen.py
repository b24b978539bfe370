"""A question and a locked screen."""

from tests.end2end.scenario import HELLO, Scenario
from tests.support.screen_lock_services import ScreenSaver
from trayproxy.control.messages import SignInNow


def test_a_prompt_waits_until_the_screen_is_unlocked(scenario: Scenario) -> None:
    with ScreenSaver(scenario.keyring.bus, "org.gnome.ScreenSaver") as saver:
        user = scenario.start()
        saver.wait_until(lambda: saver.asked)
        saver.set(active=True)
        # What is told last is known last: the answer to this comes after the lock.
        user.front_end.wait_for_status(lambda status: status.screen_locked)
        waiting = user.visit()
        user.front_end.wait_for_status(lambda status: status.waiting == 1)
        assert user.front_end.prompts == []
        saver.set(active=False)
        user.front_end.answer(user.front_end.wait_for_prompt(), scenario.login)
        assert waiting.result().out == HELLO


def test_a_request_to_sign_in_shows_that_the_screen_is_unlocked(scenario: Scenario) -> None:
    # A locker that never says that it has gone.
    with ScreenSaver(scenario.keyring.bus, "org.gnome.ScreenSaver", active=True):
        user = scenario.start()
        user.front_end.wait_for_status(lambda status: status.screen_locked)
        user.front_end.request_done(SignInNow(scenario.profile.id))
        user.front_end.wait_for_prompt()
        user.front_end.wait_for_status(lambda status: not status.screen_locked)
