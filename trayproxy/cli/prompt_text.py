"""Format a prompt as lines of a terminal, with the content of the dialog (ux §3.3, §3.5)."""

from trayproxy.cli.output import printable_line
from trayproxy.control import texts
from trayproxy.domain.signin import (
    KeyringState,
    KeyringStatus,
    Program,
    Prompt,
    PromptReason,
    Transport,
)

_NAME_LENGTH = 60
_REALM_LENGTH = 80


def prompt_lines(prompt: Prompt) -> list[str]:
    """Return the lines above the input fields; lines without content are omitted."""
    rows = [("Proxy", printable_line(prompt.upstream))]
    if prompt.realm:
        rows.append(("It says", f"“{printable_line(prompt.realm, _REALM_LENGTH)}”"))
    rows.append(("Method", printable_line(prompt.method)))
    if programs := waiting_programs(prompt):
        rows.append(("Needed by", programs))
    shown = [f"Proxy “{printable_line(prompt.profile, _NAME_LENGTH)}” wants you to sign in"]
    shown += [f"  {title + ':':<11} {text}" for title, text in rows]
    warnings = (transport_text(prompt), reason_text(prompt), lockout_warning(prompt))
    return [*shown, *(f"  {line}" for line in warnings if line)]


def waiting_programs(prompt: Prompt) -> str:
    """Return the waiting programs, ``git (4312) → github.com:443, and 3 more``; empty if no
    request waits."""
    if not prompt.programs or not prompt.waiting:
        return ""
    more = prompt.waiting - 1
    return _program(prompt.programs[0]) + (f", and {more} more" if more else "")


def transport_text(prompt: Prompt) -> str:
    """Return the protection of the password on its way to the proxy (ux §3.5)."""
    if prompt.transport is Transport.READABLE:
        return (
            "Warning: the password travels unencrypted to this proxy. "
            "Anyone on the network path can read it."
        )
    return texts.transport_text(prompt.transport, prompt.method)


def reason_text(prompt: Prompt) -> str:
    """Return the reason for the prompt, empty if no explanation is needed."""
    before = printable_line(prompt.before, _REALM_LENGTH)
    return texts.reason_text(prompt.reason, before).format(
        store=keyring_name(prompt.keyring),
        before=before,
        method=printable_line(prompt.method, _NAME_LENGTH),
    )


def encoding_hint(prompt: Prompt) -> str:
    """Return the hint about encodings for a rejected login with non-ASCII characters, empty if the
    scheme is not affected."""
    if not texts.needs_encoding_hint(prompt):
        return ""
    return (
        "If it is right: some older proxies read letters such as ä or é differently. "
        f'Try: trayproxy profiles edit "{printable_line(prompt.profile, _NAME_LENGTH)}" '
        "--encoding latin-1"
    )


def lockout_warning(prompt: Prompt) -> str:
    """Return the warning about locked accounts, from the second rejection on."""
    if prompt.reason is PromptReason.LOCKED:
        return ""  # The reason already mentions the locked account.
    if prompt.confirm_retry and prompt.rejections >= texts.LOCK_OUT_RISK_REJECTIONS:
        return (
            f"Your account may be locked: the proxy rejected {prompt.rejections} passwords in a "
            "row. Waiting 15 to 30 minutes or asking your help desk usually helps."
        )
    if prompt.rejections >= 2:
        return "Many companies lock accounts after 3 to 5 wrong tries."
    return ""


def keyring_name(keyring: KeyringStatus) -> str:
    """Return the name of the password store as the user knows it."""
    return printable_line(keyring.name, _NAME_LENGTH) or "Your keyring"


def remember_unavailable(keyring: KeyringStatus) -> str:
    """Return the reason for which passwords cannot be saved, empty if they can (ux §5.3,
    TP-402)."""
    match keyring.state:
        case KeyringState.UNSAFE:
            return (
                f"Remembering is off: {keyring_name(keyring)} would store the password unprotected."
            )
        case KeyringState.MISSING:
            return "Remembering is off: this system offers no keyring."
        case KeyringState.OFF:
            return "This run keeps no passwords: TrayProxy forgets the password when it ends."
    return ""


def _program(waiting: Program) -> str:
    name = printable_line(waiting.name, _NAME_LENGTH) or "A program"
    pid = f" ({waiting.pid})" if waiting.pid else ""
    return f"{name}{pid} → {printable_line(waiting.target, _NAME_LENGTH)}"
