"""The password of the tests, and checks of the steps of handshakes."""

from trayproxy.auth.scheme import Handshake, Leg, Verdict, VerdictKind
from trayproxy.http.challenges import Challenge

SECRET = "Zx9-canary-secret"


def verdict_kind(step: Leg | Verdict) -> VerdictKind:
    assert isinstance(step, Verdict)
    return step.kind


def second_step(handshake: Handshake, *challenges: Challenge) -> Leg | Verdict:
    """Return the second step of a handshake, after a 407 with these challenges."""
    assert isinstance(handshake.step(()), Leg)
    return handshake.step(challenges)
