"""The parts of the service for routes: imported and created on first use, as most runs need none.

They are further local addresses for profiles, PAC scripts, and the answers about routes.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain, repeat
from typing import TYPE_CHECKING

from trayproxy.auth.login import Login
from trayproxy.control.messages import (
    EvaluatePac,
    Failed,
    FindRoute,
    OpenProfilePort,
    ProfilePort,
    Reply,
    Step,
    StepState,
)
from trayproxy.desk.desk import Desk
from trayproxy.domain.problem import ExitCode, Problem
from trayproxy.engine.engine import Engine
from trayproxy.paths import Paths
from trayproxy.profiles.profile import Profile, ProfileError
from trayproxy.service.profile_changes import UnknownProfileError
from trayproxy.service.router import FindProgram, Router, ScriptRoutes
from trayproxy.service.upstream_status import UpstreamStatus

if TYPE_CHECKING:
    from trayproxy.service.pac_profiles import PacProfiles
    from trayproxy.service.pac_routes import PacRoutes
    from trayproxy.service.profile_ports import ProfilePorts

SIGN_IN_URL = "http://example.com/"
"""The URL whose proxies a sign-in without a request is for."""

SCRIPT_LIMIT_S = 1.0
"""How long the decision about the profile of a network waits for a PAC script, in seconds."""


@dataclass(frozen=True, slots=True)
class FixedProfile:
    """A profile with fixed upstreams.

    Attributes:
        profile: The profile; None if the script of an automatic profile names no upstream.
        steps: The steps of a test up to there; none for a profile that is not automatic.
        refusal: Why a login must not be sent to its first upstream unasked; None if it may.
    """

    profile: Profile | None
    steps: tuple[Step, ...] = ()
    refusal: Problem | None = None


PRELOAD_WAITS_S = (2.0, 5.0, 15.0, 60.0)
"""The waits before a login of the command line is tried again with a script, in seconds."""

logger = logging.getLogger(__name__)

RouteRequest = FindRoute | EvaluatePac | OpenProfilePort


class RoutingAccess:
    """Gives the service its parts for routes.

    Attributes:
        router: Chooses the routes of the engine's own address.
        engine: Set by `attach`, like the following attributes.
        get_profile: Returns the profile with an id, or raises `UnknownProfileError`.
        upstream: Receives the state of each script.
    """

    engine: Engine
    get_profile: Callable[[str], Profile]
    upstream: UpstreamStatus

    def __init__(
        self, loop: asyncio.AbstractEventLoop, paths: Paths, desk: Desk, find_program: FindProgram
    ) -> None:
        """Create the access with a router without a profile."""
        self.router = Router(find_program, self.open_script)
        self._loop = loop
        self._paths = paths
        self._desk = desk
        self._find_program = find_program
        self._ports: ProfilePorts | None = None
        self._scripts: PacProfiles | None = None
        self._preloading: asyncio.Task[None] | None = None

    def attach(
        self, engine: Engine, get_profile: Callable[[str], Profile], upstream: UpstreamStatus
    ) -> None:
        """Set the attributes that are created after the router."""
        self.engine, self.get_profile, self.upstream = engine, get_profile, upstream

    async def handle(self, request: RouteRequest) -> Reply:
        """Return the reply to a request of a front end; see `get_profile` for the errors."""
        match request:
            case OpenProfilePort(profile_id):
                return self._open_port(profile_id)
            case FindRoute():
                from trayproxy.service.route_query import find_route

                router = self.router
                if request.profile_id:
                    router = Router(open_script=self.open_script)
                    router.use(self.get_profile(request.profile_id))
                return await find_route(router, request)
            case EvaluatePac():
                return await self._evaluate(request)

    async def _evaluate(self, request: EvaluatePac) -> Reply:
        from trayproxy.service.route_query import NO_PROFILE, NOT_AUTOMATIC, evaluate_pac

        profile = self.router.profile
        if request.profile_id:
            profile = self.get_profile(request.profile_id)
        if profile is None or profile.pac is None:
            return Failed(NOT_AUTOMATIC if profile is not None else NO_PROFILE, ExitCode.FAILED)
        routes = self._open_scripts().routes_of(profile)
        return await evaluate_pac(routes, profile, self.engine.context.failover, request)

    def _open_port(self, profile_id: str) -> Reply:
        from trayproxy.service.profile_ports import ProfilePorts

        if self._ports is None:
            new_router = lambda: Router(self._find_program, self.open_script)  # noqa: E731
            self._ports = ProfilePorts(self.engine, self._desk, self.get_profile, new_router)
        try:
            return ProfilePort(self._ports.open(profile_id))
        except OSError as error:
            body = f"The system reports: {error.strerror}. Try again."
            problem = Problem("TP-102", "TrayProxy cannot listen on a further port", body)
            return Failed(problem, ExitCode.PORT)

    # --- PAC scripts ---

    def open_script(self, profile: Profile) -> ScriptRoutes:
        """Return the routes of an automatic profile."""
        return self._open_scripts().routes_of(profile)

    def _open_scripts(self) -> "PacProfiles":
        if self._scripts is None:
            from trayproxy.service.pac_profiles import PacProfiles

            self._scripts = PacProfiles(
                self.engine, self._paths, self._loop, self.upstream.set_script
            )
        return self._scripts

    async def with_upstreams(self, profile: Profile, url: str) -> FixedProfile:
        """Return a profile with fixed upstreams: for an automatic profile those that its script
        names for a URL. The profile may be a draft, which is not saved yet."""
        if profile.pac is None:
            return FixedProfile(profile)
        scripts = self._open_scripts()
        if self._find(profile.id) == profile:
            return await self._resolve(scripts.routes_of(profile), profile, url)
        routes = scripts.routes_of_draft(profile)
        try:
            return await self._resolve(routes, profile, url)
        finally:
            routes.close()

    async def _resolve(self, routes: "PacRoutes", profile: Profile, url: str) -> FixedProfile:
        from trayproxy.service.pac_routes import refusal_of, resolved

        start = self._loop.time()
        fixed, decision = await resolved(routes, profile, url)
        evaluation, state = decision.evaluation, routes.loader.state
        took = (self._loop.time() - start) * 1000
        origin = state.origin or profile.pac
        loaded = Step("script", StepState.OK, origin.title if origin else "", took)
        if evaluation is None and decision.problem is not None:
            return FixedProfile(None, (replace_step(loaded, decision.problem),))
        hops = ("direct" if hop not in decision.upstreams else str(hop) for hop in decision.hops)
        text = "; ".join(hops)
        asked = Step(
            "answer", StepState.OK, text, evaluation.duration_s * 1000 if evaluation else 0
        )
        if decision.problem is not None:
            return FixedProfile(None, (loaded, replace_step(asked, decision.problem)))
        refusal = refusal_of(profile, decision)
        return FixedProfile(fixed, (loaded, asked), refusal)

    async def upstreams_soon(self, profile: Profile) -> Profile | None:
        """Return a profile with fixed upstreams within `SCRIPT_LIMIT_S`; None if the script of an
        automatic profile names none in this time."""
        try:
            async with asyncio.timeout(SCRIPT_LIMIT_S):
                return (await self.with_upstreams(profile, SIGN_IN_URL)).profile
        except TimeoutError:
            return None

    async def require_upstreams(self, profile: Profile, typed_for: str = "") -> Profile:
        """Return a profile with fixed upstreams for a login without a request.

        Args:
            profile: The profile.
            typed_for: The URL of the upstream for which the user has typed the login; empty if the
                user was shown none.

        Raises:
            ProfileError: The first upstream is not that of `typed_for`; or the script of an
                automatic profile names no proxy, or an attacker in the network may have changed it.
        """
        found = await self.with_upstreams(profile, SIGN_IN_URL)
        fixed = self._required(found)
        if typed_for and str(fixed.upstream) != typed_for:
            raise ProfileError(
                f"“{profile.name}” leads to {fixed.upstream} now, and the password was typed for "
                f"{typed_for}. It was not sent. Try again."
            )
        if found.refusal is not None and not typed_for:
            raise ProfileError(
                f"{found.refusal.title}. {found.refusal.body} Or type the password when TrayProxy "
                "asks for it."
            )
        return fixed

    async def require_prompt(self, profile: Profile) -> Profile:
        """Return a profile with fixed upstreams for a prompt, which names the upstream.

        Raises:
            ProfileError: The script of an automatic profile names no proxy, or the profile has the
                own sign-in, which must not be sent to this proxy.
        """
        found = await self.with_upstreams(profile, SIGN_IN_URL)
        fixed = self._required(found)
        if found.refusal is not None and fixed.sign_in is not profile.sign_in:
            raise ProfileError(f"{found.refusal.title}. {found.refusal.body}")
        return fixed

    def _required(self, found: FixedProfile) -> Profile:
        if found.profile is not None:
            return found.profile
        problem = found.steps[-1].problem
        if problem is None:
            raise ProfileError(
                "The automatic configuration connects directly: no sign-in is needed."
            )
        raise ProfileError(f"{problem.title}. {problem.body}")

    def profiles_changed(self) -> None:
        """Use the changed profiles on further ports. Stop to load the scripts of deleted profiles,
        and scripts that a profile had before."""
        if self._scripts is not None:
            self._scripts.close_unsaved(self._find)
        if self._ports is not None:
            self._ports.update()

    def _find(self, profile_id: str) -> Profile | None:
        """Return the active profile or a saved one by its id; None if there is none."""
        active = self.router.profile
        if active is not None and active.id == profile_id:
            return active
        try:
            return self.get_profile(profile_id)
        except UnknownProfileError:
            return None

    def preload_later(self, profile: Profile, login: Login) -> None:
        """Use a login of the command line for an automatic profile, as soon as its script is known
        and names a proxy to which the login may be sent unasked."""
        self._preloading = self._loop.create_task(self._preload(profile, login))

    async def _preload(self, profile: Profile, login: Login) -> None:
        for wait_s in chain(PRELOAD_WAITS_S, repeat(PRELOAD_WAITS_S[-1])):
            try:
                fixed = await self.require_upstreams(profile)
            except ProfileError as error:
                logger.warning("the password of the command line is not used yet: %s", error)
                await asyncio.sleep(wait_s)
                await self._open_scripts().routes_of(profile).loader.reload()
                continue
            problem = self._desk.preload(fixed, login)
            if problem is not None:
                logger.error("the password of the command line cannot be used: %s", problem.title)
            return

    def network_changed(self) -> None:
        """Load the scripts again, and forget their answers."""
        self.upstream.network_changed()
        if self._scripts is not None:
            self._scripts.network_changed()

    def close(self) -> None:
        """End the thread of the scripts."""
        if self._preloading is not None:
            self._preloading.cancel()
        if self._scripts is not None:
            self._scripts.close()


def replace_step(step: Step, problem: Problem) -> Step:
    """Return a step of a test as failed, with a problem as the reason."""
    return Step(step.name, StepState.FAILED, "", step.took, problem)
