"""What `trayproxy run` was asked to do, as a value: the command line makes it, the service takes
it."""

from dataclasses import dataclass

from trayproxy.auth.login import Login
from trayproxy.profiles.config import Listen
from trayproxy.profiles.profile import Upstream


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How to run the service.

    Attributes:
        listen: The local address; None: as the settings say.
        profile: Name of the profile to use for this run; None: the active one.
        upstream: An upstream for this run only; nothing is written.
        user: The user name for that upstream, empty if it is not known.
        login: A login for this run only, used at the first 407 and never kept.
        no_prompt: Ask nobody: a parked request gets its 503 at once.
    """

    listen: Listen | None = None
    profile: str | None = None
    upstream: Upstream | None = None
    user: str = ""
    login: Login | None = None
    no_prompt: bool = False
