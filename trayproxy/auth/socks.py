"""User name and password of SOCKS5 (RFC 1929), as a scheme beside those of HTTP.

SOCKS5 negotiates below HTTP, but asks a person the same thing. So a server that chose this method
is taken for one that sent a challenge, and what answers it is the whole sub-negotiation, which
hides the password no better than Basic does.
"""

from dataclasses import dataclass
from unicodedata import normalize

from trayproxy.auth.login import Login, LoginError, check_characters, require_login
from trayproxy.auth.scheme import ConstantSigner, Signer
from trayproxy.http.challenges import Challenge

NAME = "socks5/password"
"""No auth-scheme of HTTP has this name: a slash is not allowed there (RFC 9110, section 5.6.2)."""
MAX_PART_SIZE = 255
"""Octets; each length is one octet on the wire (section 2)."""


def socks_challenge() -> Challenge:
    """Return what stands for a server's choice of this method. SOCKS knows no realms."""
    return Challenge(NAME)


@dataclass(frozen=True, slots=True)
class SocksPassword:
    """Answers a SOCKS5 server that wants a user name and a password."""

    name: str = NAME
    title: str = "SOCKS5"
    family: str = NAME
    sends_password: bool = True
    binds_connection: bool = False
    blocks: bool = False
    needs_login: bool = True

    def check(self, login: Login) -> None:
        """Return if the method can carry the login.

        Raises:
            LoginError: See `socks_credentials`.
        """
        socks_credentials(login)

    def understands(self, challenge: Challenge) -> bool:
        """Return True: the method has no parameters."""
        return True

    def signer(self, challenge: Challenge, login: Login | None, host: str) -> Signer:
        """Return the same message for every connection, computed once.

        Raises:
            LoginError: See `socks_credentials`; or there is no login.
        """
        return ConstantSigner(socks_credentials(require_login(login)))


def socks_credentials(login: Login) -> bytes:
    """Return the message that carries a login (RFC 1929, section 2).

    The RFC names no encoding. It is UTF-8 of the NFC form, for the reasons given at
    `trayproxy.auth.basic.basic_credentials`.

    Raises:
        LoginError: A part is longer than 255 octets, has half a surrogate pair, which no encoding
            can carry, or there is no user name.
    """
    if not login.user:
        raise LoginError("The sign-in method of this proxy needs a user name.")
    check_characters(login)
    message = bytearray(b"\x01")
    for what, text in (("user name", login.user), ("password", login.password)):
        octets = normalize("NFC", text).encode()
        if len(octets) > MAX_PART_SIZE:
            raise LoginError(f"This {what} is longer than the sign-in method of this proxy allows.")
        message.append(len(octets))
        message += octets
    return bytes(message)
