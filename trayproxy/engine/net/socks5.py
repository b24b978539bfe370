"""The client's side of SOCKS5 (RFC 1928, RFC 1929), without I/O.

The kept libraries do not fit sockets that never block: they take each reply for whole, however it
was cut on its way, and lose what follows it in the same read, which belongs to the tunnel. So this
is our own, and small.

A conversation is a generator: it yields a `SocksStep`, which says what to send and how many octets
to read then, and is sent exactly these. It never wants an octet more than the reply has.
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
"""The answer of a server to a user name and a password (RFC 1929, section 2)."""
_ADDRESS_OCTETS = {IPV4: 4, IPV6: 16}


@dataclass(frozen=True, slots=True)
class SocksStep:
    """Send this, if it is not empty; then read exactly that many octets.

    Attributes:
        send: What to send.
        read: How many octets to read.
        sends_login: What is sent is a login, and may be refused.
    """

    send: bytes = field(repr=False)
    read: int
    sends_login: bool = False


SocksDialogue = Generator[SocksStep, bytes, T]


class NotSocksError(Exception):
    """What answered does not speak SOCKS5; the text is a clause that says how one can tell."""


class SocksAuthRequiredError(Exception):
    """The server wants a user name and a password. None was sent."""


class SocksAuthRejectedError(Exception):
    """The server did not accept the user name and the password."""


class NoAcceptableMethodError(Exception):
    """The server accepts no way to sign in that was offered."""


class ConnectFailedError(Exception):
    """The server did not connect to the target.

    Attributes:
        code: Why (RFC 1928, section 6); 1 if it did not say.
    """

    def __init__(self, code: int) -> None:
        super().__init__(f"reply {code}")
        self.code = code


def negotiate(credentials: bytes | None, *, may_sign_in: bool) -> SocksDialogue[bool]:
    """Agree on how to sign in, and do so (RFC 1928, section 3).

    A login is offered beside none at all: a server that needs none is not sent any.

    Args:
        credentials: The message of RFC 1929; None: no login is known.
        may_sign_in: Whether the server may ask for one.

    Returns:
        Whether the login was sent and accepted.

    Raises:
        SocksAuthRequiredError: It is needed, and there is none.
        SocksAuthRejectedError: It was sent, and not accepted.
        NoAcceptableMethodError: The server accepts neither.
        NotSocksError: The server speaks something else.
    """
    methods = bytes((NO_AUTHENTICATION, USERNAME_PASSWORD) if may_sign_in else (NO_AUTHENTICATION,))
    version, method = yield SocksStep(bytes((VERSION, len(methods))) + methods, 2)
    if version != VERSION:
        raise NotSocksError("it did not answer as SOCKS5 does")
    if method == NO_ACCEPTABLE_METHODS:
        raise NoAcceptableMethodError
    if method not in methods:
        raise NotSocksError("it chose what it was not offered")
    if method == NO_AUTHENTICATION:
        return False
    if credentials is None:
        raise SocksAuthRequiredError
    reply = yield SocksStep(credentials, AUTH_REPLY_OCTETS, sends_login=True)
    if not is_accepted(reply):
        raise SocksAuthRejectedError
    return True


def is_accepted(reply: bytes | bytearray) -> bool:
    """Return whether a server accepts a user name and a password (RFC 1929, section 2).

    Args:
        reply: `AUTH_REPLY_OCTETS` octets. The version in the first octet is ignored: servers send 5
            instead of 1.
    """
    _, status = reply
    return status == 0


def connect_to(host: str, port: int) -> SocksDialogue[None]:
    """Let the server connect to a target (RFC 1928, sections 4 to 6). It looks the name up.

    Args:
        host: A name, or an IP literal without brackets.
        port: 1 to 65535.

    Raises:
        ConnectFailedError: It did not.
        NotSocksError: The server speaks something else, or the name is too long for it.
    """
    request = bytes((VERSION, CONNECT, 0)) + _encode_address(host) + port.to_bytes(2, "big")
    version, code, _, kind = yield SocksStep(request, 4)
    if version != VERSION:
        raise NotSocksError("it did not answer as SOCKS5 does")
    if code != 0:
        # The rest of the reply means nothing, and some servers leave it out.
        raise ConnectFailedError(code)
    if kind == DOMAIN_NAME:
        (length,) = yield SocksStep(b"", 1)
    elif kind in _ADDRESS_OCTETS:
        length = _ADDRESS_OCTETS[kind]
    else:
        raise NotSocksError("it gave an address of an unknown kind")
    yield SocksStep(b"", length + 2)  # Where it connects from: of no use to us.


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
