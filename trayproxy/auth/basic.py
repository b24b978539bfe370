"""The Basic authentication scheme (RFC 7617).

Basic hides nothing: whoever reads the connection to the proxy reads the password. It is therefore
the last scheme that we choose.
"""

from base64 import b64encode
from dataclasses import dataclass

from trayproxy.auth.login import (
    CONTROL_CHARACTERS,
    UTF_8,
    Login,
    LoginError,
    check_characters,
    encode_nfc,
    require_login,
    requires_utf_8,
)
from trayproxy.auth.scheme import ConstantSigner, Signer
from trayproxy.http.challenges import Challenge


@dataclass(frozen=True, slots=True)
class Basic:
    """Answers Basic challenges.

    Attributes:
        encoding: Of logins for a proxy that does not say how it encodes them.
    """

    encoding: str = UTF_8
    name: str = "basic"
    title: str = "Basic"
    family: str = "basic"
    sends_password: bool = True
    binds_connection: bool = False
    blocks: bool = False
    needs_login: bool = True

    def check(self, login: Login) -> None:
        """Return if Basic can carry the login.

        Raises:
            LoginError: See `basic_credentials`.
        """
        basic_credentials(login)

    def understands(self, challenge: Challenge) -> bool:
        """Return True: even without a realm, as proxy.py sends it, we know what is wanted."""
        return True

    def signer(self, challenge: Challenge, login: Login | None, host: str) -> Signer:
        """Return the same credentials for every request, computed once.

        Raises:
            LoginError: See `basic_credentials`; or there is no login.
        """
        encoding = UTF_8 if requires_utf_8(challenge) else self.encoding
        return ConstantSigner(basic_credentials(require_login(login), encoding))


def basic_credentials(login: Login, encoding: str = UTF_8) -> bytes:
    """Return ``Basic`` and the token68 for a login (section 2).

    The octets are UTF-8 of the NFC form, which is what ``charset="UTF-8"`` demands (section 2.1).
    Without that parameter the encoding is undefined; it is the same then, unless the profile says
    otherwise: trying a second encoding by ourselves would cost a second failed log-on.

    Args:
        login: The login.
        encoding: Python's name of the encoding.

    Raises:
        LoginError: The user name has a colon, which ends it on the wire; or either part has a
            control character (section 2) or half a surrogate pair, which no encoding can carry, or
            a character that this one has not got.
    """
    if ":" in login.user:
        raise LoginError(
            "A user name cannot contain a colon with the sign-in method of this proxy."
        )
    check_characters(login, CONTROL_CHARACTERS)
    return b"Basic " + b64encode(encode_nfc(f"{login.user}:{login.password}", encoding))
