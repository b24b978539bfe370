"""Applies the setting `allow_users` to the engine's access control."""

from trayproxy.desktop.socket_owner.base import NullOwnerLookup, OwnerLookup, OwnerUnknownError
from trayproxy.desktop.socket_owner.factory import open_owner_lookup
from trayproxy.desktop.users import find_user, own_user
from trayproxy.domain.problem import Problem
from trayproxy.engine.server.access_control import AccessControl, OnRefused
from trayproxy.profiles.config import EVERYONE

OWNERS_UNKNOWN = Problem(
    "TP-106",
    "This system does not tell who connects",
    "TrayProxy serves its own user only, and cannot find out which user a connection belongs to. "
    f'To let every user of this computer use your sign-in, write allow_users = ["{EVERYONE}"] '
    "below [listen] in the settings.",
)
EVERYONE_ALLOWED = Problem(
    "TP-108",
    "Every user of this computer may connect",
    f"The settings say allow_users = [“{EVERYONE}”]: all of them can use your sign-in.",
)


def make_access_control(users: tuple[str, ...], on_refused: OnRefused) -> AccessControl:
    """Return the access control for `ListenAddress.allow_users`; call `apply_allowed_users` next.

    Raises:
        OwnerUnknownError: The system does not report the owner of a connection, and the settings do
            not allow all users.
    """
    owners: OwnerLookup
    try:
        owners = open_owner_lookup()
        own = own_user()
    except OSError as error:
        if EVERYONE not in users:
            raise OwnerUnknownError(str(error)) from None
        owners, own = NullOwnerLookup(), ""
    return AccessControl(owners, own, on_refused=on_refused)


def apply_allowed_users(
    access_control: AccessControl, users: tuple[str, ...]
) -> tuple[Problem, ...]:
    """Let programs of these users connect, in addition to those of the service's own user.

    Return the problems for the status: names without a user, and access for everyone. A look-up of
    a name may wait for a directory service.
    """
    access_control.open_to_all = EVERYONE in users
    found = {name: find_user(name) for name in users if name != EVERYONE}
    access_control.allowed = frozenset(user for user in found.values() if user is not None)
    unknown = [name for name, user in found.items() if user is None]
    return (*((EVERYONE_ALLOWED,) if access_control.open_to_all else ()), *map(_unknown, unknown))


def _unknown(name: str) -> Problem:
    return Problem(
        "TP-107",
        "A user in the settings is not known",
        f"allow_users names “{name}”, and this computer has no such user.",
    )
