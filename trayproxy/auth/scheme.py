"""What an authentication scheme is, and which one to use (RFC 9110, section 11).

A scheme is asked twice. `Scheme.understands` says whether a challenge can be answered at all;
`Scheme.responder` binds a challenge and a login to a function that signs one request after the
other. Basic signs every request alike; a scheme that counts (the ``nc`` of Digest) keeps its count
in the function.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from trayproxy.auth.login import Login
from trayproxy.http.challenges import Challenge

Responder = Callable[[bytes, bytes], bytes]
"""From method and request-target, as sent, to the value of ``Proxy-Authorization``."""


class Scheme(Protocol):
    """An authentication scheme."""

    @property
    def name(self) -> str:
        """Its auth-scheme in lower case, ``basic``: how challenges name it."""

    @property
    def title(self) -> str:
        """Its name as a person reads it, ``Basic``."""

    @property
    def family(self) -> str:
        """What shares a login with it: a login accepted in one family says nothing of another."""

    @property
    def readable(self) -> bool:
        """Whether the password itself travels, for whoever reads the connection."""

    def check(self, login: Login) -> None:
        """Return if the scheme can express the login.

        Raises:
            LoginError: It cannot; the text says why.
        """

    def understands(self, challenge: Challenge) -> bool:
        """Return whether a challenge of this scheme can be answered."""

    def responder(self, challenge: Challenge, login: Login) -> Responder:
        """Return what signs requests with this login.

        Raises:
            LoginError: The scheme cannot express the login.
        """


@dataclass(frozen=True, slots=True)
class Offer:
    """A challenge, and the scheme of ours that answers it."""

    scheme: Scheme
    challenge: Challenge


def choose(challenges: Sequence[Challenge], schemes: Iterable[Scheme]) -> Offer | None:
    """Pick the strongest scheme that this response offered (RFC 9110, section 11.4).

    Args:
        challenges: Of one 407, in the order received. Of several for one scheme the first that is
            understood counts (RFC 7616, section 3.7).
        schemes: Ours, the strongest first. The order of the challenges says nothing about strength.

    Returns:
        None if nothing offered can be answered, a bare or unknown 407 among others: then no
        credentials of any kind are sent.
    """
    for scheme in schemes:
        for challenge in challenges:
            if challenge.scheme == scheme.name and scheme.understands(challenge):
                return Offer(scheme, challenge)
    return None
