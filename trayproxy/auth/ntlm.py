"""The NTLM authentication scheme (MS-NTHT, MS-NLMP), by name and inside Negotiate.

NTLM authenticates a connection in two legs. The first leg is a type-1 message without secrets, on a
request without content; the proxy answers with a 407 and its challenge (type 2). The second leg is
the response (type 3), on the request itself. The response is always NTLMv2. Proxies reserve a
helper process for each started handshake; therefore no type-1 message is sent before there is a
login to complete the handshake with. Squid answers no further handshake on a connection after a
failed handshake; therefore each handshake begins on a new connection.

A proxy offering *Negotiate* may support Kerberos, NTLM or both. pyspnego's Negotiate falls back
silently between the mechanisms, so it is not used. `ntlm_in_negotiate` selects NTLM explicitly. It
is a scheme of its own, chosen when Kerberos has proved unusable and the proxy does not offer NTLM
by name. Its messages are not wrapped in SPNEGO: Windows proxies, Samba and squid's wrapper accept
raw messages, and squid's wrapper accepts no others.
"""

from base64 import b64decode, b64encode
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from trayproxy.auth.login import Login
from trayproxy.auth.ntlmv2 import NtlmEnvironment
from trayproxy.auth.scheme import (
    Authenticator,
    Handshake,
    Leg,
    RequestToAuthenticate,
    Verdict,
    VerdictKind,
)
from trayproxy.auth.windows import NtlmExchange, TokenError, WindowsScheme
from trayproxy.http.challenges import Challenge
from trayproxy.http.fields import Fields

MAX_TYPE2_SIZE = 8192
"""The maximum size of a type-2 message in octets; those of large companies have about 500."""

_MIN_TYPE2_SIZE = 48
"""The size in octets of the fixed part of a type-2 message, before the payload."""

_SIGNATURE = b"NTLMSSP\0" + (2).to_bytes(4, "little")
_REFUSED = "The proxy ended the NTLM sign-in before the password was used."
_MALFORMED = "The proxy's answer to the first NTLM message is invalid."

StartExchange = Callable[[Login | None, str, bytes], NtlmExchange]
"""Starts an exchange for a login, a host and an end point (see `NtlmLogin`)."""


def ntlm_scheme(
    start: StartExchange | None = None,
    name: str = "ntlm",
    environment: NtlmEnvironment | None = None,
) -> WindowsScheme:
    """Return the NTLM scheme.

    Args:
        start: Starts an exchange of messages; None: `NtlmLogin` does.
        name: The auth-scheme of the messages, in lower case.
        environment: See `NtlmLogin`.
    """

    def make_authenticator(login: Login | None, host: str) -> Authenticator:
        if start is not None:
            return NtlmAuthenticator(name, lambda end_point: start(login, host, end_point))
        # Here, because most upstreams never need it.
        from trayproxy.auth.spnego import NtlmLogin

        messages = NtlmLogin(login, host, environment)
        return NtlmAuthenticator(name, messages.begin, lambda: messages.may_block)

    return WindowsScheme(make_authenticator, name, title="NTLM", family="ntlm")


def ntlm_in_negotiate(environment: NtlmEnvironment | None = None) -> WindowsScheme:
    """Return the Negotiate scheme with NTLM; see the module docstring and `ntlm_scheme`."""
    return ntlm_scheme(name="negotiate", environment=environment)


class NtlmAuthenticator:
    """A login in use for an upstream, with an exchange of messages per connection."""

    is_constant = False

    def __init__(
        self,
        scheme: str,
        start: Callable[[bytes], NtlmExchange],
        may_block: Callable[[], bool] = lambda: True,
    ) -> None:
        """Create the authenticator; `start` takes the end point of the connection."""
        self._scheme = scheme
        self._start = start
        self._may_block = may_block

    @property
    def blocks(self) -> bool:
        """True if a step may block: loading pyspnego and calling Windows (SSPI) do."""
        return self._may_block()

    def begin(self, request: RequestToAuthenticate) -> Handshake:
        """Return the handshake for a connection; the request is not part of it."""
        return _NtlmHandshake(self._scheme, partial(self._start, request.end_point))


class _NtlmHandshake:
    def __init__(self, scheme: str, start: Callable[[], NtlmExchange]) -> None:
        self._scheme = scheme
        self._start = start
        self._exchange: NtlmExchange | None = None
        self._is_finished = False

    def step(self, challenges: tuple[Challenge, ...]) -> Leg | Verdict:
        """Return the type-1 message, then the type-3 message, and then a rejection."""
        if self._is_finished:
            return Verdict(VerdictKind.REJECTED)
        try:
            if self._exchange is None:
                self._exchange = self._start()
                return Leg(self._credentials(self._exchange(None)), with_content=False)
            message = read_type2(self._scheme, challenges)
            credentials = self._credentials(self._exchange(message))
        except TokenError as error:
            return error.verdict
        self._is_finished = True
        return Leg(credentials, same_connection=True)

    def finish(self, fields: Fields) -> None:
        """Do nothing: the connection is authenticated."""

    def _credentials(self, message: bytes) -> bytes:
        title = b"NTLM " if self._scheme == "ntlm" else b"Negotiate "
        return title + b64encode(message)


def read_type2(scheme: str, challenges: tuple[Challenge, ...]) -> bytes:
    """Return the type-2 message in a challenge of this auth-scheme, after checking its structure.

    Raises:
        TokenError: No challenge contains a message, or the message is invalid
            (`VerdictKind.UNUSABLE`): not strictly base64, too short or too long, of another type,
            or with a part outside the message.
    """
    tokens = [challenge.token68 for challenge in challenges if challenge.scheme == scheme]
    token = next(filter(None, tokens), None)
    if token is None:
        raise TokenError(Verdict(VerdictKind.UNUSABLE, _REFUSED))
    with suppress(ValueError):  # Base64Error is a ValueError.
        message = b64decode(token, validate=True)
        if _is_type2(message):
            return message
    raise TokenError(Verdict(VerdictKind.UNUSABLE, _MALFORMED))


def _is_type2(message: bytes) -> bool:
    """Return whether a message is a valid CHALLENGE_MESSAGE (MS-NLMP, section 2.2.1.2)."""
    if not _MIN_TYPE2_SIZE <= len(message) <= MAX_TYPE2_SIZE or not message.startswith(_SIGNATURE):
        return False
    name, info = _buffer(message, 12), _buffer(message, 40)
    return name is not None and info is not None and _is_av_list(info)


def _buffer(message: bytes, at: int) -> bytes | None:
    """Return the data of a security buffer; None if the data is outside the message."""
    size = int.from_bytes(message[at : at + 2], "little")
    start = int.from_bytes(message[at + 4 : at + 8], "little")
    if size and (start < _MIN_TYPE2_SIZE or start + size > len(message)):
        return None
    return message[start : start + size] if size else b""


def _is_av_list(info: bytes) -> bool:
    """Return whether target information is a terminated list of AV_PAIRs (section 2.2.2.1)."""
    at = 0
    while at + 4 <= len(info):
        kind = int.from_bytes(info[at : at + 2], "little")
        at += 4 + int.from_bytes(info[at + 2 : at + 4], "little")
        if kind == 0:
            return at <= len(info)
    return not info
