"""The state that the tray icon and ``trayproxy status`` show (ux §3.1), and its conditions.

`icon_state` is a pure function of a `Status` and implements the precedence table.
"""

from dataclasses import dataclass
from enum import StrEnum

from trayproxy.control.messages import ListenerState, Status, UpstreamState
from trayproxy.domain.signin import SignInState
from trayproxy.profiles.profile import SignIn

STARTING_TIMEOUT_S = 3.0
"""Seconds for which *starting* is shown: for the service, its listener and a profile switch."""
TROUBLE_AFTER_S = 5.0
"""Seconds for which an upstream is unreachable before the icon shows *trouble*."""


class IconState(StrEnum):
    """The states of the icon, worst first; the values are the base names of the icon files."""

    STOPPED = "stopped"
    """Programs cannot use TrayProxy: it does not listen, or no profile is in use."""
    SIGNIN = "signin"
    """The user has to sign in."""
    TROUBLE = "trouble"
    """The upstream cannot be reached, or TrayProxy cannot sign in to it."""
    STARTING = "starting"
    """Not usable yet: starting, switching profiles, or no profile exists."""
    DIRECT = "direct"
    """Programs connect directly, as the user has chosen."""
    READY = "ready"
    """A profile is in use; no request has been sent to its upstream yet."""
    OK = "ok"
    """The last exchange with the upstream succeeded."""


@dataclass(frozen=True, slots=True)
class IconFacts:
    """The input of `icon_state`.

    Attributes:
        status: The last status of the service; None while the service is not connected.
        waited_s: Seconds since the tray began to wait for the service, its listener or a profile
            switch.
        unreachable_s: Seconds since the upstream became unreachable.
        responded_before: True if the upstream responded until it became unreachable.
        switching: True if a profile switch was requested and the status does not show it yet.
    """

    status: Status | None
    waited_s: float = 0.0
    unreachable_s: float = 0.0
    responded_before: bool = False
    switching: bool = False


def icon_state(facts: IconFacts) -> IconState:
    """Return the state of the icon: of the states whose conditions are met, the worst."""
    status = facts.status
    is_within_timeout = facts.waited_s <= STARTING_TIMEOUT_S
    if status is None or status.listener is ListenerState.STARTING:
        return IconState.STARTING if is_within_timeout else IconState.STOPPED
    if status.listener is ListenerState.FAILED:
        return IconState.STOPPED
    if needs_sign_in(status):
        return IconState.SIGNIN
    if cannot_sign_in(status):
        return IconState.TROUBLE
    is_unreachable = status.upstream is UpstreamState.UNREACHABLE
    if is_unreachable and facts.unreachable_s >= TROUBLE_AFTER_S:
        return IconState.TROUBLE
    is_switching = facts.switching and is_within_timeout
    if has_no_active_profile(status) and not is_switching:
        return IconState.STOPPED
    if is_switching or not (status.profile or status.direct):
        return IconState.STARTING
    if status.direct:
        return IconState.DIRECT
    is_ok = status.upstream is UpstreamState.OK or (is_unreachable and facts.responded_before)
    return IconState.OK if is_ok else IconState.READY


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
