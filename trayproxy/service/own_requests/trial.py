"""A request of our own, by which the desk finds out whether a login is right.

The desk wants one when the person has signed in and the program that needed it has given up, when a
password is to be saved, and when a login that was right is refused somewhere. It goes where a
program wanted to go and changes nothing there: the upstream asks for a login before anything else.
"""

from contextlib import suppress

from trayproxy.desk.machine.verification import CHECK_PAGES
from trayproxy.engine.proxy_auth.challenge_detection import Evidence, evidence
from trayproxy.engine.upstream.connector import TargetRefusedError
from trayproxy.http.request import Request, parse_request
from trayproxy.profiles.profile import Profile
from trayproxy.service.own_requests.probe import (
    NotSignedInError,
    OwnRequestTools,
    Probe,
    ProbeChallenge,
)

DEFAULT_PAGE = "http://example.com/"
"""What is asked for when no program has wanted to go anywhere yet (RFC 6761, section 6.5)."""

_CHECK_PATHS = dict(zip(CHECK_PAGES, ("/success.txt", "/connecttest.txt"), strict=True))


def request_to(target: str) -> Request:
    """Return a request that changes nothing where it goes.

    Args:
        target: ``github.com:443``; empty for a page that is always there.

    Raises:
        MessageError: It is no target.
    """
    if not target:
        head = f"HEAD {DEFAULT_PAGE} HTTP/1.1\r\nHost: example.com\r\n"
    elif target in _CHECK_PATHS:
        host = target.removesuffix(":80")
        head = f"HEAD http://{host}{_CHECK_PATHS[target]} HTTP/1.1\r\nHost: {host}\r\n"
    elif target.endswith(":80"):
        head = f"HEAD http://{target}/ HTTP/1.1\r\nHost: {target}\r\n"
    else:
        head = f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n"
    return parse_request(f"{head}User-Agent: TrayProxy\r\n\r\n".encode("ascii", "replace"))


async def verify_login(tools: OwnRequestTools, profile: Profile, target: str) -> bool:
    """Find out whether the login that the desk has for a profile is right, by a request of our own.

    Many proxies refuse a blocked page before they ask for a login. Where the page that is always
    there is blocked like that, the request goes on to those that every Firefox and Windows asks
    for.

    Args:
        tools: What to do it with; the desk is told what came of it.
        profile: With the upstream in question alone.
        target: Where a program wanted to go, empty if none ever did.

    Returns:
        Whether the upstream wanted a login.

    Raises:
        RefusedError: It cannot be reached, or does not answer.
        MessageError: The target is none.
    """
    is_anywhere = not target or target in CHECK_PAGES
    for page in (target,) if target else ("", *CHECK_PAGES):
        request = request_to(page)
        probe = Probe(profile, request, tools, is_trial=True, is_check_page=is_anywhere)
        try:
            outcome = await probe.send(None)
            if isinstance(outcome, ProbeChallenge):
                with suppress(NotSignedInError):  # Whoever wants to know hears of it from the desk.
                    await probe.sign_in(outcome)
                return True
        except TargetRefusedError:
            return False
        finally:
            probe.close()
        if outcome is None:
            return False
        probe.report_portal(outcome)
        if evidence(outcome, request) is not Evidence.NONE:
            return False
    return False
