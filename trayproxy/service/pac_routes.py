"""The routes of an automatic profile, which its PAC script names.

The script chooses addresses; a login belongs to an upstream. Each upstream that a script names is
asked for a login of its own, unless a pattern of the profile says which upstreams share one
(`Profile.login_key`). The own sign-in, which needs no answer of the user, goes only to upstreams
that match such a pattern or come from a script that no attacker in the network can have changed
(security.md T7).
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from trayproxy.desktop.system_pac.base import SystemSetting
from trayproxy.domain.problem import Problem
from trayproxy.engine.error_pages import ErrorPage, script_is_not_protected
from trayproxy.engine.upstream.route import Route, RouteChoice
from trayproxy.http.target import Form, Target
from trayproxy.pac.answers import Direct, Hop
from trayproxy.pac.evaluation import Evaluation
from trayproxy.pac.evaluator import CACHE_S, Evaluator
from trayproxy.pac.loader import PacLoader
from trayproxy.pac.state import PacState
from trayproxy.profiles.profile import Profile, SignIn, Upstream
from trayproxy.profiles.rules import RuleSet

LOAD_LIMIT_S = 10.0
"""How long a request waits for the first load of the script, in seconds."""
MAX_KNOWN = 4096
"""The number of addresses whose route is remembered."""

STILL_LOADING = Problem(
    "TP-501",
    "The automatic configuration could not be loaded",
    "Its source has not answered yet. Try again in a moment.",
)
NO_ROUTE = Problem(
    "TP-502",
    "The automatic configuration does not work",
    "It names no proxy for this address, and does not allow a direct connection.",
)


ONLY_ITSELF = Problem(
    "TP-702",
    "Something on this computer loops",
    "The automatic configuration names only TrayProxy itself as the proxy of this address.",
)


class MakeEvaluator(Protocol):
    """Creates the evaluator of a script."""

    def __call__(self, script: str) -> Evaluator:
        """Return a new evaluator for the text of a script."""


@dataclass(frozen=True, slots=True)
class Decision:
    """The decision of a script about a URL.

    Attributes:
        hops: The upstreams and direct connections in the order of preference; empty if there is a
            problem.
        problem: Why there are no hops; None if there are.
        evaluation: The run of the script; None if there is no script, or it was not loaded.
        is_protected: True if no computer in the network can have changed the configuration.
    """

    hops: tuple[Hop, ...] = ()
    problem: Problem | None = None
    evaluation: Evaluation | None = None
    is_protected: bool = False

    @property
    def upstreams(self) -> tuple[Upstream, ...]:
        """The upstreams among the hops."""
        return tuple(hop for hop in self.hops if isinstance(hop, Upstream))


def url_of(target: Target) -> str:
    """Return the URL of a request, as it is shown to a script. A CONNECT counts as https."""
    if target.form is Form.AUTHORITY:
        return f"https://{target.authority}/"
    return target.raw.decode("latin-1")


class PacRoutes:
    """Chooses the routes of an automatic profile.

    Attributes:
        loader: Loads the script.
    """

    def __init__(
        self,
        profile: Profile,
        loader: PacLoader,
        make_evaluator: MakeEvaluator,
        clock: Callable[[], float],
        is_own: Callable[[Upstream], bool] = lambda upstream: False,
    ) -> None:
        """Create the routes of a profile; the script is loaded when it is needed.

        Args:
            profile: An automatic profile.
            loader: Loads its script. Its changes are passed to `changed`.
            make_evaluator: Creates the evaluator of a script.
            clock: A monotonic clock, in seconds.
            is_own: Returns whether an upstream is TrayProxy itself, which is skipped.
        """
        self.loader = loader
        self._profile = profile
        self._make_evaluator = make_evaluator
        self._clock = clock
        self._is_own = is_own
        self._discarding: set[asyncio.Future[None]] = set()
        self._checked: str | None = None
        self._evaluator: tuple[str, Evaluator] | None = None
        self._known: dict[bytes, tuple[float, Route]] = {}
        self._routes: dict[tuple[tuple[Hop, ...], bool], Route] = {}

    def use(self, profile: Profile) -> None:
        """Use a changed profile with the same script."""
        if profile is not self._profile:
            self._profile = profile
            self.forget()

    def forget(self) -> None:
        """Forget the routes of all addresses, for example after a network change."""
        self._known.clear()
        self._routes.clear()
        if self._evaluator is not None:
            self._evaluator[1].forget()

    def changed(self, state: PacState) -> bool:
        """Use the present script of the loader; return True if it is another script."""
        self._known.clear()
        self._routes.clear()
        is_new = state.script is not None and state.script != self._checked
        self._checked = state.script
        if self._evaluator is not None and state.script != self._evaluator[0]:
            self._discard_evaluator()
        return is_new

    async def check(self) -> Problem | None:
        """Return why the script cannot be run; None if it can, or if there is none."""
        state = self.loader.state
        if state.script is None or state.origin is None:
            return None
        failure = await self._evaluator_of(state.script).check()
        return None if failure is None else failure.problem(state.origin.title)

    def known(self, target: Target) -> Route | None:
        """Return the route of a request if the answer of the script may still be used."""
        found = self._known.get(target.raw)
        return found[1] if found is not None and found[0] > self._clock() else None

    async def choose(self, target: Target) -> RouteChoice:
        """Return the route of a request, or the error page for a script that does not work."""
        decision = await self.decide(url_of(target))
        if decision.problem is not None:
            return page_of(decision.problem)
        route = self._route(decision)
        if len(self._known) >= MAX_KNOWN:
            self._known.clear()
        evaluation = decision.evaluation
        until = evaluation.expires_at if evaluation is not None else self._clock() + CACHE_S
        self._known[target.raw] = until, route
        return route

    async def decide(self, url: str) -> Decision:
        """Return the decision about a URL; wait for the script, if necessary."""
        state = await self.loader.current(LOAD_LIMIT_S)
        if state.script is not None:
            return await self._ask_script(state, state.script, url)
        if state.setting is not None:
            return _decision_of_setting(state.setting, url)
        return Decision(problem=state.problem or STILL_LOADING)

    async def _ask_script(self, state: PacState, script: str, url: str) -> Decision:
        evaluation = await self._evaluator_of(script).find(url)
        answer, failure = evaluation.answer, evaluation.failure
        hops = () if answer is None else answer.hops
        others = tuple(hop for hop in hops if isinstance(hop, Direct) or not self._is_own(hop))
        if others:
            is_protected = state.origin is not None and state.origin.is_authentic
            return Decision(others, None, evaluation, is_protected)
        if hops:
            return Decision((), ONLY_ITSELF, evaluation)
        assert self._profile.pac is not None
        problem = NO_ROUTE if failure is None else failure.problem(self._profile.pac.title)
        return Decision((), problem, evaluation)

    def _evaluator_of(self, script: str) -> Evaluator:
        if self._evaluator is None or self._evaluator[0] != script:
            self._discard_evaluator()
            self._evaluator = script, self._make_evaluator(script)
        return self._evaluator[1]

    def _route(self, decision: Decision) -> Route:
        """Return the route of an answer: always the same object for the same answer, as the engine
        compares routes by identity."""
        key = decision.hops, decision.is_protected
        route = self._routes.get(key)
        if route is None:
            hops = dict.fromkeys(decision.hops)
            first, *others = (self._hop_route(hop, decision) for hop in hops)
            route = self._routes[key] = replace(first, fallbacks=tuple(others))
        return route

    def _hop_route(self, hop: Hop, decision: Decision) -> Route:
        profile = self._profile
        if isinstance(hop, Direct):
            return replace(Route.direct(profile), depends_on_network=True)
        only = restricted(profile, hop, decision).via(hop)
        route = replace(Route.via_profile(only), depends_on_network=True)
        if only.sign_in is profile.sign_in:
            return route
        return replace(route, sign_in_refusal=script_is_not_protected(profile.name, str(hop)))

    def close(self) -> None:
        """Stop loading, and discard the script."""
        self.loader.close()
        self._discard_evaluator()

    def _discard_evaluator(self) -> None:
        """Free the memory of a script, in the thread of the scripts."""
        if self._evaluator is not None:
            self._discarding.add(task := asyncio.ensure_future(self._evaluator[1].close()))
            task.add_done_callback(self._discarding.discard)
            self._evaluator = None


def restricted(profile: Profile, upstream: Upstream, decision: Decision) -> Profile:
    """Return an automatic profile without the own sign-in and without the client certificate if
    an attacker in the network could have named an upstream."""
    if decision.is_protected or profile.is_vouched_for(upstream):
        return profile
    sign_in = SignIn.NONE if profile.sign_in is SignIn.SSO else profile.sign_in
    return replace(profile, sign_in=sign_in, client_certificate="", client_key="")


def refusal_of(profile: Profile, decision: Decision) -> Problem | None:
    """Return why a login must not be sent unasked to the first upstream of a decision; None if it
    may, or if there is no upstream."""
    upstream = next(iter(decision.upstreams), None)
    if upstream is None or decision.is_protected or profile.is_vouched_for(upstream):
        return None
    page = script_is_not_protected(profile.name, str(upstream), profile.sign_in is SignIn.SSO)
    return Problem(page.code, page.title, page.body)


def _decision_of_setting(setting: SystemSetting, url: str) -> Decision:
    """Return the decision about a URL of a system without a PAC script. The user, or the
    administrator of this computer, has chosen its proxy. A setting that cannot be used does not
    allow direct connections."""
    if setting.reason and setting.origin:
        body = f"The settings of your system ({setting.origin}) cannot be used: {setting.reason}."
        return Decision(problem=Problem(STILL_LOADING.id, STILL_LOADING.title, body))
    upstream = setting.http if url.startswith("http:") else setting.https
    if upstream is None or _is_bypassed(setting.bypass, url):
        return Decision((Direct(),), is_protected=True)
    return Decision((upstream,), is_protected=True)


def _is_bypassed(bypass: tuple[str, ...], url: str) -> bool:
    from urllib.parse import urlsplit  # Only for a system with a proxy.

    parts = urlsplit(url)
    port = parts.port or (80 if parts.scheme == "http" else 443)
    rules = RuleSet.of_bypass(bypass)
    return rules.deciding(parts.hostname or "", port) is not None


def page_of(problem: Problem) -> ErrorPage:
    """Return the error page for a request without a route."""
    return ErrorPage(
        503, problem.title, problem.body, "proxy_configuration_error", problem.id, retry_after=5
    )


async def resolved(
    routes: PacRoutes, profile: Profile, url: str
) -> tuple[Profile | None, Decision]:
    """Return an automatic profile with the upstreams that its script names for a URL as its fixed
    upstreams; None if the script names none. It is `restricted` for the first of them."""
    decision = await routes.decide(url)
    upstreams = decision.upstreams
    if not upstreams:
        return None, decision
    allowed = restricted(profile, upstreams[0], decision)
    if any(restricted(allowed, other, decision) != allowed for other in upstreams):
        allowed = replace(allowed, client_certificate="", client_key="")
    fixed = replace(allowed, upstream=upstreams[0], fallbacks=upstreams[1:], pac=None)
    return fixed, decision
