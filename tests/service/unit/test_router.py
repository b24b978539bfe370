"""Tests for trayproxy.service.router: the route of each request."""

import socket
from dataclasses import replace

import pytest

from tests.support.values import OFFICE
from trayproxy.desk.protection_space import UpstreamId
from trayproxy.http.target import Authority
from trayproxy.profiles.profile import ProfileError, ProxyScheme, SignIn, Upstream
from trayproxy.service.router import Router

TARGET = Authority("www.example", 80)


@pytest.fixture(autouse=True)
def _nobody_looks_anything_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise AssertionError("a name was looked up")

    for name in ("getaddrinfo", "gethostbyname", "gethostbyaddr"):
        monkeypatch.setattr(socket, name, fail)


def test_without_a_profile_there_is_no_route() -> None:
    router = Router()
    assert router.route(TARGET) is None
    router.use(None)
    assert router.route(TARGET) is None  # Never directly unless the user has chosen to.


def test_a_request_goes_through_the_upstream_with_its_login() -> None:
    router = Router()
    router.use(OFFICE)
    way = router.route(TARGET)
    assert way is not None
    assert (way.profile, way.upstream) == (OFFICE, OFFICE.upstream)
    assert way.upstream_id == UpstreamId("office", "http://proxy.example:8080")
    assert way.may_sign_in
    assert way.authenticates_requests
    assert not way.is_direct
    assert router.route(Authority("other.example", 443)) is way


def test_connecting_directly_carries_no_login() -> None:
    router = Router()
    router.use(OFFICE)
    router.use(None, directly=True)
    way = router.route(TARGET)
    assert way is not None
    assert (way.profile, way.upstream, way.upstream_id) == (None, None, None)
    assert way.is_direct
    assert not way.may_sign_in
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
    router = Router()
    router.use(replace(OFFICE, bypass=rules))
    way = router.route(Authority(host, 80))
    assert way is not None
    assert (way.upstream is None) is is_direct
    assert (way.upstream_id is None) is is_direct
    assert way.may_sign_in is not is_direct


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "::1", "10.0.0.1", "192.168.1.1"])
def test_loopback_and_private_hosts_go_through_the_upstream(host: str) -> None:
    router = Router()
    router.use(replace(OFFICE, bypass=(".corp.example",)))
    way = router.route(Authority(host, 80))
    assert way is not None
    assert way.upstream == OFFICE.upstream


def test_a_request_for_the_upstream_itself_goes_through_the_upstream() -> None:
    router = Router()
    router.use(replace(OFFICE, bypass=(".corp.example",)))
    way = router.route(Authority("proxy.example", 8080))
    assert way is not None
    assert way.upstream == OFFICE.upstream


def test_an_invalid_rule_is_quoted() -> None:
    with pytest.raises(ProfileError, match=r"^“10\.0\.0\.0/64”"):
        Router().use(replace(OFFICE, bypass=("<local>", "10.0.0.0/64")))


def test_an_invalid_rule_changes_nothing() -> None:
    router = Router()
    router.use(OFFICE)
    before = router.route(TARGET)
    with pytest.raises(ProfileError):
        router.use(replace(OFFICE, bypass=("10.0.0.0/99",)))
    assert router.route(TARGET) is before


def test_a_switch_creates_new_routes() -> None:
    router = Router()
    router.use(OFFICE)
    before = router.route(TARGET)
    router.use(OFFICE)
    assert router.route(TARGET) is not before


def test_fallbacks_follow_in_order_each_with_its_own_login() -> None:
    others = (Upstream("b.example", 1), Upstream("c.example", 2, ProxyScheme.SOCKS5))
    router = Router()
    router.use(replace(OFFICE, fallbacks=others))
    way = router.route(TARGET)
    assert way is not None
    assert tuple(other.upstream for other in way.fallbacks) == others
    assert len({one.upstream_id for one in (way, *way.fallbacks)}) == 3
    last = way.fallbacks[-1]
    assert last.is_socks
    assert last.may_sign_in
    assert (
        not last.authenticates_requests
    )  # The login goes to the proxy, and the request to the target.


def test_a_profile_without_sign_in_sends_no_login() -> None:
    router = Router()
    router.use(replace(OFFICE, sign_in=SignIn.NONE))
    way = router.route(TARGET)
    assert way is not None
    assert not way.may_sign_in
