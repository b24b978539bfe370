"""``trayproxy profiles``: list, add, show, edit, remove, use."""

import sys
from dataclasses import dataclass, replace
from typing import TypeVar

from trayproxy.cli.settings import Profiles, settings
from trayproxy.cli.words import EndError, clean, say, tell
from trayproxy.paths import Paths
from trayproxy.profiles.profile import DIRECT_NAME, Encoding, Method, Profile, SignIn, Upstream
from trayproxy.profiles.validate import make_id

T = TypeVar("T")

_SIGN_IN = {
    SignIn.PASSWORD: "user name and password",
    SignIn.SSO: "your Windows or Kerberos sign-in, no password",
    SignIn.NONE: "none",
}
_METHOD = {
    Method.NEGOTIATE: "Negotiate",
    Method.NTLM: "NTLM",
    Method.DIGEST: "Digest",
    Method.BASIC: "Basic",
}

_ENCODING = {Encoding.LATIN_1: "Latin-1"}


@dataclass(frozen=True, slots=True)
class Change:
    """The parts of a profile that were given; None leaves one as it is.

    Attributes:
        name: What the person calls it.
        upstream: Where its requests go.
        user: As in `Profile`, and so are the others.
    """

    name: str | None = None
    upstream: Upstream | None = None
    user: str | None = None
    sign_in: str | None = None
    method: str | None = None
    encoding: str | None = None
    bypass: tuple[str, ...] | None = None
    fallbacks: tuple[Upstream, ...] | None = None
    ca_file: str | None = None

    def of(self, profile: Profile) -> Profile:
        """Return the profile with these parts."""
        return replace(
            profile,
            name=_given(self.name, profile.name),
            upstream=_given(self.upstream, profile.upstream),
            user=_given(self.user, profile.user),
            sign_in=SignIn(_given(self.sign_in, profile.sign_in)),
            method=Method(_given(self.method, profile.method)),
            encoding=Encoding(_given(self.encoding, profile.encoding)),
            bypass=_given(self.bypass, profile.bypass),
            fallbacks=_given(self.fallbacks, profile.fallbacks),
            ca_file=_given(self.ca_file, profile.ca_file),
        )


def _given(value: T | None, default: T) -> T:
    return default if value is None else value


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
        tell(row.rstrip())
    tell(f"{'*' if profiles.direct else ' '} {DIRECT_NAME}")


def show_one(paths: Paths, name: str | None) -> None:
    """Print one profile, the active one without a name."""
    with settings(paths) as at:
        profiles = at.profiles()
    profile = profiles.find(name)
    rows = {
        "Name": clean(profile.name),
        "Proxy": str(profile.upstream),
        "Otherwise": ", ".join(map(str, profile.fallbacks)),
        "Certificate": clean(profile.ca_file),
        "Sign-in": _SIGN_IN[profile.sign_in],
        "Method": _METHOD.get(profile.method, ""),
        "Encoding": _ENCODING.get(profile.encoding, ""),
        "User name": clean(profile.user) or "not set",
        "Not used for": ", ".join(map(clean, profile.bypass)) or "nothing",
        "In use": "yes" if _is_active(profile, profiles) else "no",
        "Id": profile.id,
    }
    for title, text in rows.items():
        # What most profiles do not have is not shown.
        if text:
            tell(f"{title + ':':<14}{text}")


def add(paths: Paths, name: str, upstream: Upstream, parts: Change, *, use: bool) -> None:
    """Add a profile.

    Args:
        paths: Where.
        name: Its name.
        upstream: Its proxy.
        parts: What else was given.
        use: Make it the active one, even if another one is.
    """
    with settings(paths) as at:
        taken = [profile.id for profile in at.profiles().all]
        made = parts.of(Profile(make_id(name, taken), name, upstream))
        at.save(made)
        if use:
            at.use(made)
        in_use = _is_active(made, at.profiles())
    say(f"Added “{clean(made.name)}”{', which is in use now' if in_use else ''}.")


def edit(paths: Paths, name: str, change: Change) -> None:
    """Change parts of a profile."""
    with settings(paths) as at:
        changed = change.of(at.profiles().find(name))
        at.save(changed)
    say(f"Changed “{clean(changed.name)}”.")


def remove(paths: Paths, name: str, *, forget: bool) -> None:
    """Delete a profile, with its saved password if `forget`.

    At a terminal, the profile in use is deleted only after the person has agreed.

    Raises:
        EndError: The person has not agreed, or the profile cannot be deleted.
    """
    with settings(paths) as at:
        profiles = at.profiles()
    profile = profiles.find(name)
    if _is_active(profile, profiles) and sys.stdin.isatty():
        _confirm_removal(profile)
    # Opened again: a person may take long to answer, and other commands must not wait for that.
    with settings(paths) as at:
        profile = at.profiles().find(name)
        at.delete(profile, forget=forget)
        left = at.profiles()
    say(f"Removed “{clean(profile.name)}”.")
    if not left.all:
        say("No profile is left. Add one: trayproxy profiles add Office proxy.example:8080")
    elif left.active is None and not left.direct:
        say("No profile is in use now. Choose one: trayproxy profiles use")


def _confirm_removal(profile: Profile) -> None:
    say(
        f"“{clean(profile.name)}” is in use. Until you choose another profile, programs cannot "
        "connect through TrayProxy."
    )
    say("Remove it? [y/N] ", end="")
    if not sys.stdin.readline().strip().lower().startswith("y"):
        raise EndError("Nothing was removed.")


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
