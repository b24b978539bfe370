"""The client side of SOCKS5 (RFC 1928, RFC 1929), without I/O.

Existing libraries do not work with non-blocking sockets: they expect each reply in a single read,
and lose the octets of the tunnel that arrive with it.

A dialogue is a generator. It yields a `SocksStep`, which holds the octets to send and the number of
octets to read next, and is sent exactly these octets. It never asks for more octets than the reply
has.
"""

from collections.abc import Generator
from dataclasses import dataclass, field
from ipaddress import IPv4Address, ip_address
from typing import TypeVar

T = TypeVar("T")

VERSION = 5
NO_AUTHENTICATION = 0
USERNAME_PASSWORD = 2
NO_ACCEPTABLE_METHODS = 0xFF
CONNECT = 1
IPV4, DOMAIN_NAME, IPV6 = 1, 3, 4
MAX_NAME_OCTETS = 255
AUTH_REPLY_OCTETS = 2
"""The length of a server's reply to a user name and a password (RFC 1929, section 2)."""
_ADDRESS_OCTETS = {IPV4: 4, IPV6: 16}


@dataclass(frozen=True, slots=True)
class SocksStep:
    """The next step of a dialogue: send octets, which may contain a login, if there are any, then
    read a number of octets."""

    send: bytes = field(repr=False)
    read: int
    sends_login: bool = False


SocksDialogue = Generator[SocksStep, bytes, T]


class NotSocksError(Exception):
    """The server does not speak SOCKS5. The message is a clause that names the symptom."""


class SocksAuthRequiredError(Exception):
    """The server requires a user name and a password, and none was sent."""


class SocksAuthRejectedError(Exception):
    """The server rejected the user name and the password."""


class NoAcceptableMethodError(Exception):
    """The server accepts no offered authentication method."""


class ConnectFailedError(Exception):
    """The server did not connect to the target.

    Attributes:
        code: The reply code (RFC 1928, section 6); 1, general failure, if there is no reply code.
    """

    def __init__(self, code: int) -> None:
        super().__init__(f"reply {code}")
        self.code = code


def negotiate(credentials: bytes | None, *, may_sign_in: bool) -> SocksDialogue[bool]:
    """Negotiate the authentication method and authenticate (RFC 1928, section 3). Return True if
    the login was sent and accepted.

    "No authentication" is always offered as well: a login is sent only to a server requiring a
    login.

    Args:
        credentials: The message of RFC 1929; None if no login is known.
        may_sign_in: True if the method user name and password is offered.

    Raises:
        SocksAuthRequiredError: The server requires a login, and none is known.
        SocksAuthRejectedError: The server rejected the login.
        NoAcceptableMethodError: The server accepts no offered method.
        NotSocksError: The server does not speak SOCKS5.
    """
    methods = bytes((NO_AUTHENTICATION, USERNAME_PASSWORD) if may_sign_in else (NO_AUTHENTICATION,))
    version, method = yield SocksStep(bytes((VERSION, len(methods))) + methods, 2)
    if version != VERSION:
        raise NotSocksError("it did not answer as SOCKS5 does")
    if method == NO_ACCEPTABLE_METHODS:
        raise NoAcceptableMethodError
    if method not in methods:
        raise NotSocksError("it chose a method that was not offered")
    if method == NO_AUTHENTICATION:
        return False
    if credentials is None:
        raise SocksAuthRequiredError
    reply = yield SocksStep(credentials, AUTH_REPLY_OCTETS, sends_login=True)
    if not is_accepted(reply):
        raise SocksAuthRejectedError
    return True


def is_accepted(reply: bytes | bytearray) -> bool:
    """Return whether a reply of `AUTH_REPLY_OCTETS` octets accepts a user name and a password (RFC
    1929, section 2). The version in the first octet is ignored: some servers send 5 instead of 1.
    """
    _, status = reply
    return status == 0


def connect_to(host: str, port: int) -> SocksDialogue[None]:
    """Ask the server to resolve a name and connect to it, or to an IP literal without brackets (RFC
    1928, sections 4 to 6).

    Raises:
        ConnectFailedError: The server did not connect, or the name is too long for SOCKS5.
        NotSocksError: The server does not speak SOCKS5.
    """
    request = bytes((VERSION, CONNECT, 0)) + _encode_address(host) + port.to_bytes(2, "big")
    version, code, _, kind = yield SocksStep(request, 4)
    if version != VERSION:
        raise NotSocksError("it did not answer as SOCKS5 does")
    if code != 0:
        # The rest of the reply has no meaning, and some servers omit it.
        raise ConnectFailedError(code)
    if kind == DOMAIN_NAME:
        (length,) = yield SocksStep(b"", 1)
    elif kind in _ADDRESS_OCTETS:
        length = _ADDRESS_OCTETS[kind]
    else:
        raise NotSocksError("it gave an address of an unknown kind")
    yield SocksStep(b"", length + 2)  # The bound address and port, which are not needed.


def _encode_address(host: str) -> bytes:
    try:
        address = ip_address(host)
    except ValueError:
        name = host.encode("ascii")
        if len(name) > MAX_NAME_OCTETS:
            raise ConnectFailedError(8) from None
        return bytes((DOMAIN_NAME, len(name))) + name
    kind = IPV4 if isinstance(address, IPv4Address) else IPV6
    return bytes((kind,)) + address.packed
