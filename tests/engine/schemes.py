"""Schemes that sign in a connection by a script: what the engine makes of them needs no library."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from trayproxy.auth.login import Login
from trayproxy.auth.scheme import Handshake, Leg, RequestToSign, Verdict, VerdictKind
from trayproxy.http.challenges import Challenge
from trayproxy.http.fields import Fields

Step = Leg | Verdict


@dataclass
class ScriptedHandshake:
    """A handshake that takes these steps, whatever it is told.

    Attributes:
        steps: The steps.
        request: What it was to sign.
        challenges: The challenges that it was told, for each step.
        final_responses: Of how many final responses it was told.
        before_step: Called before each step.
    """

    steps: Sequence[Step]
    request: RequestToSign
    challenges: list[tuple[Challenge, ...]] = field(default_factory=list)
    final_responses: int = 0
    before_step: Callable[[], object] = lambda: None

    def step(self, challenges: tuple[Challenge, ...]) -> Step:
        self.before_step()
        self.challenges.append(challenges)
        return self.steps[min(len(self.challenges), len(self.steps)) - 1]

    def finish(self, fields: Fields) -> None:
        self.final_responses += 1


@dataclass
class ScriptedScheme:
    """A scheme whose handshakes take these steps.

    Attributes:
        steps: Of each handshake.
        handshakes: All that were begun.
    """

    steps: Sequence[Step]
    name: str = "ntlm"
    title: str = "Scripted"
    family: str = "ntlm"
    sends_password: bool = False
    binds_connection: bool = True
    blocks: bool = False
    needs_login: bool = True
    is_constant: bool = False
    before_step: Callable[[], object] = lambda: None
    handshakes: list[ScriptedHandshake] = field(default_factory=list)

    def check(self, login: Login) -> None:
        pass

    def understands(self, challenge: Challenge) -> bool:
        return True

    def signer(self, challenge: Challenge, login: Login | None, host: str) -> "ScriptedScheme":
        return self

    def begin(self, request: RequestToSign) -> Handshake:
        self.handshakes.append(ScriptedHandshake(self.steps, request, before_step=self.before_step))
        return self.handshakes[-1]


TYPE_1 = Leg(b"NTLM b25l", with_content=False)
TYPE_3 = Leg(b"NTLM dGhyZWU=", same_connection=True)
REJECTED = Verdict(VerdictKind.REJECTED)
UNUSABLE = Verdict(VerdictKind.UNUSABLE, "It cannot be used here.")
NO_TICKET = Verdict(VerdictKind.NO_TICKET)


def ntlm_like_scheme() -> ScriptedScheme:
    """Return a scheme that signs in a connection with a type 1 and a type 3, like NTLM."""
    return ScriptedScheme((TYPE_1, TYPE_3, REJECTED))


class TicketScheme:
    """Negotiate with a ticket: a token, and as many more as the upstream asks for."""

    name = "negotiate"
    title = "Kerberos"
    family = "negotiate"
    sends_password = False
    binds_connection = True
    blocks = True
    needs_login = False
    is_constant = False

    def check(self, login: Login) -> None:
        pass

    def understands(self, challenge: Challenge) -> bool:
        return not challenge.token68

    def signer(self, challenge: Challenge, login: Login | None, host: str) -> "TicketScheme":
        return self

    def begin(self, request: RequestToSign) -> Handshake:
        return _Tokens()


class _Tokens:
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
