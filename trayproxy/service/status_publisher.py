"""Assembles the status of TrayProxy and publishes it to the front ends.

The status combines values of the engine (upstreams, traffic), the desk (sign-in, keyring) and the
settings. It is sent as a whole, at most five times a second, and only to front ends with a
subscription.
"""

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass

from msgspec.structs import replace

from trayproxy import __version__
from trayproxy.control.messages import (
    FurtherListener,
    ListenerState,
    NetworkSwitch,
    RefusedClients,
    RefusedDevices,
    Status,
    SystemProxyStatus,
)
from trayproxy.desk.desk import Desk
from trayproxy.domain.problem import Problem
from trayproxy.domain.signin import SignInState
from trayproxy.engine.context import Counters
from trayproxy.profiles.profile import Profile, SignIn
from trayproxy.service.keyring_inventory import KeyringInventory
from trayproxy.service.upstream_status import UpstreamStatus

PUBLISH_INTERVAL_S = 0.2
TRAFFIC_INTERVAL_S = 2.0
"""Seconds between publications of the traffic counters, if they have changed."""


@dataclass(frozen=True, slots=True)
class StatusSources:
    """The parts of the service from which the status is read when it is published."""

    desk: Desk
    counters: Counters
    inventory: KeyringInventory


class StatusPublisher:
    """Holds the parts of the status and publishes them when they change.

    Attributes:
        upstream: The state of the active profile's upstream.
        notices: Problems of the settings.
        own_values: The fields set through this object; the other fields have their defaults.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        send: Callable[[Status], None],
        has_subscribers: Callable[[], bool],
    ) -> None:
        """Create a publisher, which calls `send` with a changed status if it `has_subscribers`."""
        self.upstream = UpstreamStatus(self.publish_soon)
        self.notices: tuple[Problem, ...] = ()
        self._loop = loop
        self._send = send
        self._has_subscribers = has_subscribers
        self.own_values = Status(__version__, os.getpid(), ListenerState.STARTING, "")
        self._sources: StatusSources | None = None
        self._other_loopback: Problem | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._traffic_timer: asyncio.TimerHandle | None = None
        self._sent: Status | None = None

    # --- set by the service ---

    def attach(self, sources: StatusSources, address: str) -> None:
        """Set the sources of the status, and the configured address."""
        self._sources = sources
        self.own_values = replace(self.own_values, address=address)

    def switch_profile(
        self, profile: Profile | None, profiles: tuple[Profile, ...], *, direct: bool = False
    ) -> None:
        """Set the active profile and all profiles in menu order.

        The state of another active profile's upstream is unknown.
        """
        self.upstream.use(profile, is_same=profile == self.own_values.profile)
        self._set(profile=profile, profiles=profiles, direct=direct)

    def update_profiles(self, profile: Profile | None, profiles: tuple[Profile, ...]) -> None:
        """Replace the profiles by copies with other user names; the upstream's state is kept."""
        self.upstream.use(profile, is_same=True)
        self._set(profile=profile, profiles=profiles)

    def set_direct_until(self, until: float | None) -> None:
        """Set the end of direct connections in seconds since the epoch; None if the user ends
        them."""
        self._set(direct_until=until)

    def set_network_switch(self, switch: NetworkSwitch | None) -> None:
        """Set why the network has caused the present choice; None if a person has chosen."""
        self._set(network_switch=switch)

    def set_listening(self, address: str, wanted_port: int = 0) -> None:
        """Record that programs can connect; see `Status` for the arguments."""
        self._set(
            listener=ListenerState.UP,
            address=address,
            problem=None,
            spare_port=0,
            wanted_port=wanted_port,
        )

    def set_listen_failed(self, problem: Problem, spare_port: int = 0) -> None:
        """Record that programs cannot connect; see `Status` for the arguments."""
        self._set(listener=ListenerState.FAILED, problem=problem, spare_port=spare_port)

    def set_refused_clients(self, refused_clients: RefusedClients) -> None:
        """Set the totals of refused connections."""
        self._set(refused_clients=refused_clients)

    def set_listeners(self, listeners: tuple[FurtherListener, ...]) -> None:
        """Set the listeners beside the local address."""
        self._set(listeners=listeners)

    def set_devices(self, devices: tuple[str, ...], *, containers: bool) -> None:
        """Set the other devices that may connect, and whether containers may."""
        self._set(devices=devices, containers=containers)

    def set_refused_devices(self, refused_devices: RefusedDevices) -> None:
        """Set the totals of refused connections of other devices."""
        self._set(refused_devices=refused_devices)

    def set_system_proxy(self, system_proxy: SystemProxyStatus) -> None:
        """Set the status of the system proxy."""
        self._set(system_proxy=system_proxy)

    def set_screen_locked(self, is_locked: bool) -> None:
        """Record whether prompts wait until the screen is unlocked."""
        self._set(screen_locked=is_locked)

    def set_other_loopback(self, problem: Problem | None) -> None:
        """Set the problem of the other address of ``localhost``, None if there is none."""
        self._other_loopback = problem
        self.publish_soon()

    def _set(self, **fields: object) -> None:
        self.own_values = replace(self.own_values, **fields)
        self.publish_soon()

    # --- publishing ---

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
        """Return the complete present status, as it is sent to front ends."""
        upstream, system_proxy = self.upstream, self.own_values.system_proxy
        status = replace(
            self.own_values,
            upstream=upstream.state,
            upstream_since=upstream.since,
            problem=self.own_values.problem or upstream.problem,
            notices=(
                *self._other_port_notices(),
                *((self._other_loopback,) if self._other_loopback is not None else ()),
                *(one.problem for one in self.own_values.listeners if one.problem is not None),
                *((system_proxy.problem,) if system_proxy.problem is not None else ()),
                *self.notices,
                *upstream.notices,
            ),
        )
        if self._sources is None:
            return status
        counters = self._sources.counters
        status = replace(
            status, active=counters.active, received=counters.received, sent=counters.sent
        )
        return self._with_sign_in(status, self._sources)

    def _other_port_notices(self) -> tuple[Problem, ...]:
        wanted_port, address = self.own_values.wanted_port, self.own_values.address
        if not wanted_port:
            return ()
        host, _, port = address.rpartition(":")
        body = (
            f"Programs that are set to {host}:{wanted_port} do not reach TrayProxy. Set them "
            f"to {address}, or go back to port {wanted_port} once it is free. The next "
            f"start tries port {wanted_port} again; to keep port {port}, write it below "
            "[listen] in the settings file."
        )
        return (Problem("TP-111", f"TrayProxy uses port {port} for now", body),)

    def _with_sign_in(self, status: Status, sources: StatusSources) -> Status:
        desk, profile = sources.desk, status.profile
        status = replace(status, keyring=desk.keyring, notices=(*status.notices, *desk.notices))
        if profile is not None and self.upstream.sign_in_demand is not None:
            notices = (*status.notices, self.upstream.sign_in_demand)
            return replace(status, sign_in=SignInState.UNUSABLE, notices=notices)
        if profile is None or profile.sign_in is SignIn.NONE:
            return replace(status, sign_in=SignInState.NONE)
        facts = desk.facts(profile.id)
        return replace(
            status,
            sign_in=facts.sign_in,
            saved=sources.inventory.has_password(profile),
            user=facts.user,
            snoozed_until=facts.snoozed_until,
            waiting=facts.waiting,
        )
