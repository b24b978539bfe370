"""The sentences that the windows and the command line share (ux §3.1, §3.5, §5.2), in English.

The windows translate the sentences; the command line shows them in English. Placeholders are filled
after translation.
"""

from collections.abc import Mapping

from trayproxy.control.icon_state import IconState, cannot_sign_in, has_no_profile, lacks_sign_in
from trayproxy.control.messages import Status, StepState, SwitchCause
from trayproxy.domain.signin import Prompt, PromptReason, SignInState, Transport
from trayproxy.profiles.profile import Method


def QT_TRANSLATE_NOOP(context: str, text: str) -> str:
    """Return the text unchanged; Qt's lupdate finds translatable texts by this function's name."""
    return text


REASON_TEXTS: Mapping[PromptReason, str] = {
    PromptReason.SAVED_REJECTED: QT_TRANSLATE_NOOP(
        "SignIn", "The proxy did not accept the saved password. Did you change it?"
    ),
    PromptReason.TYPED_REJECTED: QT_TRANSLATE_NOOP(
        "SignIn", "The proxy did not accept this password."
    ),
    PromptReason.REPEATED: QT_TRANSLATE_NOOP(
        "SignIn",
        "This is the same password, which the proxy did not accept; it was not sent again.",
    ),
    PromptReason.UNCHECKED: QT_TRANSLATE_NOOP(
        "SignIn",
        "The password could not be checked yet: the proxy has neither accepted nor rejected it.",
    ),
    PromptReason.UNCLEAR: QT_TRANSLATE_NOOP(
        "SignIn",
        "The proxy did not accept this sign-in, and the password could not be checked: it may be "
        "wrong, or several proxies share this name and do not know of each other.",
    ),
    PromptReason.UNRECORDED: QT_TRANSLATE_NOOP(
        "SignIn",
        "The password was not sent: the folder in which TrayProxy notes that a password is being "
        "tried does not answer. It may be on a network drive.",
    ),
    PromptReason.KEYRING_LOCKED: QT_TRANSLATE_NOOP(
        "SignIn",
        "{store} is locked. Unlock it to use the saved password, or type the password now.",
    ),
    PromptReason.KEYRING_SILENT: QT_TRANSLATE_NOOP(
        "SignIn", "{store} does not answer. It may be waiting for you in another window."
    ),
    PromptReason.EXPIRED: QT_TRANSLATE_NOOP(
        "SignIn", "Your password has expired or must be changed. Change it, then type the new one."
    ),
    PromptReason.LOCKED: QT_TRANSLATE_NOOP(
        "SignIn",
        "Your account is locked. Waiting 15–30 minutes or asking your help desk usually helps.",
    ),
    PromptReason.FALLBACK: QT_TRANSLATE_NOOP(
        "SignIn",
        "{before} could not be used here. The proxy also takes {method}, which protects your "
        "password less.",
    ),
    PromptReason.DOWNGRADE: QT_TRANSLATE_NOOP(
        "SignIn",
        "The proxy used to accept {before} and now wants {method}, which protects your password "
        "less. Sign in only if your company has changed this.",
    ),
    PromptReason.REALM_CHANGED: QT_TRANSLATE_NOOP(
        "SignIn",
        "The proxy called itself “{before}” before. Sign in only if your company has changed this.",
    ),
}
"""The sentence for each `Prompt.reason`. `PromptReason.NEEDED` and `PromptReason.ASKED_FOR` need no
sentence. The placeholders ``{store}``, ``{before}`` and ``{method}`` stand for the name of the
password store, `Prompt.before` and `Prompt.method`."""

NO_PREVIOUS_REALM_TEXT = QT_TRANSLATE_NOOP(
    "SignIn",
    "The proxy did not give itself this name before. Sign in only if your company has changed "
    "this.",
)
"""The sentence for `PromptReason.REALM_CHANGED` if the proxy sent no realm before."""
LOCK_OUT_RISK_REJECTIONS = 3
"""The number of consecutive rejections after which the account may be locked (ux §3.4)."""
_SCHEMES_WITH_ENCODING = frozenset({"basic", "digest"})


def reason_text(reason: PromptReason, before: str) -> str:
    """Return the sentence for a reason and a sanitized `Prompt.before`; it may be empty."""
    if reason is PromptReason.REALM_CHANGED and not before:
        return NO_PREVIOUS_REALM_TEXT
    return REASON_TEXTS.get(reason, "")


def needs_encoding_hint(prompt: Prompt) -> bool:
    """Return True if the upstream rejected a login, which it may have decoded differently."""
    is_rejected = prompt.reason in (PromptReason.TYPED_REJECTED, PromptReason.REPEATED)
    return is_rejected and prompt.method.lower() in _SCHEMES_WITH_ENCODING


STARTING_TEXT = QT_TRANSLATE_NOOP("Tray", "Starting…")


def state_text(state: IconState, status: Status) -> str:
    """Return the sentence for a state other than `IconState.STOPPED`, without a full stop.

    The placeholders ``{name}`` and ``{host}`` stand for the active profile and the host of its
    upstream, ``{user}`` for `Status.user`, and ``{time}`` for `Status.direct_until`.
    """
    if has_no_profile(status):
        return QT_TRANSLATE_NOOP("Tray", "No profile yet")
    match state:
        case IconState.SIGNIN:
            return QT_TRANSLATE_NOOP("Tray", "{name}: sign-in needed")
        case IconState.DIRECT if status.direct_until is None:
            return QT_TRANSLATE_NOOP("Tray", "Connecting directly")
        case IconState.DIRECT:
            return QT_TRANSLATE_NOOP("Tray", "Connecting directly until {time}")
        case IconState.TROUBLE if lacks_sign_in(status):
            return QT_TRANSLATE_NOOP("Tray", "{name}: the proxy wants a sign-in")
        case IconState.TROUBLE if cannot_sign_in(status):
            return QT_TRANSLATE_NOOP("Tray", "{name}: no common way to sign in")
        case IconState.TROUBLE if status.profile is not None:
            return QT_TRANSLATE_NOOP("Tray", "{name}: cannot reach {host}")
        case IconState.STARTING:
            return STARTING_TEXT
        case IconState.READY:
            return QT_TRANSLATE_NOOP("Tray", "{name} — ready, not used yet")
    if status.user and status.sign_in is not SignInState.NONE:
        return QT_TRANSLATE_NOOP("Tray", "{name} — connected as {user}")
    return QT_TRANSLATE_NOOP("Tray", "{name} — connected")


SWITCH_REASONS: Mapping[SwitchCause, str] = {
    SwitchCause.WIFI: QT_TRANSLATE_NOOP("Notification", "Because you joined “{fact}”."),
    SwitchCause.GATEWAY: QT_TRANSLATE_NOOP(
        "Notification", "Because this network has the gateway {fact}."
    ),
    SwitchCause.DNS: QT_TRANSLATE_NOOP(
        "Notification", "Because this network has the domain {fact}."
    ),
    SwitchCause.VPN: QT_TRANSLATE_NOOP("Notification", "Because the VPN “{fact}” is connected."),
    SwitchCause.ANSWERS: QT_TRANSLATE_NOOP("Notification", "Because {fact} answers here."),
    SwitchCause.ELSEWHERE: QT_TRANSLATE_NOOP(
        "Notification", "Because “{fact}” is not for this network."
    ),
}
"""The sentence for each `NetworkSwitch.cause`. The placeholder ``{fact}`` stands for its `fact`."""


def transport_text(transport: Transport, method: str) -> str:
    """Return the sentence for the protection of a password on its way to the proxy."""
    match transport:
        case Transport.READABLE:
            return QT_TRANSLATE_NOOP("SignIn", "The password travels unencrypted to this proxy.")
        case Transport.ENCRYPTED:
            return QT_TRANSLATE_NOOP("SignIn", "The connection to the proxy is encrypted.")
    if method.lower() == "digest":
        return QT_TRANSLATE_NOOP(
            "SignIn",
            "The password itself is not sent, but the connection to the proxy is not encrypted.",
        )
    return QT_TRANSLATE_NOOP(
        "SignIn",
        "Your password is not sent in readable form; the connection to the proxy is not encrypted.",
    )


METHOD_NAMES = {
    Method.NEGOTIATE: "Negotiate",
    Method.NTLM: "NTLM",
    Method.DIGEST: "Digest",
    Method.BASIC: "Basic",
}
"""The names of the authentication schemes, which are not translated."""
STEP_MARKS = {
    StepState.OK: "✔",
    StepState.FAILED: "✖",
    StepState.NOT_NEEDED: "–",
    StepState.NOT_TRIED: "–",
}
STEP_TEXTS: Mapping[str, str] = {
    "script": QT_TRANSLATE_NOOP("Check", "Load the automatic configuration"),
    "answer": QT_TRANSLATE_NOOP("Check", "Ask it for {url}"),
    "find": QT_TRANSLATE_NOOP("Check", "Find {host}"),
    "connect": QT_TRANSLATE_NOOP("Check", "Connect to port {port}"),
    "encryption": QT_TRANSLATE_NOOP("Check", "Encryption"),
    "challenge": QT_TRANSLATE_NOOP("Check", "Proxy asks for sign-in"),
    "sign-in": QT_TRANSLATE_NOOP("Check", "Sign-in accepted"),
    "fetch": QT_TRANSLATE_NOOP("Check", "Fetch {url}"),
    "tls": QT_TRANSLATE_NOOP("Check", "TLS inspection"),
    "fallback": QT_TRANSLATE_NOOP("Check", "Connect to the other proxy"),
}
"""The description of each `Step.name`. The placeholders ``{host}`` and ``{port}`` stand for the
upstream, ``{url}`` for `CheckProfile.url`."""

DEVICES_RISK_TEXT = QT_TRANSLATE_NOOP(
    "Devices",
    "Everyone who can reach this computer could use your company sign-in. Allow only these "
    "addresses: {addresses}",
)
"""The risk of letting other devices connect (ux §5.3), before it is turned on."""
