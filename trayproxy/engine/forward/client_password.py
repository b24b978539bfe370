"""The password that clients on other devices must send (security.md, M2 and T3).

Clients send it as Basic credentials in Proxy-Authorization (RFC 7617), or as the password of SOCKS5
(RFC 1929). It is never forwarded: Proxy-Authorization of a client is a hop-by-hop field.
"""

from base64 import b64decode
from collections.abc import Callable
from enum import Enum, auto
from hmac import compare_digest

from trayproxy.http.fields import Fields

VerifyLogin = Callable[[bytes, bytes], bool]
"""Returns whether a user name and a password, as received, are accepted."""


class ClientPassword:
    """A password for clients with any user name."""

    def __init__(self, password: str) -> None:
        self._password = password.encode()

    def __call__(self, user: bytes, password: bytes) -> bool:
        """Return whether the password is right, in a time that does not depend on its octets."""
        return compare_digest(password, self._password)


class PasswordCheck(Enum):
    """The result of verifying the password of a request."""

    RIGHT = auto()
    MISSING = auto()
    WRONG = auto()


def check_password(fields: Fields, verify: VerifyLogin) -> PasswordCheck:
    """Verify the credentials of a request in Proxy-Authorization."""
    values = fields.get_all(b"proxy-authorization")
    if not values:
        return PasswordCheck.MISSING
    is_right = len(values) == 1 and _is_right(values[0], verify)
    return PasswordCheck.RIGHT if is_right else PasswordCheck.WRONG


def _is_right(value: bytes, verify: VerifyLogin) -> bool:
    scheme, _, token = value.partition(b" ")
    if scheme.lower() != b"basic":
        return False
    try:
        user, colon, password = b64decode(token.strip(), validate=True).partition(b":")
    except ValueError:
        return False
    return bool(colon) and verify(user, password)
