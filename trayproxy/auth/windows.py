"""What NTLM and Kerberos have in common: they sign in connections, to a company's Windows network.

Both take a login of Windows or, without one, the sign-in to this computer, and begin with a bare
challenge. They differ in the messages alone, which their signers know.
"""

from collections.abc import Callable
from dataclasses import dataclass

from trayproxy.auth.login import Login, LoginError, check_characters, windows_name
from trayproxy.auth.scheme import Signer
from trayproxy.http.challenges import Challenge


@dataclass(frozen=True, slots=True)
class WindowsScheme:
    """Answers the challenges of one such scheme.

    Attributes:
        make_signer: Makes the signer: from a login, or None for one's own sign-in, and the host.
    """

    make_signer: Callable[[Login | None, str], Signer]
    name: str
    title: str
    family: str
    sends_password: bool = False
    binds_connection: bool = True
    blocks: bool = True
    needs_login: bool = False

    def check(self, login: Login) -> None:
        """Return if the scheme can carry the login; see `check_windows_login`.

        Raises:
            LoginError: It cannot.
        """
        check_windows_login(login)

    def understands(self, challenge: Challenge) -> bool:
        """Return whether it is bare: a message before our first one is no beginning."""
        return not challenge.token68

    def signer(self, challenge: Challenge, login: Login | None, host: str) -> Signer:
        """Return a signer that begins anew for each connection.

        Raises:
            LoginError: See `check`.
        """
        if login is not None:
            self.check(login)
        return self.make_signer(login, host)


def check_windows_login(login: Login) -> None:
    """Return if Windows' ways to sign in can carry a login.

    Raises:
        LoginError: There is no user name, or half a surrogate pair.
    """
    if not windows_name(login.user).rpartition("\\")[2]:
        raise LoginError("The sign-in method of this proxy needs a user name.")
    check_characters(login, "\0")
