"""Sign-in states, prompts and their parts: the values that the desk, the messages of the control
protocol and the front ends share.

All values are frozen. A text marked "untrusted" comes from the network: it may contain any
character, and a front end must shorten it and show it as plain text.

The values are msgspec structs and not dataclasses, because they are parts of messages
(`trayproxy.control.messages`). `msgspec.structs.replace` makes a modified copy.
"""

from enum import Enum, StrEnum

from msgspec import Struct


class SignInState(StrEnum):
    """The state of the active profile's login."""

    NONE = "none"
    """The profile needs no sign-in."""
    UNTESTED = "untested"
    """No login has been sent yet, or the upstream has not requested one."""
    OK = "ok"
    NEEDED = "needed"
    REJECTED = "rejected"
    SNOOZED = "snoozed"
    UNUSABLE = "unusable"
    """The upstream requires a scheme not supported here (TP-303); no login helps."""


class RefusalReason(Enum):
    """The reason why a request is refused."""

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
    WEAKER = "the upstream proxy has changed"
    UNRECORDED = "the state folder does not answer"


class KeyringState(StrEnum):
    """The state of the keyring; passwords are saved only if it is OK."""

    UNKNOWN = "unknown"
    """Not known yet: TrayProxy opens the keyring only when it needs a password."""
    OK = "ok"
    LOCKED = "locked"
    SILENT = "silent"
    """The keyring does not respond (TP-403)."""
    UNSAFE = "unsafe"
    """The only available store would write passwords unencrypted, so it is not used (TP-402)."""
    MISSING = "missing"
    OFF = "off"
    """This run saves no passwords (``run --upstream``), even if the system has a keyring."""


class KeyringStatus(Struct, frozen=True):
    """The state of the password store, and its name as the user knows it (``GNOME Keyring``)."""

    state: KeyringState
    name: str = ""


class Transport(StrEnum):
    """The protection of a password on its way to the upstream (ux §3.5)."""

    READABLE = "readable"
    SCRAMBLED = "scrambled"
    """The password itself is not sent, but the connection is not encrypted."""
    ENCRYPTED = "encrypted"


class PromptReason(StrEnum):
    """The reason for a prompt."""

    NEEDED = "needed"
    """No login is known."""
    SAVED_REJECTED = "saved-rejected"
    """The proxy did not accept the saved password."""
    TYPED_REJECTED = "typed-rejected"
    """The proxy did not accept the last typed login."""
    REPEATED = "repeated"
    """The last typed login is the rejected login again; it was not sent."""
    UNCHECKED = "unchecked"
    """The login could not be verified yet: the proxy did not respond, or its response (403, 502, a
    redirect to another host) does not show whether it accepted the login."""
    UNCLEAR = "unclear"
    """The login was refused, possibly by another proxy of the same name than the proxy that sent
    the challenge (a farm of proxies): the login is not known to be wrong, and is not sent again."""
    UNRECORDED = "unrecorded"
    """The login was not sent, because the state folder does not respond (TP-311)."""
    KEYRING_LOCKED = "keyring-locked"
    KEYRING_SILENT = "keyring-silent"
    ASKED_FOR = "asked-for"
    """The user chose *Sign in* in the menu; no request is waiting."""
    EXPIRED = "expired"
    """The proxy reports that the password has expired or must be changed first."""
    LOCKED = "locked"
    """The proxy reports that the account is locked or disabled (TP-304)."""
    DOWNGRADE = "downgrade"
    """The proxy offers a weaker scheme than the last accepted scheme (`Prompt.before`)."""
    FALLBACK = "fallback"
    """The preferred scheme (`Prompt.before`) cannot be used here, and its fallback
    (`Prompt.method`) exposes the password to more people."""
    REALM_CHANGED = "realm-changed"
    """The proxy sent a different realm than before (`Prompt.before`)."""


class Program(Struct, frozen=True):
    """A program with a request that waits for a login.

    Attributes:
        name: The name of the program, ``git``; empty if unknown.
        pid: The process id of the program, 0 if unknown.
        target: The host and port of the request, ``github.com:443``. Untrusted.
    """

    name: str
    pid: int
    target: str


class Prompt(Struct, frozen=True):
    """The one open prompt of a protection space, complete.

    Attributes:
        number: Identifies the prompt in `AnswerPrompt` and `DeclinePrompt`; unique within a run.
        profile_id: The id of the profile whose upstream requests the login.
        profile: The name of the profile.
        upstream: The upstream's URL as configured.
        realm: The realm sent by the upstream. Untrusted; empty if there was none.
        method: The authentication scheme, ``Basic``.
        transport: The protection of the password on its way to the upstream.
        user: The user name to fill in, may be empty.
        reason: The reason for the prompt.
        programs: The waiting programs, oldest request first, at most 20.
        waiting: The number of waiting requests; 0 if all their clients have disconnected.
        rejections: The number of consecutive rejected logins.
        confirm_retry: True after three rejections within 10 minutes: the button reads *Try anyway*.
        checking: True while a typed login is verified; the fields are disabled meanwhile.
        keyring: The password store for the password.
        before: For `PromptReason.DOWNGRADE` the last accepted scheme, ``NTLM``;
            for `PromptReason.FALLBACK` the unusable scheme, ``Kerberos``; for
            `PromptReason.REALM_CHANGED` the previous realm, untrusted, empty if there was none.
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


class Snooze(StrEnum):
    """The time during which no prompt is shown."""

    A_MINUTE = "a-minute"
    """*Cancel*: 60 seconds."""
    A_WHILE = "a-while"
    """*Not now*: 15 minutes."""
    UNTIL_CHOSEN = "until-chosen"
    """*Not now*: until the user chooses *Sign in*."""


class Ending(StrEnum):
    """The reason for which a prompt closed."""

    ACCEPTED = "accepted"
    DECLINED = "declined"
    ABANDONED = "abandoned"
    """No request waits any more, and the user had typed no login."""
    WITHDRAWN = "withdrawn"
    """The profile was deleted or changed, or the service ends."""
