"""What happens to the desk, and what it wants done: the words of `trayproxy.desk.machine.machine`.

Events are facts, effects are orders. All are values: a test writes them down, and the shell of
`trayproxy.desk.desk` turns futures, threads and faces into the one and the other into the like.

They are msgspec's frozen values, not dataclasses: nearly forty of those took a tenth of the time
that the service needs to start (Python before 3.13 compiles seven functions for each).
"""

from enum import Enum

from msgspec import Struct

from trayproxy.auth.login import Login
from trayproxy.auth.scheme import Verdict, strength
from trayproxy.control.messages import Ending, KeyringStatus, Problem, Program, Snooze, Transport
from trayproxy.desk.protection_space import (
    LoginId,
    ProtectionSpace,
    UpstreamFingerprint,
    UpstreamId,
)
from trayproxy.profiles.profile import Profile

# --- Events: what the engine saw -----------------------------------------------------------------


class SignInMethod(Struct, frozen=True):
    """How the upstream wants one to sign in, for people.

    Attributes:
        title: The scheme, ``Basic``.
        transport: How well the password is protected on its way.
    """

    title: str
    transport: Transport


class OfferedScheme(Struct, frozen=True):
    """A scheme that a 407 offers, and that we and the profile can use.

    Attributes:
        scheme: Which of ours; unlike an auth-scheme, unique among them.
        method: How it signs in, for people.
        label: What to remember of how strong it is, as in `trayproxy.auth.scheme.Offer`.
    """

    scheme: str
    method: SignInMethod
    label: str

    @property
    def name(self) -> str:
        """What tells it from all other ways of signing in: its scheme and how strong that is."""
        return f"{self.scheme} {self.label}"

    @property
    def strength(self) -> int:
        """How strong it is; a stronger one has more."""
        return strength(self.label)


class TriedLogin(Struct, frozen=True):
    """What a refused request carried.

    Attributes:
        login_id: Which login.
        scheme: The scheme that it was used with, as in `OfferedScheme`.
        verdict: How the handshake ended; None if all that is known is the 407.
        is_final: The verdict is about the login whatever the address was: it came from a sign-in
            server, in a way in which no forbidden address is answered, or before any was named.
        has_changed_realm: The request has already been sent from one realm to another.
        is_offered_again: The 407 offers the same auth-scheme once more, or none at all. If not, the
            upstream only wants the login in another way for this request.
        permit: The number of the `ReleaseRequest` or `GrantPermit` that let the request go; 0 if
            the login was proved so lately that none was needed.
    """

    login_id: LoginId
    scheme: str = ""
    verdict: Verdict | None = None
    is_final: bool = False
    has_changed_realm: bool = False
    is_offered_again: bool = True
    permit: int = 0


class RequestChallenged(Struct, frozen=True):
    """A request got a 407 and waits.

    Attributes:
        request_id: The request; never used twice, not even when the same request comes back.
        upstream_id: Who asked.
        profile: The profile that the request belongs to.
        offers: How it wants one to sign in, the strongest first; none if only the one that was
            tried can be meant.
        target: Where the request wants to go, ``github.com:443``. Untrusted.
        tried: What the refused request carried, None if nothing.
        program: Who sent it, if that is known already.
        addresses: Those of the upstream, ``192.0.2.1:8080``, as far as they are known.
        is_own: We have sent it ourselves to find out whether a login is right.
        refused_with: With which logins, and in which ways (`OfferedScheme.name`), the request has
            been refused.
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
    """A request got a 407 that offers no scheme which TrayProxy can use for this profile.

    Attributes:
        upstream_id: The upstream that sent it.
        problem: What the client of the request is told.
    """

    upstream_id: UpstreamId
    problem: Problem


class LoginAccepted(Struct, frozen=True):
    """The response to a request proves that the upstream accepted the login of the request.

    Attributes:
        login_id: Which login.
        scheme: The scheme that it was used with, as in `OfferedScheme`.
        label: How strong that is, as in `OfferedScheme`.
        target: Where the request went, ``github.com:443``; empty if that is not known.
        permit: As in `TriedLogin`.
    """

    login_id: LoginId
    scheme: str = ""
    label: str = ""
    target: str = ""
    permit: int = 0


class LoginUnproved(Struct, frozen=True):
    """The response to a request neither proves nor rejects the login of the request.

    Attributes:
        login_id: Which login.
        target: Where the request went, ``github.com:443``.
        is_doubtful: A proxy may give this response to a wrong login, which may have cost a failed
            log-on; otherwise only a site gives it.
        permit: As in `TriedLogin`.
    """

    login_id: LoginId
    target: str
    is_doubtful: bool = True
    permit: int = 0


class NoResponse(Struct, frozen=True):
    """A request that was to carry this login got no response at all.

    Attributes:
        login_id: Which login.
        was_sent: The login may have arrived, and have cost a log-on.
        permit: As in `TriedLogin`.
    """

    login_id: LoginId
    was_sent: bool = True
    permit: int = 0


class UpstreamSilent(Struct, frozen=True):
    """An upstream has answered no request at all for a moment, and requests with a login wait.

    Attributes:
        login_id: Which login.
        count: How many requests with this login wait for an answer.
    """

    login_id: LoginId
    count: int = 1


class PermitRequested(Struct, frozen=True):
    """A request is about to carry a login that was right, but was not proved lately.

    Attributes:
        request_id: The request; from the same numbers as `RequestChallenged.request_id`.
        login_id: Which login.
        target: Where the request wants to go. Untrusted.
    """

    request_id: int
    login_id: LoginId
    target: str


class OwnRequestEnded(Struct, frozen=True):
    """The request of our own has come to its end (`SendOwnRequest`); a verdict was told before.

    Attributes:
        request_id: As in `SendOwnRequest`.
        was_challenged: Whether the upstream wanted a login, or nothing is known of it.
    """

    number: int
    was_challenged: bool


class ClientLeft(Struct, frozen=True):
    """The client of a parked request has gone."""

    request_id: int


class ProgramIdentified(Struct, frozen=True):
    """It is known now which program waits."""

    request_id: int
    program: Program


# --- Events: what the person did -----------------------------------------------------------------


class PromptAnswered(Struct, frozen=True):
    """The person answered a question."""

    number: int
    login: Login
    remember: bool


class PromptDeclined(Struct, frozen=True):
    """The person does not answer now."""

    number: int
    snooze: Snooze


class PromptTouched(Struct, frozen=True):
    """The person has begun to answer."""

    number: int


class SignInRequested(Struct, frozen=True):
    """The person wants to sign in although nothing waits."""

    profile: Profile
    method: SignInMethod


class LoginProvided(Struct, frozen=True):
    """A login that nobody was asked for: use it at the next 407.

    Attributes:
        profile: For whose preferred upstream.
        method: How that is expected to ask.
        login: The login.
        remember: Keep it once it was accepted, and find that out at once.
        retry_rejected: A person has just typed it: it is sent although it was rejected before, or
            is still on trial since an earlier run.
        is_proved: The upstream has just accepted it, on a request of another desk.
    """

    profile: Profile
    method: SignInMethod
    login: Login
    remember: bool = False
    retry_rejected: bool = False
    is_proved: bool = False


class LoginsForgotten(Struct, frozen=True):
    """The person wants the logins of a profile forgotten."""

    profile_id: str


class ProfileEdited(Struct, frozen=True):
    """A profile was added or changed: its upstream, or its need of a password, may be another."""

    profile: Profile


class ProfileDeleted(Struct, frozen=True):
    """A profile is gone, or the service quits.

    Attributes:
        profile_id: Which profile.
        for_good: It is gone: what is remembered of it between runs is, too.
    """

    profile_id: str
    for_good: bool = True


class ProfileSwitched(Struct, frozen=True):
    """Another profile is the active one; None if none is."""

    profile: Profile | None


# --- Events: what the world did ------------------------------------------------------------------


class LookupFinished(Struct, frozen=True):
    """The keyring has answered.

    Attributes:
        lookup: Which question to it.
        login: What it holds, None if nothing that can be used.
        keyring: Its state.
    """

    lookup: int
    login: Login | None
    keyring: KeyringStatus


class TrialRecorded(Struct, frozen=True):
    """It is written down that a login is on trial, unless an earlier run speaks against that.

    Attributes:
        request_id: As in `RecordTrial`.
        upstream_id: As in `RecordTrial`.
        login: As in `RecordTrial`.
        is_rejected: The login was rejected in an earlier run.
        hold_s: For how many seconds the login is not to be sent by itself, since an earlier run
            sent it and was not told a verdict; 0 if it may be sent.
    """

    number: int
    upstream_id: UpstreamId
    login: Login
    is_rejected: bool = False
    hold_s: float = 0.0


class LoginSaved(Struct, frozen=True):
    """The keyring has taken a login of a profile."""

    profile_id: str


class KeyringSurveyed(Struct, frozen=True):
    """The state of the keyring is known, or is another now."""

    keyring: KeyringStatus


class NetworkChanged(Struct, frozen=True):
    """The machine is in another network, or has woken up."""


class ScreenLocked(Struct, frozen=True):
    """The screen was locked, or unlocked: nobody is before it, or somebody is again."""

    is_locked: bool


class FrontEndsChanged(Struct, frozen=True):
    """So many faces can ask a person now."""

    count: int


class TimePassed(Struct, frozen=True):
    """Nothing, but time has passed."""


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
    | LookupFinished
    | TrialRecorded
    | LoginSaved
    | KeyringSurveyed
    | NetworkChanged
    | ScreenLocked
    | FrontEndsChanged
    | TimePassed
)


# --- Effects -------------------------------------------------------------------------------------


class RefusalReason(Enum):
    """Why a request is refused."""

    DECLINED = "sign-in cancelled"
    UNATTENDED = "sign-in needed"
    TIMED_OUT = "sign-in timed out"
    CROWDED = "too many requests wait for a sign-in"
    FORBIDDEN = "the upstream proxy forbids this request to this user"
    WITHDRAWN = "the profile was changed"
    UNUSABLE = "no usable sign-in method"
    NO_TICKET = "no Kerberos ticket"
    TICKET_EXPIRED = "the Kerberos ticket has expired"
    SERVER_UNREACHABLE = "the Kerberos sign-in server cannot be reached"
    UNKNOWN_PROXY = "the Kerberos sign-in server does not know this proxy"
    UNKNOWN_USER = "the Kerberos sign-in server does not know this user"
    NOT_ACCEPTED = "the upstream proxy does not accept this user"
    WEAKER = "the upstream proxy is not as it was"
    UNRECORDED = "the state folder does not answer"


class ReleaseRequest(Struct, frozen=True):
    """Send the request again with this login, by this scheme of those that its 407 offered."""

    request_id: int
    login_id: LoginId
    scheme: str


class GrantPermit(Struct, frozen=True):
    """Let a request carry the login that it named in `PermitRequested`.

    Attributes:
        request_id: Which request.
        permit: The number to report with; 0 if the login has been proved meanwhile.
    """

    request_id: int
    permit: int


class DenyPermit(Struct, frozen=True):
    """Do not let a request carry the login that it named in `PermitRequested`."""

    request_id: int


class SendWithoutLogin(Struct, frozen=True):
    """Send the request again without a login, to hear what is offered; it comes back."""

    request_id: int


class RefuseRequest(Struct, frozen=True):
    """Tell the client of the request that it will not be sent.

    Attributes:
        request_id: Which request.
        reason: Why.
        text: What else is known about it; whole sentences of ours, or none.
    """

    request_id: int
    reason: RefusalReason
    text: str = ""


class RecordTrial(Struct, frozen=True):
    """Write down that a login is about to be sent that was never accepted. Event: `TrialRecorded`.

    Attributes:
        request_id: To name in `TrialRecorded`.
        upstream_id: Where the login is to be sent.
        login: The login.
        retry_rejected: The person wants it sent whatever earlier runs say.
        is_saved: It comes from the keyring.
    """

    number: int
    upstream_id: UpstreamId
    login: Login
    retry_rejected: bool
    is_saved: bool


class CancelTrial(Struct, frozen=True):
    """A login that was put on trial was not sent: remove what was written down."""

    upstream_id: UpstreamId
    login: Login


class SendOwnRequest(Struct, frozen=True):
    """Find out whether the login of a protection space is right, since no client does.

    By a request like that of any program: it is sent without a login, waits at the desk when a 407
    comes, and reports as any other. Event: `OwnRequestEnded`.

    Attributes:
        request_id: To name in `OwnRequestEnded`.
        profile: With the upstream of that protection space alone.
        target: Where a program wanted to go, ``github.com:443``; empty if none ever did.
    """

    number: int
    profile: Profile
    target: str


class LookUpLogin(Struct, frozen=True):
    """Read the keyring. Event: `LookupFinished`.

    Attributes:
        lookup: To name in `LookupFinished`.
        profile: Whose login, for the upstream that the profile has.
        user: Of this user; empty: of whatever user there is.
    """

    lookup: int
    profile: Profile
    user: str


class SurveyKeyring(Struct, frozen=True):
    """Find out which keyring there is, without reading anything. Event: `KeyringSurveyed`."""


class SaveLoginToKeyring(Struct, frozen=True):
    """Write a login that was accepted to the keyring."""

    profile: Profile
    login: Login


class SaveUserName(Struct, frozen=True):
    """An upstream accepted a login with another user name than the profile's: keep it there."""

    profile_id: str
    user: str


class RecordRejection(Struct, frozen=True):
    """An upstream rejected a login: remember that in later runs."""

    upstream_id: UpstreamId
    login: Login


class ClearRejection(Struct, frozen=True):
    """An upstream accepted a login: forget that it ever rejected it."""

    upstream_id: UpstreamId
    login: Login


class RecordFingerprint(Struct, frozen=True):
    """What an upstream is was learnt, or is forgotten: None."""

    upstream_id: UpstreamId
    fingerprint: UpstreamFingerprint | None


class ClearHistory(Struct, frozen=True):
    """Nothing is remembered of a profile any more: not what was rejected, and not who it was."""

    profile_id: str


class NotifyPromptChanged(Struct, frozen=True):
    """A question is open, and new or different."""

    number: int


class NotifyPromptClosed(Struct, frozen=True):
    """A question has ended."""

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
