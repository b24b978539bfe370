"""The options of ``trayproxy run``, checked and parsed."""

from dataclasses import dataclass, field

from trayproxy.profiles.pac_source import PacSource
from trayproxy.profiles.profile import Method, SignIn, Upstream


@dataclass(frozen=True, slots=True)
class RunOptions:
    """The options for running the service in this process.

    Attributes:
        listen: The local address for this run, a loopback literal and a port, 0 for any free port;
            None for the address of the settings.
        profile_name: The name or id of the profile for this run; None for the active profile.
        upstream: An upstream, or the source of a PAC script, for this run in place of a profile;
            nothing is saved.
        ca_file: For an https `upstream`: the file of trusted certificate authorities; empty for
            those of the system.
        user: The user name for `upstream`; empty to prompt for it.
        password: The password for `upstream`, from standard input; None to prompt for it.
        wait_for_port: True to wait for a port that is in use; False to end with an error.
        ready_descriptor: An inherited pipe, which gets an octet and is closed as soon as front ends
            can connect; None if no process waits for that.
        sign_in: The way of signing in to `upstream`.
        method: The authentication scheme to use with `upstream`.
        shared_sign_in: With a PAC script: patterns of the proxies to which the password may be sent
            (`Profile.shared_sign_in`).
        no_prompt: True to show no prompts, even if front ends are connected: a request that needs a
            login receives 503.
    """

    listen: tuple[str, int] | None = None
    profile_name: str | None = None
    upstream: Upstream | PacSource | None = None
    user: str = ""
    password: str | None = field(default=None, repr=False)
    no_prompt: bool = False
    wait_for_port: bool = False
    ready_descriptor: int | None = None
    ca_file: str = ""
    sign_in: SignIn = SignIn.PASSWORD
    method: Method = Method.AUTOMATIC
    shared_sign_in: tuple[str, ...] = ()
