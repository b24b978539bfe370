"""What an answer says about the login that its request carried.

A 407, and sometimes a 401, is a refusal of a next hop that wants a login.

Tinyproxy asks with a 407 and answers a wrong password with a 401, to CONNECT as to all else. A 401
to CONNECT that names a challenge can only be the proxy's own: no site is connected yet. Any other
401 may come from a site, and its client has to get it. It is taken for the proxy's only if it bears
all marks of the 407 that came before it: the same Server, the same realm, and no Via, which a proxy
adds to what it passes on (RFC 9110, section 7.6.3).

Of the other answers only some prove that the login was accepted (`Evidence`): proxies are known to
answer a wrong login with 403, 429, 500, 502, 503, 504 or 511 (RFC 6585, section 6), with a 401 that
names no challenge, and with a redirect to a log-in page on another host.
"""

from enum import Enum, auto
from urllib.parse import urlsplit

from trayproxy.desk.credentials import Credentials
from trayproxy.desk.protection_space import UpstreamId
from trayproxy.http.challenges import Challenge, parse_challenges
from trayproxy.http.request import Request
from trayproxy.http.response import Response

_MAX_UPSTREAMS = 64


class Evidence(Enum):
    """What an answer other than a refusal says about the login that its request carried."""

    PROOF = auto()
    """The next hop has accepted the login."""

    FROM_SITE = auto()
    """Only sites give such an answer: the request went through, which is no proof."""

    NONE = auto()
    """A proxy may give this answer to a wrong login."""


_NOT_MODIFIED = 304
NETWORK_AUTHENTICATION_REQUIRED = 511
_SITE_STATUSES = frozenset(
    {404, 405, 406, 409, 410, 411, 412, 413, 414, 415, 416, 417, 421, 422, 423, 424, 425, 426, 428}
    | {431}
)
"""Client errors that are about a resource or the content of a request (RFC 9110, section 15.5)."""


def evidence(response: Response, request: Request) -> Evidence:
    """Return what an answer says about the login that its request carried.

    Args:
        response: Any but a refusal (`ChallengeDetector.challenges_in`).
        request: What it answers, sent through a proxy.
    """
    status = response.status
    if request.method == b"CONNECT":  # Without a tunnel no site is connected.
        return Evidence.PROOF if response.opens_tunnel else Evidence.NONE
    if status < 300 or status == _NOT_MODIFIED:  # 101 among them: another protocol has begun.
        return Evidence.PROOF
    if status < 400:
        is_elsewhere = redirects_to_other_host(response, request)
        return Evidence.NONE if is_elsewhere else Evidence.FROM_SITE
    if status == 401:
        is_asked = parse_challenges(response.fields.get_all(b"www-authenticate"))
        return Evidence.FROM_SITE if is_asked else Evidence.NONE
    return Evidence.FROM_SITE if status in _SITE_STATUSES else Evidence.NONE


def has_reached_site(response: Response, request: Request) -> bool:
    """Return whether an upstream has passed a request on to its site that carried no login.

    A 401 does not tell: some proxies ask with it.

    Args:
        response: Any but a refusal (`ChallengeDetector.challenges_in`).
        request: What it answers, sent through a proxy.
    """
    return response.status != 401 and evidence(response, request) is not Evidence.NONE


def redirects_to_other_host(response: Response, request: Request) -> bool:
    """Return whether a redirect leads to another host than the one that was asked for.

    One that cannot be read counts as such.
    """
    locations = response.fields.get_all(b"location")
    if not locations:
        return False
    try:
        host = urlsplit(locations[0].decode("latin-1").strip()).hostname
    except ValueError:
        return True
    authority = request.target.authority
    return host is not None and (authority is None or host != authority.host.lower())


_MAX_URL_OCTETS = 2048


def captive_portal_url(response: Response, request: Request) -> str:
    """Return the page on which a network wants people to sign in, empty if the answer names none.

    A 511 comes from the network (RFC 6585, section 6), and so does a redirect in answer to CONNECT:
    no site is connected yet. Any other redirect may be a site's.

    Args:
        response: Of a proxy.
        request: What it answers.
    """
    is_redirect = request.method == b"CONNECT" and 300 <= response.status < 400
    if response.status != NETWORK_AUTHENTICATION_REQUIRED and not is_redirect:
        return ""
    page = redirect_url(response)
    if page or is_redirect:
        return page
    # A browser that asks for any page without encryption is shown the right one.
    authority = request.target.authority
    return _browser_url(f"http://{authority.host}/" if authority else "") or "http://example.com/"


def redirect_url(response: Response) -> str:
    """Return where a redirect leads, empty if a browser cannot open that."""
    locations = response.fields.get_all(b"location")
    return _browser_url(locations[0].decode("latin-1").strip()) if locations else ""


def _browser_url(url: str) -> str:
    """Return a URL that may be given to a browser, empty if this one may not be."""
    try:
        parts = urlsplit(url)
        is_web = parts.scheme in ("http", "https") and bool(parts.hostname) and not parts.username
    except ValueError:
        return ""
    is_printable = (
        url.isascii() and url.isprintable() and " " not in url and len(url) <= _MAX_URL_OCTETS
    )
    return url if is_web and is_printable else ""


class ChallengeDetector:
    """Tells refusals; remembers what the last 407 of each upstream looked like."""

    def __init__(self) -> None:
        self._servers: dict[UpstreamId, bytes] = {}
        self._cut_off: set[UpstreamId] = set()
        self._kept_open: set[UpstreamId] = set()

    def note_upload_cut_off(self, upstream_id: UpstreamId | None) -> None:
        """Remember that an upload without a login was cut off: its 407 may have been lost."""
        if upstream_id is not None and len(self._cut_off) < _MAX_UPSTREAMS:
            self._cut_off.add(upstream_id)

    def take_upload_cut_off(self, upstream_id: UpstreamId | None) -> bool:
        """Return whether the last upload was cut off, and forget it: the next one asks first."""
        if upstream_id not in self._cut_off:
            return False
        self._cut_off.discard(upstream_id)
        return True

    def note_kept_open(self, upstream_id: UpstreamId | None) -> None:
        """Remember that an upstream keeps a connection open behind its 407, as it says."""
        if upstream_id is not None and len(self._kept_open) < _MAX_UPSTREAMS:
            self._kept_open.add(upstream_id)

    def was_kept_open(self, upstream_id: UpstreamId | None) -> bool:
        """Return whether an upstream has kept a connection open behind its 407."""
        return upstream_id in self._kept_open

    def challenges_in(
        self,
        response: Response,
        method: bytes,
        upstream_id: UpstreamId | None,
        carried: Credentials | None,
    ) -> tuple[Challenge, ...] | None:
        """Return the challenges of a refusal, None if the response is none.

        Args:
            response: Of a next hop that is a proxy.
            method: Of the request.
            space: The upstream; None if no login may ever be sent there.
            carried: The login that the request carried, None if none.
        """
        if response.status == 407:
            if upstream_id is not None:
                self._remember_server(upstream_id, b", ".join(response.fields.get_all(b"server")))
            return parse_challenges(response.fields.get_all(b"proxy-authenticate"))
        if response.status != 401 or carried is None:
            return None
        challenges = parse_challenges(response.fields.get_all(b"www-authenticate"))
        is_own = method == b"CONNECT" or self._matches_last_407(response, challenges, carried)
        return challenges if challenges and is_own else None

    def _remember_server(self, upstream_id: UpstreamId, server: bytes) -> None:
        if len(self._servers) >= _MAX_UPSTREAMS:
            self._servers.clear()
        self._servers[upstream_id] = server

    def _matches_last_407(
        self, response: Response, challenges: tuple[Challenge, ...], carried: Credentials
    ) -> bool:
        server, last_challenge = self._servers.get(carried.upstream_id), carried.challenge
        return (
            bool(server)
            and response.fields.get_all(b"server") == (server,)
            and b"via" not in response.fields
            and bool(last_challenge.realm)
            and any(
                (challenge.scheme, challenge.realm) == (last_challenge.scheme, last_challenge.realm)
                for challenge in challenges
            )
        )
