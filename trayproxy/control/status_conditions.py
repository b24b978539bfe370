"""Conditions that follow from a `Status`, for the tray and the command line (ux §3.1)."""

from trayproxy.control.messages import SignInState, Status


def has_no_active_profile(status: Status) -> bool:
    """Return whether there are profiles and none is in use, so that every request is refused."""
    return status.profile is None and not status.direct and bool(status.profiles)


def needs_sign_in(status: Status) -> bool:
    """Return whether a person has to sign in before requests go through."""
    return status.profile is not None and status.sign_in in (
        SignInState.NEEDED,
        SignInState.REJECTED,
        SignInState.SNOOZED,
    )


def cannot_sign_in(status: Status) -> bool:
    """Return whether the upstream demands a sign-in that TrayProxy cannot do."""
    return status.profile is not None and status.sign_in is SignInState.UNUSABLE
