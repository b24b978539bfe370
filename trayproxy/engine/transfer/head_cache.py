"""Cache the heads of requests and responses, and the decisions made for them.

Programs send the same heads again and again. Parsing a head strictly and writing it again are pure
functions of its octets, so their results can be cached. A cached head has passed all checks; a head
with one other octet is not found in the cache.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from trayproxy.desk.credentials import Credentials
from trayproxy.engine.error_pages import ErrorPage
from trayproxy.engine.transfer.date_field import DateField
from trayproxy.engine.upstream.pool import PoolKey
from trayproxy.engine.upstream.route import Route
from trayproxy.http.framing import NoBody
from trayproxy.http.request import Request
from trayproxy.http.response import Response

K = TypeVar("K")
V = TypeVar("V")

MAX_ENTRIES = 1024
NO_KEY = PoolKey("")
"""A pool key that no connection has."""
MAX_HEAD_OCTETS = 4096
"""The longest cached head, in octets: longer heads are rare and less often repeated."""


class HeadCache(Generic[K, V]):
    """A cache of results by the octets they were computed from; a full cache is cleared."""

    __slots__ = ("_found", "get")

    def __init__(self) -> None:
        self._found: dict[K, V] = {}
        self.get: Callable[[K], V | None] = self._found.get

    def store(self, octets: K, value: V, size: int) -> None:
        """Store a result, unless the head is longer than `MAX_HEAD_OCTETS`."""
        if size > MAX_HEAD_OCTETS:
            return
        if len(self._found) >= MAX_ENTRIES:
            self._found.clear()
        self._found[octets] = value

    def clear(self) -> None:
        """Remove all results."""
        self._found.clear()


@dataclass(eq=False, slots=True)
class CachedRequest:
    """A request head, the decisions made for it, and the head last written for it.

    Attributes:
        page: The error page to answer the request with; None if the request is forwarded.
        is_simple: True for a forwarded GET without content and upgrade on a persistent connection:
            it is sent in one piece, and often answered in one piece.
        opens_tunnel: True for a forwarded HTTP/1.1 CONNECT without content.
        wire: The head last written to the next hop.
        route: The route for which `wire` was written.
        credentials: The credentials contained in `wire`; None for none.
        known_credentials: The credentials known then: `credentials`, or the withheld credentials if
            the site is exempt.
        pool_key: The key of the connections which may send `wire`.
    """

    request: Request
    page: ErrorPage | None
    is_simple: bool = field(init=False)
    opens_tunnel: bool = field(init=False)
    wire: bytes = b""
    route: Route | None = None
    credentials: Credentials | None = None
    known_credentials: Credentials | None = None
    pool_key: PoolKey = NO_KEY

    def __post_init__(self) -> None:
        """Decide how to handle the request."""
        request, page = self.request, self.page
        self.is_simple = (
            page is None
            and request.method == b"GET"
            and request.framing == NoBody()
            and request.keep_alive
            and not request.upgrade
        )
        self.opens_tunnel = (
            page is None
            and request.method == b"CONNECT"
            and request.framing == NoBody()
            and request.minor == 1
        )

    def was_sent_with(
        self,
        route: Route,
        credentials: Credentials | None,
        pool_key: PoolKey | None,
        withheld: Credentials | None = None,
    ) -> bool:
        """Return whether `wire` was written for this route, these credentials and this pool key."""
        is_same_login = self.credentials is credentials and self.known_credentials is (
            credentials or withheld
        )
        return self.route is route and is_same_login and self.pool_key == pool_key

    def store_sent(
        self,
        wire: bytes,
        route: Route,
        credentials: Credentials | None,
        pool_key: PoolKey,
        withheld: Credentials | None = None,
    ) -> None:
        """Store the written head with the route, credentials and pool key it was written for."""
        self.wire, self.route, self.credentials, self.pool_key = wire, route, credentials, pool_key
        self.known_credentials = credentials or withheld


@dataclass(eq=False, slots=True)
class ParsedResponse:
    """A response head and its versions written for clients.

    Attributes:
        client_heads: The heads for clients, by the minor HTTP version of the client and a boolean,
            True if the response closes the client's connection.
    """

    response: Response
    client_heads: dict[tuple[int, bool], bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CachedResponse:
    """The head of a response to a simple request.

    Attributes:
        head: The head for the client.
        length: The length of the content, in octets.
        has_date: True if the response has a Date field; otherwise the field is added each time.
        confirms_login: True if the response confirms the login of the request.
    """

    head: bytes
    length: int
    has_date: bool
    confirms_login: bool


@dataclass(frozen=True, slots=True)
class HeadCaches:
    """The caches of message heads of an engine.

    Attributes:
        parsed_responses: Response heads parsed before, by the head and the method of the request.
        responses: Responses of the fast path.
        tunnel_replies: Heads of 2xx responses to CONNECT seen before, and the heads for clients.
    """

    requests: HeadCache[bytes, CachedRequest] = field(default_factory=HeadCache)
    parsed_responses: HeadCache[tuple[bytes, bytes], ParsedResponse] = field(
        default_factory=HeadCache
    )
    responses: HeadCache[bytes, CachedResponse] = field(default_factory=HeadCache)
    tunnel_replies: HeadCache[bytes, bytes] = field(default_factory=HeadCache)
    date_field: DateField = field(default_factory=DateField)
