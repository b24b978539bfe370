"""The active profile, and the route of each request."""

import asyncio
from asyncio import Future
from collections.abc import Awaitable, Callable

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


class Router:
    """Chooses the route of each request for the engine.

    The class implements `trayproxy.engine.upstream.route.RouteSource`.

    Attributes:
        profile: The active profile, None if there is none.
        is_direct: True if there is no profile because the user chose to connect directly.
    """

    def __init__(self, find_program: FindProgram = no_program) -> None:
        """Create a router without a profile; `find_program` is called only if a rule names a
        program."""
        self.profile: Profile | None = None
        self.is_direct = False
        self._find_program = find_program
        self._rules = RuleSet()
        self._default: Route | None = None
        self._direct_route: Route | None = None
        self._rule_choices: dict[RoutingRule, RouteChoice] = {}
        self._decisions: dict[tuple[Authority, str], RouteChoice] = {}

    def use(self, profile: Profile | None, *, directly: bool = False) -> None:
        """Switch to a profile, or to none and to direct connections if `directly` is True.

        Running requests keep their route.

        Raises:
            ProfileError: A rule is invalid; nothing has changed.
        """
        self._rules = RuleSet.of(profile) if profile is not None else RuleSet()
        self.profile = profile
        self.is_direct = directly and profile is None
        self._direct_route = Route.direct(profile) if profile is not None or directly else None
        self._default = Route.via_profile(profile) if profile is not None else self._direct_route
        self._rule_choices = {}
        self._decisions = {}

    def known(self, target: Target, client: RouteClient) -> Route | None:
        """See `RouteSource`. Without rules, the route is always known."""
        authority, rules = target.authority, self._rules
        if not rules.rules or authority is None:
            return self._default
        program = client.program if rules.names_programs else ""
        if program is None:
            return None
        choice = self._decisions.get((authority, program))
        return choice if isinstance(choice, Route) else None

    def choose(self, target: Target, client: RouteClient) -> RouteChoice | Future[RouteChoice]:
        """See `RouteSource`. The program of a connection is looked up once, if a rule names a
        program. No host name is resolved."""
        if self._default is None or target.authority is None:
            return NO_PROFILE
        if self._rules.names_programs and client.program is None:
            return asyncio.ensure_future(self._choose_by_program(target, client))
        program = (client.program or "") if self._rules.names_programs else ""
        return self.decide(target.authority, program)

    async def _choose_by_program(self, target: Target, client: RouteClient) -> RouteChoice:
        ends = client.ends()
        client.program = "" if ends is None else await self._find_program(ends)
        choice = self.choose(target, client)  # The profile may have changed meanwhile.
        return await choice if isinstance(choice, Future) else choice

    def deciding_rule(self, authority: Authority, program: str) -> RoutingRule | None:
        """Return the rule that decides about a request of a program; None if no rule does."""
        return self._rules.deciding(authority.host, authority.port, program)

    def decide(self, authority: Authority, program: str) -> RouteChoice:
        """Return the route of a request of a program, whose name is empty if it is not known."""
        if self._default is None:
            return NO_PROFILE
        key = authority, program
        choice = self._decisions.get(key)
        if choice is None:
            rule = self.deciding_rule(authority, program)
            choice = self._default if rule is None else self._choice_of(rule)
            if len(self._decisions) >= MAX_DECISIONS:
                self._decisions.clear()
            self._decisions[key] = choice
        return choice

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
