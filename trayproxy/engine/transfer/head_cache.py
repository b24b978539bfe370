"""What the engine remembers of heads it has seen: programs repeat themselves.

Reading a head strictly and writing it anew are pure functions of its octets, so their results may
be kept. What is found here was checked like everything else; a head that differs in one octet is
not found.
"""

from collections.abc import Callable
from typing import Generic, TypeVar

from trayproxy.desk.credentials import Credentials
from trayproxy.engine.error_pages import ErrorPage
from trayproxy.engine.upstream.pool import PoolKey
from trayproxy.engine.upstream.route import Route
from trayproxy.http.framing import NoBody
from trayproxy.http.request import Request
from trayproxy.http.response import Response

K = TypeVar("K")
V = TypeVar("V")

MAX_ENTRIES = 1024
NO_KEY = PoolKey("")
"""Of no connection at all."""
MAX_HEAD_OCTETS = 4096
"""Octets: longer heads are rare and repeat themselves less."""


class HeadCache(Generic[K, V]):
    """The results of a function for the octets it was called with; forgets all when it is full."""

    __slots__ = ("_found", "get")

    def __init__(self) -> None:
        self._found: dict[K, V] = {}
        self.get: Callable[[K], V | None] = self._found.get

    def store(self, octets: K, value: V, size: int) -> None:
        """Keep a result, if the octets are not too many."""
        if size > MAX_HEAD_OCTETS:
            return
        if len(self._found) >= MAX_ENTRIES:
            self._found.clear()
        self._found[octets] = value

    def clear(self) -> None:
        """Forget all results."""
        self._found.clear()


class CachedRequest:
    """A request's head, and all that follows from its octets alone.

    Attributes:
        request: The head.
        page: Our own answer to it, None if it is passed on.
        is_simple: It has no content, wants no tunnel and no other protocol, and the connection goes
            on: one piece out, and often one piece back.
        opens_tunnel: It wants a tunnel, and that is all.
        wire: The head as it was written last.
        route: For which way that was.
        credentials: And what it carries.
        known_credentials: The login that was known then: `credentials`, or the login that the
            request goes without because its site is exempt.
        pool_key: And which connections it may take.
    """

    __slots__ = (
        "credentials",
        "is_simple",
        "known_credentials",
        "opens_tunnel",
        "page",
        "pool_key",
        "request",
        "route",
        "wire",
    )

    def __init__(self, request: Request, page: ErrorPage | None) -> None:
        self.request = request
        self.page = page
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
        self.wire = b""
        self.route: Route | None = None
        self.credentials: Credentials | None = None
        self.known_credentials: Credentials | None = None
        self.pool_key = NO_KEY

    def was_sent_with(
        self,
        route: Route,
        credentials: Credentials | None,
        pool_key: PoolKey | None,
        withheld: Credentials | None = None,
    ) -> bool:
        """Whether it was sent like that before."""
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
        """Keep how it was sent: while all that stays, it is sent like that again."""
        self.wire, self.route, self.credentials, self.pool_key = wire, route, credentials, pool_key
        self.known_credentials = credentials or withheld


class ParsedResponse:
    """The head of an answer, and what was written for clients from it.

    Attributes:
        response: The head.
        client_heads: As clients get it, by the minor version of the client and whether we close.
    """

    __slots__ = ("client_heads", "response")

    def __init__(self, response: Response) -> None:
        self.response = response
        self.client_heads: dict[tuple[int, bool], bytes] = {}


class CachedResponse:
    """The head of an answer to a simple request.

    Attributes:
        head: As the client gets it.
        length: Octets of the content that follow.
        has_date: It came with a Date; otherwise ours is to be added each time.
        confirms_login: It confirms a login that was accepted before.
    """

    __slots__ = ("confirms_login", "has_date", "head", "length")

    def __init__(self, head: bytes, length: int, *, has_date: bool, confirms_login: bool) -> None:
        self.head = head
        self.length = length
        self.has_date = has_date
        self.confirms_login = confirms_login
