"""Decide which of the found settings become new profiles."""

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from urllib.parse import urlsplit

from trayproxy.importers.addresses import is_loopback
from trayproxy.importers.found import FoundProfile
from trayproxy.profiles.config import MAX_PROFILES
from trayproxy.profiles.consistency import check_profile, make_id
from trayproxy.profiles.pac_source import PacKind, PacSource
from trayproxy.profiles.profile import DIRECT_NAME, Profile, ProfileError
from trayproxy.profiles.validate import MAX_NAME_LENGTH

_AUTOMATIC = "Automatic"
"""The name of an automatic profile whose script has no name."""


class ImportDecision(StrEnum):
    """The result for found settings."""

    NEW = "new"
    """The settings become a new profile."""
    KNOWN = "known"
    """There is already a profile with these settings."""
    REFUSED = "refused"
    """The settings cannot become a profile."""


@dataclass(frozen=True, slots=True)
class PlannedProfile:
    """The result for found settings.

    Attributes:
        found: The settings.
        decision: The result.
        profile: The new profile, or the profile that exists already; None if refused.
        reason: Why the settings are refused, a sentence; otherwise empty.
    """

    found: FoundProfile
    decision: ImportDecision
    profile: Profile | None = None
    reason: str = ""


def plan(
    found: Iterable[FoundProfile],
    profiles: Collection[Profile],
    own_ports: Collection[int],
    *,
    skips_loopback: bool = False,
) -> tuple[PlannedProfile, ...]:
    """Return the result for each of the found settings.

    Args:
        found: The settings.
        profiles: The profiles that exist already.
        own_ports: The ports of this computer at which TrayProxy listens.
        skips_loopback: True to refuse all proxies on this computer: they are Px, Cntlm and the
            like, whose own settings were searched as well.
    """
    planned: list[PlannedProfile] = []
    present = list(profiles)
    for settings in found:
        result = _plan(settings, present, own_ports, skips_loopback)
        if result.decision is ImportDecision.NEW and result.profile is not None:
            present.append(result.profile)
        planned.append(result)
    return tuple(planned)


def _plan(
    found: FoundProfile,
    present: Collection[Profile],
    own_ports: Collection[int],
    skips_loopback: bool,
) -> PlannedProfile:
    local = _local_ports(found)
    if any(port in own_ports for port in local):
        reason = "This proxy is TrayProxy itself."
        return PlannedProfile(found, ImportDecision.REFUSED, reason=reason)
    if local and skips_loopback:
        reason = "This proxy is a program on this computer."
        return PlannedProfile(found, ImportDecision.REFUSED, reason=reason)
    try:
        made = _make_profile(found, present)
    except ProfileError as error:
        return PlannedProfile(found, ImportDecision.REFUSED, reason=str(error))
    in_detail = found.exported is not None
    same = (profile for profile in present if _is_same(profile, made, in_detail=in_detail))
    known = next(same, None)
    if known is not None:
        return PlannedProfile(found, ImportDecision.KNOWN, known)
    if len(present) >= MAX_PROFILES:
        reason = f"There are already {MAX_PROFILES} profiles. Delete one first."
        return PlannedProfile(found, ImportDecision.REFUSED, reason=reason)
    if local and found.exported is None:
        found = found.with_notes(
            "This proxy is a program on this computer. If it is Px, Cntlm or the like, import its "
            "settings instead."
        )
    return PlannedProfile(found, ImportDecision.NEW, made)


def _make_profile(found: FoundProfile, present: Collection[Profile]) -> Profile:
    """Return the profile with an unused name and id.

    Raises:
        ProfileError: The settings cannot become a profile.
    """
    ids, names = [p.id for p in present], [p.name for p in present]
    if found.exported is not None:
        name = unique_name(found.exported.name, names)
        profile_id = found.exported.id
        profile_id = make_id(name, ids) if profile_id in ids else profile_id
        return replace(found.exported, id=profile_id, name=name)
    first = found.upstreams[0] if found.upstreams else None
    name = unique_name(_name_of_pac(found.pac) if first is None else first.host, names)
    return check_profile(
        Profile(
            make_id(name, ids),
            name,
            first,
            found.sign_in,
            found.user,
            found.bypass,
            found.upstreams[1:],
            method=found.method,
            pac=found.pac if first is None else None,
        )
    )


def _local_ports(found: FoundProfile) -> list[int]:
    """Return the ports of the proxies and of the PAC script's server that are on this computer."""
    ports = [upstream.port for upstream in found.upstreams if is_loopback(upstream.host)]
    if found.pac is not None and found.pac.kind is PacKind.URL:
        url = urlsplit(found.pac.location)
        if is_loopback(url.hostname or ""):
            ports.append(url.port or {"http": 80, "https": 443}[url.scheme])
    return ports


def _name_of_pac(pac: PacSource | None) -> str:
    """Return the name for an automatic profile: the host or the file of its script."""
    if pac is not None and pac.kind is PacKind.URL:
        return urlsplit(pac.location).hostname or _AUTOMATIC
    if pac is not None and pac.kind is PacKind.FILE:
        # Paths of Windows are imported on other systems, too.
        return re.split(r"[\\/]", pac.location)[-1] or _AUTOMATIC
    return _AUTOMATIC


def unique_name(name: str, taken: Iterable[str]) -> str:
    """Return a name for a new profile, with a number if the name is taken in any case."""
    known = {DIRECT_NAME.casefold(), *(each.casefold() for each in taken)}
    return next(made for made in _numbered(name) if made.casefold() not in known)


def _numbered(name: str) -> Iterator[str]:
    yield name[:MAX_NAME_LENGTH]
    number = 2
    while True:
        ending = f" {number}"
        yield name[: MAX_NAME_LENGTH - len(ending)] + ending
        number += 1


def _is_same(present: Profile, made: Profile, *, in_detail: bool) -> bool:
    """Return whether two profiles lead to the same proxies as the same user.

    With `in_detail`, all other settings must be the same as well.
    """
    users = {present.user.casefold(), made.user.casefold()} - {""}
    if in_detail:
        present = replace(present, id=made.id, name=made.name, user=made.user)
        return present == made and len(users) <= 1
    is_same_proxy = (present.default_upstreams, present.pac) == (made.default_upstreams, made.pac)
    return is_same_proxy and len(users) <= 1
