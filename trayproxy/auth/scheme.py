"""What an authentication scheme is, and which one to use (RFC 9110, section 11).

Signing in takes three steps, each with a value of its own:

- a `Scheme` says whether a challenge can be answered at all, and with which logins;
- its `Signer` is one login at work at one protection space. All requests that carry that login
  share it, so that it keeps what they share: the ``nc`` of Digest, the ticket of Kerberos;
- a `Handshake` is one request on its way to be signed, on one connection. It is asked for a `Leg`,
  told the challenges of the 407 that this leg came back with, and asked again, until the request
  goes through or there is a `Verdict`.

Basic has one leg that is the same for all requests (`ConstantSigner`). Digest has one or, when its
nonce is stale, some more. NTLM has two, and Negotiate one or two, on one connection.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from typing import Protocol

from trayproxy.auth.login import Login
from trayproxy.http.challenges import Challenge
from trayproxy.http.fields import Fields


@dataclass(frozen=True, slots=True)
class RequestToSign:
    """What a scheme may sign of a request.

    Attributes:
        method: As sent.
        target: The request-target as sent: the authority for CONNECT, an absolute URI otherwise.
        body: The whole content, empty if there is none; None if it is not at hand.
        end_point: What stands for the upstream's end of the TLS connection to it, the hash of its
            certificate (RFC 5929, section 4.1); empty without TLS.
    """

    method: bytes
    target: bytes
    body: bytes | None = field(default=None, repr=False)
    end_point: bytes = b""


@dataclass(frozen=True, slots=True)
class Leg:
    """What goes out next.

    Attributes:
        credentials: The value of ``Proxy-Authorization``; for SOCKS, the message. Empty: the
            request goes without any, to learn from its 407 what is needed for them.
        with_content: True to send the request as it is. If False, it is sent with
            ``Content-Length: 0`` and is certainly answered with a 407; that costs no log-on.
        same_connection: Whether it must go on the connection that the last 407 came on.
    """

    credentials: bytes = field(repr=False)
    with_content: bool = True
    same_connection: bool = False


class VerdictKind(Enum):
    """Why a handshake has come to nothing."""

    REJECTED = auto()
    """The upstream, or the company's sign-in server, does not accept this login."""

    UNCLEAR = auto()
    """The upstream refused the credentials, perhaps not for the login."""

    EXPIRED = auto()
    """The password has expired or must be changed."""

    LOCKED = auto()
    """The account is locked or disabled."""

    NO_TICKET = auto()
    """The user has no Kerberos ticket, or is not logged on to Windows."""

    TICKET_EXPIRED = auto()
    """The user's Kerberos ticket has expired."""

    SERVER_UNREACHABLE = auto()
    """The Kerberos sign-in server (KDC) cannot be reached; the login was not tried."""

    UNKNOWN_PROXY = auto()
    """The KDC has no service principal for the host name of the upstream proxy."""

    UNKNOWN_USER = auto()
    """The KDC has no principal for this user name."""

    UNUSABLE = auto()
    """The scheme cannot be used here or now; the login was not tried and may be right."""


PASSWORD_NOT_CHECKED = frozenset(
    {
        VerdictKind.NO_TICKET,
        VerdictKind.TICKET_EXPIRED,
        VerdictKind.SERVER_UNREACHABLE,
        VerdictKind.UNKNOWN_PROXY,
        VerdictKind.UNKNOWN_USER,
        VerdictKind.UNUSABLE,
    }
)
"""The kinds of verdict after which no password was checked: none of them is a failed log-on."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The end of a handshake that has come to nothing.

    Attributes:
        kind: Why. Only `VerdictKind.REJECTED` and the three behind it may have cost a log-on.
        text: What to tell the person besides, one or two sentences of ours, without secrets and
            without text of the upstream; empty if the kind says it all.
        lacks_content: Only the content of the request was missing, and no login was sent: with it,
            a new handshake may come to something.
        is_transient: The reason may be gone in a moment, so it is worth trying again soon.
        other_nonce: The refusal brought another nonce and did not say whether the signed nonce was
            stale. An upstream that has given out the signed nonce has refused the login; another
            one behind the same name may only not know the nonce.
    """

    kind: VerdictKind
    text: str = ""
    lacks_content: bool = False
    is_transient: bool = False
    other_nonce: bool = False

    def on_other_connection(self) -> "Verdict":
        """Return the verdict for credentials that left on another connection than their challenge.

        Behind a balancer that connection may lead to another upstream. Whether the login was
        refused cannot be told then, if the upstream does not say which nonces it knows.
        """
        return replace(self, kind=VerdictKind.UNCLEAR) if self.other_nonce else self


class Handshake(Protocol):
    """One request on its way to be signed, on one connection."""

    def step(self, challenges: tuple[Challenge, ...]) -> Leg | Verdict:
        """Return what goes out next, or why nothing will.

        Never raises: what goes wrong is a verdict. After a verdict there is no further step.

        Args:
            challenges: Of the 407 that answered the last leg, which may have none. For the first
                leg, those of the 407 that this very request came back with before it had an answer
                to carry, if any.
        """

    def finish(self, fields: Fields) -> None:
        """Read what the upstream says with a final response that is no 407 (RFC 7615).

        To be called as soon as the head of that response is there: other requests may wait for
        what this one holds.

        Args:
            fields: Of that response; ``Proxy-Authentication-Info`` is in them, if anything.
        """


class Signer(Protocol):
    """One login at work at one protection space; all requests that carry it share it.

    Those of a scheme that `Scheme.blocks`, and their handshakes, may be used by several threads at
    a time; those of others belong to one thread.
    """

    @property
    def is_constant(self) -> bool:
        """Whether a request that is sent again carries the same credentials again.

        If so, they may be kept together with its head.
        """

    @property
    def blocks(self) -> bool:
        """Whether a step may wait at present, of a scheme that `Scheme.blocks` in general."""

    def begin(self, request: RequestToSign) -> Handshake:
        """Return the handshake for a request; a request that is sent again needs a new one."""


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
    def sends_password(self) -> bool:
        """Whether the password itself travels, for whoever reads the connection."""

    @property
    def binds_connection(self) -> bool:
        """Whether it signs in the connection, and with it all further requests on it."""

    @property
    def blocks(self) -> bool:
        """Whether a step may wait for the network or the disk, and belongs in a thread."""

    @property
    def needs_login(self) -> bool:
        """Whether there is no signing in without a login: no ticket, no log-on to Windows."""

    def check(self, login: Login) -> None:
        """Return if the scheme can express the login.

        Raises:
            LoginError: It cannot; the text says why.
        """

    def understands(self, challenge: Challenge) -> bool:
        """Return whether a challenge of this scheme can be answered."""

    def signer(self, challenge: Challenge, login: Login | None, host: str) -> Signer:
        """Return what signs requests with this login.

        Args:
            challenge: What is answered.
            login: None for one's own sign-in: a ticket, or the log-on to Windows. Only for schemes
                that have such a thing.
            host: The name of the upstream as configured, without brackets.

        Raises:
            LoginError: The scheme cannot express the login, or needs one.
        """


@dataclass(frozen=True, slots=True)
class ConstantSigner:
    """A signer whose credentials are the same for every request, and computed once.

    Attributes:
        credentials: Of every request.
    """

    credentials: bytes = field(repr=False)

    @property
    def is_constant(self) -> bool:
        """True."""
        return True

    @property
    def blocks(self) -> bool:
        """False."""
        return False

    def begin(self, request: RequestToSign) -> Handshake:
        """Return a handshake of one leg; it is rejected if that comes back."""
        return _OneLeg(self.credentials)


@dataclass(slots=True)
class _OneLeg:
    credentials: bytes = field(repr=False)
    is_sent: bool = False

    def step(self, challenges: tuple[Challenge, ...]) -> Leg | Verdict:
        if self.is_sent:
            return Verdict(VerdictKind.REJECTED)
        self.is_sent = True
        return Leg(self.credentials)

    def finish(self, fields: Fields) -> None:
        """Learn nothing: there is nothing to be said."""


@dataclass(frozen=True, slots=True)
class Offer:
    """A challenge, and the scheme of ours that answers it."""

    scheme: Scheme
    challenge: Challenge

    @property
    def label(self) -> str:
        """What to remember of how strong it is, see `strength`: ``ntlm``, ``digest-sha-256``."""
        if self.scheme.name != "digest":
            return self.scheme.family
        algorithm = (self.challenge.param("algorithm") or "md5").lower()
        return f"digest-{algorithm.removesuffix('-sess')}"


_WEAKEST_FIRST = (
    "basic",
    "digest-md5",
    "digest-sha-256",
    "digest-sha-512-256",
    "ntlm",
    "negotiate",
)


def strength(label: str) -> int:
    """Return how strong a way of signing in is: the more, the stronger; 0 if it is not known.

    Basic gives the password to whoever reads along, Digest something to guess it with, NTLM the
    same but slower, and Kerberos nothing that has to do with it. An upstream that takes less than
    it took before may not be the one that it was (RFC 7616, section 5.8).

    Args:
        label: Of an `Offer`.
    """
    return _WEAKEST_FIRST.index(label) + 1 if label in _WEAKEST_FIRST else 0


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
