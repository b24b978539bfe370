"""Tests for trayproxy.routing.route."""

import pytest

from trayproxy.profiles.profile import Profile, ProfileError, Upstream
from trayproxy.routing.route import Direct, Routes, ViaUpstream

UPSTREAM = Upstream("proxy.corp.example", 8080)


def profile(*bypass: str) -> Profile:
    return Profile("office", "Office", UPSTREAM, bypass=bypass)


def test_a_request_goes_to_the_upstream_unless_a_rule_says_otherwise() -> None:
    routes = Routes.of(profile(".corp.example", "10.0.0.0/8"))
    assert routes.choose("www.example", 443) == ViaUpstream(UPSTREAM)
    assert routes.choose("www.corp.example", 443) == Direct()
    assert routes.choose("10.1.2.3", 80) == Direct()


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "::1", "10.0.0.1", "192.168.1.1"])
def test_loopback_and_private_hosts_are_nothing_special(host: str) -> None:
    assert Routes.of(profile()).choose(host, 80) == ViaUpstream(UPSTREAM)


def test_the_upstream_itself_can_be_asked_for_like_any_host() -> None:
    assert Routes.of(profile()).choose(UPSTREAM.host, UPSTREAM.port) == ViaUpstream(UPSTREAM)


def test_a_rule_that_cannot_be_read_is_named() -> None:
    with pytest.raises(ProfileError, match=r"^“10\.0\.0\.0/64”"):
        Routes.of(profile("<local>", "10.0.0.0/64"))
