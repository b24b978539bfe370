"""A request of TrayProxy's own by which the desk verifies a login.

The desk sends it when the program's own request has given up waiting, when a password is to be
saved, and when a proved login is refused somewhere. The request has the target of a program's
request and changes nothing there: the upstream demands a login first.
"""

from contextlib import suppress

from trayproxy.desk.machine.verification import CHECK_PAGES
from trayproxy.engine.proxy_auth.challenge_detection import Evidence, evidence
from trayproxy.engine.proxy_auth.own_auth_port import OwnRequestTools
from trayproxy.engine.proxy_auth.own_request import NotSignedInError, OwnRequest
from trayproxy.engine.upstream.connector import TargetRefusedError
from trayproxy.http.request import Request, parse_request
from trayproxy.profiles.profile import Profile

DEFAULT_PAGE = "http://example.com/"
"""The page that is requested when no program has named a target yet (RFC 6761, section 6.5)."""

_CHECK_PATHS = dict(zip(CHECK_PAGES, ("/success.txt", "/connecttest.txt"), strict=True))


def request_to(target: str) -> Request:
    """Return a request that changes nothing at its target, by default `DEFAULT_PAGE`.

    Raises:
        MessageError: The target is not of the form ``github.com:443``.
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
    """Verify the desk's login for a profile with a request of TrayProxy's own.

    Many proxies refuse a blocked page before they demand a login. If `DEFAULT_PAGE` is blocked, the
    pages that every Firefox and Windows requests are tried next.

    Args:
        tools: The tools for own requests; the desk receives the result.
        profile: The profile, with the upstream in question as its only upstream.
        target: The target of a program's request, empty if there was none.

    Returns:
        True if the upstream demanded a login.

    Raises:
        RequestRefusedError: The upstream cannot be reached or does not respond.
        MessageError: The target is invalid.
    """
    is_anywhere = not target or target in CHECK_PAGES
    for page in (target,) if target else ("", *CHECK_PAGES):
        request = request_to(page)
        own = OwnRequest(profile, request, tools, is_trial=True, is_check_page=is_anywhere)
        try:
            outcome = await own.send(None)
            if outcome.challenge is not None:
                with suppress(NotSignedInError):  # The desk knows the reason.
                    await own.sign_in(outcome.challenge)
                return True
        except TargetRefusedError:
            return False
        finally:
            own.close()
        response = outcome.response
        if response is None:
            return False
        own.report_portal(response)
        if evidence(response, request) is not Evidence.NONE:
            return False
    return False
