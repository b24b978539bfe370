"""The routes that a PAC script names, with a loader and an evaluator of the test."""

import asyncio
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest

from tests.support.values import OFFICE
from trayproxy.desk.protection_space import UpstreamId
from trayproxy.desktop.system_pac.base import SystemSetting
from trayproxy.desktop.system_proxy.base import ProxyKind
from trayproxy.domain.problem import Problem
from trayproxy.engine.error_pages import ErrorPage
from trayproxy.engine.upstream.route import Route
from trayproxy.http.target import Target, parse_target
from trayproxy.pac.answers import parse_answer
from trayproxy.pac.evaluation import Evaluation, FailureKind, ScriptFailure
from trayproxy.pac.evaluator import CACHE_S
from trayproxy.pac.state import PacState
from trayproxy.profiles.pac_source import PacKind, PacSource
from trayproxy.profiles.profile import Profile, SignIn, Upstream
from trayproxy.service.pac_routes import PacRoutes, resolved

SAFE = PacSource(PacKind.URL, "https://pac.example/x.pac")
UNSAFE = PacSource(PacKind.URL, "http://pac.example/x.pac")
AUTO = replace(OFFICE, upstream=None, pac=SAFE)
FIRST, SECOND = Upstream("a.example", 8080), Upstream("b.example", 3128)
SITE = parse_target(b"CONNECT", b"site.example:443")
PAGE = parse_target(b"GET", b"http://site.example/page?query")
START = 100.0
"""The time at the beginning of a test."""


@dataclass
class FakeEvaluator:
    """Answers like a script, and records the URLs.

    Attributes:
        answer: The answer for all URLs.
        failure: The failure for all URLs; None for none.
        expires_at: The time until which the answers may be used.
    """

    script: str
    answer: str = "PROXY a.example:8080; PROXY b.example:3128; DIRECT"
    failure: ScriptFailure | None = None
    asked: list[str] = field(default_factory=list)
    closed: asyncio.Event = field(default_factory=asyncio.Event)
    forgotten: int = 0
    expires_at: float = START + CACHE_S

    async def find(self, url: str) -> Evaluation:
        self.asked.append(url)
        answer = None if self.failure else parse_answer(self.answer)
        return Evaluation(url, "host", answer, self.failure, expires_at=self.expires_at)

    async def check(self) -> ScriptFailure | None:
        return self.failure

    def forget(self) -> None:
        self.forgotten += 1

    async def close(self) -> None:
        self.closed.set()


class FakeLoader:
    """A loader with a state that a test sets."""

    def __init__(self, state: PacState) -> None:
        self.state = state
        self.is_closed = False

    async def current(self, timeout_s: float) -> PacState:
        return self.state

    def close(self) -> None:
        self.is_closed = True


class PacBench:
    """The routes of a profile, with a clock.

    Attributes:
        evaluators: The evaluators that were created, the last one last.
    """

    def __init__(self, profile: Profile = AUTO, state: PacState | None = None) -> None:
        self.now = START
        self.evaluators: list[FakeEvaluator] = []
        self.loader = FakeLoader(state or PacState("script", profile.pac))
        self.routes = PacRoutes(
            profile, cast(Any, self.loader), cast(Any, self.make_evaluator), lambda: self.now
        )

    def make_evaluator(self, script: str) -> FakeEvaluator:
        self.evaluators.append(FakeEvaluator(script))
        return self.evaluators[-1]

    async def route(self, target: Target = SITE) -> Route:
        choice = await self.routes.choose(target)
        assert isinstance(choice, Route)
        return choice


async def test_the_answers_become_a_route_with_fallbacks_in_the_order_of_the_script() -> None:
    bench = PacBench()
    route = await bench.route()
    assert route.upstream == FIRST
    assert [other.upstream for other in route.fallbacks] == [SECOND, None]
    assert route.fallbacks[1].is_direct
    assert route.upstream_id == UpstreamId("office", "http://a.example:8080")
    assert route.fallbacks[0].upstream_id == UpstreamId("office", "http://b.example:3128")
    assert route.may_sign_in


@pytest.mark.parametrize(
    ("target", "url"),
    [(SITE, "https://site.example:443/"), (PAGE, "http://site.example/page?query")],
)
async def test_the_script_is_asked_for_the_url(target: Target, url: str) -> None:
    bench = PacBench()
    await bench.route(target)
    assert bench.evaluators[0].asked == [url]


async def test_trayproxy_itself_is_skipped() -> None:
    bench = PacBench()
    own = PacRoutes(
        AUTO,
        cast(Any, bench.loader),
        cast(Any, bench.make_evaluator),
        lambda: 0.0,
        lambda upstream: upstream == FIRST,
    )
    route = await own.choose(SITE)
    assert isinstance(route, Route)
    assert route.upstream == SECOND
    bench.evaluators[0].answer = "PROXY a.example:8080"
    page = await own.choose(PAGE)
    assert isinstance(page, ErrorPage)
    assert page.code == "TP-702"


async def test_a_route_is_known_no_longer_than_the_answer_may_be_used() -> None:
    bench = PacBench()
    await bench.route(SITE)
    bench.evaluators[0].expires_at = START + 10
    await bench.route(PAGE)
    bench.now += 11
    assert bench.routes.known(PAGE) is None
    assert bench.routes.known(SITE) is not None


async def test_the_number_of_known_addresses_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trayproxy.service.pac_routes.MAX_KNOWN", 2)
    bench = PacBench()
    targets = [parse_target(b"GET", f"http://{n}.example/".encode()) for n in range(4)]
    for target in targets:
        await bench.route(target)
    assert [bench.routes.known(target) is not None for target in targets] == [
        False,
        False,
        True,
        True,
    ]


async def test_after_a_network_change_the_script_is_asked_again() -> None:
    bench = PacBench()
    await bench.route()
    bench.routes.forget()
    assert bench.routes.known(SITE) is None
    assert bench.evaluators[0].forgotten == 1


async def test_a_new_script_replaces_the_old_script() -> None:
    bench = PacBench()
    await bench.route()
    assert bench.routes.changed(PacState("script", SAFE))
    assert not bench.routes.changed(PacState("script", SAFE))
    bench.loader.state = PacState("other", SAFE)
    assert bench.routes.changed(bench.loader.state)
    assert bench.routes.known(SITE) is None
    await bench.route()
    assert [each.script for each in bench.evaluators] == ["script", "other"]
    await bench.evaluators[0].closed.wait()
    assert not bench.routes.changed(PacState(None, SAFE))


@pytest.mark.parametrize(
    ("state", "code", "text"),
    [
        (PacState(problem=Problem("TP-501", "Not loaded", "Why.")), "TP-501", "Why."),
        (PacState(), "TP-501", "has not answered yet"),
    ],
)
async def test_without_a_script_requests_get_an_error_page(
    state: PacState, code: str, text: str
) -> None:
    page = await PacBench(state=state).routes.choose(SITE)
    assert isinstance(page, ErrorPage)
    assert (page.status, page.code) == (503, code)
    assert text in page.body


async def test_a_script_that_fails_gives_an_error_page_with_reason_and_line() -> None:
    bench = PacBench()
    await bench.route()
    bench.evaluators[0].failure = ScriptFailure(FailureKind.EXCEPTION, "Line 7 fails.", 7)
    page = await bench.routes.choose(PAGE)
    assert isinstance(page, ErrorPage)
    assert page.code == "TP-502"
    assert "Line 7 fails." in page.body
    problem = await bench.routes.check()
    assert problem is not None
    assert problem.id == "TP-502"
    assert bench.routes.known(PAGE) is None


@pytest.mark.parametrize("answer", ["SOCKS4 a.example:1080", "nonsense here"])
async def test_an_answer_without_a_usable_proxy_connects_nowhere(answer: str) -> None:
    bench = PacBench()
    await bench.route()
    bench.evaluators[0].answer = answer
    page = await bench.routes.choose(PAGE)
    assert isinstance(page, ErrorPage)
    assert page.code == "TP-502"


MANUAL = SystemSetting(ProxyKind.MANUAL, None, FIRST, SECOND, ("intranet", "*.corp"), "GNOME")


@pytest.mark.parametrize(
    ("setting", "target", "upstream"),
    [
        (MANUAL, b"http://x.example/", FIRST),
        (MANUAL, b"x.example:443", SECOND),
        (MANUAL, b"http://intranet/", None),
        (MANUAL, b"a.corp:443", None),
        (SystemSetting(ProxyKind.NONE), b"x.example:443", None),
        (SystemSetting(ProxyKind.MANUAL, None, FIRST), b"x.example:443", None),
    ],
)
async def test_a_system_without_a_script_may_have_a_proxy(
    setting: SystemSetting, target: bytes, upstream: Upstream | None
) -> None:
    bench = PacBench(state=PacState(setting=setting))
    method = b"GET" if b"://" in target else b"CONNECT"
    assert (await bench.route(parse_target(method, target))).upstream == upstream


async def test_a_setting_of_the_system_that_cannot_be_used_is_no_direct_connection() -> None:
    setting = SystemSetting(origin="GNOME", reason="the address of its proxy cannot be used")
    page = await PacBench(state=PacState(setting=setting)).routes.choose(SITE)
    assert isinstance(page, ErrorPage)
    assert page.code == "TP-501"
    assert "(GNOME) cannot be used: the address of its proxy cannot be used." in page.body


async def test_a_network_without_a_wpad_server_needs_no_proxy() -> None:
    setting = SystemSetting(reason="the network has no server with a PAC script")
    assert (await PacBench(state=PacState(setting=setting)).route()).is_direct


SSO = replace(AUTO, sign_in=SignIn.SSO)


@pytest.mark.parametrize(
    ("profile", "origin", "may_sign_in"),
    [
        (SSO, SAFE, True),
        (SSO, PacSource(PacKind.FILE, "/x.pac"), True),
        (SSO, UNSAFE, False),
        (replace(SSO, shared_sign_in=("*.example:8080",)), UNSAFE, True),
        (replace(SSO, shared_sign_in=("*.other.example:8080",)), UNSAFE, False),
        (AUTO, UNSAFE, True),  # The user types the password for this proxy.
    ],
)
async def test_the_own_sign_in_goes_only_to_proxies_of_a_script_that_nobody_can_have_changed(
    profile: Profile, origin: PacSource, may_sign_in: bool
) -> None:
    route = await PacBench(profile, PacState("script", origin)).route()
    assert route.may_sign_in is may_sign_in
    refusal = route.sign_in_refusal
    assert (refusal is None) is may_sign_in
    if refusal is not None:
        assert refusal.code == "TP-506"
        assert "http://a.example:8080" in refusal.body


@pytest.mark.parametrize(
    ("origin", "shared", "has_certificate"),
    [(SAFE, (), True), (UNSAFE, (), False), (UNSAFE, ("*.example:443",), True)],
)
async def test_the_client_certificate_is_shown_to_the_same_proxies_as_the_own_sign_in(
    origin: PacSource, shared: tuple[str, ...], has_certificate: bool
) -> None:
    profile = replace(AUTO, client_certificate="/me.p12", shared_sign_in=shared)
    bench = PacBench(profile, PacState("script", origin))
    await bench.route(PAGE)
    bench.evaluators[0].answer = "HTTPS a.example"
    assert (await bench.route()).has_certificate is has_certificate
    fixed, _ = await resolved(bench.routes, profile, "http://site.example/")
    assert fixed is not None
    assert bool(fixed.client_certificate) is has_certificate


async def test_the_proxy_of_the_system_itself_gets_the_own_sign_in() -> None:
    route = await PacBench(SSO, PacState(setting=MANUAL)).route(PAGE)
    assert route.may_sign_in
    assert route.upstream == FIRST


async def test_proxies_of_one_pattern_have_one_login() -> None:
    route = await PacBench(replace(AUTO, shared_sign_in=("?.example:*", "*.example:8080"))).route()
    assert route.upstream_id == UpstreamId("office", "http://?.example:*")
    assert route.fallbacks[0].upstream_id == route.upstream_id


async def test_a_changed_profile_gets_new_routes() -> None:
    bench = PacBench()
    before = await bench.route()
    bench.routes.use(AUTO)
    assert bench.routes.known(SITE) is before
    bench.routes.use(replace(AUTO, sign_in=SignIn.NONE))
    after = await bench.route()
    assert after is not before
    assert not after.may_sign_in


async def test_a_profile_is_resolved_with_the_proxies_of_a_url() -> None:
    bench = PacBench()
    fixed, decision = await resolved(bench.routes, AUTO, "http://site.example/")
    assert fixed == replace(AUTO, upstream=FIRST, fallbacks=(SECOND,), pac=None)
    assert decision.evaluation is not None
    bench.evaluators[0].answer = "DIRECT"
    fixed, decision = await resolved(bench.routes, AUTO, "http://site.example/")
    assert fixed is None
    assert decision.problem is None


async def test_closing_stops_loader_and_script() -> None:
    bench = PacBench()
    await bench.route()
    bench.routes.close()
    assert bench.loader.is_closed
