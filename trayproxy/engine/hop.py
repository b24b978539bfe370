"""The next hop of one request: a connection to it, and waiting for what it says."""

from typing import TYPE_CHECKING

from trayproxy.desk.answer import Answer
from trayproxy.engine.dial import Call, UnusableError
from trayproxy.engine.pages import RefusedError, silent
from trayproxy.engine.sender import ClientGoneError
from trayproxy.engine.strand import READ, Wait
from trayproxy.engine.stream import Stream
from trayproxy.engine.upstream import Connection, Key
from trayproxy.engine.way import Way
from trayproxy.http.request import Request

if TYPE_CHECKING:
    from trayproxy.engine.client import ClientWork


class Hop:
    """Where a request goes next.

    Attributes:
        way: The way that it takes.
        preferred: The way that it would take if no upstream were dead.
        is_parked: It waits at the sign-in desk: when its client leaves, nobody needs it.
    """

    __slots__ = ("_client", "_engine", "_link", "_request", "is_parked", "preferred", "way")

    def __init__(self, link: "ClientWork", request: Request, preferred: Way, way: Way) -> None:
        """Connect to nothing yet."""
        self.way = way
        self.preferred = preferred
        self.is_parked = False
        self._link = link
        self._engine = link.engine
        self._client = link.client
        self._request = request

    async def connected(self, answer: Answer | None, *, fresh: bool) -> Connection:
        """Return a connection to the next hop that may carry this answer.

        Raises:
            RefusedError: There is none to be had.
        """
        link, way = self._link, self.way
        pool = self._engine.pool
        pool.look_for_sleep()
        key = (
            Key(self._name(), answer.space.profile_id, answer.generation, pool.epoch)
            if answer
            else Key(self._name(), epoch=pool.epoch)
        )
        own = link.upstream
        if own is not None and own.key == key and not fresh and own.is_quiet():
            own.way, own.answer = way, answer
            return own
        if own is not None:
            link.release(own.stream.descriptor)
            link.upstream = None
            if own.is_quiet():
                pool.keep(own)
            else:
                own.stream.close()
        kept = None if fresh or self._request.method == b"CONNECT" else pool.take(key)
        link.upstream = kept or Connection(await self._dial(answer), key)
        link.upstream.way, link.upstream.answer = way, answer
        return link.upstream

    def _name(self) -> str:
        """Return what connections must have in common that stand for each other."""
        hop = str(self.way.upstream or "direct:")
        return f"{hop} {self._request.target.authority}" if self.way.ends_at_target else hop

    async def _dial(self, answer: Answer | None) -> Stream:
        """Return a new connection to the next hop.

        Raises:
            UnreachableError: It is dead.
            SignInWantedError: It wants a login, or another one, at once.
            RefusedError: There is none to be had.
        """
        target = self._request.target.authority
        assert target is not None
        link = self._link
        call = Call(self.way, target, answer, self.pause, link.release, link.begun)
        try:
            stream = await self._engine.dialler.dial(call)
        except BaseException as error:
            link.drop_begun()
            if isinstance(error, UnusableError):
                self._engine.observer.failed(self.way, error.page)
            raise
        link.begun = None
        return stream

    # --- what it is like ---

    def answered(self, upstream: Connection) -> None:
        """Take note that it has answered on this connection."""
        if not upstream.used and self.preferred.others and self.way.upstream is not None:
            self._engine.failover.lives(self.way.upstream)
        upstream.used += 1
        self._engine.observer.reached(self.way)

    def was_silent(self) -> None:
        """Let the next requests take another way, if this next hop stays without answers."""
        if self.preferred.others and self.way.upstream is not None:
            self._engine.failover.was_silent(self.way.upstream)

    def gave_up(self) -> RefusedError:
        """Close the connection to a next hop that does not answer; return what to raise."""
        self._link.drop_upstream()
        hop = self.way.upstream or self._request.target.authority
        assert hop is not None
        limit = self._engine.limits.upstream_head_s
        page = silent(hop.host, limit, through_upstream=self.way.upstream is not None)
        self.was_silent()
        self._engine.observer.failed(self.way, page)
        return RefusedError(page)

    async def pause(self, wait: Wait) -> int:
        """Wait, and meanwhile read what the client sends ahead and see whether it leaves.

        Raises:
            ClientGoneError: It left, and nobody else needs the request.
        """
        client, loop = self._client, self._engine.loop
        end = None if wait.timeout is None else loop.time() + wait.timeout
        while True:
            events = wait.events
            if not client.ended and len(client.inbox) < self._engine.limits.early_octets:
                events = {**events, client.descriptor: READ}
            left = None if end is None else max(0.0, end - loop.time())
            woken = await Wait(events, wait.future, left)
            if woken != client.descriptor:
                return woken
            try:
                client.fill()
            except OSError:
                raise ClientGoneError from None
            if client.ended and self.is_parked:
                raise ClientGoneError
