"""The question as lines of a terminal, with the content of the dialog (ux §3.3, §3.5)."""

from trayproxy.cli.output import printable_line
from trayproxy.control.messages import (
    KeyringState,
    KeyringStatus,
    Program,
    Prompt,
    PromptReason,
    Transport,
)
from trayproxy.control.prompt_reasons import NO_PREVIOUS_REALM_TEXT, REASON_TEXTS

_NAME = 60
_REALM = 80
_ACCOUNT_AT_RISK = 3
"""So many rejected passwords in a row may have locked the account (ux §3.4)."""
_IN_OCTETS = frozenset({"basic", "digest"})


def lines(question: Prompt) -> list[str]:
    """Return what is shown above the prompts; only what is true."""
    rows = [
        ("Proxy", printable_line(question.upstream)),
        ("Method", printable_line(question.method)),
    ]
    if question.realm:
        rows.insert(1, ("It says", f"“{printable_line(question.realm, _REALM)}”"))
    if who := needed_by(question):
        rows.append(("Needed by", who))
    shown = [f"Proxy “{printable_line(question.profile, _NAME)}” wants you to sign in"]
    shown += [f"  {title + ':':<11} {text}" for title, text in rows]
    shown += [f"  {line}" for line in (transport(question), why(question), lock_out(question))]
    return [line for line in shown if line.strip()]


def needed_by(question: Prompt) -> str:
    """Return who waits: ``git (4312) → github.com:443, and 3 more``; empty if nobody does."""
    if not question.programs or not question.waiting:
        return ""
    more = question.waiting - 1
    return _program(question.programs[0]) + (f", and {more} more" if more else "")


def transport(question: Prompt) -> str:
    """Return how well the password is protected on its way (ux §3.5)."""
    match question.transport:
        case Transport.READABLE:
            return (
                "Warning: the password travels unencrypted to this proxy. "
                "Anyone on the network path can read it."
            )
        case Transport.ENCRYPTED:
            return "The connection to the proxy is encrypted."
    if question.method.lower() == "digest":
        return "The password itself is not sent, but the connection to the proxy is not encrypted."
    return (
        "Your password is not sent in readable form; the connection to the proxy is not encrypted."
    )


def why(question: Prompt) -> str:
    """Return why the person is asked, empty if only because no password is known."""
    before = printable_line(question.before, _REALM)
    if question.reason is PromptReason.REALM_CHANGED and not before:
        return NO_PREVIOUS_REALM_TEXT
    method = printable_line(question.method, _NAME)
    words = {"store": store(question.keyring), "before": before, "method": method}
    return REASON_TEXTS.get(question.reason, "").format(**words)


def encoding(question: Prompt) -> str:
    """Return what may be the matter with a login beyond ASCII that was rejected, if it is that."""
    is_rejected = question.reason in (PromptReason.TYPED_REJECTED, PromptReason.REPEATED)
    if not is_rejected or question.method.lower() not in _IN_OCTETS:
        return ""
    return (
        "If it is right: some older proxies read letters such as ä or é in another way. "
        f'Try: trayproxy profiles edit "{printable_line(question.profile, _NAME)}" '
        "--encoding latin-1"
    )


def lock_out(question: Prompt) -> str:
    """Return the warning about locked accounts, from the second rejection on."""
    if question.reason is PromptReason.LOCKED:
        return ""  # That is known, and said already.
    if question.confirm_retry and question.rejections >= _ACCOUNT_AT_RISK:
        return (
            f"Your account may be locked: the proxy rejected {question.rejections} passwords in a "
            "row. Waiting 15 to 30 minutes or asking your help desk usually helps."
        )
    if question.rejections >= 2:
        return "Many companies lock accounts after 3 to 5 wrong tries."
    return ""


def store(keyring: KeyringStatus) -> str:
    """Return the password store as people know it."""
    return printable_line(keyring.name, _NAME) or "Your keyring"


def no_remembering(keyring: KeyringStatus) -> str:
    """Return why passwords cannot be kept, empty if they can (ux §5.3, TP-402)."""
    match keyring.state:
        case KeyringState.UNSAFE:
            return f"Remembering is off: {store(keyring)} would store the password unprotected."
        case KeyringState.MISSING:
            return "Remembering is off: this system offers no keyring."
        case KeyringState.OFF:
            return "This run keeps no passwords: TrayProxy forgets this one when it ends."
    return ""


def _program(waiting: Program) -> str:
    name = printable_line(waiting.name, _NAME) or "A program"
    pid = f" ({waiting.pid})" if waiting.pid else ""
    return f"{name}{pid} → {printable_line(waiting.target, _NAME)}"
