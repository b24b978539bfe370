"""The sentences that explain the reason of a prompt to the user (ux §5.2), in English.

The dialog translates the sentences; the terminal shows them in English. The placeholders
``{store}``, ``{before}`` and ``{method}`` are filled after translation with the name of the
password store, `Prompt.before` and `Prompt.method`.
"""

from collections.abc import Mapping

from trayproxy.domain.signin import PromptReason


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
        "SignIn",
        "Your password has expired or must be changed. Change it, then type the new one.",
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
sentence."""

NO_PREVIOUS_REALM_TEXT = QT_TRANSLATE_NOOP(
    "SignIn",
    "The proxy did not give itself this name before. Sign in only if your company has changed "
    "this.",
)
"""The sentence for `PromptReason.REALM_CHANGED` if the proxy sent no realm before."""
