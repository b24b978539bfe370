"""The server side of SOCKS5 (RFC 1928, RFC 1929), without I/O.

Only CONNECT is supported: an HTTP proxy cannot carry BIND and UDP ASSOCIATE. Names are not
resolved.

The dialogue is a generator as in `trayproxy.engine.net.socks5`; it never asks for more octets than
the client has to send, so data that the client sends ahead stays unread.
"""

from collections.abc import Callable
from enum import IntEnum
from ipaddress import AddressValueError, IPv6Address, ip_address

from trayproxy.engine.net.socks5 import (
    CONNECT,
    DOMAIN_NAME,
    IPV4,
    IPV6,
    NO_ACCEPTABLE_METHODS,
    NO_AUTHENTICATION,
    USERNAME_PASSWORD,
    VERSION,
    SocksDialogue,
    SocksStep,
)
from trayproxy.http.errors import MessageError
from trayproxy.http.target import Authority, parse_target

FIRST_OCTET = bytes((VERSION,))
"""The first octet of a SOCKS5 client. No HTTP request begins with it (RFC 9110, section 5.6.2)."""
_LOGIN_VERSION = 1
_LOGIN_ACCEPTED, _LOGIN_REJECTED = bytes((_LOGIN_VERSION, 0)), bytes((_LOGIN_VERSION, 1))

VerifyLogin = Callable[[bytes, bytes], bool]
"""Returns whether a user name and a password, as received, are those of the listener."""


class SocksReply(IntEnum):
    """The replies to a request (RFC 1928, section 6)."""

    SUCCEEDED = 0
    GENERAL_FAILURE = 1
    NOT_ALLOWED = 2
    HOST_UNREACHABLE = 4
    CONNECTION_REFUSED = 5
    COMMAND_NOT_SUPPORTED = 7
    ADDRESS_TYPE_NOT_SUPPORTED = 8


class SocksRefusedError(Exception):
    """The client cannot be served. The message is a clause with the reason.

    Attributes:
        reply: The octets to send to the client before its connection is closed.
        is_wrong_login: True if the user name or the password is wrong.
    """

    def __init__(self, reply: bytes, reason: str, *, is_wrong_login: bool = False) -> None:
        super().__init__(reason)
        self.reply = reply
        self.is_wrong_login = is_wrong_login


def write_reply(reply: SocksReply) -> bytes:
    """Return a reply with the bound address 0.0.0.0:0: clients need no other for CONNECT."""
    return bytes((VERSION, reply, 0, IPV4)) + bytes(6)


def read_target(verify: VerifyLogin | None = None) -> SocksDialogue[Authority]:
    """Read a client's greeting and request, and return the target of its CONNECT.

    Args:
        verify: Verifies the user name and the password that the client must send; None if the
            client is served without.

    Raises:
        SocksRefusedError: The client is not served.
    """
    version, method_count = yield SocksStep(b"", 2)
    if version != VERSION:
        raise SocksRefusedError(b"", "it does not speak SOCKS5")
    methods = yield SocksStep(b"", method_count)
    method = NO_AUTHENTICATION if verify is None else USERNAME_PASSWORD
    if method not in methods:
        needed = "no authentication" if verify is None else "a user name with a password"
        reply = bytes((VERSION, NO_ACCEPTABLE_METHODS))
        raise SocksRefusedError(reply, f"it does not offer {needed}")
    answer = bytes((VERSION, method))
    if verify is not None:
        answer = yield from _read_login(answer, verify)
    version, command, _, kind = yield SocksStep(answer, 4)
    if version != VERSION:
        raise _refused(SocksReply.GENERAL_FAILURE, "its request is not one of SOCKS5")
    target = yield from _read_address(kind)
    if command != CONNECT:
        reason = "it asks for BIND or UDP, and TrayProxy offers only CONNECT"
        raise _refused(SocksReply.COMMAND_NOT_SUPPORTED, reason)
    return target


def _read_login(answer: bytes, verify: VerifyLogin) -> SocksDialogue[bytes]:
    """Read a user name and a password (RFC 1929), and return the answer if they are right."""
    version, length = yield SocksStep(answer, 2)
    if version != _LOGIN_VERSION:
        raise SocksRefusedError(_LOGIN_REJECTED, "its user name and password cannot be read")
    user = yield SocksStep(b"", length)
    (length,) = yield SocksStep(b"", 1)
    password = yield SocksStep(b"", length)
    if not verify(user, password):
        raise SocksRefusedError(_LOGIN_REJECTED, "its password is wrong", is_wrong_login=True)
    return _LOGIN_ACCEPTED


def _read_address(kind: int) -> SocksDialogue[Authority]:
    if kind == DOMAIN_NAME:
        (length,) = yield SocksStep(b"", 1)
        host = yield SocksStep(b"", length)
    elif kind in (IPV4, IPV6):
        packed = yield SocksStep(b"", 4 if kind == IPV4 else 16)
        host = str(ip_address(packed)).encode("ascii")
    else:
        reason = "it names its target by an address of an unknown type"
        raise _refused(SocksReply.ADDRESS_TYPE_NOT_SUPPORTED, reason)
    port = int.from_bytes((yield SocksStep(b"", 2)), "big")
    try:
        return _authority(host, port)
    except MessageError as error:
        raise _refused(SocksReply.GENERAL_FAILURE, str(error)) from None


def _authority(host: bytes, port: int) -> Authority:
    """Return the target. Some clients send the text of an IPv6 address as a name."""
    try:
        host = b"[%b]" % str(IPv6Address(host.decode("ascii"))).encode("ascii")
    except (AddressValueError, UnicodeDecodeError):
        pass
    authority = parse_target(b"CONNECT", b"%b:%d" % (host, port)).authority
    assert authority is not None
    return authority


def _refused(reply: SocksReply, reason: str) -> SocksRefusedError:
    return SocksRefusedError(write_reply(reply), reason)
