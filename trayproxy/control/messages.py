"""Every message of the control protocol, one frozen dataclass each.

A face sends a *request* and gets exactly one *reply* with the same number. After `Subscribe` it
also gets *events*: a whole `Status` when anything in it changes, and a whole `Question` when one
opens or changes. Events are states, not differences: a face that was started late has missed
nothing.

Times are seconds since the epoch (UTC). Texts that came from the network are marked "untrusted":
they may hold any character, and are shown as plain text, shortened.
"""

from dataclasses import dataclass, field
from enum import StrEnum

from trayproxy.auth.login import Login
from trayproxy.profiles.profile import Profile

SCHEMA = 2
"""Raised when a message changes in a way that an older face would misread."""


# --- Facts (ux §3.1), inside `Status` -----------------------------------------------------------


class ListenerState(StrEnum):
    """Whether programs can connect to us."""

    STARTING = "starting"
    UP = "up"
    FAILED = "failed"


class SignInState(StrEnum):
    """What is known about the login of the active profile."""

    NONE = "none"
    """The profile needs no sign-in."""
    UNTESTED = "untested"
    """Nothing has been sent yet, or upstream has not asked."""
    OK = "ok"
    NEEDED = "needed"
    REJECTED = "rejected"
    SNOOZED = "snoozed"


class UpstreamState(StrEnum):
    """What the last exchange with the upstream proxy of the active profile came to."""

    UNKNOWN = "unknown"
    OK = "ok"
    UNREACHABLE = "unreachable"


class KeyringState(StrEnum):
    """Whether passwords can be kept."""

    UNKNOWN = "unknown"
    """Not asked yet; the keyring is only looked at when a password is needed."""
    OK = "ok"
    LOCKED = "locked"
    SILENT = "silent"
    """It does not answer (TP-403)."""
    UNSAFE = "unsafe"
    """The only store would write passwords unprotected: it is not used (TP-402)."""
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Problem:
    """An error as a person reads it (ux §5.2).

    Attributes:
        id: ``TP-201``; stable, searchable.
        title: At most 60 characters, no full stop.
        body: What happened, why, and what to do.
    """

    id: str
    title: str
    body: str


@dataclass(frozen=True, slots=True)
class Keyring:
    """The password store, by the name the person knows it by (``GNOME Keyring``)."""

    state: KeyringState
    name: str = ""


@dataclass(frozen=True, slots=True)
class Strangers:
    """Connections that were refused because another user of this computer made them.

    Attributes:
        count: How many since the start.
        user: Who made the last one, ``nobody``; empty if it had gone before that could be told.
        program: With which program; empty if that cannot be told.
        last: When, 0 if there was none.
    """

    count: int = 0
    user: str = ""
    program: str = ""
    last: float = 0.0


@dataclass(frozen=True, slots=True)
class Status:
    """All facts that a face shows.

    Attributes:
        version: TrayProxy's version.
        pid: The service's process id.
        listener: Whether it accepts connections.
        address: The local address, ``127.0.0.1:3128``; the wanted one while not up.
        profile: The active profile, None while there is none.
        profiles: All profiles in menu order, the active one among them.
        sign_in: The state of the active profile's login.
        user: The user name that was accepted last, empty if none was.
        snoozed_until: End of the quiet time; None: not snoozed, or until the person acts.
        upstream: The state of the active profile's upstream.
        upstream_since: When `upstream` became what it is.
        keyring: The password store.
        waiting: How many requests wait for a sign-in.
        active: How many client connections are open.
        received: Octets relayed to clients since the start.
        sent: Octets relayed from clients since the start.
        problem: The worst thing wrong now, None if nothing is.
        notices: Other things a person should know, such as a settings file with a mistake.
        schema: The version of this protocol.
        direct: Programs connect directly: the person has chosen that in place of a profile.
        strangers: Who wanted to connect and may not.
        spare_port: A port near the wanted one that is free while that is taken; 0: none is known.
        screen_locked: Questions wait for somebody to come back to the screen.
        saved: Whether the keyring holds a password of the active profile; None: not known, since it
            is not looked into for that alone.
    """

    version: str
    pid: int
    listener: ListenerState
    address: str
    profile: Profile | None = None
    profiles: tuple[Profile, ...] = ()
    sign_in: SignInState = SignInState.NONE
    user: str = ""
    snoozed_until: float | None = None
    upstream: UpstreamState = UpstreamState.UNKNOWN
    upstream_since: float = 0.0
    keyring: Keyring = Keyring(KeyringState.UNKNOWN)
    waiting: int = 0
    active: int = 0
    received: int = 0
    sent: int = 0
    problem: Problem | None = None
    notices: tuple[Problem, ...] = ()
    schema: int = SCHEMA
    direct: bool = False
    strangers: Strangers = Strangers()
    spare_port: int = 0
    screen_locked: bool = False
    saved: bool | None = None


# --- The question (ux §3.3, §3.4) ----------------------------------------------------------------


class Transport(StrEnum):
    """How well a password is protected on its way to the upstream (ux §3.5)."""

    READABLE = "readable"
    SCRAMBLED = "scrambled"
    """Not sent itself, over a connection that is not encrypted."""
    ENCRYPTED = "encrypted"


class Why(StrEnum):
    """Why the person is asked."""

    NEEDED = "needed"
    """No login is known."""
    SAVED_REJECTED = "saved-rejected"
    """The proxy did not accept the saved password."""
    TYPED_REJECTED = "typed-rejected"
    """The proxy did not accept what was just typed."""
    UNCHECKED = "unchecked"
    """What was typed could not be checked: the proxy did not answer."""
    KEYRING_LOCKED = "keyring-locked"
    KEYRING_SILENT = "keyring-silent"
    ASKED_FOR = "asked-for"
    """The person chose *Sign in* from the menu; nothing waits."""
    EXPIRED = "expired"
    """The proxy says that the password has expired, or must be changed first."""
    LOCKED = "locked"
    """The proxy says that the account is locked or disabled (TP-304)."""
    DOWNGRADE = "downgrade"
    """The proxy offers a weaker method than the one that it accepted before: `Question.before`."""
    FALLBACK = "fallback"
    """The method that the person was told of cannot be used here, and the next one shows the
    password to more people: `Question.before` and `Question.method`."""
    REALM_CHANGED = "realm-changed"
    """The proxy calls itself something else than before: `Question.before`."""


@dataclass(frozen=True, slots=True)
class Program:
    """A program that waits.

    Attributes:
        name: ``git``; empty if it cannot be told.
        pid: Its process id, 0 if it cannot be told.
        target: Where it wants to go, ``github.com:443``. Untrusted.
    """

    name: str
    pid: int
    target: str


@dataclass(frozen=True, slots=True)
class Question:
    """The one open question of a protection space, whole.

    Attributes:
        number: Names it in `Answer` and `Decline`; never used twice in a run.
        profile_id: Whose upstream asks.
        profile: That profile's name.
        upstream: The upstream's URL as configured.
        realm: What the upstream calls itself. Untrusted; empty if it said nothing.
        method: The scheme, ``Basic``.
        transport: How the password travels.
        user: The user name to start with, may be empty.
        why: Why the person is asked.
        programs: Who waits, oldest first, at most 20.
        waiting: How many requests wait in all; 0 if everyone has left.
        rejections: How many logins were rejected in a row.
        hurried: Three rejections within 10 minutes: the button says *Try anyway*.
        checking: An answer is being tried; the fields are disabled until this turns False.
        keyring: Where the password would be kept.
        before: For `Why.DOWNGRADE` the method that the proxy accepted before, ``NTLM``; for
            `Why.FALLBACK` the method that cannot be used, ``Kerberos``; for
            `Why.REALM_CHANGED` what it called itself, untrusted, empty if it said nothing.
    """

    number: int
    profile_id: str
    profile: str
    upstream: str
    realm: str
    method: str
    transport: Transport
    user: str
    why: Why
    programs: tuple[Program, ...] = ()
    waiting: int = 0
    rejections: int = 0
    hurried: bool = False
    checking: bool = False
    keyring: Keyring = Keyring(KeyringState.UNKNOWN)
    before: str = ""


class Ending(StrEnum):
    """How a question ended."""

    ACCEPTED = "accepted"
    DECLINED = "declined"
    ABANDONED = "abandoned"
    """Nobody waits any more and nothing was typed."""
    WITHDRAWN = "withdrawn"
    """The profile was deleted or changed, or the service quits."""


# --- Requests ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Hello:
    """The first message on a connection. Reply: `Done`, or `Failed` if the schema differs.

    Attributes:
        face: ``tray``, ``terminal`` or ``cli``.
        asks: Whether this face can put questions to a person.
        schema: The version of the protocol that the face speaks.
        pid: The face's process id.
    """

    face: str
    asks: bool
    schema: int = SCHEMA
    pid: int = 0


@dataclass(frozen=True, slots=True)
class GetStatus:
    """Reply: `Status`."""


@dataclass(frozen=True, slots=True)
class Subscribe:
    """Send me events from now on. Reply: `Status`; then each open question as an event."""


@dataclass(frozen=True, slots=True)
class SaveProfile:
    """Add the profile, or replace the one with its id. Reply: `Done` or `Failed`."""

    profile: Profile


@dataclass(frozen=True, slots=True)
class DeleteProfile:
    """Delete a profile, with its saved password if `forget`. Reply: `Done` or `Failed`."""

    profile_id: str
    forget: bool


@dataclass(frozen=True, slots=True)
class UseProfile:
    """Make this profile the active one for new requests. Reply: `Done` or `Failed`.

    Attributes:
        profile_id: Its id; `trayproxy.profiles.profile.DIRECT_ID` for none: connect directly.
    """

    profile_id: str


@dataclass(frozen=True, slots=True)
class UsePort:
    """Listen at this port from now on, since the wanted one is taken. Reply: `Done` or `Failed`.

    Attributes:
        port: 1 to 65535; it is kept in the settings.
    """

    port: int


@dataclass(frozen=True, slots=True)
class CheckProfile:
    """Try a profile, saved or not, step by step. Reply: `CheckResult`.

    Attributes:
        profile: What to try; its saved password is used at most once.
        url: What to fetch through it.
    """

    profile: Profile
    url: str = "http://example.com/"


@dataclass(frozen=True, slots=True)
class SignInNow:
    """Open the question of this profile although nothing waits. Reply: `Done` or `Failed`.

    Also lifts a quiet time and a rejection.
    """

    profile_id: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What the person typed. Reply: `Done`, or `Failed` if the question is gone.

    Attributes:
        number: The question.
        login: The user name and the password.
        remember: Keep it in the keyring once it was accepted.
    """

    number: int
    login: Login
    remember: bool


class Quiet(StrEnum):
    """How long not to ask again."""

    A_MINUTE = "a-minute"
    """*Cancel*: 60 seconds."""
    A_WHILE = "a-while"
    """*Not now*: 15 minutes."""
    UNTIL_CHOSEN = "until-chosen"
    """*Not now*: until the person chooses *Sign in*."""


@dataclass(frozen=True, slots=True)
class Decline:
    """The person does not answer now. Reply: `Done`."""

    number: int
    quiet: Quiet


@dataclass(frozen=True, slots=True)
class Typing:
    """The person has touched the fields: do not close the question. Reply: `Done`."""

    number: int


@dataclass(frozen=True, slots=True)
class SaveLogin:
    """Keep this login for a profile in the keyring (``trayproxy login``). Reply: `Done`, `Failed`.

    It is tried first, and kept and used only if the upstream accepts it.

    Attributes:
        profile_id: Whose login.
        login: The login.
        is_typed: A person has just typed it. If not, one that was rejected before is not tried.
    """

    profile_id: str
    login: Login
    is_typed: bool = True


@dataclass(frozen=True, slots=True)
class ForgetLogin:
    """Remove a profile's saved password and forget what is in memory. Reply: `Done`, `Failed`."""

    profile_id: str


@dataclass(frozen=True, slots=True)
class Show:
    """Show the window (second start, ``trayproxy show``). Reply: `Done`; `Failed` without a tray.

    Attributes:
        token: The XDG activation token of the caller, empty if none.
    """

    token: str = ""


@dataclass(frozen=True, slots=True)
class Quit:
    """End TrayProxy, service and faces. Reply: `Done`, then the connection closes."""


# --- Replies -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Done:
    """It was done."""


@dataclass(frozen=True, slots=True)
class Failed:
    """It was not done, and why.

    Attributes:
        problem: What to tell the person.
        exit_code: What the command line returns (ux §7.1).
    """

    problem: Problem
    exit_code: int = 1


class StepState(StrEnum):
    """How a step of a test came out."""

    OK = "ok"
    FAILED = "failed"
    NOT_NEEDED = "not-needed"
    NOT_TRIED = "not-tried"


@dataclass(frozen=True, slots=True)
class Step:
    """One line of the test panel (ux §3.3).

    Attributes:
        name: ``find``, ``connect``, ``encryption``, ``challenge``, ``sign-in`` or ``fetch``; then
            ``fallback`` for each other upstream of the profile: whether it can be reached.
        state: How it came out.
        detail: An address, a status, a scheme and realm. Untrusted.
        took: Milliseconds, None if not tried.
        problem: What to tell the person if it failed.
    """

    name: str
    state: StepState
    detail: str = ""
    took: float | None = None
    problem: Problem | None = None


@dataclass(frozen=True, slots=True)
class CheckResult:
    """All steps in order."""

    steps: tuple[Step, ...]


# --- Events --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StatusChanged:
    """Something in the status changed; at most 5 a second."""

    status: Status


@dataclass(frozen=True, slots=True)
class QuestionChanged:
    """A question opened, or something in it changed."""

    question: Question


@dataclass(frozen=True, slots=True)
class QuestionClosed:
    """A question ended."""

    number: int
    ending: Ending


@dataclass(frozen=True, slots=True)
class ShowRequested:
    """Someone wants to see the window."""

    token: str = ""


@dataclass(frozen=True, slots=True)
class Quitting:
    """The service ends because it was told to; do not restart it."""


Request = (
    Hello
    | GetStatus
    | Subscribe
    | SaveProfile
    | DeleteProfile
    | UseProfile
    | UsePort
    | CheckProfile
    | SignInNow
    | Answer
    | Decline
    | Typing
    | SaveLogin
    | ForgetLogin
    | Show
    | Quit
)
Reply = Done | Failed | Status | CheckResult
Event = StatusChanged | QuestionChanged | QuestionClosed | ShowRequested | Quitting


@dataclass(frozen=True, slots=True)
class Envelope:
    """A message on the wire.

    Attributes:
        message: The message itself.
        number: Of the request that it is, or that it replies to; 0 for an event.
    """

    message: Request | Reply | Event = field()
    number: int = 0
