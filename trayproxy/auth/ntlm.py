"""The NTLM authentication scheme (MS-NTHT, MS-NLMP), bare and inside Negotiate.

NTLM signs in a connection, in two legs: a type-1 message, which says nothing secret and goes with
an empty request; the proxy's challenge (type 2) in its 407; and the response (type 3) with the
request itself. It is NTLMv2 always. Proxies reserve a helper for each sign-in that has begun, so
that a type-1 message must not leave before there is a login to finish with; and squid answers no
further sign-in on a connection where one has failed, so that each begins on a fresh connection.

A proxy that offers *Negotiate* may mean Kerberos, NTLM or both. pyspnego, asked for Negotiate,
falls back from one to the other in silence, so it is never asked for it. `ntlm_in_negotiate` is our
own, explicit choice of NTLM there, a scheme like others, to be chosen when Kerberos has turned out
to be impossible and NTLM itself is not offered. Its messages are not wrapped in SPNEGO: Windows
proxies, Samba and squid's wrapper all take them as they are, the latter takes nothing else.
"""

from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Callable

from trayproxy.auth.login import Login
from trayproxy.auth.ntlmv2 import NtlmEnvironment
from trayproxy.auth.scheme import Handshake, Leg, RequestToSign, Signer, Verdict, VerdictKind
from trayproxy.auth.spnego import NtlmLogin, TokenError, Tokens
from trayproxy.auth.windows import WindowsScheme
from trayproxy.http.challenges import Challenge
from trayproxy.http.fields import Fields

MAX_TYPE2_SIZE = 8192
"""Octets of a type-2 message; those of large companies have some 500."""

_MIN_TYPE2_SIZE = 48
"""Octets in front of what the security buffers of a type-2 message point to."""

_SIGNATURE = b"NTLMSSP\0" + (2).to_bytes(4, "little")
_REFUSED = "The proxy ended the NTLM sign-in before the password was used."
_MALFORMED = "The proxy's answer to the beginning of the NTLM sign-in makes no sense."

StartExchange = Callable[[Login | None, str, bytes], Tokens]
"""Begins an exchange of messages: login, host, end point (see `NtlmLogin`)."""


def ntlm_scheme(
    start: StartExchange | None = None,
    name: str = "ntlm",
    environment: NtlmEnvironment | None = None,
) -> WindowsScheme:
    """Return what answers NTLM challenges.

    Args:
        start: Where the messages come from; None: from `NtlmLogin`.
        name: The auth-scheme that they travel under, in lower case.
        environment: What `NtlmLogin` needs to compute responses itself; None: pyspnego does that.
    """

    def signs(login: Login | None, host: str) -> Signer:
        if start is not None:
            return NtlmSigner(name, lambda end_point: start(login, host, end_point))
        messages = NtlmLogin(login, host, environment)
        return NtlmSigner(name, messages.begin, lambda: messages.may_block)

    return WindowsScheme(signs, name, title="NTLM", family="ntlm")


def ntlm_in_negotiate(environment: NtlmEnvironment | None = None) -> WindowsScheme:
    """Return what answers Negotiate challenges by NTLM; our own choice, see the module.

    Args:
        environment: See `ntlm_scheme`.
    """
    return ntlm_scheme(name="negotiate", environment=environment)


class NtlmSigner:
    """A login at work, one exchange of messages per connection."""

    is_constant = False

    def __init__(
        self,
        scheme: str,
        start: Callable[[bytes], Tokens],
        may_block: Callable[[], bool] = lambda: True,
    ) -> None:
        """Begin nothing yet.

        Args:
            scheme: The auth-scheme that the messages travel under, in lower case.
            opening: Begins an exchange; takes the end point of the connection.
            may_block: Returns whether a step may wait for something at present.
        """
        self._scheme = scheme
        self._start = start
        self._may_block = may_block

    @property
    def blocks(self) -> bool:
        """Whether a step may wait: once the library is loaded, it only computes."""
        return self._may_block()

    def begin(self, request: RequestToSign) -> Handshake:
        """Return the handshake for a connection; the request is not part of it."""
        return _NtlmHandshake(self._scheme, lambda: self._start(request.end_point))


class _NtlmHandshake:
    def __init__(self, scheme: str, opening: Callable[[], Tokens]) -> None:
        self._scheme = scheme
        self._start = opening
        self._tokens: Tokens | None = None
        self._is_finished = False

    def step(self, challenges: tuple[Challenge, ...]) -> Leg | Verdict:
        """Return the type-1 message, the type-3 message, and then that it was rejected."""
        if self._is_finished:
            return Verdict(VerdictKind.REJECTED)
        try:
            return self._negotiate() if self._tokens is None else self._authenticate(challenges)
        except TokenError as error:
            return error.verdict

    def _negotiate(self) -> Leg:
        self._tokens = self._start()
        return Leg(self._credentials(self._tokens.step(None)), with_content=False)

    def _authenticate(self, challenges: tuple[Challenge, ...]) -> Leg:
        assert self._tokens is not None
        message = read_type2(self._scheme, challenges)
        credentials = self._credentials(self._tokens.step(message))
        self._is_finished = True
        return Leg(credentials, same_connection=True)

    def finish(self, fields: Fields) -> None:
        """Learn nothing: the connection is signed in."""

    def _credentials(self, message: bytes) -> bytes:
        title = b"NTLM " if self._scheme == "ntlm" else b"Negotiate "
        return title + b64encode(message)


def read_type2(scheme: str, challenges: tuple[Challenge, ...]) -> bytes:
    """Return the proxy's message, checked before a library sees it.

    Args:
        scheme: The auth-scheme that it must be of.
        challenges: Of the 407 to our type-1 message.

    Raises:
        TokenError: There is none, or it is none (`VerdictKind.UNUSABLE`): not strictly base64, too
            short or too long, of another type, or with parts outside of itself.
    """
    tokens = [challenge.token68 for challenge in challenges if challenge.scheme == scheme]
    token = next(filter(None, tokens), None)
    if token is None:
        raise TokenError(Verdict(VerdictKind.UNUSABLE, _REFUSED))
    try:
        message = b64decode(token, validate=True)
    except (Base64Error, ValueError):
        raise TokenError(Verdict(VerdictKind.UNUSABLE, _MALFORMED)) from None
    if not _is_type2(message):
        raise TokenError(Verdict(VerdictKind.UNUSABLE, _MALFORMED))
    return message


def _is_type2(message: bytes) -> bool:
    """Check what MS-NLMP, section 2.2.1.2 says of a CHALLENGE_MESSAGE."""
    if not _MIN_TYPE2_SIZE <= len(message) <= MAX_TYPE2_SIZE or not message.startswith(_SIGNATURE):
        return False
    name, info = _buffer(message, 12), _buffer(message, 40)
    return name is not None and info is not None and _is_av_list(info)


def _buffer(message: bytes, at: int) -> bytes | None:
    """Return what a security buffer points to, None if that is not inside the message."""
    size = int.from_bytes(message[at : at + 2], "little")
    start = int.from_bytes(message[at + 4 : at + 8], "little")
    if size and (start < _MIN_TYPE2_SIZE or start + size > len(message)):
        return None
    return message[start : start + size] if size else b""


def _is_av_list(info: bytes) -> bool:
    """Check the target information: pairs, the last of which says so (section 2.2.2.1)."""
    at = 0
    while at + 4 <= len(info):
        kind = int.from_bytes(info[at : at + 2], "little")
        at += 4 + int.from_bytes(info[at + 2 : at + 4], "little")
        if kind == 0:
            return at <= len(info)
    return not info
