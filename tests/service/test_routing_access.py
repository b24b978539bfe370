"""The upstreams of an automatic profile for tests, sign-ins and networks."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tests.support.values import OFFICE
from trayproxy.control.messages import EvaluatePac, Failed, PacAnswer, StepState
from trayproxy.engine.limits import LIMITS
from trayproxy.engine.upstream.failover import Failover
from trayproxy.paths import Paths
from trayproxy.profiles.pac_source import PacKind, PacSource
from trayproxy.profiles.profile import Profile, ProfileError, Upstream
from trayproxy.service.router import no_program
from trayproxy.service.routing_access import RoutingAccess
from trayproxy.service.upstream_status import UpstreamStatus


def script(body: str) -> Profile:
    """Return a profile whose script is in the settings."""
    text = f"data:,function FindProxyForURL(url, host) {{ {body} }}"
    return replace(OFFICE, upstream=None, pac=PacSource(PacKind.DATA, text.replace(" ", "%20")))


@asynccontextmanager
async def access(paths: Paths, *profiles: Profile) -> AsyncIterator[RoutingAccess]:
    loop = asyncio.get_running_loop()
    desk: Any = None
    routing = RoutingAccess(loop, paths, desk, no_program)
    own = SimpleNamespace(host="127.0.0.1", port=3128)
    failover = Failover(loop.time, LIMITS)
    engine: Any = SimpleNamespace(context=SimpleNamespace(own_address=own, failover=failover))
    saved = {profile.id: profile for profile in profiles}
    routing.attach(engine, saved.__getitem__, UpstreamStatus(lambda: None))
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
        assert await routing.with_upstreams(OFFICE, "http://x.example/") == (OFFICE, [])
        assert await routing.require_upstreams(OFFICE) is OFFICE
        assert await routing.upstreams_soon(OFFICE) is OFFICE


async def test_the_script_names_the_upstreams_and_the_steps_say_so(paths: Paths) -> None:
    profile = script("return 'PROXY a.example:8080; DIRECT; PROXY b.example:3128';")
    async with access(paths) as routing:
        fixed, steps = await routing.with_upstreams(profile, "http://x.example/")
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
        fixed, steps = await routing.with_upstreams(profile, "http://x.example/")
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
        fixed, steps = await routing.with_upstreams(profile, "http://x.example/")
        assert fixed is None
        [step] = steps
        assert step.state is StepState.FAILED
        assert step.problem is not None
        assert step.problem.id == "TP-501"


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
