"""Uses the profile that is for the present network, and reports captive portals.

A *look* reads the network in a thread, tries the proxies of profiles with the condition
``answers``, and decides (`trayproxy.routing.networks`). Looks follow the start of the service, a
change of the network or of the profiles, and a suspend. A network comes up in steps: name servers,
VPNs and the system's own search for captive portals may be later than the first address. Therefore
a look that has found nothing is repeated a few times; then there are no more looks until the next
change.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from itertools import repeat
from typing import TYPE_CHECKING

from trayproxy.control.messages import SwitchCause
from trayproxy.engine.error_pages import RequestRefusedError
from trayproxy.engine.net.fd_task import wait_in_task
from trayproxy.engine.upstream.connector import Connector, ConnectRequest
from trayproxy.engine.upstream.route import Route
from trayproxy.http.target import Authority
from trayproxy.profiles.profile import Profile, Upstream
from trayproxy.service.profile_changes import ProfileChanges, UnknownProfileError

if TYPE_CHECKING:
    from trayproxy.desktop.network_identity.base import NetworkIdentity

logger = logging.getLogger(__name__)

SETTLE_S = 0.6
"""Seconds between the last report of a change and the look. With the 0.5 s that the watch waits
itself (`trayproxy.desktop.network_change.base.SETTLE_S`), changes within a second are one change,
and a decision takes less than 2 s."""
REPEATS_S = (2.0, 5.0, 15.0, 30.0)
"""Seconds before each repetition of a look that has found nothing."""
PROBE_LIMIT_S = 0.7
"""Seconds within which a proxy must accept a connection to count as answering here."""
PORTAL_REPEATS = (30.0, 60)
"""The seconds between looks while there is a captive portal, and their number: the system does not
tell when the person has signed in there."""
PORTAL_INTERVAL_S = 60.0
"""Seconds between two looks for a captive portal because an upstream cannot be reached."""
PORTAL_PAGE = "http://detectportal.firefox.com/canonical.html"
"""A page without encryption, which a captive portal replaces by its own (Mozilla's)."""


async def read_system_network() -> "NetworkIdentity":
    """Read the present network of this computer in a thread."""
    # Here, because it is needed only after a change of the network, or for network rules.
    from trayproxy.desktop.network_identity.factory import network_reader

    return await asyncio.to_thread(lambda: network_reader()())


async def answers(
    upstreams_of: Callable[[Profile], Awaitable[Profile | None]],
    connector: Connector,
    profile: Profile,
) -> bool:
    """Return whether a proxy of a profile accepts a connection. `upstreams_of` returns a profile
    with fixed upstreams for an automatic profile, None if its script names none."""
    fixed = await upstreams_of(profile)
    return fixed is not None and await can_reach(connector, fixed)


async def can_reach(connector: Connector, profile: Profile) -> bool:
    """Return whether a proxy of a profile accepts a connection within `PROBE_LIMIT_S`.

    Nothing is sent. After a change of the network, failed attempts are repeated within the limit
    (`trayproxy.engine.upstream.network_grace`).
    """

    async def connect(route: Route, upstream: Upstream) -> None:
        target = Authority(upstream.host, upstream.port)
        request = ConnectRequest(route, target, None, wait_in_task, lambda _: None)
        (await connector.connect(request)).close()

    first = Route.via_profile(profile)
    routes = (first, *first.fallbacks)
    attempts = [
        asyncio.ensure_future(connect(route, route.upstream)) for route in routes if route.upstream
    ]
    try:
        with suppress(TimeoutError):
            async with asyncio.timeout(PROBE_LIMIT_S):
                for attempt in asyncio.as_completed(attempts):
                    with suppress(RequestRefusedError, OSError):
                        await attempt
                        return True
        return False
    finally:
        for task in attempts:
            task.cancel()
        await asyncio.gather(*attempts, return_exceptions=True)


class NetworkProfiles:
    """Uses profiles by the network (`trayproxy.service.profile_changes.NetworkRules`)."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        profiles: ProfileChanges,
        can_reach: Callable[[Profile], Awaitable[bool]],
        report_portal: Callable[[str], None],
        read: "Callable[[], Awaitable[NetworkIdentity]]" = read_system_network,
    ) -> None:
        """Create an instance; call `start` next.

        Args:
            loop: The running event loop.
            profiles: Switches to the profile.
            can_reach: Returns whether a proxy of a profile can be reached.
            report_portal: Called with the URL of the captive portal, empty if there is none.
            read: Reads the network.
        """
        self._loop = loop
        self._profiles = profiles
        self._can_reach = can_reach
        self._report_portal = report_portal
        self._read = read
        self._is_by_hand = False
        self._rules = self._present_rules()
        self._repeats: Iterator[float] = iter(())
        self._portal_repeats: Iterator[float] = iter(())
        self._timer: asyncio.TimerHandle | None = None
        self._look: asyncio.Task[None] | None = None
        self._portal_sought = -PORTAL_INTERVAL_S
        self._network: NetworkIdentity | None = None
        self._may_have_moved = False

    def start(self, *, is_by_hand: bool) -> None:
        """Decide for the network of the start, if there is a rule.

        `is_by_hand` is True if a person has chosen the profile for this run.
        """
        self._is_by_hand = is_by_hand
        if self._rules:
            self._begin(0)

    def network_changed(self) -> None:
        """Decide for another network; the choice of a person holds if it is the same network."""
        self._may_have_moved = True
        self._report_portal("")
        self._begin(SETTLE_S)

    def upstream_unreachable(self) -> None:
        """Find out whether a captive portal is the reason, at most once in `PORTAL_INTERVAL_S`.

        The profile stays, because the network is the same: the upstream may be back soon.
        """
        now = self._loop.time()
        is_due = now - self._portal_sought >= PORTAL_INTERVAL_S
        if is_due and self._timer is None and self._look is None:
            self._portal_sought = now
            self._look = self._loop.create_task(self._look_for_portal())

    def chosen_by_hand(self) -> None:
        """Keep the choice of a person until the network changes; see `NetworkRules`."""
        self._is_by_hand = True

    def profiles_changed(self) -> None:
        """Decide again if the networks of the profiles have changed; see `NetworkRules`."""
        before, self._rules = self._rules, self._present_rules()
        if self._rules != before:
            self._is_by_hand = False
        if self._rules:
            self._begin(0)

    def close(self) -> None:
        """Stop all looks."""
        if self._timer is not None:
            self._timer.cancel()
        if self._look is not None:
            self._look.cancel()
        self._timer = self._look = None

    def _present_rules(self) -> tuple[tuple[str, tuple[str, ...], bool], ...]:
        return tuple(
            (profile.id, profile.use_on, profile.else_direct)
            for profile in self._profiles.for_networks
            if profile.use_on
        )

    def _begin(self, delay_s: float) -> None:
        self.close()
        self._repeats, self._portal_repeats = iter(REPEATS_S), repeat(*PORTAL_REPEATS)
        self._timer = self._loop.call_later(delay_s, self._start_look)

    def _start_look(self) -> None:
        self._timer = None
        self._look = self._loop.create_task(self._look_once())

    async def _look_once(self) -> None:
        network = await self._read()
        has_portal = self._tell_portal(network)
        self._note_move(network)
        has_found = not self._rules or await self._decide(network)
        self._look = None
        repeat_s = None if has_found and not has_portal else next(self._repeats, None)
        if has_portal and repeat_s is None:
            repeat_s = next(self._portal_repeats, None)
        if repeat_s is not None:
            self._timer = self._loop.call_later(repeat_s, self._start_look)

    def _note_move(self, network: "NetworkIdentity") -> None:
        """End the choice of a person if this is another network than at the last look.

        After a suspend, the network is often the same, but is there only after some seconds.
        """
        if not network.is_connected:
            return
        if self._may_have_moved:
            self._may_have_moved = False
            if self._network is None or not network.is_same_network(self._network):
                self._is_by_hand = False
        self._network = network

    async def _look_for_portal(self) -> None:
        network = await self._read()
        self._look = None
        if self._tell_portal(network):
            self._begin(REPEATS_S[0])  # Until the person has signed in.

    def _tell_portal(self, network: "NetworkIdentity") -> bool:
        """Report the captive portal that the system has found; return True if there is one."""
        from trayproxy.desktop.network_identity.base import Portal

        if network.portal is Portal.PRESENT:
            self._report_portal(network.portal_url or PORTAL_PAGE)
        elif network.portal is Portal.ABSENT:
            self._report_portal("")
        return network.portal is Portal.PRESENT

    async def _decide(self, network: "NetworkIdentity") -> bool:
        """Switch if the network requires it; return whether a profile is for this network."""
        from trayproxy.routing.networks import (
            PresentChoice,
            decide,
            is_any_fulfilled,
            profiles_to_probe,
        )

        candidates = list(profiles_to_probe(network, self._profiles.for_networks))
        results = await asyncio.gather(*map(self._can_reach, candidates))
        answering = {
            profile.id for profile, answers in zip(candidates, results, strict=True) if answers
        }
        # Without a further wait: the choice of a person must not be overridden.
        profiles = self._profiles.for_networks
        present = PresentChoice(
            self._profiles.present_id,
            is_direct=self._profiles.is_direct,
            is_by_hand=self._is_by_hand,
        )
        decision = decide(network, profiles, present, answering)
        if decision is not None:
            cause, fact = SwitchCause.ELSEWHERE, self._name_of(present.profile_id)
            if decision.condition is not None:
                cause, fact = SwitchCause(decision.condition.kind), decision.fact
            with suppress(UnknownProfileError):
                self._profiles.switch_by_network(decision.profile_id, cause, fact)
        return is_any_fulfilled(network, profiles, answering)

    def _name_of(self, profile_id: str) -> str:
        profiles = self._profiles.for_networks
        return next((one.name for one in profiles if one.id == profile_id), "")
