"""The Basic authentication scheme (RFC 7617).

Basic hides nothing: whoever reads the connection to the proxy reads the password. It is therefore
the last scheme that we choose.
"""

from base64 import b64encode
from dataclasses import dataclass
from unicodedata import normalize

from trayproxy.auth.login import Login, LoginError, needed
from trayproxy.auth.scheme import Repeated, Signer
from trayproxy.http.challenges import Challenge


@dataclass(frozen=True, slots=True)
class Basic:
    """Answers Basic challenges."""

    name: str = "basic"
    title: str = "Basic"
    family: str = "basic"
    readable: bool = True
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
        """Return True: even without a realm, as proxy.py sends it, we know what is wanted.

        A ``charset`` other than UTF-8 is not defined and ignored (section 2.1).
        """
        return True

    def signer(self, challenge: Challenge, login: Login | None, host: str) -> Signer:
        """Return the same credentials for every request, computed once.

        Raises:
            LoginError: See `basic_credentials`; or there is no login.
        """
        return Repeated(basic_credentials(needed(login)))


def basic_credentials(login: Login) -> bytes:
    """Return ``Basic`` and the token68 for a login (section 2).

    The octets are UTF-8 of the NFC form, which is what ``charset="UTF-8"`` demands (section 2.1).
    Without that parameter the encoding is undefined; it is the same then, because what keyboards
    type is NFC and because trying a second encoding would cost a second failed log-on.

    Raises:
        LoginError: The user name has a colon, which ends it on the wire; or either part has a
            control character (section 2) or half a surrogate pair, which no encoding can carry.
    """
    if ":" in login.user:
        raise LoginError(
            "A user name cannot contain a colon with the sign-in method of this proxy."
        )
    for what, text in (("user name", login.user), ("password", login.password)):
        if any(char < " " or char == "\x7f" for char in text):
            raise LoginError(f"This {what} contains a control character, such as a line break.")
        if any("\ud800" <= char <= "\udfff" for char in text):
            raise LoginError(f"This {what} contains half a character. Type it again.")
    user_pass = normalize("NFC", f"{login.user}:{login.password}")
    return b"Basic " + b64encode(user_pass.encode())
