"""The upstreams of an automatic profile for tests, sign-ins and networks."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.support.values import OFFICE
from trayproxy.auth.login import Login
from trayproxy.control.messages import EvaluatePac, Failed, PacAnswer, StepState
from trayproxy.engine.context import OwnAddress
from trayproxy.engine.limits import LIMITS
from trayproxy.engine.upstream.failover import Failover
from trayproxy.http.target import parse_target
from trayproxy.pac.state import PacState
from trayproxy.paths import Paths
from trayproxy.profiles.pac_source import PacKind, PacSource
from trayproxy.profiles.profile import Profile, ProfileError, SignIn, Upstream
from trayproxy.service.profile_changes import UnknownProfileError
from trayproxy.service.router import no_program
from trayproxy.service.routing_access import FixedProfile, RoutingAccess
from trayproxy.service.upstream_status import UpstreamStatus


def script(body: str) -> Profile:
    """Return a profile whose script is in the settings."""
    text = f"data:,function FindProxyForURL(url, host) {{ {body} }}"
    return replace(OFFICE, upstream=None, pac=PacSource(PacKind.DATA, text.replace(" ", "%20")))


@asynccontextmanager
async def access(
    paths: Paths, *profiles: Profile, desk: Any = None
) -> AsyncIterator[RoutingAccess]:
    loop = asyncio.get_running_loop()
    routing = RoutingAccess(loop, paths, desk, no_program)
    own = OwnAddress("127.0.0.1", 3128)
    failover = Failover(loop.time, LIMITS)
    engine: Any = SimpleNamespace(context=SimpleNamespace(own_address=own, failover=failover))
    saved = {profile.id: profile for profile in profiles}

    def get_profile(profile_id: str) -> Profile:
        if profile_id not in saved:
            raise UnknownProfileError(profile_id)
        return saved[profile_id]

    routing.attach(engine, get_profile, UpstreamStatus(lambda: None))
    try:
        yield routing
    finally:
        routing.close()


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    return Paths(
        *(tmp_path / name for name in ("config", "state", "cache", "runtime", "log", "shared"))
    )


async def test_a_fixed_profile_is_unchanged(paths: Paths) -> None:
    async with access(paths) as routing:
        assert await routing.with_upstreams(OFFICE, "http://x.example/") == FixedProfile(OFFICE)
        assert await routing.require_upstreams(OFFICE) is OFFICE
        assert await routing.require_prompt(OFFICE) is OFFICE
        assert await routing.upstreams_soon(OFFICE) is OFFICE


async def test_the_script_names_the_upstreams_and_the_steps_say_so(paths: Paths) -> None:
    profile = script("return 'PROXY a.example:8080; DIRECT; PROXY b.example:3128';")
    async with access(paths) as routing:
        found = await routing.with_upstreams(profile, "http://x.example/")
        fixed, steps = found.profile, found.steps
        assert fixed is not None
        upstreams = Upstream("a.example", 8080), Upstream("b.example", 3128)
        assert (fixed.upstream, fixed.fallbacks, fixed.pac) == (upstreams[0], upstreams[1:], None)
        assert [(step.name, step.state) for step in steps] == [
            ("script", StepState.OK),
            ("answer", StepState.OK),
        ]
        assert steps[1].detail == "http://a.example:8080; direct; http://b.example:3128"


@pytest.mark.parametrize(
    ("body", "states", "reason"),
    [
        ("return 'DIRECT';", [StepState.OK, StepState.OK], "connects directly"),
        ("return x;", [StepState.OK, StepState.FAILED], "does not work"),
    ],
)
async def test_a_script_without_a_proxy_allows_no_sign_in(
    paths: Paths, body: str, states: list[StepState], reason: str
) -> None:
    profile = script(body)
    async with access(paths) as routing:
        found = await routing.with_upstreams(profile, "http://x.example/")
        fixed, steps = found.profile, found.steps
        assert fixed is None
        assert [step.state for step in steps] == states
        with pytest.raises(ProfileError, match=reason):
            await routing.require_upstreams(profile)
        assert await routing.upstreams_soon(profile) is None


async def test_a_script_that_cannot_be_loaded_fails_the_first_step(
    paths: Paths, tmp_path: Path
) -> None:
    missing = PacSource(PacKind.FILE, str(tmp_path / "missing.pac"))
    profile = replace(OFFICE, upstream=None, pac=missing)
    async with access(paths) as routing:
        found = await routing.with_upstreams(profile, "http://x.example/")
        fixed, steps = found.profile, found.steps
        assert fixed is None
        [step] = steps
        assert step.state is StepState.FAILED
        assert step.problem is not None
        assert step.problem.id == "TP-501"


async def test_the_test_of_a_draft_leaves_the_script_of_the_saved_profile_alone(
    paths: Paths,
) -> None:
    saved = script("return 'PROXY a.example:8080';")
    async with access(paths, saved) as routing:
        routing.router.use(saved)
        target = parse_target(b"GET", b"http://x.example/")
        assert routing.router.script is not None
        before = await routing.router.script.choose(target)
        drafts = (
            script("return 'PROXY b.example:3128';"),
            replace(saved, sign_in=SignIn.NONE),
            replace(script("while (true) {}"), id="new"),
        )
        for draft in drafts:
            await routing.with_upstreams(draft, "http://x.example/")
        assert routing.router.script.known(target) is before
        answer = await routing.handle(EvaluatePac("http://x.example/", "office", reload=True))
        assert cast(PacAnswer, answer).proxies == ("http://a.example:8080",)


@pytest.mark.parametrize(
    "change",
    [
        lambda saved: saved.clear(),
        lambda saved: saved.update(office=OFFICE),
        lambda saved: saved.update(office=script("return 'DIRECT';")),
    ],
)
async def test_a_script_that_no_profile_has_any_more_is_loaded_no_longer(
    paths: Paths, tmp_path: Path, change: Callable[[dict[str, Profile]], None]
) -> None:
    file = tmp_path / "office.pac"
    file.write_text("function FindProxyForURL() { return 'PROXY a.example:8080'; }")
    profile = replace(OFFICE, upstream=None, pac=PacSource(PacKind.FILE, str(file)))
    async with access(paths, profile) as routing:
        await routing.with_upstreams(profile, "http://x.example/")
        saved = {"office": profile}
        routing.get_profile = lambda profile_id: saved[profile_id] if saved else _unknown()
        routing.profiles_changed()
        routes = routing.open_script(profile)
        change(saved)
        routing.profiles_changed()
        assert routing.open_script(profile) is not routes


def _unknown() -> Profile:
    raise UnknownProfileError("office")


PLAIN = PacSource(PacKind.URL, "http://pac.example/x.pac")
PROXY = Upstream("a.example", 8080)


@pytest.fixture
def unprotected(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every script comes by http, and names `PROXY`."""
    state = PacState("function FindProxyForURL() { return 'PROXY a.example:8080'; }", PLAIN)
    monkeypatch.setattr("trayproxy.pac.loader.load", lambda *_: state)


@pytest.mark.usefixtures("unprotected")
async def test_a_script_that_came_by_http_gets_no_login_that_was_not_typed_for_its_proxy(
    paths: Paths,
) -> None:
    profile = replace(OFFICE, upstream=None, pac=PLAIN)
    async with access(paths) as routing:
        with pytest.raises(ProfileError, match="does not send a password unasked there"):
            await routing.require_upstreams(profile)
        with pytest.raises(ProfileError, match=r"typed for http://b\.example:8080"):
            await routing.require_upstreams(profile, "http://b.example:8080")
        assert (await routing.require_upstreams(profile, str(PROXY))).upstream == PROXY
        # A prompt names the proxy.
        assert (await routing.require_prompt(profile)).upstream == PROXY
        shared = replace(profile, shared_sign_in=("*.example:8080", "a.example:*"))
        assert (await routing.require_upstreams(shared)).upstream == PROXY


@pytest.mark.usefixtures("unprotected")
async def test_a_script_that_came_by_http_gets_no_own_sign_in_in_a_test(paths: Paths) -> None:
    profile = replace(OFFICE, upstream=None, pac=PLAIN, sign_in=SignIn.SSO)
    async with access(paths) as routing:
        found = await routing.with_upstreams(profile, "http://x.example/")
        assert found.profile is not None
        assert found.profile.sign_in is SignIn.NONE
        assert found.refusal is not None
        assert found.refusal.id == "TP-506"
        with pytest.raises(ProfileError, match="your own sign-in"):
            await routing.require_prompt(profile)


async def test_an_evaluation_tells_what_the_script_said(paths: Paths) -> None:
    profile = script("alert('hi'); return 'SOCKS4 old:1; PROXY a.example:8080; DIRECT';")
    async with access(paths, profile) as routing:
        answer = await routing.handle(EvaluatePac("https://x.example/path", "office", reload=True))
        assert isinstance(answer, PacAnswer)
        assert answer.proxies == ("http://a.example:8080", "direct")
        assert answer.used == "http://a.example:8080"
        assert answer.host == "x.example"
        assert "path" not in answer.url
        assert answer.alerts == ("hi",)
        assert answer.skipped[0].startswith("SOCKS4 old:1: ")
        routing.engine.context.failover.mark_dead(Upstream("a.example", 8080))
        answer = await routing.handle(EvaluatePac("https://x.example/", "office"))
        assert cast(PacAnswer, answer).used == "direct"


async def test_only_an_automatic_profile_can_be_evaluated(paths: Paths) -> None:
    async with access(paths, OFFICE) as routing:
        refused = await routing.handle(EvaluatePac("https://x.example/", "office"))
        assert isinstance(refused, Failed)
        assert refused.problem.title == "This profile has no automatic configuration"
        refused = await routing.handle(EvaluatePac("https://x.example/"))
        assert isinstance(refused, Failed)
        assert refused.problem.title == "No profile is in use"
        refused = await routing.handle(EvaluatePac("no address", "office"))
        assert isinstance(refused, Failed)


async def test_a_login_of_the_command_line_waits_for_the_script(
    paths: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The service starts before the network."""
    monkeypatch.setattr("trayproxy.service.routing_access.PRELOAD_WAITS_S", (0.01,))
    file = tmp_path / "late.pac"
    profile = replace(OFFICE, upstream=None, pac=PacSource(PacKind.FILE, str(file)))
    preloaded: asyncio.Future[Profile] = asyncio.get_running_loop().create_future()

    def preload(fixed: Profile, login: Login) -> None:
        preloaded.set_result(fixed)

    async with access(paths, profile, desk=SimpleNamespace(preload=preload)) as routing:
        routing.preload_later(profile, Login("jdoe", "secret"))
        file.write_text("function FindProxyForURL() { return 'PROXY a.example:8080'; }")
        assert (await preloaded).upstream == Upstream("a.example", 8080)
