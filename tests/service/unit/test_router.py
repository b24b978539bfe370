"""Tests for trayproxy.service.router: the route of each request."""

import socket
from dataclasses import replace
from typing import cast

import pytest

from tests.support.values import OFFICE
from trayproxy.desk.protection_space import UpstreamId
from trayproxy.engine.upstream.route import Route, RouteClient
from trayproxy.http.target import Authority, Form, Target
from trayproxy.profiles.profile import Profile, ProfileError, ProxyScheme, SignIn, Upstream
from trayproxy.service.router import Router

TARGET = Authority("www.example", 80)
CLIENT: RouteClient = cast(RouteClient, None)
"""The routes do not depend on the client."""


def known(router: Router, authority: Authority) -> Route | None:
    return router.known(Target(Form.AUTHORITY, authority), CLIENT)


@pytest.fixture(autouse=True)
def refused_lookups(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AssertionError("a name was looked up")

    for name in ("getaddrinfo", "gethostbyname", "gethostbyaddr"):
        monkeypatch.setattr(socket, name, fail)


def route_of(profile: Profile, target: Authority = TARGET) -> Route:
    router = Router()
    router.use(profile)
    route = known(router, target)
    assert route is not None
    return route


def test_without_a_profile_there_is_no_route() -> None:
    router = Router()
    assert known(router, TARGET) is None
    router.use(None)
    assert known(router, TARGET) is None  # Never directly unless the user has chosen to.


def test_a_request_goes_through_the_upstream_with_its_login() -> None:
    router = Router()
    router.use(OFFICE)
    route = known(router, TARGET)
    assert route is not None
    assert (route.profile, route.upstream) == (OFFICE, OFFICE.upstream)
    assert route.upstream_id == UpstreamId("office", "http://proxy.example:8080")
    assert route.may_sign_in
    assert route.authenticates_requests
    assert not route.is_direct
    assert known(router, Authority("other.example", 443)) is route


def test_connecting_directly_carries_no_login() -> None:
    router = Router()
    router.use(OFFICE)
    router.use(None, directly=True)
    route = known(router, TARGET)
    assert route is not None
    assert (route.profile, route.upstream, route.upstream_id) == (None, None, None)
    assert route.is_direct
    assert not route.may_sign_in
    assert router.is_direct
    router.use(OFFICE)
    assert not router.is_direct


@pytest.mark.parametrize(
    ("rules", "host", "is_direct"),
    [
        ((), "www.example", False),
        (("www.example",), "www.example", True),
        (("*.example",), "www.example", True),
        (("<local>",), "intranet", True),
        (("<local>",), "www.example", False),
        (("10.0.0.0/8",), "10.1.2.3", True),
        (("10.0.0.0/8",), "www.example", False),
        (("www.example:443",), "www.example", False),
        (("fd00::/8",), "fd00::1", True),
    ],
)
def test_rules_are_matched_without_name_resolution(
    rules: tuple[str, ...], host: str, is_direct: bool
) -> None:
    route = route_of(replace(OFFICE, bypass=rules), Authority(host, 80))
    assert (route.upstream is None) is is_direct
    assert (route.upstream_id is None) is is_direct
    assert route.may_sign_in is not is_direct


@pytest.mark.parametrize(
    "host", ["localhost", "127.0.0.1", "::1", "10.0.0.1", "192.168.1.1", "proxy.example"]
)
def test_loopback_private_hosts_and_the_upstream_are_reached_through_the_upstream(
    host: str,
) -> None:
    profile = replace(OFFICE, bypass=(".corp.example",))
    for port in (80, OFFICE.upstream.port):
        assert route_of(profile, Authority(host, port)).upstream == OFFICE.upstream


def test_an_invalid_rule_is_quoted() -> None:
    with pytest.raises(ProfileError, match=r"^“10\.0\.0\.0/64”"):
        Router().use(replace(OFFICE, bypass=("<local>", "10.0.0.0/64")))


def test_an_invalid_rule_changes_nothing() -> None:
    router = Router()
    router.use(OFFICE)
    before = known(router, TARGET)
    with pytest.raises(ProfileError):
        router.use(replace(OFFICE, bypass=("10.0.0.0/99",)))
    assert known(router, TARGET) is before


def test_a_switch_creates_new_routes() -> None:
    router = Router()
    router.use(OFFICE)
    before = known(router, TARGET)
    router.use(OFFICE)
    assert known(router, TARGET) is not before


def test_fallbacks_follow_in_order_each_with_its_own_login() -> None:
    others = (Upstream("b.example", 1), Upstream("c.example", 2, ProxyScheme.SOCKS5))
    route = route_of(replace(OFFICE, fallbacks=others))
    assert tuple(other.upstream for other in route.fallbacks) == others
    assert len({each.upstream_id for each in (route, *route.fallbacks)}) == 3
    last = route.fallbacks[-1]
    assert last.is_socks
    assert last.may_sign_in
    # The login goes to the proxy, and the request to the target.
    assert not last.authenticates_requests


def test_a_profile_without_sign_in_sends_no_login() -> None:
    assert not route_of(replace(OFFICE, sign_in=SignIn.NONE)).may_sign_in
