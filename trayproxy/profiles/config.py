"""The settings as a value: the local address, the profiles, and which of them is active."""

from dataclasses import dataclass, replace

from trayproxy.profiles.profile import DIRECT_ID, DIRECT_NAME, Profile, ProfileError
from trayproxy.profiles.validate import check_profile

DEFAULT_PORT = 3128
"""Squid's, which people and their firewalls know as a proxy's."""

MAX_PROFILES = 200
"""More are a mistake: nobody chooses among so many in a menu."""

EVERYONE = "*"
"""In `ListenAddress.allow_users`: nobody is asked who it is."""


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """The local address.

    Attributes:
        host: A loopback IP literal without brackets.
        port: 0 to 65535; 0 picks a free one.
        allow_users: Users of this computer who may connect beside the one that TrayProxy runs as,
            by name or by number (on Windows by SID), or `EVERYONE`.
    """

    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    allow_users: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Return ``127.0.0.1:3128``; IPv6 literals get brackets."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Config:
    """All settings. Each change makes a new one.

    Attributes:
        listen: Where programs connect to.
        active: The id of the profile in use; `DIRECT_ID` while programs connect directly; empty if
            neither was chosen.
        profiles: In menu order; ids and, whatever the case, names are unique.
    """

    listen: ListenAddress = ListenAddress()
    active: str = ""
    profiles: tuple[Profile, ...] = ()

    @property
    def profile(self) -> Profile | None:
        """The active profile."""
        return self.by_id(self.active)

    @property
    def is_direct(self) -> bool:
        """Whether programs connect directly."""
        return self.active == DIRECT_ID

    def by_id(self, profile_id: str) -> Profile | None:
        """Return the profile with this id, None if there is none."""
        return next((p for p in self.profiles if p.id == profile_id), None)

    def name_of(self, profile_id: str) -> str:
        """Return the name of the profile with this id, empty if there is none."""
        profile = self.by_id(profile_id)
        return "" if profile is None else profile.name

    def find(self, name: str) -> Profile | None:
        """Return the profile that a person means: by its name whatever the case, else by its id."""
        wanted = name.strip().casefold()
        named = (p for p in self.profiles if p.name.casefold() == wanted)
        return next(named, None) or self.by_id(wanted)

    def names_direct(self, name: str) -> bool:
        """Return whether a person means *Connect directly*: by its name whatever the case, or by
        its id if no profile has that for a name."""
        wanted = name.strip().casefold()
        return wanted in (DIRECT_NAME.casefold(), DIRECT_ID) and self.find(name) is None

    def with_profile(self, profile: Profile) -> "Config":
        """Return the settings with a profile added at the end, or put in place of its id's.

        While no profile is active the added one becomes so.

        Raises:
            ProfileError: A part of it is refused, another profile has its name, or there are
                `MAX_PROFILES` already.
        """
        profile = check_profile(profile)
        others = [p for p in self.profiles if p.id != profile.id]
        if any(p.name.casefold() == profile.name.casefold() for p in others):
            raise ProfileError(f"There is a profile “{profile.name}” already.")
        if len(others) < len(self.profiles):
            profiles = tuple(profile if p.id == profile.id else p for p in self.profiles)
        elif len(others) == MAX_PROFILES:
            raise ProfileError(f"There are {MAX_PROFILES} profiles already. Delete one first.")
        else:
            profiles = (*self.profiles, profile)
        return replace(self, profiles=profiles, active=self.active or profile.id)

    def without_profile(self, profile_id: str) -> "Config":
        """Return the settings without a profile; if it was active, none is.

        Another one is not made active: requests would go where nobody sent them.
        """
        profiles = tuple(p for p in self.profiles if p.id != profile_id)
        active = "" if self.active == profile_id else self.active
        return replace(self, profiles=profiles, active=active)

    def with_active(self, profile_id: str) -> "Config":
        """Return the settings with another profile active, or with `DIRECT_ID` none at all.

        Raises:
            ProfileError: There is no such profile.
        """
        if profile_id != DIRECT_ID and self.by_id(profile_id) is None:
            raise ProfileError("There is no such profile any more.")
        return replace(self, active=profile_id)
