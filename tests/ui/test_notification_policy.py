"""Tests for trayproxy.ui.notification_policy."""

from trayproxy.ui.notification_policy import MIN_INTERVAL_S, NotificationPolicy


def test_the_first_notification_has_no_delay() -> None:
    assert NotificationPolicy().delay_s("needed", 0) == 0


def test_the_same_notification_is_not_repeated() -> None:
    slot = NotificationPolicy()
    slot.mark_shown("needed", 0)
    assert slot.delay_s("needed", 1000) is None


def test_another_notification_waits_for_the_interval() -> None:
    slot = NotificationPolicy()
    slot.mark_shown("needed", 0)
    assert slot.delay_s("rejected", 20) == MIN_INTERVAL_S - 20
    assert slot.delay_s("rejected", MIN_INTERVAL_S) == 0


def test_a_withdrawn_notification_may_be_repeated_after_the_interval() -> None:
    slot = NotificationPolicy()
    slot.mark_shown("needed", 0)
    slot.mark_withdrawn()
    assert slot.delay_s("needed", 20) == MIN_INTERVAL_S - 20
