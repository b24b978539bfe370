"""Classifies responses as evidence about the login in their request.

A 407, and in some cases a 401, refuses a login.

Tinyproxy requires a login with a 407 and refuses a wrong password with a 401, for CONNECT as for
all other methods. A 401 with a challenge in response to CONNECT can only come from the proxy,
because no site is connected yet. Any other 401 may come from a site, and the client must receive
it. It counts as a refusal by the proxy only if it matches the preceding 407: the same Server field,
the same realm, and no Via field, which a proxy adds to relayed responses (RFC 9110, section 7.6.3).

Only some of the other responses prove the login to be accepted (`Evidence`). Proxies are known to
respond to a wrong login with 403, 429, 500, 502, 503, 504 or 511 (RFC 6585, section 6), with a 401
without a challenge, and with a redirect to a log-in page on another host.
"""

from dataclasses import replace
from enum import Enum, auto
from urllib.parse import urlsplit

from trayproxy.desk.broker import Accepted, CredentialBroker, Unproved
from trayproxy.desk.credentials import Credentials
from trayproxy.desk.protection_space import UpstreamId
from trayproxy.http.challenges import Challenge, parse_challenges
from trayproxy.http.request import Request
from trayproxy.http.response import Response
from trayproxy.http.target import Authority

_MAX_UPSTREAMS = 64


class Evidence(Enum):
    """The evidence of a response, other than a refusal, about the login in its request."""

    PROOF = auto()
    """The next hop has accepted the login."""

    FROM_SITE = auto()
    """Only a site sends such a response: the request went through, but this does not prove the
    login."""

    NONE = auto()
    """A proxy may send this response to a request with a wrong login."""


_NOT_MODIFIED = 304
NETWORK_AUTHENTICATION_REQUIRED = 511
"""The status of a network with a captive portal (RFC 6585, section 6)."""
_SITE_STATUSES = frozenset(
    {404, 405, 406, 409, 410, 411, 412, 413, 414, 415, 416, 417, 421, 422, 423, 424, 425, 426, 428}
    | {431}
)
"""Client errors about a resource or the content of a request (RFC 9110, section 15.5)."""


def evidence(response: Response, request: Request) -> Evidence:
    """Return the evidence of a response, but not of a refusal, about the login in its request."""
    status = response.status
    if request.method == b"CONNECT":  # Only a tunnel connects a site.
        return Evidence.PROOF if response.opens_tunnel else Evidence.NONE
    if status < 300 or status == _NOT_MODIFIED:  # Also 101, which starts another protocol.
        return Evidence.PROOF
    if status < 400:
        is_elsewhere = redirects_to_other_host(response, request)
        return Evidence.NONE if is_elsewhere else Evidence.FROM_SITE
    if status == 401:
        is_asked = parse_challenges(response.fields.get_all(b"www-authenticate"))
        return Evidence.FROM_SITE if is_asked else Evidence.NONE
    return Evidence.FROM_SITE if status in _SITE_STATUSES else Evidence.NONE


def has_reached_site(response: Response, request: Request) -> bool:
    """Return True if the upstream has forwarded a request without a login to its site, as a
    response shows. A 401 is no proof, because some proxies require a login with a 401."""
    return response.status != 401 and evidence(response, request) is not Evidence.NONE


def redirects_to_other_host(response: Response, request: Request) -> bool:
    """Return True if the response redirects to another host than the request's. A malformed
    Location counts as another host."""
    locations = response.fields.get_all(b"location")
    if not locations:
        return False
    try:
        host = urlsplit(locations[0].decode("latin-1").strip()).hostname
    except ValueError:
        return True
    return host is not None and host != _site(request).host.lower()


def _site(request: Request) -> Authority:
    site = request.target.authority
    assert site is not None  # A request to an upstream always names a target.
    return site


_MAX_URL_OCTETS = 2048
"""The most octets of a URL to open in a browser."""


def captive_portal_url(response: Response, request: Request) -> str:
    """Return the URL of the network's sign-in page; an empty string if there is no such page.

    A 511 comes from the network (RFC 6585, section 6), and so does a redirect in response to
    CONNECT, because no site is connected yet. Any other redirect may come from a site.
    """
    is_redirect = request.method == b"CONNECT" and 300 <= response.status < 400
    if response.status != NETWORK_AUTHENTICATION_REQUIRED and not is_redirect:
        return ""
    page = redirect_url(response)
    if page or is_redirect:
        return page
    # The network redirects any unencrypted page in a browser to its sign-in page.
    return f"http://{replace(_site(request), port=0)}/"  # Without a port.


def redirect_url(response: Response) -> str:
    """Return the URL of a redirect; an empty string if a browser cannot open it."""
    locations = response.fields.get_all(b"location")
    return _browser_url(locations[0].decode("latin-1").strip()) if locations else ""


def _browser_url(url: str) -> str:
    """Return the URL if it may be opened in a browser; otherwise an empty string."""
    try:
        parts = urlsplit(url)
        is_web = parts.scheme in ("http", "https") and bool(parts.hostname) and not parts.username
    except ValueError:
        return ""
    is_printable = (
        url.isascii() and url.isprintable() and " " not in url and len(url) <= _MAX_URL_OCTETS
    )
    return url if is_web and is_printable else ""


def report_evidence(
    broker: CredentialBroker,
    credentials: Credentials,
    request: Request,
    response: Response,
    *,
    on_trial: bool,
) -> None:
    """Report to the desk the evidence of a final response, not a 407, about the login of its
    request, which is on trial if the desk gave the login to this request alone.

    An accepted login stays accepted, whatever the response is. But a response which a proxy may
    also give to a wrong login does not confirm the login.
    """
    if credentials.is_recently_accepted:
        return
    response_evidence, target = evidence(response, request), str(request.target.authority)
    if response_evidence is Evidence.PROOF or (
        response_evidence is Evidence.FROM_SITE and not on_trial
    ):
        broker.report(credentials, Accepted(target))
    elif on_trial or credentials.permit:
        broker.report(credentials, Unproved(target, is_doubtful=response_evidence is Evidence.NONE))


class ChallengeDetector:
    """Detects refusals. Remembers the Server field of each upstream's last 407."""

    def __init__(self) -> None:
        self._servers: dict[UpstreamId, bytes] = {}
        self._cut_off: set[UpstreamId] = set()
        self._kept_open: set[UpstreamId] = set()

    def note_upload_cut_off(self, upstream_id: UpstreamId | None) -> None:
        """Record the loss of the connection during an upload without a login: its 407 may have been
        lost."""
        if upstream_id is not None and len(self._cut_off) < _MAX_UPSTREAMS:
            self._cut_off.add(upstream_id)

    def take_upload_cut_off(self, upstream_id: UpstreamId | None) -> bool:
        """Return True if the last upload was cut off, so the next upload expects a 100 first. Clear
        the record."""
        if upstream_id not in self._cut_off:
            return False
        self._cut_off.discard(upstream_id)
        return True

    def note_kept_open(self, upstream_id: UpstreamId | None) -> None:
        """Record the upstream as keeping a connection open after its 407, as announced."""
        if upstream_id is not None and len(self._kept_open) < _MAX_UPSTREAMS:
            self._kept_open.add(upstream_id)

    def was_kept_open(self, upstream_id: UpstreamId | None) -> bool:
        """Return True if the upstream has kept a connection open after its 407."""
        return upstream_id in self._kept_open

    def challenges_in(
        self,
        response: Response,
        method: bytes,
        upstream_id: UpstreamId | None,
        carried: Credentials | None,
    ) -> tuple[Challenge, ...] | None:
        """Return the challenges of a refusal; None if the response is not a refusal.

        Args:
            upstream_id: The upstream; None if no login may ever be sent to it.
            carried: The credentials in the request; None without a login.
        """
        if response.status == 407:
            if upstream_id is not None:
                if len(self._servers) >= _MAX_UPSTREAMS:
                    self._servers.clear()
                self._servers[upstream_id] = b", ".join(response.fields.get_all(b"server"))
            return parse_challenges(response.fields.get_all(b"proxy-authenticate"))
        if response.status != 401 or carried is None:
            return None
        challenges = parse_challenges(response.fields.get_all(b"www-authenticate"))
        is_own = method == b"CONNECT" or self._matches_last_407(response, challenges, carried)
        return challenges if challenges and is_own else None

    def _matches_last_407(
        self, response: Response, challenges: tuple[Challenge, ...], carried: Credentials
    ) -> bool:
        """Return True if a 401 has the Server field and the realm of the last 407, and no Via
        field."""
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
