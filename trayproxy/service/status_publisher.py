"""Assembles the status of TrayProxy and publishes it to the front ends.

The status combines values of the engine (upstreams, traffic), the desk (sign-in, keyring) and the
settings. It is sent as a whole, at most five times a second, and only to front ends with a
subscription.
"""

import asyncio
import os
from collections.abc import Callable
from time import time

from msgspec.structs import replace

from trayproxy import __version__
from trayproxy.control.messages import ListenerState, RefusedClients, Status, UpstreamState
from trayproxy.desk.desk import Desk
from trayproxy.domain.problem import Problem
from trayproxy.domain.signin import SignInState
from trayproxy.engine.context import Counters
from trayproxy.engine.error_pages import ErrorPage
from trayproxy.engine.upstream.route import Route
from trayproxy.profiles.profile import Profile, SignIn
from trayproxy.service.keyring_inventory import KeyringInventory

PUBLISH_INTERVAL_S = 0.2
TRAFFIC_INTERVAL_S = 2.0
"""Seconds between publications of the traffic counters, if they have changed."""


def portal_problem(url: str) -> Problem:
    """Return the problem of a network with a sign-in page of its own (TP-310)."""
    return Problem(
        "TP-310",
        "This network wants you to sign in on its own page",
        f"Open {url} in a browser and sign in there. What fails now works again by itself then.",
        url,
    )


class StatusPublisher:
    """Holds the parts of the status and publishes them when they change.

    Attributes:
        profile: The active profile.
        profiles: All profiles in menu order.
        direct: True if programs connect directly.
        direct_until: When this ends, in seconds since the epoch; None if the user ends it.
        listener: Whether TrayProxy accepts connections.
        address: The local address.
        problem: Why TrayProxy does not accept connections, None if it does.
        notices: Problems of the settings.
        other_loopback: The program at the other address of ``localhost``, None if there is none.
        refused_clients: Refused connections of other users' programs.
        spare_port: A free port while the wanted port is taken; 0 if none is known.
        wanted_port: The configured port while this run uses another port, else 0.
        screen_locked: True if prompts wait until the screen is unlocked.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        send: Callable[[Status], None],
        has_subscribers: Callable[[], bool],
    ) -> None:
        """Create a publisher with an empty status.

        Args:
            loop: The event loop.
            send: Called with the status after it has changed.
            has_subscribers: Returns True if a front end has subscribed to events.
        """
        self.profile: Profile | None = None
        self.profiles: tuple[Profile, ...] = ()
        self.direct = False
        self.direct_until: float | None = None
        self.listener = ListenerState.STARTING
        self.address = ""
        self.problem: Problem | None = None
        self.notices: tuple[Problem, ...] = ()
        self.other_loopback: Problem | None = None
        self.refused_clients = RefusedClients()
        self.spare_port = 0
        self.wanted_port = 0
        self.screen_locked = False
        self._loop = loop
        self._send = send
        self._has_subscribers = has_subscribers
        self._desk: Desk | None = None
        self._counters: Counters | None = None
        self._inventory: KeyringInventory | None = None
        self._upstream = UpstreamState.UNKNOWN
        self._upstream_problem: Problem | None = None
        self._upstream_since = time()
        self._reached_route: Route | None = None
        self._portal: Problem | None = None
        self._sign_in_demand: Problem | None = None
        """The problem of an upstream that demands a sign-in which the profile does not allow."""
        self._timer: asyncio.TimerHandle | None = None
        self._traffic_timer: asyncio.TimerHandle | None = None
        self._sent: Status | None = None

    def attach(self, desk: Desk, counters: Counters, inventory: KeyringInventory) -> None:
        """Set the desk, the engine's counters and the keyring inventory as sources of the
        status.
        """
        self._desk, self._counters, self._inventory = desk, counters, inventory

    # --- trayproxy.engine.context.UpstreamObserver ---

    def reached(self, route: Route) -> None:
        """Record a response of the upstream."""
        if (
            route is not self._reached_route
            and route.upstream is not None
            and route.profile is self.profile
        ):
            self._reached_route = route
            self._set_upstream(UpstreamState.OK, None)
        if self._portal is not None and route.profile is self.profile:
            self._portal = None
            self.publish_soon()

    def captive_portal_found(self, route: Route, url: str) -> None:
        """Record the network's sign-in page.

        Args:
            route: The route of the response with the page; the request was a program's or
                TrayProxy's.
            url: The URL of the page. Untrusted.
        """
        ours, theirs = self.profile, route.profile
        if ours is not None and theirs is not None and ours.id == theirs.id:
            self._portal = portal_problem(url)
            self.publish_soon()

    def failed(self, route: Route, page: ErrorPage) -> None:
        """Record that the upstream did not respond."""
        if route.upstream is not None and route.profile is self.profile:
            self._reached_route = None
            problem = Problem(page.code, page.title, page.body) if page.code else None
            self._set_upstream(UpstreamState.UNREACHABLE, problem)

    def sign_in_not_set(self, route: Route, page: ErrorPage) -> None:
        """Record that the upstream demands a sign-in, which the profile does not allow."""
        if route.profile is self.profile:
            self._sign_in_demand = Problem(page.code, page.title, page.body)
            self.publish_soon()

    def _set_upstream(self, state: UpstreamState, problem: Problem | None) -> None:
        if state is not self._upstream:
            self._upstream_since = time()
        self._upstream, self._upstream_problem = state, problem
        self.publish_soon()

    # --- set by the service ---

    def switch_profile(
        self, profile: Profile | None, profiles: tuple[Profile, ...], *, direct: bool = False
    ) -> None:
        """Set the profiles. The state of another active profile's upstream is unknown."""
        if profile != self.profile:
            self._reached_route = self._sign_in_demand = None
            self._set_upstream(UpstreamState.UNKNOWN, None)
        self.profile, self.profiles, self.direct = profile, profiles, direct
        self.publish_soon()

    def update_profiles(self, profile: Profile | None, profiles: tuple[Profile, ...]) -> None:
        """Replace the profiles by copies with other user names; the upstream's state is kept.

        Args:
            profile: The active profile.
            profiles: All profiles in menu order.
        """
        self.profile, self.profiles = profile, profiles
        self.publish_soon()

    def set_listening(self, address: str, wanted_port: int = 0) -> None:
        """Record that programs can connect.

        Args:
            address: The local address.
            wanted_port: The configured port if this run uses another port, else 0.
        """
        self.listener, self.address, self.problem = ListenerState.UP, address, None
        self.spare_port, self.wanted_port = 0, wanted_port
        self.publish_soon()

    def set_refused_clients(self, refused_clients: RefusedClients) -> None:
        """Set the totals of refused connections."""
        self.refused_clients = refused_clients
        self.publish_soon()

    def set_other_loopback(self, problem: Problem | None) -> None:
        """Set the problem of the other address of ``localhost``, None if there is none."""
        self.other_loopback = problem
        self.publish_soon()

    def set_listen_failed(self, problem: Problem, spare_port: int = 0) -> None:
        """Record that programs cannot connect.

        Args:
            problem: Why.
            spare_port: A free port, 0 if none is known.
        """
        self.listener, self.problem = ListenerState.FAILED, problem
        self.spare_port = spare_port
        self.publish_soon()

    def publish_soon(self) -> None:
        """Schedule a publication of the status."""
        if self._timer is None and self._has_subscribers():
            self._timer = self._loop.call_later(PUBLISH_INTERVAL_S, self._publish)

    def _publish(self) -> None:
        self._timer = None
        status = self.status()
        if status != self._sent:
            self._sent = status
            self._send(status)
        self.watch_traffic()

    def watch_traffic(self) -> None:
        """Publish the traffic counters periodically while there are subscribers."""
        if self._traffic_timer is None and self._has_subscribers():
            self._traffic_timer = self._loop.call_later(TRAFFIC_INTERVAL_S, self._publish_traffic)

    def _publish_traffic(self) -> None:
        self._traffic_timer = None
        self._publish()

    def close(self) -> None:
        """Stop publishing."""
        for timer in (self._timer, self._traffic_timer):
            if timer is not None:
                timer.cancel()

    # --- assembling the status ---

    def status(self) -> Status:
        """Return the status."""
        status = Status(
            version=__version__,
            pid=os.getpid(),
            listener=self.listener,
            address=self.address,
            profile=self.profile,
            profiles=self.profiles,
            upstream=self._upstream,
            upstream_since=self._upstream_since,
            problem=self.problem or self._upstream_problem,
            notices=(
                *self._other_port_notices(),
                *self._other_loopback_notices(),
                *self.notices,
                *self._fallback_notices(),
                *self._portal_notices(),
            ),
            direct=self.direct,
            direct_until=self.direct_until,
            refused_clients=self.refused_clients,
            spare_port=self.spare_port,
            wanted_port=self.wanted_port,
            screen_locked=self.screen_locked,
        )
        if self._counters is not None:
            counters = self._counters
            status = replace(
                status, active=counters.active, received=counters.received, sent=counters.sent
            )
        if self._desk is not None:
            status = self._with_sign_in(status, self._desk)
        return status

    def _other_port_notices(self) -> tuple[Problem, ...]:
        """Return the notice about a port different from the configured port."""
        if not self.wanted_port:
            return ()
        host, _, port = self.address.rpartition(":")
        body = (
            f"Programs that are set to {host}:{self.wanted_port} do not reach TrayProxy. Set them "
            f"to {self.address}, or go back to port {self.wanted_port} once it is free. The next "
            f"start tries port {self.wanted_port} again; to keep port {port}, write it below "
            "[listen] in the settings file."
        )
        return (Problem("TP-111", f"TrayProxy uses port {port} for now", body),)

    def _other_loopback_notices(self) -> tuple[Problem, ...]:
        return (self.other_loopback,) if self.other_loopback is not None else ()

    def _portal_notices(self) -> tuple[Problem, ...]:
        return (self._portal,) if self._portal is not None else ()

    def _fallback_notices(self) -> tuple[Problem, ...]:
        """Return the notice about a fallback in use instead of the preferred upstream."""
        profile, upstream = (
            self.profile,
            self._reached_route.upstream if self._reached_route else None,
        )
        if profile is None or upstream is None or upstream == profile.upstream:
            return ()
        body = f"{profile.name} uses {upstream} until {profile.upstream} answers again."
        return (Problem("TP-206", f"{profile.upstream.host} cannot be reached", body),)

    def _with_sign_in(self, status: Status, desk: Desk) -> Status:
        status = replace(status, keyring=desk.keyring, notices=(*status.notices, *desk.notices))
        if self.profile is not None and self._sign_in_demand is not None:
            notices = (*status.notices, self._sign_in_demand)
            return replace(status, sign_in=SignInState.UNUSABLE, notices=notices)
        if self.profile is None or self.profile.sign_in is SignIn.NONE:
            return replace(status, sign_in=SignInState.NONE)
        facts = desk.facts(self.profile.id)
        return replace(
            status,
            sign_in=facts.sign_in,
            saved=self._inventory.has_password(self.profile) if self._inventory else None,
            user=facts.user,
            snoozed_until=facts.snoozed_until,
            waiting=facts.waiting,
        )
