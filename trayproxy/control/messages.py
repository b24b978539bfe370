"""Every message of the control protocol, one frozen value each.

A face sends a *request* and gets exactly one *reply* with the same number. After `Subscribe` it
also gets *events*: a whole `Status` when anything in it changes, and a whole `Prompt` when one
opens or changes. Events are states, not differences: a face that was started late has missed
nothing.

Times are seconds since the epoch (UTC). Texts that came from the network are marked "untrusted":
they may hold any character, and are shown as plain text, shortened.

They are msgspec's values, not dataclasses, as those of `trayproxy.desk.machine.events` are, and for
the same reason; a copy that differs is made by `msgspec.structs.replace`.
"""

from enum import StrEnum

from msgspec import Struct, field

from trayproxy.auth.login import Login
from trayproxy.profiles.profile import Profile

SCHEMA = 3
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
    UNUSABLE = "unusable"
    """The upstream demands a sign-in that TrayProxy cannot do here (TP-303); no login helps."""


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
    OFF = "off"
    """This run keeps no passwords (``run --upstream``); the system may have a keyring."""


class Problem(Struct, frozen=True):
    """An error as a person reads it (ux §5.2).

    Attributes:
        id: ``TP-201``; stable, searchable.
        title: At most 60 characters, no full stop.
        body: What happened, why, and what to do.
        url: A page that a person may open in a browser, with ``http`` or ``https``; empty if there
            is none. Untrusted.
    """

    id: str
    title: str
    body: str
    url: str = ""


class KeyringStatus(Struct, frozen=True):
    """The password store, by the name the person knows it by (``GNOME Keyring``)."""

    state: KeyringState
    name: str = ""


class RefusedClients(Struct, frozen=True):
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


class Status(Struct, frozen=True):
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
        direct_until: When the profile that was in use before is used again, in seconds since the
            epoch; None: not by itself.
        refused_clients: Who wanted to connect and may not.
        spare_port: A port near the wanted one that is free while that is taken; 0: none is known.
        wanted_port: The port of the settings while TrayProxy listens at another one for this run;
            0: it listens where the settings say.
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
    keyring: KeyringStatus = KeyringStatus(KeyringState.UNKNOWN)
    waiting: int = 0
    active: int = 0
    received: int = 0
    sent: int = 0
    problem: Problem | None = None
    notices: tuple[Problem, ...] = ()
    schema: int = SCHEMA
    direct: bool = False
    refused_clients: RefusedClients = field(name="strangers", default=RefusedClients())
    spare_port: int = 0
    wanted_port: int = 0
    screen_locked: bool = False
    saved: bool | None = None
    direct_until: float | None = None


# --- The question (ux §3.3, §3.4) ----------------------------------------------------------------


class Transport(StrEnum):
    """How well a password is protected on its way to the upstream (ux §3.5)."""

    READABLE = "readable"
    SCRAMBLED = "scrambled"
    """Not sent itself, over a connection that is not encrypted."""
    ENCRYPTED = "encrypted"


class PromptReason(StrEnum):
    """Why the person is asked."""

    NEEDED = "needed"
    """No login is known."""
    SAVED_REJECTED = "saved-rejected"
    """The proxy did not accept the saved password."""
    TYPED_REJECTED = "typed-rejected"
    """The proxy did not accept what was just typed."""
    REPEATED = "repeated"
    """What was just typed is the login that the proxy did not accept: it was not sent again."""
    UNCHECKED = "unchecked"
    """The login could not be checked yet: the proxy did not answer, or its answers (403, 502, a
    redirect to another host) do not tell whether it accepted the login."""
    UNCLEAR = "unclear"
    """The proxy refused the login, but another one of the same name than had asked for it may have
    done so (a farm of proxies): the login is not known to be wrong, and is not sent again."""
    UNRECORDED = "unrecorded"
    """The login was not sent, because the state folder does not answer (TP-311)."""
    KEYRING_LOCKED = "keyring-locked"
    KEYRING_SILENT = "keyring-silent"
    ASKED_FOR = "asked-for"
    """The person chose *Sign in* from the menu; nothing waits."""
    EXPIRED = "expired"
    """The proxy says that the password has expired, or must be changed first."""
    LOCKED = "locked"
    """The proxy says that the account is locked or disabled (TP-304)."""
    DOWNGRADE = "downgrade"
    """The proxy offers a weaker method than the one that it accepted before: `Prompt.before`."""
    FALLBACK = "fallback"
    """The method that the person was told of cannot be used here, and the next one shows the
    password to more people: `Prompt.before` and `Prompt.method`."""
    REALM_CHANGED = "realm-changed"
    """The proxy calls itself something else than before: `Prompt.before`."""


class Program(Struct, frozen=True):
    """A program that waits.

    Attributes:
        name: ``git``; empty if it cannot be told.
        pid: Its process id, 0 if it cannot be told.
        target: Where it wants to go, ``github.com:443``. Untrusted.
    """

    name: str
    pid: int
    target: str


class Prompt(Struct, frozen=True):
    """The one open question of a protection space, whole.

    Attributes:
        number: Names it in `AnswerPrompt` and `DeclinePrompt`; never used twice in a run.
        profile_id: Whose upstream asks.
        profile: That profile's name.
        upstream: The upstream's URL as configured.
        realm: What the upstream calls itself. Untrusted; empty if it said nothing.
        method: The scheme, ``Basic``.
        transport: How the password travels.
        user: The user name to start with, may be empty.
        reason: Why the person is asked.
        programs: Who waits, oldest first, at most 20.
        waiting: How many requests wait in all; 0 if everyone has left.
        rejections: How many logins were rejected in a row.
        confirm_retry: Three rejections within 10 minutes: the button says *Try anyway*.
        checking: An answer is being tried; the fields are disabled until this turns False.
        keyring: Where the password would be kept.
        before: For `PromptReason.DOWNGRADE` the method that the proxy accepted before, ``NTLM``;
            for `PromptReason.FALLBACK` the method that cannot be used, ``Kerberos``; for
            `PromptReason.REALM_CHANGED` what it called itself, untrusted, empty if it said nothing.
    """

    number: int
    profile_id: str
    profile: str
    upstream: str
    realm: str
    method: str
    transport: Transport
    user: str
    reason: PromptReason
    programs: tuple[Program, ...] = ()
    waiting: int = 0
    rejections: int = 0
    confirm_retry: bool = False
    checking: bool = False
    keyring: KeyringStatus = KeyringStatus(KeyringState.UNKNOWN)
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


class Hello(Struct, frozen=True):
    """The first message on a connection. Reply: `Done`, or `Failed` if the schema differs.

    Attributes:
        front_end: ``tray``, ``terminal`` or ``cli``.
        can_prompt: Whether this face can put questions to a person.
        schema: The version of the protocol that the face speaks.
        pid: The face's process id.
    """

    front_end: str
    can_prompt: bool
    schema: int = SCHEMA
    pid: int = 0


class GetStatus(Struct, frozen=True):
    """Reply: `Status`."""


class Subscribe(Struct, frozen=True):
    """Send me events from now on. Reply: `Status`; then each open question as an event."""


class SaveProfile(Struct, frozen=True):
    """Add the profile, or replace the one with its id. Reply: `Done` or `Failed`."""

    profile: Profile


class DeleteProfile(Struct, frozen=True):
    """Delete a profile, with its saved password if `forget`. Reply: `Done` or `Failed`."""

    profile_id: str
    forget: bool


class UseProfile(Struct, frozen=True):
    """Make this profile the active one for new requests. Reply: `Done` or `Failed`.

    Attributes:
        profile_id: Its id; `trayproxy.profiles.profile.DIRECT_ID` for none: connect directly.
        for_s: With `DIRECT_ID`: go back to the present profile after so many seconds, an hour at
            most, and leave the settings as they are; 0: for good.
    """

    profile_id: str
    for_s: int = 0


class UsePort(Struct, frozen=True):
    """Listen at this port in this run, since the wanted one is taken. Reply: `Done` or `Failed`.

    Attributes:
        port: 1 to 65535; 0: at the wanted one again. The settings stay as they are.
    """

    port: int


class CheckProfile(Struct, frozen=True):
    """Try a profile, saved or not, step by step. Reply: `CheckResult`.

    Attributes:
        profile: What to try; its saved password is used at most once.
        url: What to fetch through it.
    """

    profile: Profile
    url: str = "http://example.com/"


class SignInNow(Struct, frozen=True):
    """Open the question of this profile although nothing waits. Reply: `Done` or `Failed`.

    Also lifts a quiet time and a rejection.
    """

    profile_id: str


class AnswerPrompt(Struct, frozen=True):
    """What the person typed. Reply: `Done`, or `Failed` if the question is gone.

    Attributes:
        number: The question.
        login: The user name and the password.
        remember: Keep it in the keyring once it was accepted.
    """

    number: int
    login: Login
    remember: bool


class Snooze(StrEnum):
    """How long not to ask again."""

    A_MINUTE = "a-minute"
    """*Cancel*: 60 seconds."""
    A_WHILE = "a-while"
    """*Not now*: 15 minutes."""
    UNTIL_CHOSEN = "until-chosen"
    """*Not now*: until the person chooses *Sign in*."""


class DeclinePrompt(Struct, frozen=True):
    """The person does not answer now. Reply: `Done`."""

    number: int
    snooze: Snooze


class KeepPromptOpen(Struct, frozen=True):
    """The person has touched the fields: do not close the question. Reply: `Done`."""

    number: int


class SaveLogin(Struct, frozen=True):
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


class KeptInMemory(Struct, frozen=True):
    """The upstream proxy has accepted a login (`SaveLogin`), which the keyring does not keep.

    The login stays in memory until the service ends.

    Attributes:
        problem: Why the keyring does not keep the login.
    """

    problem: Problem


class ForgetLogin(Struct, frozen=True):
    """Remove a profile's saved password and forget what is in memory. Reply: `Done`, `Failed`."""

    profile_id: str


class ShowWindow(Struct, frozen=True):
    """Show the window (second start, ``trayproxy show``). Reply: `Done`; `Failed` without a tray.

    Attributes:
        token: The XDG activation token of the caller, empty if none.
    """

    token: str = ""


class Quit(Struct, frozen=True):
    """End TrayProxy, service and faces. Reply: `Done`, then the connection closes."""


# --- Replies -------------------------------------------------------------------------------------


class Done(Struct, frozen=True):
    """It was done."""


class Failed(Struct, frozen=True):
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


class Step(Struct, frozen=True):
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


class CheckResult(Struct, frozen=True):
    """All steps in order."""

    steps: tuple[Step, ...]


# --- Events --------------------------------------------------------------------------------------


class StatusChanged(Struct, frozen=True):
    """Something in the status changed; at most 5 a second."""

    status: Status


class PromptChanged(Struct, frozen=True):
    """A question opened, or something in it changed."""

    prompt: Prompt


class PromptClosed(Struct, frozen=True):
    """A question ended."""

    number: int
    ending: Ending


class ShowRequested(Struct, frozen=True):
    """Someone wants to see the window."""

    token: str = ""


class Quitting(Struct, frozen=True):
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
    | AnswerPrompt
    | DeclinePrompt
    | KeepPromptOpen
    | SaveLogin
    | ForgetLogin
    | ShowWindow
    | Quit
)
Reply = Done | Failed | Status | CheckResult | KeptInMemory
Event = StatusChanged | PromptChanged | PromptClosed | ShowRequested | Quitting


class Envelope(Struct, frozen=True):
    """A message on the wire.

    Attributes:
        message: The message itself.
        number: Of the request that it is, or that it replies to; 0 for an event.
    """

    message: Request | Reply | Event
    number: int = 0
