"""The Negotiate authentication scheme (RFC 4559) with Kerberos.

With a ticket the person has already (*my sign-in*) no password is needed and none is stored. With a
login the company's sign-in server (the KDC) is asked for a ticket: what it says about the password
is known before the proxy sees anything, and a wrong one costs one failed log-on.

The token is a fresh one for each connection: proxies remember those that they have seen. It is sent
with the first request of the connection, whole, and that is all: we ask for no proof that the proxy
is who it says, which a 200 would not wait for anyway. It is wrapped as SPNEGO (RFC 4178, section
4.2.1) with Kerberos as the only mechanism offered, so that nothing falls back to another in
silence. NTLM inside Negotiate is `trayproxy.auth.ntlm.ntlm_in_negotiate`.

The proxy's principal is ``HTTP/`` and the host as configured. libkrb5 would look for another name
of it in the DNS; the service has told it not to (`trayproxy.desktop`), unless the settings of the
computer want that (``dns_canonicalize_hostname``).
"""

import re
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Callable

from trayproxy.auth.login import Login
from trayproxy.auth.scheme import Handshake, Leg, RequestToSign, Signer, Verdict, VerdictKind
from trayproxy.auth.spnego import KerberosTickets, Tickets, TokenError
from trayproxy.auth.windows import WindowsScheme
from trayproxy.http.challenges import Challenge
from trayproxy.http.fields import Fields

_SPNEGO = bytes.fromhex("06062b0601050502")
"""1.3.6.1.5.5.2"""

_KERBEROS = bytes.fromhex("06092a864886f712010202")
"""1.2.840.113554.1.2.2 (RFC 4121)"""

_LENGTH = rb"(?:[\x00-\x7f]|\x81.|\x82..)"
_COMPLETED = re.compile(rb"\xa1%b\x30%b" % (_LENGTH, _LENGTH), re.DOTALL)
"""How a NegTokenResp begins (RFC 4178, section 4.2.2); its first element may be the state."""

_ACCEPTED = bytes.fromhex("a0030a0100")
"""The state accept-completed."""

_TICKET_REFUSED = (
    "This proxy did not take the Kerberos ticket, although the company's sign-in server "
    "gave one out for it."
)
_REQUEST_REFUSED = (
    "This proxy has taken the Kerberos ticket, and refuses this request all the same."
)
_OTHER_MECHANISM = "This proxy wants to go on in another way than by Kerberos."

TicketSource = Callable[[Login | None, str], Tickets]
"""From a login, or None for one's own tickets, and a host to tickets for it."""


def kerberos_scheme(tickets: TicketSource = KerberosTickets) -> WindowsScheme:
    """Return what answers Negotiate challenges by Kerberos.

    Args:
        tickets: Where they come from.
    """

    def make_signer(login: Login | None, host: str) -> Signer:
        return NegotiateSigner(tickets(login, host), has_password=login is not None)

    return WindowsScheme(make_signer, name="negotiate", title="Kerberos", family="negotiate")


class NegotiateSigner:
    """One's tickets at work."""

    is_constant = False
    blocks = True

    def __init__(self, tickets: Tickets, *, has_password: bool) -> None:
        """Ask for nothing yet.

        Args:
            tickets: Where they come from.
            has_password: Whether the sign-in server has seen and accepted a password for them.
        """
        self._tickets = tickets
        self._has_password = has_password
        self._was_accepted = False

    def begin(self, request: RequestToSign) -> Handshake:
        """Return the handshake for a connection; the request is not part of it."""
        return _NegotiateHandshake(self, request.end_point)

    def credentials(self, end_point: bytes) -> bytes:
        """Return the credentials for one connection.

        Raises:
            TokenError: There is no ticket.
        """
        return b"Negotiate " + b64encode(spnego_init(self._tickets.token(end_point)))

    def mark_accepted(self) -> None:
        """Note that the proxy takes our tickets."""
        self._was_accepted = True

    def rejection_verdict(self, challenges: tuple[Challenge, ...]) -> Verdict:
        """Return what a 407 to our token says.

        A password that the sign-in server has accepted is not wrong: that the proxy takes no ticket
        of it, as when its own key is out of date, says that Kerberos cannot be used there. Where it
        did take one, it is the request that is not allowed, which is not ours to tell. Squid adds
        to such a 407 a token that says so: it is the end of the sign-in, and nothing to go on from.
        """
        tokens = [each.token68 for each in challenges if each.scheme == "negotiate"]
        completed = [is_completed(token) for token in filter(None, tokens)]
        if not all(completed):
            return Verdict(VerdictKind.UNUSABLE, _OTHER_MECHANISM)
        if self._has_password and not self._was_accepted:
            return Verdict(VerdictKind.UNUSABLE, _REQUEST_REFUSED if completed else _TICKET_REFUSED)
        return Verdict(VerdictKind.REJECTED)


class _NegotiateHandshake:
    def __init__(self, signer: NegotiateSigner, end_point: bytes) -> None:
        self._signer = signer
        self._end_point = end_point
        self._is_sent = False

    def step(self, challenges: tuple[Challenge, ...]) -> Leg | Verdict:
        """Return the one leg, and then what became of it."""
        if self._is_sent:
            return self._signer.rejection_verdict(challenges)
        self._is_sent = True
        try:
            return Leg(self._signer.credentials(self._end_point))
        except TokenError as error:
            return error.verdict

    def finish(self, fields: Fields) -> None:
        """Learn that the ticket was taken. The proof that the proxy may add was not asked for."""
        self._signer.mark_accepted()


def is_completed(token: str) -> bool:
    """Return whether a proxy's token says that the sign-in is complete and accepted.

    Args:
        token: In base64, or whatever stood in its place.
    """
    try:
        octets = b64decode(token, validate=True)
    except (Base64Error, ValueError):
        return False
    begins = _COMPLETED.match(octets)
    return begins is not None and octets.startswith(_ACCEPTED, begins.end())


def spnego_init(token: bytes) -> bytes:
    """Return a Kerberos token as the first token of SPNEGO (RFC 4178, section 4.2.1).

    Args:
        token: The mechanism's own (RFC 4121, section 4.1).
    """
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
