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

HEADS_KEPT = 1024
NO_KEY = PoolKey("")
"""Of no connection at all."""
LONGEST_KEPT = 4096
"""Octets: longer heads are rare and repeat themselves less."""


class HeadCache(Generic[K, V]):
    """The results of a function for the octets it was called with; forgets all when it is full."""

    __slots__ = ("_found", "get")

    def __init__(self) -> None:
        self._found: dict[K, V] = {}
        self.get: Callable[[K], V | None] = self._found.get

    def keep(self, octets: K, value: V, size: int) -> None:
        """Keep a result, if the octets are not too many."""
        if size > LONGEST_KEPT:
            return
        if len(self._found) >= HEADS_KEPT:
            self._found.clear()
        self._found[octets] = value

    def forget(self) -> None:
        """Forget all results."""
        self._found.clear()


class CachedRequest:
    """A request's head, and all that follows from its octets alone.

    Attributes:
        request: The head.
        page: Our own answer to it, None if it is passed on.
        simple: It has no content, wants no tunnel and no other protocol, and the connection goes
            on: one piece out, and often one piece back.
        opens: It wants a tunnel, and that is all.
        wire: The head as it was written last.
        way: For which way that was.
        answer: And what it carries.
        known: The login that was known then: `answer`, or the one that the request goes without
            because its site is exempt.
        key: And which connections it may take.
    """

    __slots__ = ("answer", "key", "known", "opens", "page", "request", "simple", "way", "wire")

    def __init__(self, request: Request, page: ErrorPage | None) -> None:
        self.request = request
        self.page = page
        self.simple = (
            page is None
            and request.method == b"GET"
            and request.framing == NoBody()
            and request.keep_alive
            and not request.upgrade
        )
        self.opens = (
            page is None
            and request.method == b"CONNECT"
            and request.framing == NoBody()
            and request.minor == 1
        )
        self.wire = b""
        self.way: Route | None = None
        self.answer: Credentials | None = None
        self.known: Credentials | None = None
        self.key = NO_KEY

    def matches(
        self,
        way: Route,
        answer: Credentials | None,
        key: PoolKey | None,
        withheld: Credentials | None = None,
    ) -> bool:
        """Whether it was sent like that before."""
        is_same_login = self.answer is answer and self.known is (answer or withheld)
        return self.way is way and is_same_login and self.key == key

    def was_written(
        self,
        wire: bytes,
        way: Route,
        answer: Credentials | None,
        key: PoolKey,
        withheld: Credentials | None = None,
    ) -> None:
        """Keep how it was sent: while all that stays, it is sent like that again."""
        self.wire, self.way, self.answer, self.key = wire, way, answer, key
        self.known = answer or withheld


class ParsedResponse:
    """The head of an answer, and what was written for clients from it.

    Attributes:
        response: The head.
        heads: As clients get it, by the minor version of the client and whether we close.
    """

    __slots__ = ("heads", "response")

    def __init__(self, response: Response) -> None:
        self.response = response
        self.heads: dict[tuple[int, bool], bytes] = {}


class CachedResponse:
    """The head of an answer to a simple request.

    Attributes:
        head: As the client gets it.
        length: Octets of the content that follow.
        dated: It came with a Date; otherwise ours is to be added each time.
        confirms: It confirms a login that was accepted before.
    """

    __slots__ = ("confirms", "dated", "head", "length")

    def __init__(self, head: bytes, length: int, *, dated: bool, confirms: bool) -> None:
        self.head = head
        self.length = length
        self.dated = dated
        self.confirms = confirms
