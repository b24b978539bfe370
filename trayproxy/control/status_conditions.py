"""Conditions derived from a `Status`, for the tray and the command line (ux §3.1)."""

from trayproxy.control.messages import Status
from trayproxy.domain.signin import SignInState
from trayproxy.profiles.profile import SignIn


def has_no_active_profile(status: Status) -> bool:
    """Return True if profiles exist and none is active, so that every request is refused."""
    return status.profile is None and not status.direct and bool(status.profiles)


def needs_sign_in(status: Status) -> bool:
    """Return True if requests cannot pass until a person signs in."""
    return status.profile is not None and status.sign_in in (
        SignInState.NEEDED,
        SignInState.REJECTED,
        SignInState.SNOOZED,
    )


def cannot_sign_in(status: Status) -> bool:
    """Return True if the upstream requires an unsupported authentication scheme."""
    return status.profile is not None and status.sign_in is SignInState.UNUSABLE


def lacks_sign_in(status: Status) -> bool:
    """Return True if the upstream requires a sign-in and the profile is set to use none."""
    return (
        cannot_sign_in(status)
        and status.profile is not None
        and status.profile.sign_in is SignIn.NONE
    )


def has_no_profile(status: Status) -> bool:
    """Return True if there are no profiles, so that every request is refused."""
    return status.profile is None and not status.direct and not status.profiles
