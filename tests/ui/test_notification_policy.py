"""Tests for trayproxy.ui.notification_policy."""

from trayproxy.ui.notification_policy import MIN_INTERVAL_S, NotificationPolicy


def test_the_first_thing_is_said_at_once() -> None:
    assert NotificationPolicy().delay_s("needed", 0) == 0


def test_the_same_is_not_said_twice() -> None:
    slot = NotificationPolicy()
    slot.mark_shown("needed", 0)
    assert slot.delay_s("needed", 1000) is None


def test_another_thing_waits_for_its_minute() -> None:
    slot = NotificationPolicy()
    slot.mark_shown("needed", 0)
    assert slot.delay_s("rejected", 20) == MIN_INTERVAL_S - 20
    assert slot.delay_s("rejected", MIN_INTERVAL_S) == 0


def test_the_same_may_be_said_again_when_it_was_over() -> None:
    slot = NotificationPolicy()
    slot.mark_shown("needed", 0)
    slot.mark_withdrawn()
    assert slot.delay_s("needed", 20) == MIN_INTERVAL_S - 20
