"""``trayproxy profiles``: list, add, show, edit, remove and use profiles."""

import sys
from dataclasses import dataclass, replace
from typing import TypeVar

from trayproxy.cli.output import CommandError, print_line, print_message, printable_line
from trayproxy.cli.settings import ProfileList, open_settings
from trayproxy.paths import Paths
from trayproxy.profiles.profile import DIRECT_NAME, Encoding, Method, Profile, SignIn, Upstream
from trayproxy.profiles.validate import make_id

T = TypeVar("T")

_SIGN_IN_TEXTS = {
    SignIn.PASSWORD: "user name and password",
    SignIn.SSO: "your Windows or Kerberos sign-in, no password",
    SignIn.NONE: "none",
}
_METHOD_TEXTS = {
    Method.NEGOTIATE: "Negotiate",
    Method.NTLM: "NTLM",
    Method.DIGEST: "Digest",
    Method.BASIC: "Basic",
}

_ENCODING_TEXTS = {Encoding.LATIN_1: "Latin-1"}


@dataclass(frozen=True, slots=True)
class ProfileChange:
    """The fields of a profile set by the command line; None leaves a field unchanged.

    Attributes:
        name: The name of the profile.
        upstream: The upstream of the profile.
        user: As in `Profile`, like the following attributes.
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

    def apply(self, profile: Profile) -> Profile:
        """Return the profile with the changes applied."""
        return replace(
            profile,
            name=_or_default(self.name, profile.name),
            upstream=_or_default(self.upstream, profile.upstream),
            user=_or_default(self.user, profile.user),
            sign_in=SignIn(_or_default(self.sign_in, profile.sign_in)),
            method=Method(_or_default(self.method, profile.method)),
            encoding=Encoding(_or_default(self.encoding, profile.encoding)),
            bypass=_or_default(self.bypass, profile.bypass),
            fallbacks=_or_default(self.fallbacks, profile.fallbacks),
            ca_file=_or_default(self.ca_file, profile.ca_file),
        )


def _or_default(value: T | None, default: T) -> T:
    return default if value is None else value


def show_list(paths: Paths) -> None:
    """Print all profiles; an asterisk marks the active profile."""
    with open_settings(paths) as settings:
        profiles = settings.profiles()
    if not profiles.all:
        print_message(
            "There are no profiles yet. Add one: trayproxy profiles add Office proxy.example:8080"
        )
        return
    width = max(len(printable_line(profile.name)) for profile in profiles.all)
    for profile in profiles.all:
        mark = "*" if _is_active(profile, profiles) else " "
        name, user = printable_line(profile.name), printable_line(profile.user)
        row = f"{mark} {name:<{width}}  {profile.upstream}  {user}"
        print_line(row.rstrip())
    print_line(f"{'*' if profiles.direct else ' '} {DIRECT_NAME}")


def show_one(paths: Paths, name: str | None) -> None:
    """Print one profile; without a name, the active profile."""
    with open_settings(paths) as settings:
        profiles = settings.profiles()
    profile = profiles.find(name)
    rows = {
        "Name": printable_line(profile.name),
        "Proxy": str(profile.upstream),
        "Otherwise": ", ".join(map(str, profile.fallbacks)),
        "Certificate": printable_line(profile.ca_file),
        "Sign-in": _SIGN_IN_TEXTS[profile.sign_in],
        "Method": _METHOD_TEXTS.get(profile.method, ""),
        "Encoding": _ENCODING_TEXTS.get(profile.encoding, ""),
        "User name": printable_line(profile.user) or "not set",
        "Not used for": ", ".join(map(printable_line, profile.bypass)) or "nothing",
        "In use": "yes" if _is_active(profile, profiles) else "no",
        "Id": profile.id,
    }
    for title, text in rows.items():
        # Fields without a value are not shown.
        if text:
            print_line(f"{title + ':':<14}{text}")


def add(paths: Paths, name: str, upstream: Upstream, parts: ProfileChange, *, use: bool) -> None:
    """Add a profile.

    Args:
        paths: The paths of the settings and the service.
        name: The name of the profile.
        upstream: The upstream of the profile.
        parts: The other fields of the profile.
        use: True to activate the profile even if another profile is active.
    """
    with open_settings(paths) as settings:
        taken = [profile.id for profile in settings.profiles().all]
        made = parts.apply(Profile(make_id(name, taken), name, upstream))
        settings.save(made)
        if use:
            settings.use(made)
        in_use = _is_active(made, settings.profiles())
    print_message(
        f"Added “{printable_line(made.name)}”{', which is in use now' if in_use else ''}."
    )


def edit(paths: Paths, name: str, change: ProfileChange) -> None:
    """Change fields of a profile."""
    with open_settings(paths) as settings:
        changed = change.apply(settings.profiles().find(name))
        settings.save(changed)
    print_message(f"Changed “{printable_line(changed.name)}”.")


def remove(paths: Paths, name: str, *, forget: bool) -> None:
    """Delete a profile, and its saved password if `forget` is True.

    At a terminal, the active profile is deleted only after a confirmation.

    Raises:
        CommandError: The user did not confirm, or the profile cannot be deleted.
    """
    with open_settings(paths) as settings:
        profiles = settings.profiles()
    profile = profiles.find(name)
    if _is_active(profile, profiles) and sys.stdin.isatty():
        _confirm_removal(profile)
    # Opened again: other commands must not wait for the lock while the user decides.
    with open_settings(paths) as settings:
        profile = settings.profiles().find(name)
        settings.delete(profile, forget=forget)
        remaining = settings.profiles()
    print_message(f"Removed “{printable_line(profile.name)}”.")
    if not remaining.all:
        print_message(
            "No profile is left. Add one: trayproxy profiles add Office proxy.example:8080"
        )
    elif remaining.active is None and not remaining.direct:
        print_message("No profile is in use now. Choose one: trayproxy profiles use")


def _confirm_removal(profile: Profile) -> None:
    print_message(
        f"“{printable_line(profile.name)}” is in use. Until you choose another profile, programs "
        "cannot connect through TrayProxy."
    )
    print_message("Remove it? [y/N] ", end="")
    if not sys.stdin.readline().strip().lower().startswith("y"):
        raise CommandError("Nothing was removed.")


def use(paths: Paths, name: str) -> None:
    """Activate a profile, or make programs connect directly."""
    with open_settings(paths) as settings:
        profiles = settings.profiles()
        if profiles.means_direct(name):
            settings.connect_directly()
            print_message("Programs connect directly now, without a proxy.")
            return
        profile = profiles.find(name)
        settings.use(profile)
    print_message(f"“{printable_line(profile.name)}” is in use.")


def _is_active(profile: Profile, profiles: ProfileList) -> bool:
    return profiles.active is not None and profile.id == profiles.active.id
