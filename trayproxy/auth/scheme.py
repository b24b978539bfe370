"""The protocols of authentication schemes, and the choice among them (RFC 9110, section 11).

Authentication uses three kinds of objects:

- A `Scheme` decides whether it can answer a challenge, and which logins it can carry.
- An `Authenticator` holds a login for a protection space. All requests with this login share the
  authenticator, and with it their common state: the ``nc`` of Digest, the ticket of Kerberos.
- A `Handshake` authenticates a single request on a connection. Its `step` method returns the next
  `Leg`. After each 407, `step` is called again with the challenges of the 407, until the request
  succeeds or `step` returns a `Verdict`.

A Basic handshake has a single leg, which is the same for all requests (`ConstantAuthenticator`). A
Digest handshake has a second leg if its nonce is stale. An NTLM handshake has two legs on the same
connection, and a Negotiate handshake a single leg.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from typing import ClassVar, Protocol

from trayproxy.auth.login import Login
from trayproxy.http.challenges import Challenge
from trayproxy.http.fields import Fields


@dataclass(frozen=True, slots=True)
class RequestToAuthenticate:
    """The parts of a request from which a scheme computes credentials.

    Attributes:
        method: The method as sent.
        target: The request-target as sent: the authority for CONNECT, an absolute URI otherwise.
        body: The whole content, empty if there is no content; None if it has not been read.
        end_point: The channel binding ``tls-server-end-point``: the hash of the certificate of the
            upstream (RFC 5929, section 4.1); empty without TLS.
    """

    method: bytes
    target: bytes
    body: bytes | None = field(default=None, repr=False)
    end_point: bytes = b""


@dataclass(frozen=True, slots=True)
class Leg:
    """The next message of a handshake.

    Attributes:
        credentials: The value of ``Proxy-Authorization``; for SOCKS, the message. If empty, the
            request is sent without credentials, because its 407 has to bring the data for computing
            them.
        with_content: True to send the request as it is. If False, the request is sent with
            ``Content-Length: 0`` and is certainly answered with a 407, which costs no log-on.
        same_connection: True if the leg must be sent on the connection of the last 407.
    """

    credentials: bytes = field(repr=False)
    with_content: bool = True
    same_connection: bool = False


class VerdictKind(Enum):
    """The reason for which a handshake failed."""

    REJECTED = auto()
    """The upstream, or the company's sign-in server, does not accept this login."""

    UNCLEAR = auto()
    """The upstream refused the credentials, but possibly not because of the login (see
    `Verdict.on_other_connection`)."""

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
    """The scheme cannot be used here or now; the login was not tried and may be correct."""


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
"""The kinds of verdict without a password check: none of them is a failed log-on."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of a failed handshake.

    Attributes:
        kind: The reason. Only `VerdictKind.REJECTED` and the next three kinds may have cost a
            log-on.
        text: An explanation for the person in addition to the kind: a sentence or two of TrayProxy
            without secrets and without text of the upstream; empty if the kind is explanation
            enough.
        lacks_content: True if only the content of the request was missing, and no login was sent. A
            new handshake with the content may succeed.
        is_transient: True if the reason may disappear within moments, and an early retry makes
            sense.
        other_nonce: True if the refusal contained another nonce and did not state whether the
            sent nonce was stale. If the upstream issued the sent nonce, it has refused the
            login. Another upstream behind the same name may merely not know the nonce.
    """

    kind: VerdictKind
    text: str = ""
    lacks_content: bool = False
    is_transient: bool = False
    other_nonce: bool = False

    def on_other_connection(self) -> "Verdict":
        """Return the verdict for credentials sent on another connection than their challenge.

        Behind a load balancer the two connections may lead to different upstreams. If the refusal
        does not state which nonces are valid, it is then unknown whether the login was refused.
        """
        return replace(self, kind=VerdictKind.UNCLEAR) if self.other_nonce else self


def is_password_unchecked(verdict: Verdict | None) -> bool:
    """Return whether a handshake ended before the login was checked."""
    return verdict is not None and verdict.kind in PASSWORD_NOT_CHECKED


class Handshake(Protocol):
    """The authentication of a request on a connection."""

    def step(self, challenges: tuple[Challenge, ...]) -> Leg | Verdict:
        """Return the next leg, or the verdict if the handshake has failed.

        This method never raises: every failure is a verdict. It must not be called again after a
        verdict.

        Args:
            challenges: The challenges of the 407 to the last leg, possibly none. For the first leg,
                the challenges of a 407 to this same request before it carried credentials, if any.
        """

    def finish(self, fields: Fields) -> None:
        """Read the authentication fields of a final response other than a 407 (RFC 7615).

        Must be called as soon as the head of the response has been received: other requests may
        wait for a resource held by this handshake.

        Args:
            fields: The fields of the response, possibly including ``Proxy-Authentication-Info``.
        """


class Authenticator(Protocol):
    """A login in use for a protection space, shared by all requests with this login.

    If `Scheme.blocks` is true, several threads may use the authenticator and its handshakes at a
    time. Otherwise all of them belong to a single thread.
    """

    @property
    def is_constant(self) -> bool:
        """True if a repeated request carries the same credentials again.

        Such credentials may be cached together with the head of the request.
        """

    @property
    def blocks(self) -> bool:
        """True if a step may block now, for schemes with `Scheme.blocks`."""

    def begin(self, request: RequestToAuthenticate) -> Handshake:
        """Return the handshake for a request; a repeated request needs a new handshake."""


class Scheme(Protocol):
    """An authentication scheme."""

    @property
    def name(self) -> str:
        """The auth-scheme in lower case, as challenges name it: ``basic``."""

    @property
    def title(self) -> str:
        """The name of the scheme for a person: ``Basic``."""

    @property
    def family(self) -> str:
        """The family of the scheme: an accepted login is valid within its family only."""

    @property
    def sends_password(self) -> bool:
        """True if the password itself is sent, readable for an eavesdropper on the connection."""

    @property
    def binds_connection(self) -> bool:
        """True if the scheme authenticates the connection, including all later requests on it."""

    @property
    def blocks(self) -> bool:
        """True if a step may wait for the network or the disk, and must run in a thread."""

    @property
    def needs_login(self) -> bool:
        """True if the scheme needs a login and cannot use a ticket or the log-on to Windows."""

    def check(self, login: Login) -> None:
        """Check that the scheme can carry the login.

        Raises:
            LoginError: The scheme cannot carry the login; the text gives the reason.
        """

    def understands(self, challenge: Challenge) -> bool:
        """Return whether the scheme can answer this challenge, which names the scheme."""

    def authenticator(self, challenge: Challenge, login: Login | None, host: str) -> Authenticator:
        """Return the authenticator for requests with this login.

        Args:
            challenge: The challenge to answer.
            login: The login, or None for the user's own sign-in: a ticket, or the log-on to
                Windows. None requires a scheme without `needs_login`.
            host: The host name of the upstream as configured, without brackets.

        Raises:
            LoginError: The scheme cannot carry the login, or needs a login.
        """


@dataclass(frozen=True, slots=True)
class ConstantAuthenticator:
    """An authenticator with the same credentials for every request."""

    credentials: bytes = field(repr=False)
    is_constant: ClassVar[bool] = True
    blocks: ClassVar[bool] = False

    def begin(self, request: RequestToAuthenticate) -> Handshake:
        """Return a handshake of a single leg. A 407 to this leg is a rejection."""
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
        pass


@dataclass(frozen=True, slots=True)
class Offer:
    """A challenge and the scheme that can answer it."""

    scheme: Scheme
    challenge: Challenge

    @property
    def label(self) -> str:
        """The name of the scheme's strength, see `strength`: ``ntlm``, ``digest-sha-256``."""
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
    """Return the strength of the scheme with a label of an `Offer`; 0 if the label is unknown.

    Basic reveals the password to an eavesdropper. Digest reveals a hash for guessing the password,
    NTLM a hash that is slower to attack, and Kerberos nothing derived from the password. An
    upstream that now offers only weaker schemes may be a different server (RFC 7616, section 5.8).
    """
    return _WEAKEST_FIRST.index(label) + 1 if label in _WEAKEST_FIRST else 0


def choose(challenges: Sequence[Challenge], schemes: Iterable[Scheme]) -> Offer | None:
    """Return the strongest scheme offered by a response (RFC 9110, section 11.4).

    Args:
        challenges: The challenges of a 407, in the order received, which says nothing about
            strength. If several challenges name the same scheme, the first understood challenge is
            used (RFC 7616, section 3.7).
        schemes: The schemes to choose from, the strongest first.

    Returns:
        None if no challenge can be answered; the request is then sent without credentials.
    """
    for scheme in schemes:
        for challenge in challenges:
            if challenge.scheme == scheme.name and scheme.understands(challenge):
                return Offer(scheme, challenge)
    return None
