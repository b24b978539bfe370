"""One request's way through the challenges of a proxy (RFC 9110, section 11.7).

A conversation is a generator: it yields what it wants done and is sent what came of it. It does no
I/O, so tests play the proxy and the person as data, and the engine may drive it from any loop::

    conversation = converse(b"GET", target, desk.known(space), schemes)
    step = next(conversation)
    while True:
        match step:
            case Send(credentials): reply = Response(status, challenges)     # of that request
            case Ask(challenges, tried): reply = <an answer, or None>        # of the desk
        step = conversation.send(reply)       # StopIteration.value is the Outcome
"""

from collections.abc import Generator, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Generic, Protocol, TypeVar

from trayproxy.auth.scheme import Scheme, choose
from trayproxy.http.challenges import Challenge


class Answering(Protocol):
    """A login bound to a challenge: what can sign requests."""

    def credentials(self, method: bytes, target: bytes) -> bytes:
        """Return the value of ``Proxy-Authorization`` for this request."""


A = TypeVar("A", bound=Answering)


@dataclass(frozen=True, slots=True)
class Send:
    """Send the request with these credentials, or with none. Reply: its `Response`."""

    credentials: bytes | None


@dataclass(frozen=True, slots=True)
class Ask(Generic[A]):
    """Get an answer to these challenges. Reply: the answer, or None if there will be none.

    Attributes:
        challenges: All that the 407 offered; at least one of them can be answered.
        tried: The answer that the refused request carried, None if it carried none.
    """

    challenges: tuple[Challenge, ...]
    tried: A | None


@dataclass(frozen=True, slots=True)
class Response:
    """What came back for a request: its status, and its challenges if that is 407."""

    status: int
    challenges: tuple[Challenge, ...] = ()


class Verdict(Enum):
    """How a conversation ended."""

    FINAL = "final"
    """A response other than 407: it is for the client."""
    UNANSWERABLE = "unanswerable"
    """A 407 that offers nothing of ours; no credentials were sent for it."""
    DECLINED = "declined"
    """There was no answer to send."""


@dataclass(frozen=True, slots=True)
class Outcome(Generic[A]):
    """What a conversation came to.

    Attributes:
        verdict: How it ended.
        response: The last response; a 407 unless the verdict is `Verdict.FINAL`.
        answer: What the request carried that brought this response, None if it carried nothing.
    """

    verdict: Verdict
    response: Response
    answer: A | None


def converse(
    method: bytes, target: bytes, known: A | None, schemes: Iterable[Scheme]
) -> Generator[Send | Ask[A], Response | A | None, Outcome[A]]:
    """Converse until the proxy lets the request through, or nobody has an answer.

    Args:
        method: Of the request.
        target: Its request-target as sent.
        known: An answer accepted before, to send before being asked (RFC 7617, section 2.2).
        schemes: Ours, the strongest first.

    Returns:
        The outcome. An answer is never sent twice in a conversation: whoever answers with the one
        that was just refused ends it.
    """
    schemes = tuple(schemes)
    answer = known
    while True:
        response = yield Send(answer.credentials(method, target) if answer else None)
        assert isinstance(response, Response)
        if response.status != 407:
            return Outcome(Verdict.FINAL, response, answer)
        if choose(response.challenges, schemes) is None:
            return Outcome(Verdict.UNANSWERABLE, response, answer)
        reply = yield Ask(response.challenges, answer)
        assert not isinstance(reply, Response)
        if reply is None or reply is answer:
            return Outcome(Verdict.DECLINED, response, answer)
        answer = reply
