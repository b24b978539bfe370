"""Tests for trayproxy.engine.upstream.route."""

import pytest

from trayproxy.desk.protection_space import UpstreamId
from trayproxy.engine.upstream.route import Route
from trayproxy.profiles.profile import Profile, ProxyScheme, SignIn, Upstream


def profile(scheme: ProxyScheme, sign_in: SignIn) -> Profile:
    first, second = (Upstream(f"{name}.test", 3128, scheme) for name in ("one", "two"))
    return Profile("office", "Office", first, sign_in, fallbacks=(second,))


@pytest.mark.parametrize("sign_in", list(SignIn))
@pytest.mark.parametrize("scheme", list(ProxyScheme))
def test_the_attributes_of_a_route_through_a_profile(scheme: ProxyScheme, sign_in: SignIn) -> None:
    route = Route.via_profile(profile(scheme, sign_in))
    may_sign_in, is_by_socks = sign_in is not SignIn.NONE, scheme is ProxyScheme.SOCKS5
    assert [str(one.upstream) for one in (route, *route.fallbacks)] == [
        str(Upstream("one.test", 3128, scheme)),
        str(Upstream("two.test", 3128, scheme)),
    ]
    for one in (route, *route.fallbacks):
        assert one.name == str(one.upstream)
        assert one.upstream_id == UpstreamId("office", str(one.upstream))
        assert one.may_sign_in is may_sign_in
        assert one.is_socks is is_by_socks
        assert one.is_direct is is_by_socks
        assert one.authenticates_requests is (may_sign_in and not is_by_socks)
    assert not route.fallbacks[0].fallbacks
    assert route.activity is not route.fallbacks[0].activity


@pytest.mark.parametrize("of", [None, profile(ProxyScheme.HTTP, SignIn.PASSWORD)])
def test_a_direct_route_never_carries_a_login(of: Profile | None) -> None:
    route = Route.direct(of)
    assert route.profile is of
    assert (route.upstream, route.upstream_id, route.fallbacks) == (None, None, ())
    assert (route.is_direct, route.name) == (True, "direct:")
    assert (route.may_sign_in, route.authenticates_requests, route.is_socks) == (
        False,
        False,
        False,
    )


def test_routes_are_compared_by_identity() -> None:
    office = profile(ProxyScheme.HTTP, SignIn.PASSWORD)
    assert Route.via_profile(office) != Route.via_profile(office)


def test_a_new_route_has_no_responses() -> None:
    route = Route.via_profile(profile(ProxyScheme.HTTP, SignIn.PASSWORD))
    assert [one.activity.responses for one in (route, *route.fallbacks)] == [0, 0]
