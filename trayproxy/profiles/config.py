"""The settings as a value: the local address, the profiles and the active profile."""

from dataclasses import dataclass, replace
from enum import StrEnum, auto
from ipaddress import ip_address

from trayproxy.profiles.consistency import check_profile
from trayproxy.profiles.profile import DIRECT_ID, DIRECT_NAME, Profile, ProfileError

DEFAULT_PORT = 3128
"""The default port of squid, which people and firewalls know as a proxy port."""

MAX_PROFILES = 200
"""The maximum number of profiles; the menu is not usable with more."""

MAX_FORWARDS = 50
"""The maximum number of fixed forwards."""

MAX_DEVICES = 100
"""The maximum number of addresses and networks of other devices."""

EVERYONE = "*"
"""In `ListenAddress.allow_users`: every user may connect, without a check."""


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """The local address.

    Attributes:
        host: An IP literal without brackets: a loopback address or, with `devices`, the address of
            this computer that other devices use, where 0.0.0.0 and :: stand for all addresses.
        port: 0 to 65535; 0 selects a free port.
        allow_users: Users of this computer who may connect in addition to the user that runs
            TrayProxy, by name or number (on Windows by SID), or `EVERYONE`.
        devices: The addresses and networks of other devices that may connect; empty if none may.
        devices_password: True if other devices must send the password that is in the keyring.
        containers: True if containers and WSL on this computer may connect.
    """

    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    allow_users: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    devices_password: bool = False
    containers: bool = False

    @property
    def local_host(self) -> str:
        """The loopback address for programs on this computer."""
        return self.host if ip_address(self.host).is_loopback else "127.0.0.1"

    def __str__(self) -> str:
        """Return the address for programs on this computer, ``127.0.0.1:3128``; IPv6 literals get
        brackets."""
        return _with_port(self.local_host, self.port)


@dataclass(frozen=True, slots=True)
class Forward:
    """A fixed forward: each connection to its address is a tunnel to its target.

    Attributes:
        host: The IP literal to listen on, without brackets.
        port: The port to listen on, 1 to 65535.
        target_host: The name or IP literal of the target, without brackets.
        target_port: The port of the target, 1 to 65535.
    """

    host: str
    port: int
    target_host: str
    target_port: int

    @property
    def address(self) -> str:
        """The address to listen on, ``127.0.0.1:2222``; IPv6 literals get brackets."""
        return _with_port(self.host, self.port)

    @property
    def target(self) -> str:
        """The target, ``git.example:22``; IPv6 literals get brackets."""
        return _with_port(self.target_host, self.target_port)

    @property
    def target_address(self) -> tuple[str, int]:
        """The host and the port of the target."""
        return self.target_host, self.target_port


def _with_port(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class SystemProxyMode(StrEnum):
    """How the system proxy points programs at TrayProxy."""

    ADDRESS = auto()
    """By the local address. Without TrayProxy, programs cannot connect."""
    PAC = auto()
    """By a PAC file that TrayProxy serves. Without TrayProxy, programs connect directly."""


@dataclass(frozen=True, slots=True)
class SystemProxySettings:
    """The use of TrayProxy as the system proxy.

    Attributes:
        use: True if TrayProxy sets the system proxy while it runs.
        mode: How the system proxy points at TrayProxy.
        restore_on_quit: True to restore the earlier settings when TrayProxy ends.
    """

    use: bool = False
    mode: SystemProxyMode = SystemProxyMode.ADDRESS
    restore_on_quit: bool = True


@dataclass(frozen=True, slots=True)
class Config:
    """All settings, immutable.

    Attributes:
        listen: The local address.
        active: The id of the active profile; `DIRECT_ID` for *Connect directly*; empty if neither
            was chosen.
        profiles: The profiles in menu order; ids are unique, and names are unique without regard to
            case.
        system_proxy: The use of TrayProxy as the system proxy.
        previous: While *Connect directly* is active, the id of the profile that was active before;
            empty if there was none.
        forwards: The fixed forwards; their addresses are unique.
    """

    listen: ListenAddress = ListenAddress()
    active: str = ""
    profiles: tuple[Profile, ...] = ()
    system_proxy: SystemProxySettings = SystemProxySettings()
    previous: str = ""
    forwards: tuple[Forward, ...] = ()

    @property
    def profile(self) -> Profile | None:
        """The active profile; None if there is none."""
        return self.by_id(self.active)

    @property
    def is_direct(self) -> bool:
        """True if *Connect directly* is active."""
        return self.active == DIRECT_ID

    def by_id(self, profile_id: str) -> Profile | None:
        """Return the profile with this id, or None."""
        return next((p for p in self.profiles if p.id == profile_id), None)

    def name_of(self, profile_id: str) -> str:
        """Return the name of the profile with this id, or an empty string."""
        profile = self.by_id(profile_id)
        return "" if profile is None else profile.name

    def find(self, name: str) -> Profile | None:
        """Return the profile with this name, in any case, or with this id; otherwise None."""
        wanted = name.strip().casefold()
        named = (p for p in self.profiles if p.name.casefold() == wanted)
        return next(named, None) or self.by_id(wanted)

    def names_direct(self, name: str) -> bool:
        """Return whether a user's input means *Connect directly*.

        The input is its name in any case, or its id, unless the input is the name of a profile.
        """
        wanted = name.strip().casefold()
        return wanted in (DIRECT_NAME.casefold(), DIRECT_ID) and self.find(name) is None

    def with_profile(self, profile: Profile) -> "Config":
        """Return the settings with a profile added at the end, or replaced if its id exists.

        The added profile becomes active if none is.

        Raises:
            ProfileError: A part of the profile is invalid, another profile has its name, or there
                are `MAX_PROFILES` already.
        """
        profile = check_profile(profile)
        others = [p for p in self.profiles if p.id != profile.id]
        if any(p.name.casefold() == profile.name.casefold() for p in others):
            raise ProfileError(f"There is already a profile “{profile.name}”.")
        if len(others) < len(self.profiles):
            profiles = tuple(profile if p.id == profile.id else p for p in self.profiles)
        elif len(others) == MAX_PROFILES:
            raise ProfileError(f"There are already {MAX_PROFILES} profiles. Delete one first.")
        else:
            profiles = (*self.profiles, profile)
        return replace(self, profiles=profiles, active=self.active or profile.id)

    def without_profile(self, profile_id: str) -> "Config":
        """Return the settings without a profile.

        If the profile was active, no profile is active afterwards: the choice of another profile,
        and thus of another proxy for all requests, is left to the user.
        """
        profiles = tuple(p for p in self.profiles if p.id != profile_id)
        active = "" if self.active == profile_id else self.active
        previous = "" if self.previous == profile_id else self.previous
        return replace(self, profiles=profiles, active=active, previous=previous)

    def with_active(self, profile_id: str) -> "Config":
        """Return the settings with another profile active, or *Connect directly* for `DIRECT_ID`.

        Raises:
            ProfileError: There is no such profile.
        """
        if profile_id != DIRECT_ID and self.by_id(profile_id) is None:
            raise ProfileError("There is no such profile any more.")
        previous = ""
        if profile_id == DIRECT_ID:
            previous = self.previous if self.is_direct else self.active
        return replace(self, active=profile_id, previous=previous)

    def previous_profile(self) -> Profile:
        """Return the profile that was active before *Connect directly*.

        Raises:
            ProfileError: There is no such profile.
        """
        profile = self.by_id(self.previous)
        if profile is None:
            raise ProfileError("There is no earlier profile. Choose one: trayproxy profiles use.")
        return profile
