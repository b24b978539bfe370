"""Tests for trayproxy.service.router: the route of each request."""

import asyncio
import socket
from asyncio import Future
from dataclasses import replace
from typing import cast

import pytest

from tests.support.values import OFFICE, upstream_of
from trayproxy.desk.protection_space import UpstreamId
from trayproxy.engine.error_pages import ErrorPage
from trayproxy.engine.upstream.route import Route, RouteChoice, RouteClient
from trayproxy.http.target import Authority, Form, Target
from trayproxy.profiles.pac_source import PacKind, PacSource
from trayproxy.profiles.profile import Profile, ProfileError, ProxyScheme, SignIn, Upstream
from trayproxy.service.router import Router

TARGET = Authority("www.example", 80)
CLIENT: RouteClient = cast(RouteClient, None)
"""The routes do not depend on the client."""


def known(router: Router, authority: Authority) -> Route | None:
    """Return the route to a target; None if there is none."""
    choice = router.choose(Target(Form.AUTHORITY, authority), CLIENT)
    return choice if isinstance(choice, Route) else None


def target_of(host: str) -> Target:
    return Target(Form.AUTHORITY, Authority(host, 443))


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
    for port in (80, upstream_of(OFFICE).port):
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


class FakeRouteClient:
    """The client of a request.

    Attributes:
        program: See `trayproxy.engine.upstream.route.RouteClient`.
    """

    program: str | None = None

    def ends(self) -> tuple[tuple[str, int], tuple[str, int]] | None:
        return ("127.0.0.1", 3128), ("127.0.0.1", 40000)


RULES = (
    "*.lab.example -> http://lab.example:3128",
    "*.intranet -> direct",
    "*.ads.example -> block",
)


def test_rules_choose_upstream_direct_connection_or_refusal() -> None:
    router = Router()
    router.use(replace(OFFICE, rules=RULES))
    lab, direct, other = (
        router.choose(target_of(host), CLIENT) for host in ("a.lab.example", "a.intranet", "x.test")
    )
    assert isinstance(lab, Route)
    assert (lab.upstream, lab.fallbacks) == (Upstream("lab.example", 3128), ())
    assert lab.upstream_id == UpstreamId("office", "http://lab.example:3128")
    assert lab.may_sign_in
    assert isinstance(direct, Route)
    assert direct.is_direct
    assert direct.upstream_id is None
    assert isinstance(other, Route)
    assert other.upstream == OFFICE.upstream
    blocked = router.choose(target_of("a.ads.example"), CLIENT)
    assert isinstance(blocked, ErrorPage)
    assert (blocked.status, blocked.code) == (403, "TP-505")
    assert "*.ads.example -> block" in blocked.body


def test_the_route_of_a_repeated_request_is_known() -> None:
    router = Router()
    router.use(replace(OFFICE, rules=RULES))
    target = target_of("a.lab.example")
    assert router.known(target, CLIENT) is None
    chosen = router.choose(target, CLIENT)
    assert router.known(target, CLIENT) is chosen
    assert router.choose(target_of("b.lab.example"), CLIENT) is chosen
    blocked = target_of("a.ads.example")
    router.choose(blocked, CLIENT)
    assert router.known(blocked, CLIENT) is None


def test_the_number_of_kept_decisions_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trayproxy.service.router.MAX_DECISIONS", 2)
    router = Router()
    router.use(replace(OFFICE, rules=RULES))
    routes = [router.choose(target_of(f"{n}.lab.example"), CLIENT) for n in range(5)]
    assert len(set(map(id, routes))) == 1


def test_the_program_is_looked_up_once_for_a_connection() -> None:
    async def play() -> None:
        asked: list[object] = []

        async def find(ends: object) -> str:
            asked.append(ends)
            return "git"

        router, client = Router(find), FakeRouteClient()
        router.use(replace(OFFICE, rules=("program:git -> direct",)))
        target = target_of("x.test")
        assert router.known(target, client) is None
        waiting = router.choose(target, client)
        assert isinstance(waiting, Future)
        chosen = await waiting
        assert isinstance(chosen, Route)
        assert chosen.is_direct
        assert router.known(target, client) is chosen
        assert router.choose(target, client) is chosen
        assert len(asked) == 1

    asyncio.run(play())


def test_without_a_rule_for_programs_no_program_is_looked_up() -> None:
    router = Router()
    router.use(replace(OFFICE, rules=RULES))
    assert not isinstance(router.choose(target_of("x.test"), FakeRouteClient()), Future)


async def test_a_profile_that_changes_during_a_look_up_is_used() -> None:
    router, client = Router(), FakeRouteClient()
    router.use(replace(OFFICE, rules=("program:git -> direct",)))
    waiting = router.choose(target_of("x.test"), client)
    assert isinstance(waiting, Future)
    router.use(OFFICE)
    chosen = await waiting
    assert isinstance(chosen, Route)
    assert chosen.upstream == OFFICE.upstream


class WaitingScript:
    """Routes of a script that answers when the test says so."""

    def __init__(self, profile: Profile) -> None:
        self.answer: Future[RouteChoice] = asyncio.get_running_loop().create_future()

    def known(self, target: Target) -> Route | None:
        return None

    async def choose(self, target: Target) -> RouteChoice:
        return await self.answer


AUTOMATIC = replace(OFFICE, upstream=None, pac=PacSource(PacKind.SYSTEM))


async def waiting_request() -> tuple[Router, WaitingScript, "Future[RouteChoice]"]:
    """Return a router, its script, and the route of a request that waits for the script."""
    scripts: list[WaitingScript] = []

    def open_script(profile: Profile) -> WaitingScript:
        if not scripts:
            scripts.append(WaitingScript(profile))
        return scripts[0]

    router = Router(open_script=open_script)
    router.use(AUTOMATIC)
    choice = router.choose(target_of("www.example"), CLIENT)
    assert isinstance(choice, Future)
    await asyncio.sleep(0)
    return router, scripts[0], choice


async def test_a_request_that_waits_for_a_script_gets_the_route_of_the_next_profile() -> None:
    router, script, choice = await waiting_request()
    router.use(OFFICE)
    route = await choice
    assert isinstance(route, Route)
    assert route.upstream == OFFICE.upstream
    assert script.answer.cancelled()


async def test_a_request_that_waits_for_a_script_follows_a_new_rule() -> None:
    router, _, choice = await waiting_request()
    router.use(replace(AUTOMATIC, rules=("www.example -> direct",)))
    route = await choice
    assert isinstance(route, Route)
    assert route.is_direct


async def test_another_user_name_does_not_disturb_a_request_that_waits_for_a_script() -> None:
    router, script, choice = await waiting_request()
    router.use(replace(AUTOMATIC, user="jdoe"))
    await asyncio.sleep(0)
    assert not script.answer.cancelled()
    script.answer.set_result(Route.direct())
    assert await choice is script.answer.result()


async def test_a_client_that_leaves_ends_the_wait_for_a_script() -> None:
    _, script, choice = await waiting_request()
    choice.cancel()
    with pytest.raises(asyncio.CancelledError):
        await choice
    assert script.answer.cancelled()
