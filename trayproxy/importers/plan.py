"""Decide which of the found settings become new profiles."""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from enum import StrEnum

from trayproxy.importers.addresses import is_loopback
from trayproxy.importers.found import FoundProfile
from trayproxy.profiles.config import MAX_PROFILES
from trayproxy.profiles.consistency import check_profile, make_id
from trayproxy.profiles.profile import DIRECT_NAME, Profile, ProfileError
from trayproxy.profiles.validate import MAX_NAME_LENGTH


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
    local = [upstream for upstream in found.upstreams if is_loopback(upstream)]
    if any(upstream.port in own_ports for upstream in local):
        return PlannedProfile(
            found, ImportDecision.REFUSED, reason="This proxy is TrayProxy itself."
        )
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
    if not found.upstreams:
        raise ProfileError("It has a PAC file only.")
    first, *others = found.upstreams
    name = unique_name(first.host, names)
    return check_profile(
        Profile(
            make_id(name, ids),
            name,
            first,
            found.sign_in,
            found.user,
            found.bypass,
            tuple(others),
            method=found.method,
        )
    )


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
    return present.default_upstreams == made.default_upstreams and len(users) <= 1
