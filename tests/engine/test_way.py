"""What is worked out once about the way of a request."""

import pytest

from trayproxy.desk.protection_space import UpstreamId
from trayproxy.engine.way import Way
from trayproxy.profiles.profile import Profile, ProxyScheme, SignIn, Upstream


def profile(scheme: ProxyScheme, sign_in: SignIn) -> Profile:
    first, second = (Upstream(f"{name}.test", 3128, scheme) for name in ("one", "two"))
    return Profile("office", "Office", first, sign_in, fallbacks=(second,))


@pytest.mark.parametrize("sign_in", list(SignIn))
@pytest.mark.parametrize("scheme", list(ProxyScheme))
def test_a_way_through_a_profile(scheme: ProxyScheme, sign_in: SignIn) -> None:
    way = Way.through(profile(scheme, sign_in))
    signs_in, is_by_socks = sign_in is not SignIn.NONE, scheme is ProxyScheme.SOCKS5
    assert [str(one.upstream) for one in (way, *way.others)] == [
        str(Upstream("one.test", 3128, scheme)),
        str(Upstream("two.test", 3128, scheme)),
    ]
    for one in (way, *way.others):
        assert one.space == UpstreamId("office", str(one.upstream))
        assert one.signs_in is signs_in
        assert one.is_by_socks is is_by_socks
        assert one.ends_at_target is is_by_socks
        assert one.signs_requests is (signs_in and not is_by_socks)
    assert not way.others[0].others
    assert way.pulse is not way.others[0].pulse


@pytest.mark.parametrize("of", [None, profile(ProxyScheme.HTTP, SignIn.PASSWORD)])
def test_no_login_ever_goes_the_direct_way(of: Profile | None) -> None:
    way = Way.directly(of)
    assert way.profile is of
    assert (way.upstream, way.space, way.others) == (None, None, ())
    assert way.ends_at_target
    assert (way.signs_in, way.signs_requests, way.is_by_socks) == (False, False, False)


def test_two_ways_are_the_same_only_if_they_are_one() -> None:
    office = profile(ProxyScheme.HTTP, SignIn.PASSWORD)
    assert Way.through(office) != Way.through(office)


def test_nothing_has_been_heard_of_a_new_way() -> None:
    way = Way.through(profile(ProxyScheme.HTTP, SignIn.PASSWORD))
    assert [one.pulse.answers for one in (way, *way.others)] == [0, 0]
