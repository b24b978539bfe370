"""The Basic authentication scheme (RFC 7617).

Basic sends the password in clear text: an eavesdropper on the connection to the proxy can read it.
Basic is therefore the last scheme in the order of preference.
"""

from base64 import b64encode
from dataclasses import dataclass

from trayproxy.auth.login import (
    UTF_8,
    Login,
    check_http_login,
    encode_nfc,
    require_login,
    requires_utf_8,
)
from trayproxy.auth.scheme import Authenticator, ConstantAuthenticator
from trayproxy.http.challenges import Challenge


@dataclass(frozen=True, slots=True)
class Basic:
    """The Basic scheme.

    Attributes:
        encoding: The encoding of logins for challenges without ``charset``, by Python's name.
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
        """Check that Basic can carry a login; raise the errors of `basic_credentials`."""
        basic_credentials(login)

    def understands(self, challenge: Challenge) -> bool:
        """Return True: a challenge without a realm, as proxy.py sends it, can be answered too."""
        return True

    def authenticator(self, challenge: Challenge, login: Login | None, host: str) -> Authenticator:
        """Return an authenticator with the same credentials for every request, computed once."""
        encoding = UTF_8 if requires_utf_8(challenge) else self.encoding
        return ConstantAuthenticator(basic_credentials(require_login(login), encoding))


def basic_credentials(login: Login, encoding: str = UTF_8) -> bytes:
    """Return ``Basic`` and the token68 for a login (section 2).

    The token68 encodes the UTF-8 octets of the NFC form, as ``charset="UTF-8"`` requires (section
    2.1). Without that parameter the encoding is undefined, and UTF-8 is used unless the profile
    names another encoding: trying a second encoding automatically would cost a second failed
    log-on.

    Raises:
        LoginError: See `check_http_login`; or the login contains a character outside the encoding.
    """
    check_http_login(login)
    return b"Basic " + b64encode(encode_nfc(f"{login.user}:{login.password}", encoding))
