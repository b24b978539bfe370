"""The user name and password method of SOCKS5 (RFC 1929), as a scheme like those of HTTP.

SOCKS5 authenticates below HTTP, but needs the same login from a person. A server that selects this
method is therefore represented by a challenge. The credentials are the message of the
sub-negotiation, which protects the password no better than Basic.
"""

from dataclasses import dataclass
from unicodedata import normalize

from trayproxy.auth.login import Login, LoginError, check_characters, require_login
from trayproxy.auth.scheme import Authenticator, ConstantAuthenticator
from trayproxy.http.challenges import Challenge

NAME = "socks5/password"
"""The name of the method. No HTTP auth-scheme can have a slash in its name (RFC 9110, section
5.6.2)."""
MAX_PART_SIZE = 255
"""The maximum size of the user name and of the password in octets: each length is a single octet on
the wire (section 2)."""


def socks_challenge() -> Challenge:
    """Return the challenge for a server's choice of this method, without a realm."""
    return Challenge(NAME)


@dataclass(frozen=True, slots=True)
class SocksPassword:
    """The scheme of the method user name and password of SOCKS5."""

    name: str = NAME
    title: str = "SOCKS5"
    family: str = NAME
    sends_password: bool = True
    binds_connection: bool = False
    blocks: bool = False
    needs_login: bool = True

    def check(self, login: Login) -> None:
        """Check that SOCKS5 can carry a login; raise the errors of `socks_credentials`."""
        socks_credentials(login)

    def understands(self, challenge: Challenge) -> bool:
        """Return True: the method has no parameters."""
        return True

    def authenticator(self, challenge: Challenge, login: Login | None, host: str) -> Authenticator:
        """Return an authenticator with the same message for every connection, computed once."""
        return ConstantAuthenticator(socks_credentials(require_login(login)))


def socks_credentials(login: Login) -> bytes:
    """Return the message that carries a login (RFC 1929, section 2).

    The RFC names no encoding. The message uses the UTF-8 octets of the NFC form, for the reasons
    given at `trayproxy.auth.basic.basic_credentials`.

    Raises:
        LoginError: The user name is empty, or the user name or the password is longer than 255
            octets or contains half of a surrogate pair.
    """
    if not login.user:
        raise LoginError("The sign-in method of this proxy needs a user name.")
    check_characters(login)
    message = bytearray(b"\x01")
    for part, text in (("user name", login.user), ("password", login.password)):
        octets = normalize("NFC", text).encode()
        if len(octets) > MAX_PART_SIZE:
            raise LoginError(f"This {part} is longer than the sign-in method of this proxy allows.")
        message.append(len(octets))
        message += octets
    return bytes(message)
