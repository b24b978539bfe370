"""Choose the profile for a network, without I/O.

The first profile in menu order with a fulfilled condition is used (`trayproxy.profiles.use_on` has
the syntax). If there is none, and the present profile is for other networks only, programs connect
directly, provided that the profile says so (`Profile.else_direct`). Otherwise the present choice
stays, also while there is no network at all: a cable may be unplugged for a moment.
"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address, ip_network

from trayproxy.desktop.network_identity.base import NetworkIdentity
from trayproxy.profiles.profile import DIRECT_ID, Profile
from trayproxy.profiles.use_on import Condition, ConditionKind, parse_condition


@dataclass(frozen=True, slots=True)
class PresentChoice:
    """The choice in force.

    Attributes:
        profile_id: The id of the active profile; while programs connect directly, of the profile
            that was active before. Empty if there is none.
        is_direct: True if programs connect directly.
        is_by_hand: True if a person has chosen on this network.
    """

    profile_id: str
    is_direct: bool = False
    is_by_hand: bool = False


@dataclass(frozen=True, slots=True)
class NetworkDecision:
    """A switch because of the network.

    Attributes:
        profile_id: The id of the profile to use, or `DIRECT_ID`.
        condition: The fulfilled condition; None if no condition of any profile is fulfilled.
        fact: The fact that fulfils the condition, such as the full name of the Wi-Fi network.
            Untrusted.
    """

    profile_id: str
    condition: Condition | None = None
    fact: str = ""


def decide(
    network: NetworkIdentity,
    profiles: Iterable[Profile],
    present: PresentChoice,
    answering: Collection[str],
) -> NetworkDecision | None:
    """Return the switch that the network requires; None to keep the present choice.

    Args:
        network: The present network.
        profiles: The profiles in menu order.
        present: The choice in force.
        answering: The ids of the profiles with a proxy that can be reached; needed only for the
            profiles of `profiles_to_probe`.
    """
    if present.is_by_hand:
        return None
    profiles = tuple(profiles)
    for profile in profiles:
        found = fulfilled(network, profile, is_answering=profile.id in answering)
        if found is not None:
            is_in_force = profile.id == present.profile_id and not present.is_direct
            return None if is_in_force else NetworkDecision(profile.id, *found)
    if not network.is_connected:
        return None
    chosen = next((one for one in profiles if one.id == present.profile_id), None)
    if chosen is None or present.is_direct or not (chosen.use_on and chosen.else_direct):
        return None
    return NetworkDecision(DIRECT_ID)


def is_any_fulfilled(
    network: NetworkIdentity, profiles: Iterable[Profile], answering: Collection[str]
) -> bool:
    """Return True if a profile is for this network."""
    return any(
        fulfilled(network, profile, is_answering=profile.id in answering) for profile in profiles
    )


def fulfilled(
    network: NetworkIdentity, profile: Profile, *, is_answering: bool
) -> tuple[Condition, str] | None:
    """Return the first fulfilled condition of a profile and the fact that fulfils it, or None."""
    for condition in map(parse_condition, profile.use_on):
        if condition.kind is ConditionKind.ANSWERS:
            if is_answering:
                upstream = profile.upstream
                return condition, profile.address if upstream is None else upstream.host
            continue
        fact = next(_matching_facts(condition, network), None)
        if fact is not None:
            return condition, fact
    return None


def profiles_to_probe(network: NetworkIdentity, profiles: Iterable[Profile]) -> Iterator[Profile]:
    """Return the profiles whose proxies must be tried before `decide` can decide."""
    for profile in profiles:
        if fulfilled(network, profile, is_answering=False) is not None:
            return
        if str(ConditionKind.ANSWERS) in profile.use_on:
            yield profile


def _matching_facts(condition: Condition, network: NetworkIdentity) -> Iterator[str]:
    pattern = condition.pattern
    match condition.kind:
        case ConditionKind.WIFI:
            yield from (name for name in network.wifi if matches(pattern, name))
        case ConditionKind.VPN:
            yield from (name for name in network.vpns if matches(pattern, name))
        case ConditionKind.DNS:
            for suffix in network.dns_suffixes:
                if matches(pattern, suffix) or matches(f"*.{pattern}", suffix):
                    yield suffix
        case ConditionKind.GATEWAY:
            for gateway in network.gateways:
                if gateway.mac == pattern or _is_in(gateway.address, pattern):
                    yield gateway.address


def _is_in(address: str, pattern: str) -> bool:
    """Return True if an address is the address of a pattern, or in its range."""
    try:
        return ip_address(address) in ip_network(pattern)
    except ValueError:  # The pattern is a hardware address.
        return False


def matches(pattern: str, text: str) -> bool:
    """Return whether a text matches a pattern with ``*`` and ``?``, without regard to case.

    The time is at most proportional to the product of the lengths: after a mismatch, only the last
    ``*`` has to take one more character, because a longer match of an earlier one cannot help.
    """
    pattern, text = pattern.lower(), text.lower()
    at, star, after_star = 0, -1, 0
    position = 0
    while position < len(text):
        if at < len(pattern) and pattern[at] == "*":
            star, after_star = at, position
            at += 1
        elif at < len(pattern) and pattern[at] in (text[position], "?"):
            at += 1
            position += 1
        elif star >= 0:
            after_star += 1
            at, position = star + 1, after_star
        else:
            return False
    return not pattern[at:].strip("*")
