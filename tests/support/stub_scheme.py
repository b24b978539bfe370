"""An authentication scheme without a library and without a handshake."""

from dataclasses import dataclass

from trayproxy.auth.login import Login
from trayproxy.http.challenges import Challenge


@dataclass(kw_only=True)
class StubScheme:
    """The parts of `trayproxy.auth.scheme.Scheme` that most tests do not vary. Subclasses add
    ``authenticator``."""

    name: str = "ntlm"
    title: str = "NTLM"
    family: str = "ntlm"
    sends_password: bool = False
    needs_login: bool = False
    binds_connection: bool = True
    blocks: bool = False

    def check(self, login: Login) -> None:
        """Accept every login."""

    def understands(self, challenge: Challenge) -> bool:
        return True
