"""Which of the schemes on offer to use, and whether a login may be sent with it.

The strongest that is offered is used; one that could not be used lately is left alone for a while,
and the next one takes its place with the same login. But never one that is weaker than what this
upstream has accepted before, or that shows the password to more people than the person was told
(threats T4 and T5): then the person is asked. An upstream may want the same login in one way for
some requests and in another way for others; each is answered in a way that its own 407 offers.
"""

from trayproxy.auth.scheme import Verdict, VerdictKind, strength
from trayproxy.control.messages import PromptReason, Transport
from trayproxy.desk.machine.events import OfferedScheme, RefusalReason
from trayproxy.desk.machine.space_state import LoginSource, SchemeBackoff, SpaceState
from trayproxy.desk.machine.state import DeskState
from trayproxy.profiles.profile import Method

NO_TICKETS = frozenset({VerdictKind.NO_TICKET, VerdictKind.TICKET_EXPIRED})
"""The kinds of verdict that a new Kerberos ticket, or a log-on to Windows, ends."""

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
    VerdictKind.EXPIRED: RefusalReason.NOT_ACCEPTED,
    VerdictKind.LOCKED: RefusalReason.NOT_ACCEPTED,
}


def pick(space: SpaceState, offers: tuple[OfferedScheme, ...], now: float) -> OfferedScheme | None:
    """Return the scheme to use, None if none of those on offer can be used now.

    The one that the present login was accepted with is kept to while it is offered: going back to
    a stronger one that could not be used would only find out again that it cannot.
    """
    usable = [offer for offer in offers if not is_backed_off(space, offer.scheme, now)]
    kept = (offer for offer in usable if offer.scheme == space.scheme)
    return next(kept, usable[0] if usable else None)


def is_backed_off(space: SpaceState, scheme: str, now: float) -> bool:
    """Return whether a scheme is left alone."""
    setback = space.backoffs.get(scheme)
    return setback is not None and now < setback.until


def back_off(state: DeskState, space: SpaceState, scheme: str, verdict: Verdict) -> None:
    """Leave a scheme alone for a while: it came to nothing, and the login is not to blame."""
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
    """Return why no scheme can be used: what happened to the strongest that was tried."""
    return next((setback for setback in space.backoffs.values() if now < setback.until), None)


def objection(
    state: DeskState, space: SpaceState, offer: OfferedScheme, offers: tuple[OfferedScheme, ...]
) -> PromptReason | None:
    """Return why a login must not be sent in this way without asking, None if it may be.

    The realm is no matter to one's own sign-in: a ticket is for the host that is configured.

    Args:
        board: What upstreams were before.
        case: Which protection space, with which login.
        offer: How it would be sent.
        offers: All ways on offer.
    """
    fingerprint, consent = state.fingerprints.get(space.key.upstream_id), space.consent
    if any(strength(label) <= offer.strength for label in space.accepted_labels):
        return None  # It was accepted in a way as weak as this one: the upstream knows it already.
    demanded = _required_strength(space, fingerprint.label) if fingerprint else 0
    if demanded > offer.strength:
        # It is not the upstream that has changed if it offers the same and we cannot use it.
        is_there = any(one.strength >= demanded for one in offers)
        return PromptReason.FALLBACK if is_there else PromptReason.DOWNGRADE
    if consent and _PROTECTION[offer.method.transport] < _PROTECTION[consent.method.transport]:
        return PromptReason.FALLBACK
    is_tied = consent is None and space.source is not LoginSource.SSO
    if fingerprint and is_tied and space.key.realm not in fingerprint.realms:
        return PromptReason.REALM_CHANGED
    return None


def _required_strength(space: SpaceState, label: str) -> int:
    """Return how strong a scheme must be at least."""
    if space.profile.method is not Method.AUTOMATIC:
        return 0  # The person has chosen it in the settings of the profile.
    return min(strength(label), space.consent.strength) if space.consent else strength(label)


def previous_name(state: DeskState, space: SpaceState, reason: PromptReason) -> str:
    """Return what the upstream was, in words for a person."""
    fingerprint = state.fingerprints.get(space.key.upstream_id)
    if reason is PromptReason.FALLBACK and space.consent:
        return space.consent.method.title
    if reason is PromptReason.REALM_CHANGED:
        return fingerprint.realms[0] if fingerprint else ""
    return _title(fingerprint.label) if fingerprint else ""


def weaker_text(
    state: DeskState, space: SpaceState, offer: OfferedScheme, reason: PromptReason
) -> str:
    """Return what a weaker offer is about, a sentence of ours for people."""
    was = previous_name(state, space, reason)
    if reason is PromptReason.REALM_CHANGED or not was:
        return ""
    return (
        f"The proxy wants a sign-in by {offer.method.title} for this address and has accepted "
        f"{was} before, which protects your password better."
    )


def _title(label: str) -> str:
    """Return a label as a person reads it, ``Digest (SHA-256)``."""
    if label.startswith("digest-"):
        return f"Digest ({label.removeprefix('digest-').upper()})"
    return _TITLES.get(label, "")
