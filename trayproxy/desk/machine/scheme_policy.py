"""Which offered scheme to use, and whether a login may be sent with it.

The strongest offered scheme is used. A scheme is backed off after a failure, and the next scheme is
used with the same login. But a login is never sent automatically with a weaker scheme than the
upstream has accepted before, or with less protection of the password than the prompt has stated
(threats T4 and T5): then the user is prompted. An upstream may demand different schemes for
different requests; each request uses a scheme of its own 407.
"""

from trayproxy.auth.scheme import Verdict, VerdictKind, strength
from trayproxy.desk.machine.current_login import LoginSource
from trayproxy.desk.machine.events import OfferedScheme
from trayproxy.desk.machine.space_state import SchemeBackoff, SpaceState
from trayproxy.desk.machine.state import DeskState
from trayproxy.domain.signin import PromptReason, RefusalReason, Transport
from trayproxy.profiles.profile import Method

NO_TICKETS = frozenset({VerdictKind.NO_TICKET, VerdictKind.TICKET_EXPIRED})
"""The verdicts that remain until there is a new Kerberos ticket or log-on to Windows."""

_TITLES = {"basic": "Basic", "ntlm": "NTLM", "negotiate": "Kerberos"}

_PROTECTION = {Transport.READABLE: 0, Transport.SCRAMBLED: 1, Transport.ENCRYPTED: 2}

_REASONS = {
    VerdictKind.NO_TICKET: RefusalReason.NO_TICKET,
    VerdictKind.TICKET_EXPIRED: RefusalReason.TICKET_EXPIRED,
    VerdictKind.SERVER_UNREACHABLE: RefusalReason.SERVER_UNREACHABLE,
    VerdictKind.UNKNOWN_PROXY: RefusalReason.UNKNOWN_PROXY,
    VerdictKind.UNKNOWN_USER: RefusalReason.UNKNOWN_USER,
    VerdictKind.UNUSABLE: RefusalReason.UNUSABLE,
    VerdictKind.REJECTED: RefusalReason.NOT_ACCEPTED,
    VerdictKind.UNCLEAR: RefusalReason.NOT_ACCEPTED,
    VerdictKind.EXPIRED: RefusalReason.NOT_ACCEPTED,
    VerdictKind.LOCKED: RefusalReason.NOT_ACCEPTED,
}


def pick(space: SpaceState, offers: tuple[OfferedScheme, ...], now: float) -> OfferedScheme | None:
    """Return the scheme to use, or None if no offered scheme can be used now.

    The scheme with which the current login was accepted is preferred while it is offered: a
    stronger scheme failed before and would only fail again.
    """
    usable = [offer for offer in offers if not is_backed_off(space, offer.scheme, now)]
    preferred = (offer for offer in usable if offer.scheme == space.current.scheme)
    return next(preferred, usable[0] if usable else None)


def is_backed_off(space: SpaceState, scheme: str, now: float) -> bool:
    """Return whether a scheme is not used at present because it failed."""
    backoff = space.backoffs.get(scheme)
    return backoff is not None and now < backoff.until


def back_off(state: DeskState, space: SpaceState, scheme: str, verdict: Verdict) -> None:
    """Stop using a scheme for some time: it failed without a verdict on the login."""
    before = space.backoffs.get(scheme)
    count = before.failures + 1 if before else 1
    limits = state.limits
    wait = limits.scheme_backoff[min(count, len(limits.scheme_backoff)) - 1]
    if verdict.kind in NO_TICKETS:
        wait = limits.ticket_interval
    elif verdict.kind is VerdictKind.SERVER_UNREACHABLE or verdict.is_transient:
        wait = limits.kdc_interval
    reason = _REASONS[verdict.kind]
    space.backoffs[scheme] = SchemeBackoff(state.now + wait, count, reason, verdict.text)


def current_backoff(space: SpaceState, now: float) -> SchemeBackoff | None:
    """Return why no scheme can be used: the back-off of the first failed scheme."""
    return next((backoff for backoff in space.backoffs.values() if now < backoff.until), None)


def objection(
    state: DeskState, space: SpaceState, offer: OfferedScheme, offers: tuple[OfferedScheme, ...]
) -> PromptReason | None:
    """Return why a login must not be sent with this scheme without a prompt, or None if it may be.

    The realm does not matter to the own sign-in: a ticket is for the configured host. `offers` are
    all schemes offered with the scheme to be used.
    """
    fingerprint, consent = state.fingerprints.get(space.key.upstream_id), space.current.consent
    if any(strength(label) <= offer.strength for label in space.current.accepted_labels):
        return None  # Accepted with a scheme as weak as this: no new risk.
    demanded = _required_strength(space, fingerprint.label) if fingerprint else 0
    if demanded > offer.strength:
        # If the stronger scheme is still offered, but unusable here, the upstream has not changed.
        is_still_offered = any(other.strength >= demanded for other in offers)
        return PromptReason.FALLBACK if is_still_offered else PromptReason.DOWNGRADE
    if consent and _PROTECTION[offer.method.transport] < _PROTECTION[consent.method.transport]:
        return PromptReason.FALLBACK
    is_pinned = consent is None and space.current.source is not LoginSource.SSO
    if fingerprint and is_pinned and space.key.realm not in fingerprint.realms:
        return PromptReason.REALM_CHANGED
    return None


def _required_strength(space: SpaceState, label: str) -> int:
    """Return the minimum strength of a scheme."""
    if space.profile.method is not Method.AUTOMATIC:
        return 0  # The user has chosen the scheme in the settings of the profile.
    consent = space.current.consent
    return min(strength(label), consent.strength) if consent else strength(label)


def previous_name(state: DeskState, space: SpaceState, reason: PromptReason) -> str:
    """Return the upstream's scheme or realm from before its change, for display."""
    fingerprint = state.fingerprints.get(space.key.upstream_id)
    if reason is PromptReason.FALLBACK and space.current.consent:
        return space.current.consent.method.title
    if reason is PromptReason.REALM_CHANGED:
        return fingerprint.realms[0] if fingerprint else ""
    return _title(fingerprint.label) if fingerprint else ""


def weaker_text(
    state: DeskState, space: SpaceState, offer: OfferedScheme, reason: PromptReason
) -> str:
    """Return a sentence for the user about a weaker offer; empty if the change is of another
    kind."""
    previous = previous_name(state, space, reason)
    if reason is PromptReason.REALM_CHANGED or not previous:
        return ""
    return (
        f"The proxy wants a sign-in by {offer.method.title} for this address and has accepted "
        f"{previous} before, which protects your password better."
    )


def _title(label: str) -> str:
    """Return a strength label for display, ``Digest (SHA-256)``."""
    if label.startswith("digest-"):
        return f"Digest ({label.removeprefix('digest-').upper()})"
    return _TITLES.get(label, "")
