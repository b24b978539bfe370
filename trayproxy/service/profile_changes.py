"""Changes of the profiles: save, delete, switch, connect directly for some time, reload."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from time import time
from typing import Protocol

from trayproxy.control.messages import (
    MAX_DIRECT_S,
    NetworkSwitch,
    SwitchCause,
)
from trayproxy.desk.desk import Desk
from trayproxy.domain.problem import Problem
from trayproxy.options import RunOptions
from trayproxy.profiles.config import Config
from trayproxy.profiles.consistency import check_profile
from trayproxy.profiles.pac_source import PacSource
from trayproxy.profiles.profile import DIRECT_ID, Profile, ProfileError
from trayproxy.profiles.store import SettingsError
from trayproxy.service.router import Router
from trayproxy.service.settings_changes import SettingsChanges
from trayproxy.service.status_publisher import StatusPublisher

logger = logging.getLogger(__name__)

TEMPORARY_ID = "this-run"
"""The id of the profile that the options of the command line define for this run."""


class UnknownProfileError(Exception):
    """There is no profile with the given id, for example because it was deleted meanwhile."""


def first_profile(options: RunOptions, config: Config) -> Profile | None:
    """Return the profile to start with; None if there is none.

    Raises:
        ProfileError: No profile has the given name, or the given profile is invalid.
    """
    if options.upstream is not None:
        upstream = pac = None
        if isinstance(options.upstream, PacSource):
            pac = options.upstream
        else:
            upstream = options.upstream
        return check_profile(
            Profile(
                TEMPORARY_ID,
                str(upstream) if pac is None else pac.title,
                upstream,
                options.sign_in,
                options.user,
                ca_file=options.ca_file,
                method=options.method,
                pac=pac,
                shared_sign_in=options.shared_sign_in,
            )
        )
    if starts_directly(options, config):
        return None
    if options.profile_name is None:
        return config.profile
    profile = config.find(options.profile_name)
    if profile is None:
        raise ProfileError(f"There is no profile “{options.profile_name}”.")
    return profile


def starts_directly(options: RunOptions, config: Config) -> bool:
    """Return True if there is no profile to start with and programs connect directly."""
    if options.upstream is not None:
        return False
    if options.profile_name is None:
        return config.is_direct
    return config.names_direct(options.profile_name)


class NetworkRules(Protocol):
    """Uses profiles by the network; told of everything that matters for its decisions."""

    def network_changed(self) -> None:
        """Decide for another network, after a change or a suspend."""

    def chosen_by_hand(self) -> None:
        """Keep the choice of a person until the network changes."""

    def profiles_changed(self) -> None:
        """Decide again if the networks of the profiles have changed."""


class NoNetworkRules:
    """The network rules of a service that has not started yet: there are none."""

    def network_changed(self) -> None:
        """Do nothing."""

    def chosen_by_hand(self) -> None:
        """Do nothing."""

    def profiles_changed(self) -> None:
        """Do nothing."""


class Detour:
    """Direct connections for some time, after which a profile is used again.

    Attributes:
        profile_id: The id of that profile; empty if programs do not connect directly for some time.
    """

    def __init__(
        self, publish_end: Callable[[float | None], None], on_end: Callable[[str], None]
    ) -> None:
        """Create an instance.

        Args:
            publish_end: Called with the end in seconds since the epoch; None without an end.
            on_end: Called with the id of the profile when the time is over.
        """
        self.profile_id = ""
        self._publish_end = publish_end
        self._on_end = on_end
        self._timer: asyncio.TimerHandle | None = None

    def start(self, profile_id: str, for_s: int) -> None:
        """Start the time, in seconds; a running time is replaced."""
        self.cancel()
        self.profile_id = profile_id
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(for_s, self._on_end, profile_id)
        self._publish_end(time() + for_s)

    def cancel(self) -> None:
        """Cancel the timer, if it is running."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        self.profile_id = ""
        self._publish_end(None)


class ProfileChanges:
    """Changes the settings, the active profile, and the parts of the service that depend on it.

    The methods raise `UnknownProfileError` for an unknown id of a profile, `ProfileError` for an
    invalid profile, and `SettingsError` if the settings file was not written.

    Attributes:
        on_bypass_changed: Called with the bypass rules of a profile that becomes active or that
            was changed; by default, does nothing.
        on_profiles_changed: Called after profiles were saved, deleted or loaded again, and after a
            switch; by default, does nothing.
        network_rules: Uses profiles by the network.
    """

    def __init__(
        self,
        desk: Desk,
        settings: SettingsChanges,
        router: Router,
        publisher: StatusPublisher,
        forget_connections: Callable[[], None],
    ) -> None:
        """Create an instance without an active profile; call `start` next.

        `forget_connections` closes the idle upstream connections.
        """
        self.on_bypass_changed: Callable[[tuple[str, ...]], None] = lambda _: None
        self.on_profiles_changed: Callable[[], None] = lambda: None
        self.network_rules: NetworkRules = NoNetworkRules()
        self._desk = desk
        self._store = settings.store
        self._save = settings.save
        self._router = router
        self._publisher = publisher
        self._forget_connections = forget_connections
        self._user_saves: set[asyncio.Task[None]] = set()
        self._temporary: Profile | None = None
        self._detour = Detour(publisher.set_direct_until, self._detour_ended)
        self._previous_id = ""
        """The id of the profile that was active before permanent direct connections."""

    def start(self, profile: Profile | None, *, directly: bool = False) -> None:
        """Start with this profile. A profile outside the settings is for this run only.

        Without a profile, programs connect directly if `directly` is True.
        """
        if profile is not None and self._store.config.by_id(profile.id) is None:
            self._temporary = profile
        self._switch(profile, directly=directly)

    def get(self, profile_id: str) -> Profile:
        """Return a profile of the settings, or the profile for this run only."""
        if self._temporary is not None and self._temporary.id == profile_id:
            return self._temporary
        return self._saved(profile_id)

    def _saved(self, profile_id: str) -> Profile:
        profile = self._store.config.by_id(profile_id)
        if profile is None:
            raise UnknownProfileError(profile_id)
        return profile

    async def save(self, profile: Profile) -> None:
        """Save a new or changed profile in the settings."""
        profile = check_profile(profile)
        active = self._router.profile
        if self._temporary is not None and profile.id == self._temporary.id:
            self._temporary = None  # It is saved now, so it is no longer for this run only.
        await self._save(lambda config: config.with_profile(profile))
        self._desk.profile_changed(profile)
        chosen = active is not None or self._router.is_direct
        if chosen and (active is None or active.id != profile.id):
            self._switch(active, directly=self._router.is_direct)
        else:
            self._switch(profile, directly=False)
        self.network_rules.profiles_changed()

    def save_user_name(self, profile_id: str, user: str) -> None:
        """Save the user name of an accepted login in its profile (ux §3.3).

        So with a locked or emptied keyring, the prompt asks for the password only.
        """
        task = asyncio.create_task(self._save_user_name(profile_id, user))
        self._user_saves.add(task)
        task.add_done_callback(self._user_saves.discard)

    async def wait_for_user_names(self) -> None:
        """Wait until the user names of all calls of `save_user_name` are saved."""
        await asyncio.gather(*self._user_saves)

    async def _save_user_name(self, profile_id: str, user: str) -> None:
        if self._temporary is not None and self._temporary.id == profile_id:
            return  # The desk suggests the name until this run ends.

        def with_user(config: Config) -> Config:
            profile = config.by_id(profile_id)
            return config.with_profile(replace(profile, user=user)) if profile else config

        try:
            await self._save(with_user)
        except (SettingsError, ProfileError) as error:
            logger.warning("the user name was not saved in its profile: %s", error)
            return
        active = self._router.profile
        profile = self._store.config.by_id(profile_id)
        if active is not None and active.id == profile_id and profile is not None:
            # The route does not change, so connections and prompts are kept.
            self._router.use(profile)
            active = profile
        self._publisher.update_profiles(active, self._shown_profiles())

    async def delete(self, profile_id: str, *, forget: bool) -> Problem | None:
        """Delete a profile from the settings, and its login from the keyring if `forget` is True.

        Returns:
            Why the login was not removed, None if it was.
        """
        profile = self._saved(profile_id)
        problem = await self._desk.forget(profile) if forget else None
        await self._save(lambda config: config.without_profile(profile_id))
        self._desk.profile_deleted(profile_id)
        active = self._router.profile
        is_gone = active is not None and active.id == profile_id
        self._switch(None if is_gone else active, directly=self._router.is_direct)
        self.network_rules.profiles_changed()
        return problem

    async def use(self, profile_id: str, for_s: int) -> None:
        """Switch to a profile, or to direct connections; see `UseProfile` for the arguments."""
        directly = profile_id == DIRECT_ID
        present = self._router.profile
        present_id = self._detour.profile_id if present is None else present.id
        profile = None if directly else self.get(profile_id)
        self._chosen_by_hand()
        if directly and for_s > 0 and present_id:
            self._detour.start(present_id, min(for_s, MAX_DIRECT_S))
            self._switch(None, directly=True)
            return
        self._detour.cancel()
        if not directly:
            self._previous_id = ""
        elif present_id:
            self._previous_id = present_id
        self._switch(profile, directly=directly)
        if profile is None or profile is not self._temporary:
            await self._save(lambda config: config.with_active(profile_id))

    async def resume(self) -> None:
        """End direct connections: switch to the profile that was active before.

        Do nothing if programs do not connect directly.

        Raises:
            ProfileError: No profile was active before, or it was deleted meanwhile.
        """
        if self._detour.profile_id:
            self._detour_ended(self._detour.profile_id)
        elif self._router.is_direct:
            await self.use(self._previous().id, 0)

    def _chosen_by_hand(self) -> None:
        self._publisher.set_network_switch(None)
        self.network_rules.chosen_by_hand()

    @property
    def for_networks(self) -> tuple[Profile, ...]:
        """The profiles that the network may choose: those of the settings, in menu order; none in a
        run with an upstream of its own."""
        return () if self._temporary is not None else self._store.config.profiles

    @property
    def present_id(self) -> str:
        """The id of the active profile; while programs connect directly, of the profile before."""
        profile = self._router.profile
        return profile.id if profile is not None else self._detour.profile_id or self._previous_id

    @property
    def is_direct(self) -> bool:
        """True if programs connect directly instead of through a profile."""
        return self._router.is_direct

    def switch_by_network(self, profile_id: str, cause: SwitchCause, fact: str) -> None:
        """Switch to a profile, or to direct connections for `DIRECT_ID`, because of the network.

        The settings keep the choice of the person, which the next start begins with. See
        `NetworkSwitch` for the other arguments.
        """
        directly = profile_id == DIRECT_ID
        profile = None if directly else self.get(profile_id)
        before = DIRECT_ID if self._router.is_direct else self.present_id
        self._previous_id = self.present_id if directly else ""
        self._detour.cancel()
        self._publisher.set_network_switch(NetworkSwitch(profile_id, before, cause, fact, time()))
        self._switch(profile, directly=directly)
        logger.info("the network has caused a switch to %s (%s)", profile_id, cause)

    async def undo_network_switch(self) -> None:
        """Return to the choice before the last switch because of the network, as by hand.

        Raises:
            ProfileError: There was no such switch, or no profile was in use before.
        """
        switch = self._publisher.own_values.network_switch
        if switch is None or not switch.previous_id:
            raise ProfileError("There is nothing to undo. Choose a profile.")
        await self.use(switch.previous_id, 0)

    def _previous(self) -> Profile:
        # The profile of this run may be another one than that of the settings.
        with suppress(UnknownProfileError):
            return self.get(self._previous_id)
        return self._store.config.previous_profile()

    def _detour_ended(self, profile_id: str) -> None:
        self._detour.cancel()
        profile = None
        with suppress(UnknownProfileError):  # The profile may have been deleted meanwhile.
            profile = self.get(profile_id)
        self._switch(profile, directly=False)

    def reload(self) -> None:
        """Load the settings again after they were changed outside (SIGHUP).

        If they have a mistake, raise `SettingsError` and change nothing.
        """
        before = self._store.config
        config = self._store.load()
        for profile in config.profiles:
            if before.by_id(profile.id) != profile:
                self._desk.profile_changed(profile)
        for profile in before.profiles:
            if config.by_id(profile.id) is None:
                self._desk.profile_deleted(profile.id)
        switch = self._publisher.own_values.network_switch
        by_network = config.by_id(switch.profile_id) if switch is not None else None
        is_direct = switch is not None and switch.profile_id == DIRECT_ID
        if (by_network is not None or is_direct) and config.active == before.active:
            # The choice of the network stays, until it decides again.
            self._switch(by_network, directly=is_direct)
        else:
            directly = self._temporary is None and config.is_direct
            self._publisher.set_network_switch(None)
            self._switch(self._temporary or config.profile, directly=directly)
        self.network_rules.profiles_changed()

    def _switch(self, profile: Profile | None, *, directly: bool) -> None:
        """Switch to this profile. New requests use its route; running requests keep theirs."""
        if profile is not None or not directly:
            self._detour.cancel()
        before = (self._router.profile, self._router.is_direct)
        self._router.use(profile, directly=directly)
        if before != (profile, directly):
            self._forget_connections()
        self._publisher.switch_profile(profile, self._shown_profiles(), direct=directly)
        self._desk.profile_switched(profile)
        if profile is not None:
            self.on_bypass_changed(profile.bypass)
        self.on_profiles_changed()

    def _shown_profiles(self) -> tuple[Profile, ...]:
        profiles = self._store.config.profiles
        return profiles if self._temporary is None else (self._temporary, *profiles)
