"""The events and effects of the sign-in desk's state machine (`trayproxy.desk.machine.machine`).

`trayproxy.desk.desk` translates futures, threads and front ends into events, effects into calls.

They are frozen msgspec structs instead of dataclasses: nearly forty dataclasses took a tenth of the
start-up time of the service (Python before 3.13 compiles seven functions for each).
"""

from msgspec import Struct

from trayproxy.auth.login import Login
from trayproxy.auth.scheme import Verdict, strength
from trayproxy.desk.protection_space import (
    LoginId,
    ProtectionSpace,
    UpstreamFingerprint,
    UpstreamId,
)
from trayproxy.domain.problem import Problem
from trayproxy.domain.signin import Ending, KeyringStatus, Program, RefusalReason, Snooze, Transport
from trayproxy.profiles.profile import Profile

# --- Events from the engine ----------------------------------------------------------------------


class SignInMethod(Struct, frozen=True):
    """A sign-in method of an upstream, for display.

    Attributes:
        title: The name of the scheme, ``Basic``.
        transport: How well the password is protected in transit.
    """

    title: str
    transport: Transport


class OfferedScheme(Struct, frozen=True):
    """A scheme offered by a 407 and usable for TrayProxy and the profile.

    Attributes:
        scheme: Identifier of TrayProxy's implementation; unlike an auth-scheme, it is unique.
        method: The sign-in method, for display.
        label: The strength label of the scheme, as in `trayproxy.auth.scheme.Offer`.
    """

    scheme: str
    method: SignInMethod
    label: str

    @property
    def name(self) -> str:
        """The scheme and its strength label, which together identify a way to send a login."""
        return f"{self.scheme} {self.label}"

    @property
    def strength(self) -> int:
        """The strength of the scheme as a number; a stronger scheme has a higher number."""
        return strength(self.label)


class TriedLogin(Struct, frozen=True):
    """The login of a refused request.

    Attributes:
        login_id: The login.
        scheme: The scheme used with the login, as in `OfferedScheme`.
        verdict: How the handshake ended; None if only the 407 is known.
        is_final: True if the verdict is about the login independently of the target: it came from a
            sign-in server, in a way in which no forbidden target is reported, or before a target
            was named.
        has_changed_realm: True if the request has already been sent from one realm to another.
        is_offered_again: True if the 407 offers the same auth-scheme again, or no scheme at all. If
            False, the upstream only demands another scheme for this request.
        permit: The number of the `ReleaseRequest` or `GrantPermit` for the request; 0 if no permit
            was needed because the login was proved.
    """

    login_id: LoginId
    scheme: str = ""
    verdict: Verdict | None = None
    is_final: bool = False
    has_changed_realm: bool = False
    is_offered_again: bool = True
    permit: int = 0


class RequestChallenged(Struct, frozen=True):
    """A request received a 407 and is parked.

    Attributes:
        request_id: The number of the request. It is not reused, not even when the same request is
            challenged again.
        space: The protection space of the 407.
        offers: The offered schemes, strongest first; empty if the 407 can only mean the tried
            scheme.
        target: The target of the request, ``github.com:443``. Untrusted.
        tried: The login of the refused request, None if the request carried no login.
        program: The program sending the request, if it is known already.
        is_own: True if TrayProxy has sent the request itself to verify a login.
        refused_with: Logins and schemes (`OfferedScheme.name`) with which the request has been
            refused.
        addresses: The addresses of the upstream, ``192.0.2.1:8080``, as far as they are known.
    """

    request_id: int
    space: ProtectionSpace
    profile: Profile
    offers: tuple[OfferedScheme, ...]
    target: str
    tried: TriedLogin | None = None
    program: Program | None = None
    is_own: bool = False
    refused_with: frozenset[tuple[LoginId, str]] = frozenset()
    addresses: tuple[str, ...] = ()


class NoCommonScheme(Struct, frozen=True):
    """A request received a 407 without any scheme usable for its profile; its client received the
    problem."""

    upstream_id: UpstreamId
    problem: Problem


class LoginAccepted(Struct, frozen=True):
    """The response to a request proves the acceptance of its login.

    Attributes:
        login_id: The login.
        scheme: The scheme of the request, as in `OfferedScheme`.
        label: As in `OfferedScheme`.
        target: The target of the request, ``github.com:443``; empty if it is unknown.
        permit: As in `TriedLogin`.
    """

    login_id: LoginId
    scheme: str
    label: str
    target: str = ""
    permit: int = 0


class LoginUnproved(Struct, frozen=True):
    """The response to a request for this target neither proves nor rejects the request's login.

    Attributes:
        is_doubtful: True if a proxy may give this response to a wrong login and the request may
            have cost a failed log-on; False if only a site gives it.
        permit: As in `TriedLogin`.
    """

    login_id: LoginId
    target: str
    is_doubtful: bool = True
    permit: int = 0


class NoResponse(Struct, frozen=True):
    """A request with a login received no response.

    Attributes:
        was_sent: True if the login may have reached the upstream and cost a log-on.
        permit: As in `TriedLogin`.
    """

    login_id: LoginId
    was_sent: bool = True
    permit: int = 0


class UpstreamSilent(Struct, frozen=True):
    """An upstream has not responded to any request for some time while a number of requests with a
    login wait for a response."""

    login_id: LoginId
    count: int = 1


class PermitRequested(Struct, frozen=True):
    """A request is about to carry an accepted login without recent proof.

    The number of the request is of the same sequence as `RequestChallenged.request_id`; its target
    is untrusted.
    """

    request_id: int
    login_id: LoginId
    target: str


class OwnRequestEnded(Struct, frozen=True):
    """The own request with this number has ended (`SendOwnRequest`); its verdict was reported
    before by another event.

    `was_challenged` is True if the upstream has sent a 407, or if nothing is known about the
    response.
    """

    number: int
    was_challenged: bool


class ClientLeft(Struct, frozen=True):
    """The client of a parked request has disconnected."""

    request_id: int


class ProgramIdentified(Struct, frozen=True):
    """The program of a parked request has been identified."""

    request_id: int
    program: Program


# --- Events from the user ------------------------------------------------------------------------


class PromptAnswered(Struct, frozen=True):
    """The user has answered a prompt with a login."""

    number: int
    login: Login
    remember: bool


class PromptDeclined(Struct, frozen=True):
    """The user has declined a prompt."""

    number: int
    snooze: Snooze


class PromptTouched(Struct, frozen=True):
    """The user has begun to answer a prompt."""

    number: int


class SignInRequested(Struct, frozen=True):
    """The user wants to sign in although no request is parked."""

    profile: Profile
    method: SignInMethod


class LoginProvided(Struct, frozen=True):
    """A login was provided without a prompt, for use at the next 407.

    Attributes:
        profile: The profile; the login is for its preferred upstream.
        method: The expected sign-in method of the upstream.
        login: The login.
        remember: True if the login is verified at once and saved after it was accepted.
        retry_rejected: True if a user has just typed the login: it is sent although it was rejected
            before, or is still on trial from an earlier run.
        is_proved: True if the upstream has just accepted the login, on a request of another desk.
    """

    profile: Profile
    method: SignInMethod
    login: Login
    remember: bool = False
    retry_rejected: bool = False
    is_proved: bool = False


class LoginsForgotten(Struct, frozen=True):
    """The user wants the logins of a profile removed."""

    profile_id: str


class ProfileEdited(Struct, frozen=True):
    """A profile was added or changed: its upstream or its sign-in may be different."""

    profile: Profile


class ProfileDeleted(Struct, frozen=True):
    """A profile was deleted for good, together with its history, or the service is quitting."""

    profile_id: str
    for_good: bool = True


class ProfileSwitched(Struct, frozen=True):
    """Another profile is active, or none if None."""

    profile: Profile | None


class ProfileLent(Struct, frozen=True):
    """Some programs use this profile although another one is active."""

    profile: Profile


# --- Events from the system ----------------------------------------------------------------------


class LookupFinished(Struct, frozen=True):
    """The keyring look-up with this number (`LookUpLogin`) has finished.

    The login is None if the keyring has no usable login.
    """

    lookup: int
    login: Login | None
    keyring: KeyringStatus


class TrialRecorded(Struct, frozen=True):
    """The trial of a login was written to disk (`RecordTrial`), unless the history of earlier runs
    forbids the trial.

    Attributes:
        number: The number of the `RecordTrial`.
        upstream_id: The upstream of the trial.
        login: The login.
        is_rejected: True if the login was rejected in an earlier run.
        hold_s: Seconds for which the login must not be sent automatically because an earlier run
            sent it and received no verdict; 0 if it may be sent.
    """

    number: int
    upstream_id: UpstreamId
    login: Login
    is_rejected: bool = False
    hold_s: float = 0.0


class KeyringSurveyed(Struct, frozen=True):
    """The status of the keyring was determined, or has changed."""

    keyring: KeyringStatus


class NetworkChanged(Struct, frozen=True):
    """The computer has connected to another network, or has resumed from suspend."""


class ScreenLocked(Struct, frozen=True):
    """The screen was locked or unlocked."""

    is_locked: bool


class FrontEndsChanged(Struct, frozen=True):
    """The number of front ends able to show a prompt has changed."""

    count: int


class TimePassed(Struct, frozen=True):
    """A deadline has passed; no other event has happened."""


Event = (
    RequestChallenged
    | NoCommonScheme
    | LoginAccepted
    | LoginUnproved
    | NoResponse
    | PermitRequested
    | UpstreamSilent
    | OwnRequestEnded
    | ClientLeft
    | ProgramIdentified
    | PromptAnswered
    | PromptDeclined
    | PromptTouched
    | SignInRequested
    | LoginProvided
    | LoginsForgotten
    | ProfileEdited
    | ProfileDeleted
    | ProfileSwitched
    | ProfileLent
    | LookupFinished
    | TrialRecorded
    | KeyringSurveyed
    | NetworkChanged
    | ScreenLocked
    | FrontEndsChanged
    | TimePassed
)


# --- Effects -------------------------------------------------------------------------------------


class ReleaseRequest(Struct, frozen=True):
    """Send a parked request again with this login and this scheme, which its 407 offered."""

    request_id: int
    login_id: LoginId
    scheme: str


class GrantPermit(Struct, frozen=True):
    """Permit a request to carry the login named in `PermitRequested`.

    `permit` is the number to report with; 0 if the login has been proved in the meantime.
    """

    request_id: int
    permit: int


class DenyPermit(Struct, frozen=True):
    """Do not let a request carry the login named in `PermitRequested`."""

    request_id: int


class SendWithoutLogin(Struct, frozen=True):
    """Send a request again without a login to learn the offered schemes; it will be challenged
    again."""

    request_id: int


class RefuseRequest(Struct, frozen=True):
    """Refuse a request: its client receives an error page.

    `text` is further information in full sentences written by TrayProxy, or empty.
    """

    request_id: int
    reason: RefusalReason
    text: str = ""


class RecordTrial(Struct, frozen=True):
    """Record on disk the trial of an unverified login before the login is sent. Event:
    `TrialRecorded`.

    Attributes:
        number: Identifies the matching `TrialRecorded`.
        upstream_id: The upstream of the trial.
        login: The login.
        retry_rejected: True if the user wants the login sent whatever the history says.
        is_automatic: True if the login comes from the keyring or the command line: the next run
            would send it again without a prompt.
    """

    number: int
    upstream_id: UpstreamId
    login: Login
    retry_rejected: bool
    is_automatic: bool


class CancelTrial(Struct, frozen=True):
    """Remove the record of a trial: the login was not sent."""

    upstream_id: UpstreamId
    login: Login


class SendOwnRequest(Struct, frozen=True):
    """Send an own request to verify the login of a protection space. Event: `OwnRequestEnded`.

    The request is handled like a request of a program: it is sent without a login, parked when a
    407 arrives, and its outcome is reported by the same events.

    Attributes:
        number: Identifies the matching `OwnRequestEnded`.
        profile: The profile with only the upstream of the protection space.
        target: The target of a program's request, ``github.com:443``; empty if no target is known.
    """

    number: int
    profile: Profile
    target: str


class LookUpLogin(Struct, frozen=True):
    """Read a login from the keyring, for the only upstream of the profile and the user; for any
    user if empty. Event: `LookupFinished` with the same number."""

    lookup: int
    profile: Profile
    user: str


class SurveyKeyring(Struct, frozen=True):
    """Determine the status of the keyring without reading from it. Event: `KeyringSurveyed`."""


class SaveLoginToKeyring(Struct, frozen=True):
    """Save an accepted login to the keyring."""

    profile: Profile
    login: Login


class SaveUserName(Struct, frozen=True):
    """Save a user name in a profile: the upstream has accepted a login with it."""

    profile_id: str
    user: str


class RecordRejection(Struct, frozen=True):
    """Record the rejection of a login in the history."""

    upstream_id: UpstreamId
    login: Login


class ClearRejection(Struct, frozen=True):
    """Remove the rejection of a login from the history: the upstream has accepted the login."""

    upstream_id: UpstreamId
    login: Login


class RecordFingerprint(Struct, frozen=True):
    """Record the fingerprint of an upstream in the history, or remove it if None."""

    upstream_id: UpstreamId
    fingerprint: UpstreamFingerprint | None


class ClearHistory(Struct, frozen=True):
    """Remove all rejections and fingerprints of a profile from the history."""

    profile_id: str


class NotifyPromptChanged(Struct, frozen=True):
    """Notify front ends of a new or changed prompt."""

    number: int


class NotifyPromptClosed(Struct, frozen=True):
    """Notify front ends of a closed prompt."""

    number: int
    ending: Ending


Effect = (
    ReleaseRequest
    | GrantPermit
    | DenyPermit
    | SendWithoutLogin
    | RefuseRequest
    | RecordTrial
    | CancelTrial
    | SendOwnRequest
    | LookUpLogin
    | SurveyKeyring
    | SaveLoginToKeyring
    | SaveUserName
    | RecordRejection
    | ClearRejection
    | RecordFingerprint
    | ClearHistory
    | NotifyPromptChanged
    | NotifyPromptClosed
)
