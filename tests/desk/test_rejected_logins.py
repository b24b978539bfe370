"""The set of rejected logins: trayproxy.desk.rejected_logins."""

from trayproxy.auth.login import Login
from trayproxy.desk.rejected_logins import MAX_FINGERPRINTS, RejectedLogins

PLACES = ("http://proxy.corp.example:8080", "192.0.2.1:8080")
WRONG = Login("jdoe", "wrong")


def test_a_login_is_rejected_at_each_place_of_the_upstream_until_it_is_discarded() -> None:
    rejected = RejectedLogins(bytes(16))
    assert not rejected.contains(PLACES, WRONG)
    rejected.add(PLACES, WRONG)
    assert rejected.contains(PLACES[1:], WRONG)
    assert not rejected.contains(("http://other.example:8080",), WRONG)
    assert not rejected.contains(PLACES, Login("jdoe", "other"))
    rejected.discard(PLACES[:1], WRONG)
    assert not rejected.contains(PLACES[:1], WRONG)
    assert rejected.contains(PLACES, WRONG)


def test_the_login_rejected_longest_ago_is_dropped_first() -> None:
    rejected = RejectedLogins(bytes(16))
    logins = [Login("jdoe", str(number)) for number in range(MAX_FINGERPRINTS)]
    for login in (*logins, logins[0], WRONG):
        rejected.add(PLACES[:1], login)
    found = [login for login in (*logins, WRONG) if rejected.contains(PLACES, login)]
    assert found == [logins[0], *logins[2:], WRONG]


def test_the_user_name_and_the_password_of_a_rejected_login_are_told_apart() -> None:
    rejected = RejectedLogins(bytes(16))
    rejected.add(PLACES, Login("ab", "c"))
    assert not rejected.contains(PLACES, Login("a", "bc"))
