"""Scripted authentication schemes, for tests of the engine without an NTLM or Kerberos library."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tests.support.stub_scheme import StubScheme
from trayproxy.auth.login import Login
from trayproxy.auth.scheme import Handshake, Leg, RequestToAuthenticate, Verdict, VerdictKind
from trayproxy.http.challenges import Challenge
from trayproxy.http.fields import Fields

Step = Leg | Verdict


@dataclass
class ScriptedHandshake:
    """A handshake that returns the given steps in order.

    Attributes:
        steps: The steps; the last step is repeated.
        request: The request to authenticate.
        challenges: The challenges received with each step.
        final_responses: The number of final responses received.
        before_step: Called before each step.
    """

    steps: Sequence[Step]
    request: RequestToAuthenticate
    challenges: list[tuple[Challenge, ...]] = field(default_factory=list)
    final_responses: int = 0
    before_step: Callable[[], object] = lambda: None

    def step(self, challenges: tuple[Challenge, ...]) -> Step:
        self.before_step()
        self.challenges.append(challenges)
        return self.steps[min(len(self.challenges), len(self.steps)) - 1]

    def finish(self, fields: Fields) -> None:
        self.final_responses += 1


@dataclass(kw_only=True)
class ScriptedScheme(StubScheme):
    """A scheme whose handshakes return the given steps.

    Attributes:
        steps: The steps of each handshake.
        handshakes: All handshakes that were begun.
    """

    steps: Sequence[Step] = field(kw_only=False)
    title: str = "Scripted"
    needs_login: bool = True
    is_constant: bool = False
    before_step: Callable[[], object] = lambda: None
    handshakes: list[ScriptedHandshake] = field(default_factory=list)

    def authenticator(
        self, challenge: Challenge, login: Login | None, host: str
    ) -> "ScriptedScheme":
        return self

    def begin(self, request: RequestToAuthenticate) -> Handshake:
        self.handshakes.append(ScriptedHandshake(self.steps, request, before_step=self.before_step))
        return self.handshakes[-1]


TYPE_1 = Leg(b"NTLM b25l", with_content=False)
TYPE_3 = Leg(b"NTLM dGhyZWU=", same_connection=True)
REJECTED = Verdict(VerdictKind.REJECTED)
UNUSABLE = Verdict(VerdictKind.UNUSABLE, "It cannot be used here.")
NO_TICKET = Verdict(VerdictKind.NO_TICKET)


def ntlm_like_scheme() -> ScriptedScheme:
    """Return a scheme that authenticates a connection with a type 1 and a type 3 message, like
    NTLM."""
    return ScriptedScheme((TYPE_1, TYPE_3, REJECTED))


@dataclass
class TicketScheme(StubScheme):
    """Negotiate with a ticket: one token, and further tokens as required by the upstream."""

    name: str = "negotiate"
    title: str = "Kerberos"
    family: str = "negotiate"
    blocks: bool = True
    is_constant: bool = False

    def understands(self, challenge: Challenge) -> bool:
        return not challenge.token68

    def authenticator(self, challenge: Challenge, login: Login | None, host: str) -> "TicketScheme":
        return self

    def begin(self, request: RequestToAuthenticate) -> Handshake:
        return _Tokens()


class _Tokens:
    """A handshake of `TicketScheme`."""

    def __init__(self) -> None:
        self._is_begun = False

    def step(self, challenges: tuple[Challenge, ...]) -> Step:
        if not self._is_begun:
            self._is_begun = True
            return Leg(b"Negotiate dGlja2V0")
        token = next((one.token68 for one in challenges if one.scheme == "negotiate"), "")
        if not token:
            return REJECTED
        return Leg(b"Negotiate bW9yZQ==", same_connection=True) if token.isalnum() else UNUSABLE

    def finish(self, fields: Fields) -> None:
        pass
