"""What a person reads, made from facts (ux §3.1 to §3.5, §5). No widgets, no decisions.

Placeholders are filled after translation; names and other text from outside are cleaned and
bounded on the way in.
"""

from PySide6.QtCore import QCoreApplication, QDateTime, QLocale

from trayproxy.control.messages import (
    KeyringState,
    KeyringStatus,
    ListenerState,
    Problem,
    Program,
    Prompt,
    PromptReason,
    SignInState,
    Status,
    Transport,
)
from trayproxy.control.prompt_reasons import NO_PREVIOUS_REALM_TEXT, REASON_TEXTS
from trayproxy.control.status_conditions import cannot_sign_in, has_no_active_profile
from trayproxy.profiles.profile import Encoding, Method, Profile, ProxyScheme, Upstream
from trayproxy.ui.icon_state import IconState
from trayproxy.ui.plurals import Plurals
from trayproxy.ui.text_sanitizer import (
    MENU_WIDTH,
    NAME_WIDTH,
    clean,
    elide,
    fill_name,
    host_text,
    isolate,
    shorten,
    tooltip,
)

translate = QCoreApplication.translate
translated = QCoreApplication.translate
"""For a text that lupdate finds elsewhere: it would read a variable as the text of `translate`."""

REALM_LENGTH = 80
"""What is shown of a realm; the tooltip has `REALM_TOOLTIP_WIDTH`."""
REALM_TOOLTIP_LENGTH = 150
TARGET_LENGTH = 40
LOCK_OUT_RISK_REJECTIONS = 3
"""So many rejected passwords in a row may have locked the account (ux §3.4)."""
_URGENT = frozenset({"TP-110", "TP-111", "TP-310", "TP-311"})
"""The notices that the menu and the tooltip show, too."""


def heading(state: IconState, status: Status | None) -> str:
    """Return the first row of the menu: the state in words, at most 48 characters."""
    if status is not None and state is IconState.SIGNIN and status.waiting > 0:
        template = Plurals().requests_waiting(status.waiting)
        return fill_name(template, _profile_name(status))
    return first_line(state, status)


def first_line(state: IconState, status: Status | None) -> str:
    """Return the state in words, at most 48 characters (ux §3.1, last column)."""
    if status is None or status.listener is ListenerState.FAILED:
        return _stopped_line(state, status)
    if has_no_active_profile(status):
        return translate("Tray", "No profile is in use — choose one")
    if state is IconState.STOPPED:
        return _stopped_line(state, status)
    if status.profile is None and not status.direct:
        return translate("Tray", "No profile yet")
    name = _profile_name(status)
    match state:
        case IconState.SIGNIN:
            return fill_name(translate("Tray", "{name}: sign-in needed"), name)
        case IconState.DIRECT:
            return _direct_line(status)
        case IconState.TROUBLE if cannot_sign_in(status):
            return fill_name(translate("Tray", "{name}: no common way to sign in"), name)
        case IconState.TROUBLE if status.profile is not None:
            line = translate("Tray", "{name}: cannot reach {host}")
            return _fill_name_and_host(line, name, host_text(status.profile.upstream.host))
        case IconState.STARTING:
            return translate("Tray", "Starting…")
        case IconState.READY:
            return fill_name(translate("Tray", "{name} — ready, not used yet"), name)
    if status.user and status.sign_in is not SignInState.NONE:
        line = translate("Tray", "{name} — connected as {host}")
        return _fill_name_and_host(line, name, clean(status.user))
    return fill_name(translate("Tray", "{name} — connected"), name)


def tray_tooltip(state: IconState, status: Status | None) -> str:
    """Return the tooltip: the state, the local address, and what else is wrong."""
    lines = [first_line(state, status)]
    if status is not None:
        if has_address(status):
            lines.append(status.address)
        if status.problem and status.problem.title.lower() not in lines[0].lower():
            lines.append(clean(status.problem.title))
        if warning := warning_row(status):
            lines.append(warning)
        if status.refused_clients.count:
            lines.append(Plurals().refused(status.refused_clients.count))
    return tooltip(lines)


def _stopped_line(state: IconState, status: Status | None) -> str:
    if state is IconState.STARTING:
        return translate("Tray", "Starting…")
    if status is not None and status.problem is not None:
        why = _as_clause(clean(status.problem.title))
        text = translate("Tray", "Not running — {why}").format(why=why)
        return shorten(text, MENU_WIDTH)
    return translate("Tray", "TrayProxy is not running")


def _as_clause(title: str) -> str:
    """Return the title of a problem as it stands within a sentence; our name stays as it is."""
    return title if title.startswith("TrayProxy") else title[:1].lower() + title[1:]


def _fill_name_and_host(template: str, name: str, other: str) -> str:
    """Fill ``{name}`` and ``{host}``; the name gives way first, down to 16 characters."""
    fixed = len(template.format(name="", host=""))
    room = MENU_WIDTH - fixed
    name = elide(clean(name), max(min(16, len(name)), room - len(other)))
    return template.format(name=isolate(name), host=isolate(elide(other, max(1, room - len(name)))))


def _profile_name(status: Status) -> str:
    return status.profile.name if status.profile is not None else ""


def warning_row(status: Status | None) -> str:
    """Return the title of the notice that the menu shows, empty if there is none.

    Only what lets requests go elsewhere unseen, or stops all of them: the window shows all notices.
    """
    if status is not None:
        for problem in status.notices:
            if problem.id in _URGENT:
                return shorten(clean(problem.title), MENU_WIDTH)
    return ""


def sign_in_page(status: Status | None) -> str:
    """Return the page on which the network wants people to sign in, empty if there is none.

    Its URL comes from the network: only web pages are opened.
    """
    for problem in status.notices if status is not None else ():
        if problem.url.startswith(("http://", "https://")):
            return problem.url
    return ""


def offers_direct(status: Status | None) -> bool:
    """Return whether to offer to connect directly for a while, since the network wants people to
    sign in on a page of its own, which may be out of reach through the proxy (ux §3.8)."""
    return bool(sign_in_page(status)) and status is not None and status.profile is not None


def direct_offer() -> str:
    """Return the text of that offer on a button and in the menu."""
    return translate("Tray", "Connect directly for 5 minutes")


def _direct_line(status: Status) -> str:
    if status.direct_until is None:
        return translate("Tray", "Connecting directly")
    until = QLocale().toString(
        QDateTime.fromSecsSinceEpoch(int(status.direct_until)).time(),
        QLocale.FormatType.ShortFormat,
    )
    return translate("Tray", "Connecting directly until {time}").format(time=until)


def port_offer(status: Status | None) -> tuple[str, int] | None:
    """Return a row that changes the local port, with the port to ask for; None without an offer.

    Where the wanted port is taken another one is offered, for this run; there, the way back, which
    is asked for as port 0.
    """
    if status is None:
        return None
    if status.listener is ListenerState.FAILED and status.spare_port:
        text = translate("Tray", "Use port {port} instead").format(port=status.spare_port)
        return text, status.spare_port
    if status.listener is ListenerState.UP and status.wanted_port:
        return translate("Tray", "Go back to port {port}").format(port=status.wanted_port), 0
    return None


def has_address(status: Status | None) -> bool:
    """Return whether programs reach us at the local address, or soon will."""
    return status is not None and status.listener is not ListenerState.FAILED


# --- Menu rows -----------------------------------------------------------------------------------


def address_row(status: Status, received_per_s: float | None) -> str:
    """Return the second row: the local address, and what goes through it."""
    parts = [status.address]
    if status.active:
        parts.append(translate("Tray", "{number} active").format(number=status.active))
    if received_per_s is not None and received_per_s >= 1:
        parts.append(f"↓ {rate(received_per_s)}")
    return " · ".join(parts)


def rate(octets_per_s: float) -> str:
    """Return a rate with two significant figures, ``1.2 MB/s``; decimal units."""
    for unit, size in (("GB/s", 1e9), ("MB/s", 1e6), ("kB/s", 1e3)):
        if octets_per_s >= size:
            value = octets_per_s / size
            return f"{value:.1f} {unit}" if value < 10 else f"{value:.0f} {unit}"
    return f"{octets_per_s:.0f} B/s"


def profile_row(profile: Profile) -> str:
    """Return ``Office — proxy.corp:8080`` in at most 48 characters; the name is worth more."""
    name = elide(clean(profile.name), NAME_WIDTH)
    room = MENU_WIDTH - len(name) - 3
    if room < 8:
        return isolate(name)
    return f"{isolate(name)} — {elide(authority(profile.upstream), room)}"


def authority(upstream: Upstream) -> str:
    """Return ``proxy.corp.example:8080`` as a person may safely read it."""
    host = f"[{clean(upstream.host)}]" if ":" in upstream.host else host_text(upstream.host)
    return f"{host}:{upstream.port}"


def sign_in_row(profile_name: str) -> str:
    """Return the row that opens the sign-in dialog."""
    return fill_name(translate("Tray", "Sign in to {name}…"), profile_name)


def status_line(state: IconState, status: Status | None) -> str:
    """Return the state in a sentence with room, for the window."""
    if status is None or status.profile is None or state not in (IconState.OK, IconState.READY):
        return first_line(state, status)
    upstream = status.profile.upstream
    if upstream.scheme is ProxyScheme.HTTPS:
        template = translate("Window", "{state} · {proxy} (encrypted)")
    else:
        template = translate("Window", "{state} · {proxy} (not encrypted)")
    return template.format(state=first_line(state, status), proxy=authority(upstream))


# --- The question --------------------------------------------------------------------------------


def prompt_heading(prompt: Prompt) -> str:
    """Return who asks, by the name that the person gave it."""
    return translate("SignIn", "Proxy “{profile}” wants you to sign in").format(
        profile=isolate(elide(clean(prompt.profile), NAME_WIDTH))
    )


def realm_text(prompt: Prompt) -> str:
    """Return what the proxy calls itself, in quotation marks; empty if it said nothing."""
    text = clean(prompt.realm)
    return f"“{isolate(shorten(text, REALM_LENGTH))}”" if text else ""


def realm_tooltip(prompt: Prompt) -> str:
    """Return more of a long realm, empty if all of it is shown."""
    text = clean(prompt.realm)
    return shorten(text, REALM_TOOLTIP_LENGTH) if len(text) > REALM_LENGTH else ""


def upstream_text(url: str) -> str:
    """Return an upstream's URL as a person may safely read it."""
    scheme, mark, rest = clean(url).partition("://")
    return f"{scheme}{mark}{host_text(rest)}" if mark else host_text(scheme)


def needed_by_text(prompt: Prompt) -> str:
    """Return who waits: ``git (4312) → github.com:443, and 3 more``; empty if nobody does."""
    if prompt.waiting <= 0 or not prompt.programs:
        return ""
    first = prompt.programs[0]
    text = f"{program_text(first)} → {shorten(host_text(first.target), TARGET_LENGTH)}"
    if prompt.waiting == 1:
        return text
    return translate("SignIn", "{program}, and {number} more").format(
        program=text, number=prompt.waiting - 1
    )


def program_text(waiting: Program) -> str:
    """Return ``git (4312)``, or that it is not known."""
    name = shorten(clean(waiting.name), TARGET_LENGTH)
    if not name:
        return translate("SignIn", "A program on this computer")
    return f"{isolate(name)} ({waiting.pid})" if waiting.pid else isolate(name)


def transport_line(prompt: Prompt) -> str:
    """Return how well the password is protected on its way (ux §3.5)."""
    match prompt.transport:
        case Transport.READABLE:
            return translate("SignIn", "The password travels unencrypted to this proxy.")
        case Transport.ENCRYPTED:
            return translate("SignIn", "The connection to the proxy is encrypted.")
    if prompt.method.lower() == "digest":
        return translate(
            "SignIn",
            "The password itself is not sent, but the connection to the proxy is not encrypted.",
        )
    return translate(
        "SignIn",
        "Your password is not sent in readable form; the connection to the proxy is not encrypted.",
    )


def transport_explanation(prompt: Prompt) -> str:
    """Return what the line means for the person, in plain words."""
    match prompt.transport:
        case Transport.READABLE:
            return translate(
                "SignIn",
                "With the method “{method}” the proxy is told your user name and password as they "
                "are. Between this computer and the proxy nothing hides them: anyone on the "
                "network path can read them. Your company chose this method; programs without "
                "TrayProxy would send them in the same way. Ask your help desk whether the proxy "
                "offers a safer one.",
            ).format(method=clean(prompt.method))
        case Transport.ENCRYPTED:
            return translate(
                "SignIn",
                "The certificate of the proxy was checked. What is sent to it cannot be read on "
                "the way.",
            )
    return translate(
        "SignIn",
        "The proxy is sent a proof that you know the password, made anew each time. Someone on "
        "the network path could try to guess a weak password from it, but cannot read it.",
    )


def rejection_line(prompt: Prompt) -> str:
    """Return why the person is asked, empty if only because no password is known."""
    reason = REASON_TEXTS.get(prompt.reason)
    if reason is None:
        return ""
    before = clean(prompt.before)
    if prompt.reason is PromptReason.REALM_CHANGED:
        reason = reason if before else NO_PREVIOUS_REALM_TEXT
        before = isolate(shorten(before, REALM_LENGTH))
    else:
        before = shorten(before, TARGET_LENGTH)
    return translated("SignIn", reason).format(
        store=store_name(prompt.keyring),
        before=before,
        method=shorten(clean(prompt.method), TARGET_LENGTH),
    )


def encoding_line(prompt: Prompt, typed: str) -> str:
    """Return what else may be the matter with a login that was rejected; empty if nothing.

    Args:
        question: The question.
        typed: User name and password, as they were typed.
    """
    is_octets = prompt.method.lower() in ("basic", "digest")
    is_rejected = prompt.reason in (PromptReason.TYPED_REJECTED, PromptReason.REPEATED)
    if not is_rejected or typed.isascii() or not is_octets:
        return ""
    return translate(
        "SignIn",
        "If it is right: some older proxies read letters such as ä or é in another way. "
        "Choose another text encoding in the profile, under Advanced.",
    )


def lock_out_line(prompt: Prompt) -> str:
    """Return the warning about lock-outs, from the second rejection on."""
    if prompt.reason is PromptReason.LOCKED:
        return ""  # That is known, and said already.
    if prompt.confirm_retry and prompt.rejections >= LOCK_OUT_RISK_REJECTIONS:
        return translate(
            "SignIn",
            "Your account may be locked: the proxy rejected {number} passwords in a row. Waiting "
            "15–30 minutes or asking your help desk usually helps.",
        ).format(number=prompt.rejections)
    if prompt.rejections >= 2:
        return translate("SignIn", "Many companies lock accounts after 3–5 wrong tries.")
    return ""


def store_name(keyring: KeyringStatus) -> str:
    """Return the password store by the name that the person knows."""
    return clean(keyring.name) or translate("SignIn", "Your keyring")


def remember_text(keyring: KeyringStatus) -> str:
    """Return the text of the check box."""
    if keyring.name and can_remember(keyring):
        return translate("SignIn", "Remember in {store}").format(store=clean(keyring.name))
    return translate("SignIn", "Remember the password")


def can_remember(keyring: KeyringStatus) -> bool:
    """Tell whether there is a safe place for passwords."""
    return keyring.state not in (KeyringState.UNSAFE, KeyringState.MISSING, KeyringState.OFF)


def no_remember_reason(keyring: KeyringStatus) -> str:
    """Return why passwords cannot be kept, empty if they can (ux §5.3, TP-402)."""
    match keyring.state:
        case KeyringState.UNSAFE:
            return translate(
                "SignIn", "Remembering is off: {backend} would store the password unprotected."
            ).format(backend=store_name(keyring))
        case KeyringState.MISSING:
            return translate(
                "SignIn",
                "Remembering is off: this system offers no keyring. TrayProxy keeps the password "
                "in memory until it quits.",
            )
        case KeyringState.OFF:
            return translate(
                "SignIn",
                "Remembering is off: TrayProxy was started to keep no passwords. It keeps this one "
                "in memory until it quits.",
            )
    return ""


def waiting_text(prompt: Prompt) -> str:
    """Return ``git and 3 others are waiting.`` for a notification (N1)."""
    if prompt.waiting <= 0 or not prompt.programs:
        return translate("Notification", "The proxy wants you to sign in.")
    name = program_text(prompt.programs[0])
    others = prompt.waiting - 1
    if others == 0:
        return translate("Notification", "{program} is waiting.").format(program=name)
    return Plurals().others_waiting(others).format(program=name)


# --- Ways to sign in -----------------------------------------------------------------------------


def own_sign_in_text() -> str:
    """Return what signing in with a ticket or the log-on to Windows is called."""
    return translate("Profiles", "My Windows/&Kerberos sign-in (no password)")


def method_name(method: Method) -> str:
    """Return an authentication scheme by the name that it has everywhere."""
    match method:
        case Method.NEGOTIATE:
            return "Negotiate"
        case Method.NTLM:
            return "NTLM"
        case Method.DIGEST:
            return "Digest"
        case Method.BASIC:
            return "Basic"
    return translate("Profiles", "Automatic")


def encoding_name(encoding: Encoding) -> str:
    """Return a text encoding by the name that it has everywhere."""
    return "Latin-1" if encoding is Encoding.LATIN_1 else "UTF-8"


# --- Problems ------------------------------------------------------------------------------------


def problem_text(problem: Problem) -> str:
    """Return title, body and id of a problem as one paragraph."""
    return f"{clean(problem.title)}. {clean(problem.body)} ({problem.id})"


def restarted_text() -> str:
    """Say that the service had died and is back (TP-901)."""
    title = translate("Window", "TrayProxy had to restart its proxy")
    body = translate(
        "Window", "It ended unexpectedly. Connections were cut; settings are unchanged."
    )
    return problem_text(Problem("TP-901", title, body))


def no_tray_text() -> str:
    """Say why there is a window in place of an icon (TP-701)."""
    title = translate("Window", "This desktop shows no tray icons")
    body = translate(
        "Window",
        "TrayProxy runs in its window instead. On GNOME the extension “AppIndicator and "
        "KStatusNotifierItem Support” adds them.",
    )
    return problem_text(Problem("TP-701", title, body))
