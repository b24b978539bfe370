"""What ``trayproxy run`` was told on the command line, checked and parsed."""

from dataclasses import dataclass, field

from trayproxy.profiles.profile import Method, SignIn, Upstream


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How to run the service in this process.

    Attributes:
        listen: The local address for this run, a loopback literal and a port, 0 for any free one;
            None: as the settings say.
        profile_name: The name or id of the profile to use in this run; None: the active one.
        upstream: Instead of a profile: an upstream for this run only; nothing is written.
        ca_file: For an https `upstream`: the file with the authorities to believe; empty: the
            system's.
        user: The user name for `upstream`; empty: ask.
        password: Its password, from standard input; None: ask.
        wait_for_port: True to wait for a port that is in use; False to end with an error.
        sign_in: How one signs in to `upstream`.
        method: What `upstream` may be answered with.
        no_prompt: Nobody is asked, whichever faces there are: a parked request gets its 503.
    """

    listen: tuple[str, int] | None = None
    profile_name: str | None = None
    upstream: Upstream | None = None
    user: str = ""
    password: str | None = field(default=None, repr=False)
    no_prompt: bool = False
    wait_for_port: bool = False
    ca_file: str = ""
    sign_in: SignIn = SignIn.PASSWORD
    method: Method = Method.AUTOMATIC
