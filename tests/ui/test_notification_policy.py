"""Tests for trayproxy.ui.notification_policy."""

from trayproxy.ui.notification_policy import SLOT_S, NotificationPolicy


def test_the_first_thing_is_said_at_once() -> None:
    assert NotificationPolicy().wait_s("needed", 0) == 0


def test_the_same_is_not_said_twice() -> None:
    slot = NotificationPolicy()
    slot.shown("needed", 0)
    assert slot.wait_s("needed", 1000) is None


def test_another_thing_waits_for_its_minute() -> None:
    slot = NotificationPolicy()
    slot.shown("needed", 0)
    assert slot.wait_s("rejected", 20) == SLOT_S - 20
    assert slot.wait_s("rejected", SLOT_S) == 0


def test_the_same_may_be_said_again_when_it_was_over() -> None:
    slot = NotificationPolicy()
    slot.shown("needed", 0)
    slot.withdrawn()
    assert slot.wait_s("needed", 20) == SLOT_S - 20
