"""The Negotiate authentication scheme (RFC 4559) with Kerberos.

With a Kerberos ticket of the user (*my sign-in*), no password is needed and none is stored. With a
login, a ticket is requested from the company's sign-in server (the KDC). The KDC checks the
password before the proxy receives anything, and a wrong password costs a single failed log-on.

Each connection gets a new token, because proxies remember received tokens. The first request of the
connection carries the token and its own content; the handshake is then complete. Mutual
authentication is not requested: a 200 would be relayed before its proof could be checked. The token
is wrapped as SPNEGO (RFC 4178, section 4.2.1) with Kerberos as the only offered mechanism, which
excludes a silent fallback to another mechanism. NTLM inside Negotiate is
`trayproxy.auth.ntlm.ntlm_in_negotiate`.

The principal of the proxy is ``HTTP/`` and the host as configured, unless the profile names another
principal, or the canonical name of the host. By default libkrb5 would look up a canonical name in
the DNS; the service disables the lookup (`trayproxy.desktop`), unless ``dns_canonicalize_hostname``
is set in the computer's configuration.
"""

import re
from base64 import b64decode, b64encode
from collections.abc import Callable

from trayproxy.auth.login import Login
from trayproxy.auth.scheme import (
    Authenticator,
    Handshake,
    Leg,
    RequestToAuthenticate,
    Verdict,
    VerdictKind,
)
from trayproxy.auth.windows import Tickets, TokenError, WindowsScheme
from trayproxy.http.challenges import Challenge
from trayproxy.http.fields import Fields

_SPNEGO = bytes.fromhex("06062b0601050502")
"""The object identifier of SPNEGO in DER: 1.3.6.1.5.5.2 (RFC 4178, section 3)."""

_KERBEROS = bytes.fromhex("06092a864886f712010202")
"""The object identifier of Kerberos in DER: 1.2.840.113554.1.2.2 (RFC 4121)."""

_LENGTH = rb"(?:[\x00-\x7f]|\x81.|\x82..)"
_COMPLETED = re.compile(rb"\xa1%b\x30%b" % (_LENGTH, _LENGTH), re.DOTALL)
"""The beginning of a NegTokenResp (RFC 4178, section 4.2.2); its first element may be the state."""

_ACCEPTED = bytes.fromhex("a0030a0100")
"""The state ``accept-completed`` as the first element of a NegTokenResp, in DER."""

_TICKET_REFUSED = (
    "This proxy did not accept the Kerberos ticket, although the company's sign-in server "
    "has issued the ticket for it."
)
_REQUEST_REFUSED = "This proxy has accepted the Kerberos ticket, but refuses this request."
_OTHER_MECHANISM = "This proxy wants to continue with another method than Kerberos."

TicketSource = Callable[[Login | None, str], Tickets]
"""Returns the tickets for a login and a host; a login of None means the user's own tickets."""


def ticket_source(
    spn: str = "", *, is_canonical: bool = False, renews: bool = False
) -> TicketSource:
    """Return a source of tickets with the options of `trayproxy.auth.spnego.KerberosTickets`."""

    def tickets(login: Login | None, host: str) -> Tickets:
        # Here, because most upstreams never need it.
        from trayproxy.auth.spnego import KerberosTickets

        return KerberosTickets(login, host, spn, is_canonical=is_canonical, renews=renews).token

    return tickets


def kerberos_scheme(tickets: TicketSource | None = None) -> WindowsScheme:
    """Return the Negotiate scheme with Kerberos; by default for ``HTTP/`` and the host."""
    tickets = tickets or ticket_source()

    def make_authenticator(login: Login | None, host: str) -> Authenticator:
        return NegotiateAuthenticator(tickets(login, host), has_password=login is not None)

    return WindowsScheme(make_authenticator, name="negotiate", title="Kerberos", family="negotiate")


class NegotiateAuthenticator:
    """The Kerberos tickets in use for an upstream."""

    is_constant = False
    blocks = True

    def __init__(self, tickets: Tickets, *, has_password: bool) -> None:
        """Create the authenticator without requesting a ticket.

        `has_password` is True if tickets are requested with a password, which the KDC checks.
        """
        self._tickets = tickets
        self._has_password = has_password
        self._was_accepted = False

    def begin(self, request: RequestToAuthenticate) -> Handshake:
        """Return the handshake for a connection; the request is not part of it."""
        return _NegotiateHandshake(self, request.end_point)

    def credentials(self, end_point: bytes) -> bytes:
        """Return the credentials for a connection, or raise the `TokenError` of `Tickets`."""
        return b"Negotiate " + b64encode(spnego_init(self._tickets(end_point)))

    def mark_accepted(self) -> None:
        """Record that the proxy has accepted a ticket."""
        self._was_accepted = True

    def rejection_verdict(self, challenges: tuple[Challenge, ...]) -> Verdict:
        """Return the verdict for a 407 to a token.

        A password accepted by the KDC is correct. If the proxy refuses each ticket, for example
        because its own key is out of date, Kerberos cannot be used with this proxy. If the proxy
        has accepted a ticket before, it refuses only this request; the desk explains the refusal to
        the person. To such a 407 squid adds a token that states a completed handshake; the token
        does not continue the handshake.
        """
        tokens = [each.token68 for each in challenges if each.scheme == "negotiate"]
        completed = [is_completed(token) for token in filter(None, tokens)]
        if not all(completed):
            return Verdict(VerdictKind.UNUSABLE, _OTHER_MECHANISM)
        if self._has_password and not self._was_accepted:
            return Verdict(VerdictKind.UNUSABLE, _REQUEST_REFUSED if completed else _TICKET_REFUSED)
        return Verdict(VerdictKind.REJECTED)


class _NegotiateHandshake:
    def __init__(self, authenticator: NegotiateAuthenticator, end_point: bytes) -> None:
        self._authenticator = authenticator
        self._end_point = end_point
        self._is_sent = False

    def step(self, challenges: tuple[Challenge, ...]) -> Leg | Verdict:
        """Return the only leg, and on the second call the verdict."""
        if self._is_sent:
            return self._authenticator.rejection_verdict(challenges)
        self._is_sent = True
        try:
            return Leg(self._authenticator.credentials(self._end_point))
        except TokenError as error:
            return error.verdict

    def finish(self, fields: Fields) -> None:
        """Record that the ticket was accepted. A mutual authentication token is ignored."""
        self._authenticator.mark_accepted()


def is_completed(token: str) -> bool:
    """Return whether a token68 of a proxy states that the handshake is completed and accepted."""
    try:
        octets = b64decode(token, validate=True)
    except ValueError:  # Base64Error is a ValueError.
        return False
    begins = _COMPLETED.match(octets)
    return begins is not None and octets.startswith(_ACCEPTED, begins.end())


def spnego_init(token: bytes) -> bytes:
    """Return a Kerberos token (RFC 4121, section 4.1) as the initial SPNEGO token (RFC 4178,
    section 4.2.1)."""
    mechanisms = _der(0xA0, _der(0x30, _KERBEROS))
    optimistic = _der(0xA2, _der(0x04, token))
    return _der(0x60, _SPNEGO + _der(0xA0, _der(0x30, mechanisms + optimistic)))


def _der(tag: int, content: bytes) -> bytes:
    """Return an element in DER (X.690): tag, definite length, content."""
    size = len(content)
    if size < 0x80:
        return bytes([tag, size]) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + content
