"""The common code of NTLM and Kerberos.

Both schemes authenticate connections with a Windows login or, without a login, the user's log-on to
this computer, and both begin with a challenge without parameters. The schemes differ only in their
messages, which the authenticators implement.
"""

from collections.abc import Callable
from dataclasses import dataclass

from trayproxy.auth.login import Login, LoginError, check_characters, windows_name
from trayproxy.auth.scheme import Authenticator, Verdict
from trayproxy.http.challenges import Challenge


class TokenError(Exception):
    """No token could be made.

    Attributes:
        verdict: The reason.
    """

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict.kind.name)
        self.verdict = verdict


NtlmExchange = Callable[[bytes | None], bytes]
"""An exchange of messages on a connection: takes the message received from the upstream, None at
first, and returns the next message. Raises `TokenError`."""

Tickets = Callable[[bytes], bytes]
"""Takes the end point of a connection (see `RequestToAuthenticate`), and returns a new token for
this connection: a Kerberos ticket and its Kerberos authenticator. Raises `TokenError` if no ticket
is available. Several threads may call it at a time."""


@dataclass(frozen=True, slots=True)
class WindowsScheme:
    """The NTLM or the Negotiate scheme.

    Attributes:
        make_authenticator: Returns the authenticator for a login, or for the user's own sign-in if
            the login is None, and the host of the upstream.
    """

    make_authenticator: Callable[[Login | None, str], Authenticator]
    name: str
    title: str
    family: str
    sends_password: bool = False
    binds_connection: bool = True
    blocks: bool = True
    needs_login: bool = False

    def check(self, login: Login) -> None:
        """Check that the scheme can carry a login; raise the errors of `check_windows_login`."""
        check_windows_login(login)

    def understands(self, challenge: Challenge) -> bool:
        """Return whether the challenge has no token: a token before message 1 is invalid."""
        return not challenge.token68

    def authenticator(self, challenge: Challenge, login: Login | None, host: str) -> Authenticator:
        """Return an authenticator that begins a new handshake for each connection."""
        if login is not None:
            self.check(login)
        return self.make_authenticator(login, host)


def check_windows_login(login: Login) -> None:
    """Check that NTLM and Kerberos can carry a login.

    Raises:
        LoginError: The user name is empty, or either part contains a NUL character or half of a
            surrogate pair.
    """
    if not windows_name(login.user).rpartition("\\")[2]:
        raise LoginError("The sign-in method of this proxy needs a user name.")
    check_characters(login, "\0")
