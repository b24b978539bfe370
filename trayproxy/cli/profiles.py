"""``trayproxy profiles``: list, add, show, remove, use."""

from dataclasses import replace

from trayproxy.cli.settings import Profiles, settings
from trayproxy.cli.words import clean, say
from trayproxy.paths import Paths
from trayproxy.profiles.profile import DIRECT_NAME, Profile, SignIn
from trayproxy.profiles.validate import make_id

_SIGN_IN = {SignIn.PASSWORD: "user name and password", SignIn.NONE: "none"}


def show_list(paths: Paths) -> None:
    """Print all profiles, the active one marked with an asterisk."""
    with settings(paths) as at:
        profiles = at.profiles()
    if not profiles.all:
        say("There are no profiles yet. Add one: trayproxy profiles add Office proxy.example:8080")
        return
    width = max(len(clean(profile.name)) for profile in profiles.all)
    for profile in profiles.all:
        mark = "*" if _is_active(profile, profiles) else " "
        row = f"{mark} {clean(profile.name):<{width}}  {profile.upstream}  {clean(profile.user)}"
        print(row.rstrip())
    print(f"{'*' if profiles.direct else ' '} {DIRECT_NAME}")


def show_one(paths: Paths, name: str | None) -> None:
    """Print one profile, the active one without a name."""
    with settings(paths) as at:
        profiles = at.profiles()
    profile = profiles.find(name)
    rows = {
        "Name": clean(profile.name),
        "Proxy": str(profile.upstream),
        **_seldom(profile),
        "Sign-in": _SIGN_IN[profile.sign_in],
        "User name": clean(profile.user) or "not set",
        "Not used for": ", ".join(map(clean, profile.bypass)) or "nothing",
        "In use": "yes" if _is_active(profile, profiles) else "no",
        "Id": profile.id,
    }
    for title, text in rows.items():
        print(f"{title + ':':<14}{text}")


def _seldom(profile: Profile) -> dict[str, str]:
    """Return the rows about what most profiles do not have."""
    rows = {
        "Otherwise": ", ".join(map(str, profile.fallbacks)),
        "Certificate": clean(profile.ca_file),
    }
    return {title: text for title, text in rows.items() if text}


def add(paths: Paths, draft: Profile, *, use: bool) -> None:
    """Add a profile.

    Args:
        paths: Where.
        draft: The profile, without an id.
        use: Make it the active one, even if another one is.
    """
    with settings(paths) as at:
        taken = [profile.id for profile in at.profiles().all]
        made = replace(draft, id=make_id(draft.name, taken))
        at.save(made)
        if use:
            at.use(made)
        in_use = _is_active(made, at.profiles())
    say(f"Added “{clean(made.name)}”{', which is in use now' if in_use else ''}.")


def remove(paths: Paths, name: str, *, forget: bool) -> None:
    """Delete a profile, with its saved password if `forget`."""
    with settings(paths) as at:
        profile = at.profiles().find(name)
        at.delete(profile, forget=forget)
        left = at.profiles()
    say(f"Removed “{clean(profile.name)}”.")
    if not left.all:
        say("No profile is left. Add one: trayproxy profiles add Office proxy.example:8080")
    elif left.active is None and not left.direct:
        say("No profile is in use now. Choose one: trayproxy profiles use")


def use(paths: Paths, name: str) -> None:
    """Make a profile the active one, or let programs connect directly."""
    with settings(paths) as at:
        profiles = at.profiles()
        if profiles.means_direct(name):
            at.connect_directly()
            say("Programs connect directly now, without a proxy.")
            return
        profile = profiles.find(name)
        at.use(profile)
    say(f"“{clean(profile.name)}” is in use.")


def _is_active(profile: Profile, profiles: Profiles) -> bool:
    return profiles.active is not None and profile.id == profiles.active.id
