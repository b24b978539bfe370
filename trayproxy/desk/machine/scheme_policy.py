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
from trayproxy.desk.machine.space_state import LoginSource, SchemeSetback, SpaceState
from trayproxy.desk.machine.state import DeskState
from trayproxy.profiles.profile import Method

NO_TICKETS = frozenset({VerdictKind.NO_TICKET, VerdictKind.TICKET_EXPIRED})
"""The kinds of verdict that a new Kerberos ticket, or a log-on to Windows, ends."""

_TITLES = {"basic": "Basic", "ntlm": "NTLM", "negotiate": "Kerberos"}

_COVER = {Transport.READABLE: 0, Transport.SCRAMBLED: 1, Transport.ENCRYPTED: 2}

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


def pick(case: SpaceState, offers: tuple[OfferedScheme, ...], now: float) -> OfferedScheme | None:
    """Return the scheme to use, None if none of those on offer can be used now.

    The one that the present login was accepted with is kept to while it is offered: going back to
    a stronger one that could not be used would only find out again that it cannot.
    """
    usable = [offer for offer in offers if not is_set_back(case, offer.scheme, now)]
    kept = (offer for offer in usable if offer.scheme == case.scheme)
    return next(kept, usable[0] if usable else None)


def is_set_back(case: SpaceState, scheme: str, now: float) -> bool:
    """Return whether a scheme is left alone."""
    setback = case.setbacks.get(scheme)
    return setback is not None and now < setback.until


def set_back(board: DeskState, case: SpaceState, scheme: str, verdict: Verdict) -> None:
    """Leave a scheme alone for a while: it came to nothing, and the login is not to blame."""
    before = case.setbacks.get(scheme)
    count = before.count + 1 if before else 1
    rules = board.rules
    wait = rules.backoff[min(count, len(rules.backoff)) - 1]
    if verdict.kind in NO_TICKETS:
        wait = rules.ticket
    elif verdict.kind is VerdictKind.SERVER_UNREACHABLE or verdict.is_transient:
        wait = rules.unreachable
    reason = _REASONS[verdict.kind]
    case.setbacks[scheme] = SchemeSetback(board.now + wait, count, reason, verdict.text)


def trouble(case: SpaceState, now: float) -> SchemeSetback | None:
    """Return why no scheme can be used: what happened to the strongest that was tried."""
    return next((setback for setback in case.setbacks.values() if now < setback.until), None)


def objection(
    board: DeskState, case: SpaceState, offer: OfferedScheme, offers: tuple[OfferedScheme, ...]
) -> PromptReason | None:
    """Return why a login must not be sent in this way without asking, None if it may be.

    The realm is no matter to one's own sign-in: a ticket is for the host that is configured.

    Args:
        board: What upstreams were before.
        case: Which protection space, with which login.
        offer: How it would be sent.
        offers: All ways on offer.
    """
    pin, consent = board.pins.get(case.key.upstream_id), case.consent
    if any(strength(label) <= offer.strength for label in case.labels):
        return None  # It was accepted in a way as weak as this one: the upstream knows it already.
    demanded = _demands(case, pin.label) if pin else 0
    if demanded > offer.strength:
        # It is not the upstream that has changed if it offers the same and we cannot use it.
        is_there = any(one.strength >= demanded for one in offers)
        return PromptReason.FALLBACK if is_there else PromptReason.DOWNGRADE
    if consent and _COVER[offer.way.transport] < _COVER[consent.way.transport]:
        return PromptReason.FALLBACK
    is_tied = consent is None and case.source is not LoginSource.OWN
    if pin and is_tied and case.key.realm not in pin.realms:
        return PromptReason.REALM_CHANGED
    return None


def _demands(case: SpaceState, label: str) -> int:
    """Return how strong a scheme must be at least."""
    if case.profile.method is not Method.AUTOMATIC:
        return 0  # The person has chosen it in the settings of the profile.
    return min(strength(label), case.consent.strength) if case.consent else strength(label)


def before(board: DeskState, case: SpaceState, why: PromptReason) -> str:
    """Return what the upstream was, in words for a person."""
    pin = board.pins.get(case.key.upstream_id)
    if why is PromptReason.FALLBACK and case.consent:
        return case.consent.way.title
    if why is PromptReason.REALM_CHANGED:
        return pin.realms[0] if pin else ""
    return _title(pin.label) if pin else ""


def weaker_text(board: DeskState, case: SpaceState, offer: OfferedScheme, why: PromptReason) -> str:
    """Return what a weaker offer is about, a sentence of ours for people."""
    was = before(board, case, why)
    if why is PromptReason.REALM_CHANGED or not was:
        return ""
    return (
        f"The proxy wants a sign-in by {offer.way.title} for this address and has accepted {was} "
        "before, which protects your password better."
    )


def _title(label: str) -> str:
    """Return a label as a person reads it, ``Digest (SHA-256)``."""
    if label.startswith("digest-"):
        return f"Digest ({label.removeprefix('digest-').upper()})"
    return _TITLES.get(label, "")
