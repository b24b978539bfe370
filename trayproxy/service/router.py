"""The active profile, and the route of each request."""

import asyncio
from asyncio import Future
from collections.abc import Awaitable, Callable
from typing import Protocol

from trayproxy.desktop.socket_owner.base import Endpoint
from trayproxy.engine.error_pages import NO_PROFILE, blocked_by_rule
from trayproxy.engine.upstream.route import Route, RouteChoice, RouteClient
from trayproxy.http.target import Authority, Target
from trayproxy.profiles.profile import Profile
from trayproxy.profiles.rules import RoutingRule, RuleSet, RuleUse

MAX_DECISIONS = 4096
"""The number of decisions of rules that are kept for repeated requests."""

FindProgram = Callable[[tuple[Endpoint, Endpoint]], Awaitable[str]]
"""Returns the name of the program at the other end of a connection; empty if it is not known. The
ends are the addresses of TrayProxy and of the program."""


async def no_program(ends: tuple[Endpoint, Endpoint]) -> str:
    """Return an empty name: the program is not known."""
    return ""


class ScriptRoutes(Protocol):
    """The routes that the PAC script of an automatic profile names."""

    def known(self, target: Target) -> Route | None:
        """Return the route of a request if it is known without running the script."""

    async def choose(self, target: Target) -> RouteChoice:
        """Return the route of a request, or the error page for a script that does not work."""


OpenScript = Callable[[Profile], ScriptRoutes]
"""Returns the routes of an automatic profile."""


def no_script(profile: Profile) -> ScriptRoutes:
    """Refuse an automatic profile: for routers that get none."""
    raise AssertionError(profile)


class Router:
    """Chooses the route of each request for the engine.

    The class implements `trayproxy.engine.upstream.route.RouteSource`.

    Attributes:
        profile: The active profile, None if there is none.
        is_direct: True if there is no profile because the user chose to connect directly.
        script: The routes that the PAC script of an automatic profile names; None for a profile
            with a fixed upstream.
    """

    def __init__(
        self, find_program: FindProgram = no_program, open_script: OpenScript = no_script
    ) -> None:
        """Create a router without a profile.

        Args:
            find_program: Called only if a rule names a program.
            open_script: Called for an automatic profile.
        """
        self.profile: Profile | None = None
        self.is_direct = False
        self.script: ScriptRoutes | None = None
        self._find_program = find_program
        self._open_script = open_script
        self._rules = RuleSet()
        self._default: Route | None = None
        self._direct_route: Route | None = None
        self._rule_choices: dict[RoutingRule, RouteChoice] = {}
        self._decisions: dict[tuple[Authority, str], RouteChoice | None] = {}
        self._switched: Future[None] | None = None

    def use(self, profile: Profile | None, *, directly: bool = False) -> None:
        """Switch to a profile, or to none and to direct connections if `directly` is True.

        Running requests keep their route; requests that wait for a script get a new one.

        Raises:
            ProfileError: A rule is invalid; nothing has changed.
        """
        before = self._rules, self.script
        self._rules = RuleSet.of(profile) if profile is not None else RuleSet()
        self.profile = profile
        self.is_direct = directly and profile is None
        is_automatic = profile is not None and profile.pac is not None
        self.script = self._open_script(profile) if profile is not None and is_automatic else None
        self._direct_route = Route.direct(profile) if profile is not None or directly else None
        self._default = self._direct_route
        if profile is not None:
            self._default = None if is_automatic else Route.via_profile(profile)
        self._rule_choices = {}
        self._decisions = {}
        if self._switched is not None and before != (self._rules, self.script):
            self._switched.set_result(None)
            self._switched = None

    def known(self, target: Target, client: RouteClient) -> Route | None:
        """Return the route of a request if it is known at once, as it is without rules and without
        a PAC script."""
        authority, rules = target.authority, self._rules
        if rules.rules and authority is not None:
            program = client.program if rules.names_programs else ""
            key = authority, program or ""
            if program is None or key not in self._decisions:
                return None
            choice = self._decisions[key]
            if choice is not None:
                return choice if isinstance(choice, Route) else None
        return self._default if self.script is None else self.script.known(target)

    def choose(self, target: Target, client: RouteClient) -> RouteChoice | Future[RouteChoice]:
        """Return the route of a request, or a future for it.

        The program of a connection is looked up once, if a rule names a program. Only a PAC script
        resolves host names.
        """
        authority = target.authority
        if authority is None or (self.profile is None and not self.is_direct):
            return NO_PROFILE
        names_programs = self._rules.names_programs
        if names_programs and client.program is None:
            return asyncio.ensure_future(self._choose_by_program(target, client))
        choice = self.decide(authority, client.program or "" if names_programs else "")
        if choice is not None:
            return choice
        if self.script is not None:
            known = self.script.known(target)
            return known or asyncio.ensure_future(
                self._choose_by_script(self.script, target, client)
            )
        return self._default or NO_PROFILE

    async def _choose_by_program(self, target: Target, client: RouteClient) -> RouteChoice:
        ends = client.ends()
        client.program = "" if ends is None else await self._find_program(ends)
        choice = self.choose(target, client)  # The profile may have changed meanwhile.
        return await choice if isinstance(choice, Future) else choice

    async def _choose_by_script(
        self, script: ScriptRoutes, target: Target, client: RouteClient
    ) -> RouteChoice:
        switched = self._switched = self._switched or asyncio.get_running_loop().create_future()
        choosing = asyncio.ensure_future(script.choose(target))
        try:
            await asyncio.wait({choosing, switched}, return_when=asyncio.FIRST_COMPLETED)
            if not switched.done():
                return choosing.result()
        finally:
            choosing.cancel()
        choice = self.choose(target, client)
        return await choice if isinstance(choice, Future) else choice

    def deciding_rule(self, authority: Authority, program: str) -> RoutingRule | None:
        """Return the rule that decides about a request of a program; None if no rule does."""
        return self._rules.deciding(authority.host, authority.port, program)

    def decide(self, authority: Authority, program: str) -> RouteChoice | None:
        """Return the route of a request by the rules; None if no rule decides.

        Args:
            authority: The host and port of the request.
            program: The name of the program that sends the request; empty if it is not known.
        """
        if not self._rules.rules:
            return None
        key = authority, program
        if key not in self._decisions:
            rule = self.deciding_rule(authority, program)
            if len(self._decisions) >= MAX_DECISIONS:
                self._decisions.clear()
            self._decisions[key] = None if rule is None else self._choice_of(rule)
        return self._decisions[key]

    def _choice_of(self, rule: RoutingRule) -> RouteChoice:
        """Return the route of a rule: always the same object, as the engine compares routes by
        identity."""
        choice = self._rule_choices.get(rule)
        if choice is None:
            choice = self._rule_choices[rule] = self._new_choice(rule)
        return choice

    def _new_choice(self, rule: RoutingRule) -> RouteChoice:
        profile, direct = self.profile, self._direct_route
        assert profile is not None  # Only a profile has rules.
        assert direct is not None
        match rule.use:
            case RuleUse.DIRECT:
                return direct
            case RuleUse.BLOCK:
                return blocked_by_rule(str(rule), profile.name)
            case upstream:
                return Route.via_upstream(profile, upstream)
