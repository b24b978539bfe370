"""The texts of the user interface, made from the status and from prompts (ux §3.1 to §3.5, §5).

Placeholders are filled in after translation. Names and other untrusted text are sanitized and
truncated before they are inserted.
"""

from PySide6.QtCore import QCoreApplication, QDateTime, QLocale

from trayproxy.control.icon_state import IconState, has_no_active_profile
from trayproxy.control.messages import (
    ListenerState,
    NetworkSwitch,
    Status,
    SystemProxyState,
    SystemProxyStatus,
)
from trayproxy.control.texts import (
    LOCK_OUT_RISK_REJECTIONS,
    METHOD_NAMES,
    STARTING_TEXT,
    SWITCH_REASONS,
    needs_encoding_hint,
    reason_text,
    state_text,
    transport_text,
)
from trayproxy.domain.problem import Problem
from trayproxy.domain.signin import (
    KeyringState,
    KeyringStatus,
    Program,
    Prompt,
    PromptReason,
    Transport,
)
from trayproxy.profiles.profile import DIRECT_ID, Method, Profile, ProxyScheme, Upstream
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
"""Alias of `translate` for a text in a variable, which lupdate finds elsewhere; in a call of
`translate`, lupdate would take the variable for the text.
"""

REALM_LENGTH = 80
"""Maximum length of a realm, in characters; the tooltip has up to `REALM_TOOLTIP_LENGTH`."""
REALM_TOOLTIP_LENGTH = 150
TARGET_LENGTH = 40
_URGENT = frozenset({"TP-110", "TP-111", "TP-310", "TP-311"})
"""The ids of the notices shown in the menu and in the tooltip, in addition to the window."""


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
    template = translated("Tray", state_text(state, status))
    if "{time}" in template and status.direct_until is not None:
        return template.format(time=_time_text(status.direct_until))
    name = _profile_name(status)
    if "{host}" in template and status.profile is not None:
        return _fill_name_and_other(template, name, _host(status.profile))
    if "{user}" in template:
        return _fill_name_and_other(template, name, clean(status.user))
    return fill_name(template, name)


def tray_tooltip(state: IconState, status: Status | None) -> str:
    """Return the tooltip: the state, the local address, and further problems."""
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


def _host(profile: Profile) -> str:
    if profile.upstream is None:
        return translate("Tray", "the proxy")
    return host_text(profile.upstream.host)


def _stopped_line(state: IconState, status: Status | None) -> str:
    if state is IconState.STARTING:
        return translated("Tray", STARTING_TEXT)
    if status is not None and status.problem is not None:
        why = _as_clause(clean(status.problem.title))
        text = translate("Tray", "Not running — {why}").format(why=why)
        return shorten(text, MENU_WIDTH)
    return translate("Tray", "TrayProxy is not running")


def _as_clause(title: str) -> str:
    """Return a title for use within a sentence; the name TrayProxy keeps its capital."""
    return title if title.startswith("TrayProxy") else title[:1].lower() + title[1:]


def _fill_name_and_other(template: str, name: str, other: str) -> str:
    """Fill the placeholders; the name is shortened first, down to 16 characters."""
    room = MENU_WIDTH - len(template.format(name="", host="", user=""))
    name = elide(clean(name), max(min(16, len(name)), room - len(other)))
    other = isolate(elide(other, max(1, room - len(name))))
    return template.format(name=isolate(name), host=other, user=other)


def _profile_name(status: Status) -> str:
    return status.profile.name if status.profile is not None else ""


def warning_row(status: Status | None) -> str:
    """Return the title of the notice in the menu, empty if there is no notice.

    The menu shows a notice only if requests may bypass TrayProxy unnoticed or all fail; the window
    shows all notices.
    """
    if status is not None:
        for problem in status.notices:
            if problem.id in _URGENT:
                return shorten(clean(problem.title), MENU_WIDTH)
    return ""


def sign_in_page(status: Status | None) -> str:
    """Return the http or https URL of the page on which the network requires signing in, or "".

    The URL is untrusted.
    """
    for problem in status.notices if status is not None else ():
        if problem.url.startswith(("http://", "https://")):
            return problem.url
    return ""


def offers_direct(status: Status | None) -> bool:
    """Return whether to offer a temporary direct connection (ux §3.8).

    The offer is made while the network requires signing in on its own page: the page may be
    unreachable through the proxy.
    """
    return bool(sign_in_page(status)) and status is not None and status.profile is not None


def is_direct_by_choice(status: Status) -> bool:
    """Return True if a person, and not the network, has chosen to connect directly."""
    return status.direct and status.network_switch is None


def network_switch_title(status: Status, switch: NetworkSwitch) -> str:
    """Return what the network has caused, such as “Switched to Branch”."""
    if switch.profile_id == DIRECT_ID:
        return translate("Tray", "Connecting directly")
    names = {profile.id: profile.name for profile in status.profiles}
    template = translate("Notification", "Switched to {name}")
    return fill_name(template, names.get(switch.profile_id, ""))


def network_switch_reason(switch: NetworkSwitch) -> str:
    """Return why the network has caused a switch."""
    fact = isolate(elide(clean(switch.fact), NAME_WIDTH))
    return translated("Notification", SWITCH_REASONS[switch.cause]).format(fact=fact)


def may_undo(switch: NetworkSwitch | None) -> bool:
    """Return True if there is a choice to which *Undo* returns."""
    return switch is not None and bool(switch.previous_id)


def direct_offer() -> str:
    """Return the text of the offer to connect directly, for a button and for the menu."""
    return translate("Tray", "Connect directly for 5 minutes")


def _time_text(seconds: float) -> str:
    """Return the time of day for seconds since the epoch."""
    time = QDateTime.fromSecsSinceEpoch(int(seconds)).time()
    return QLocale().toString(time, QLocale.FormatType.ShortFormat)


def port_offer(status: Status | None) -> tuple[str, int] | None:
    """Return the text and the port of an offer to change the local port, None if there is no offer.

    If the configured port is taken, the offer is another port for this run. While the other port is
    used, the offer is to return to the configured port, requested as port 0.
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
    """Return whether programs can connect to the local address, or soon will."""
    return status is not None and status.listener is not ListenerState.FAILED


# --- Menu rows -----------------------------------------------------------------------------------


def address_row(status: Status, received_per_s: float | None) -> str:
    """Return the second row of the menu: the local address and the traffic."""
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
    """Return ``Office — proxy.corp:8080`` within 48 characters; the address is shortened first."""
    name = elide(clean(profile.name), NAME_WIDTH)
    room = MENU_WIDTH - len(name) - 3
    if room < 8:
        return isolate(name)
    if profile.upstream is None:
        return f"{isolate(name)} — {translate('Tray', 'automatic')}"
    return f"{isolate(name)} — {elide(authority(profile.upstream), room)}"


def authority(upstream: Upstream) -> str:
    """Return ``proxy.corp.example:8080`` in a form that does not imitate another host."""
    host = f"[{clean(upstream.host)}]" if ":" in upstream.host else host_text(upstream.host)
    return f"{host}:{upstream.port}"


def sign_in_row(profile_name: str) -> str:
    """Return the text of the row for the sign-in dialog."""
    return fill_name(translate("Tray", "Sign in to {name}…"), profile_name)


def status_line(state: IconState, status: Status | None) -> str:
    """Return the state in a sentence for the window."""
    if status is None or status.profile is None or state not in (IconState.OK, IconState.READY):
        return first_line(state, status)
    upstream = status.profile.upstream
    if upstream is None:
        template = translate("Window", "{state} · automatic: {source}")
        source = elide(clean(status.profile.address), NAME_WIDTH)
        return template.format(state=first_line(state, status), source=isolate(source))
    if upstream.scheme is ProxyScheme.HTTPS:
        template = translate("Window", "{state} · {proxy} (encrypted)")
    else:
        template = translate("Window", "{state} · {proxy} (not encrypted)")
    return template.format(state=first_line(state, status), proxy=authority(upstream))


# --- Prompt texts --------------------------------------------------------------------------------


def prompt_heading(prompt: Prompt) -> str:
    """Return the heading of the sign-in dialog, with the name of the profile."""
    return translate("SignIn", "Proxy “{profile}” wants you to sign in").format(
        profile=isolate(elide(clean(prompt.profile), NAME_WIDTH))
    )


def realm_text(prompt: Prompt) -> str:
    """Return the realm of the proxy in quotation marks; empty if the proxy sent no realm."""
    text = clean(prompt.realm)
    return f"“{isolate(shorten(text, REALM_LENGTH))}”" if text else ""


def realm_tooltip(prompt: Prompt) -> str:
    """Return a longer part of the realm, empty if `realm_text` contains all of it."""
    text = clean(prompt.realm)
    return shorten(text, REALM_TOOLTIP_LENGTH) if len(text) > REALM_LENGTH else ""


def upstream_text(url: str) -> str:
    """Return the URL of an upstream in a form that does not imitate another host."""
    scheme, separator, rest = clean(url).partition("://")
    return f"{scheme}{separator}{host_text(rest)}" if separator else host_text(scheme)


def needed_by_text(prompt: Prompt) -> str:
    """Return ``git (4312) → github.com:443, and 3 more``; empty if no program waits."""
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
    """Return a program as ``git (4312)``, or a text for an unknown program."""
    name = shorten(clean(waiting.name), TARGET_LENGTH)
    if not name:
        return translate("SignIn", "A program on this computer")
    return f"{isolate(name)} ({waiting.pid})" if waiting.pid else isolate(name)


def transport_line(prompt: Prompt) -> str:
    """Return how the password is protected on its way to the proxy (ux §3.5)."""
    return translated("SignIn", transport_text(prompt.transport, prompt.method))


def transport_explanation(prompt: Prompt) -> str:
    """Return a plain explanation of `transport_line`."""
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
    """Return why the user is prompted, empty if the only reason is a missing password."""
    before = clean(prompt.before)
    template = reason_text(prompt.reason, before)
    if not template:
        return ""
    if prompt.reason is PromptReason.REALM_CHANGED:
        before = isolate(shorten(before, REALM_LENGTH))
    else:
        before = shorten(before, TARGET_LENGTH)
    return translated("SignIn", template).format(
        store=store_name(prompt.keyring),
        before=before,
        method=shorten(clean(prompt.method), TARGET_LENGTH),
    )


def encoding_line(prompt: Prompt, typed: str) -> str:
    """Return a hint about the text encoding of a rejected login, empty if it does not apply.

    `typed` contains the user name and the password.
    """
    if typed.isascii() or not needs_encoding_hint(prompt):
        return ""
    return translate(
        "SignIn",
        "If it is right: some older proxies read letters such as ä or é differently. "
        "Choose another text encoding in the profile, under Advanced.",
    )


def lock_out_line(prompt: Prompt) -> str:
    """Return the warning about account lock-out, shown from the second rejection on."""
    if prompt.reason is PromptReason.LOCKED:
        return ""  # The reason of the prompt says so already.
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
    """Return the name of the password store as the user knows it."""
    return clean(keyring.name) or translate("SignIn", "Your keyring")


def remember_text(keyring: KeyringStatus) -> str:
    """Return the text of the check box for saving the password."""
    if keyring.name and can_remember(keyring):
        return translate("SignIn", "Remember in {store}").format(store=clean(keyring.name))
    return translate("SignIn", "Remember the password")


def can_remember(keyring: KeyringStatus) -> bool:
    """Return whether the password store is safe to use."""
    return keyring.state not in (KeyringState.UNSAFE, KeyringState.MISSING, KeyringState.OFF)


def no_remember_reason(keyring: KeyringStatus) -> str:
    """Return why passwords cannot be saved, empty if they can be saved (ux §5.3, TP-402)."""
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


# --- Sign-in methods -----------------------------------------------------------------------------


def method_name(method: Method) -> str:
    """Return the name of an authentication scheme; only *Automatic* is translated."""
    return METHOD_NAMES.get(method) or translate("Profiles", "Automatic")


# --- Problems ------------------------------------------------------------------------------------


def problem_text(problem: Problem) -> str:
    """Return title, body and id of a problem as a paragraph."""
    return f"{clean(problem.title)}. {clean(problem.body)} ({problem.id})"


def system_proxy_notes(status: SystemProxyStatus) -> list[str]:
    """Return what the user must know about the stores of the system proxy, a paragraph each.

    These are hints about the stores that TrayProxy has set, such as programs that use it only after
    the next log-in, and the stores whose earlier settings could not be put back yet.
    """
    notes = list(map(clean, status.hints)) if status.state is SystemProxyState.ON else []
    if status.waiting:
        template = translate(
            "Window",
            "System proxy not put back yet: {names}. TrayProxy tries again when it starts and when "
            "the network changes.",
        )
        notes.append(template.format(names=", ".join(isolate(clean(n)) for n in status.waiting)))
    return notes


def restarted_text() -> str:
    """Return the text about a restart of the service after a crash (TP-901)."""
    title = translate("Window", "TrayProxy had to restart its proxy")
    body = translate(
        "Window", "It ended unexpectedly. Connections were cut; settings are unchanged."
    )
    return problem_text(Problem("TP-901", title, body))


def no_tray_text() -> str:
    """Return the text about a desktop without tray icons (TP-701)."""
    title = translate("Window", "This desktop shows no tray icons")
    body = translate(
        "Window",
        "TrayProxy runs in its window instead. On GNOME the extension “AppIndicator and "
        "KStatusNotifierItem Support” adds them.",
    )
    return problem_text(Problem("TP-701", title, body))
