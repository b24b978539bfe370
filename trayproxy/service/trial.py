"""A request of our own, by which the desk finds out whether a login is right.

The desk wants one when the person has signed in and the program that needed it has given up, when a
password is to be saved, and when a login that was right is refused somewhere. It goes where a
program wanted to go, as a plain GET of the first page: the upstream asks for a login before
anything else, so nothing more is read of what comes.
"""

from contextlib import suppress

from trayproxy.desk.answer import Waiter
from trayproxy.engine.dial import TargetRefusedError
from trayproxy.profiles.profile import Profile
from trayproxy.service.probe import NotSignedInError, Probe, Tools, Wanted, request_for

ANYWHERE = "example.com:80"
"""Where the request goes if no program wanted to go anywhere yet; the name is reserved for such."""


async def try_login(tools: Tools, profile: Profile, target: str) -> bool:
    """Send a request of our own, with the login that the desk has for it (`Desk.on_try`).

    Args:
        tools: What to do it with.
        profile: With the one upstream to try.
        target: Where a program wanted to go, ``github.com:443``; empty if nowhere yet.

    Returns:
        Whether the upstream asked for a login. What became of that the desk was told.

    Raises:
        RefusedError: There is no connection, or no answer on it.
        MessageError: The target is no host that could be asked for a page.
    """
    target = target or ANYWHERE
    host = target.rpartition(":")[0]
    waiter = Waiter(target, own=True)
    probe = Probe(profile, request_for(f"http://{host}/"), tools, waiter)
    try:
        outcome = await probe.send(None)
    except TargetRefusedError:
        return False
    if not isinstance(outcome, Wanted):
        return False
    with suppress(NotSignedInError):  # Whoever asked hears of it from the desk.
        await probe.sign_in(outcome)
    return True
