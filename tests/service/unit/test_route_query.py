"""The answer to the question which route a request would take."""

import asyncio
from dataclasses import replace

import pytest

from tests.support.values import OFFICE
from trayproxy.control.messages import Failed, FindRoute, RouteFound, RouteReason
from trayproxy.profiles.profile import Profile, Upstream
from trayproxy.service.route_query import find_route
from trayproxy.service.router import Router

PROFILE = replace(
    OFFICE,
    fallbacks=(Upstream("spare.example", 8080),),
    bypass=("intranet",),
    rules=("*.lab.example -> http://lab.example:3128", "program:git -> direct", "ads -> block"),
)
PROXIES = ("http://proxy.example:8080", "http://spare.example:8080")


def answer(url: str, program: str = "", profile: Profile | None = PROFILE) -> object:
    router = Router()
    router.use(profile, directly=profile is None)
    return asyncio.run(find_route(router, FindRoute(url, program=program)))


@pytest.mark.parametrize(
    ("url", "program", "target", "reason", "proxies", "rule"),
    [
        ("https://x.test/a?b", "", "x.test:443", RouteReason.PROFILE, PROXIES, ""),
        ("http://x.test", "", "x.test:80", RouteReason.PROFILE, PROXIES, ""),
        ("x.test:22", "", "x.test:22", RouteReason.PROFILE, PROXIES, ""),
        ("x.test", "", "x.test:443", RouteReason.PROFILE, PROXIES, ""),
        ("x.test:22", "git", "x.test:22", RouteReason.RULE, ("direct",), "program:git -> direct"),
        ("http://intranet/", "", "intranet:80", RouteReason.BYPASS, ("direct",), "intranet"),
        ("http://ads/", "", "ads:80", RouteReason.RULE, (), "ads -> block"),
        (
            "wss://a.lab.example/#x",
            "",
            "a.lab.example:443",
            RouteReason.RULE,
            ("http://lab.example:3128",),
            "*.lab.example -> http://lab.example:3128",
        ),
    ],
)
def test_the_answer_names_the_proxies_and_the_deciding_rule(
    url: str, program: str, target: str, reason: RouteReason, proxies: tuple[str, ...], rule: str
) -> None:
    assert answer(url, program) == RouteFound(target, reason, proxies, rule, "Office")


def test_with_direct_connections_no_rule_is_asked() -> None:
    found = answer("http://x.test/", profile=None)
    assert found == RouteFound("x.test:80", RouteReason.DIRECTLY, ("direct",))


@pytest.mark.parametrize(
    "url", ["", "x.test:", "http://", "/path", "x y", "http://user@x.test/", "x:0"]
)
def test_a_text_that_is_no_address_is_refused(url: str) -> None:
    reply = answer(url)
    assert isinstance(reply, Failed)
    assert reply.problem.id == "TP-807"


def test_without_a_profile_there_is_no_route() -> None:
    reply = asyncio.run(find_route(Router(), FindRoute("http://x.test/")))
    assert isinstance(reply, Failed)
    assert reply.problem.title == "No profile is in use"
