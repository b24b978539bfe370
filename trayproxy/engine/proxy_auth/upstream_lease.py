"""The next hop of one request: a connection to it, and waiting for what it says."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from trayproxy.desk.credentials import Credentials, Outcome
from trayproxy.desk.desk import Desk
from trayproxy.engine.error_pages import (
    ErrorPage,
    RequestRefusedError,
    silent,
    slow_or_silent,
    slow_site,
)
from trayproxy.engine.net.fd_task import READ, TIMED_OUT, IoWait
from trayproxy.engine.net.socket_stream import SocketStream
from trayproxy.engine.proxy_auth.preconnect_policy import PreconnectOrder
from trayproxy.engine.transfer.request_writer import ClientGoneError
from trayproxy.engine.upstream.connector import ConnectRequest, UnusableError
from trayproxy.engine.upstream.pool import PoolKey, UpstreamConnection
from trayproxy.engine.upstream.route import Route
from trayproxy.http.request import Request

if TYPE_CHECKING:
    from asyncio import Future

    from trayproxy.engine.downstream import Downstream

LOOK_AGAIN_S = 0.5
"""How often to look whether a client is still there that cannot say so."""


def _signed_in(key: PoolKey, answer: Credentials) -> PoolKey:
    """Return what a connection may be used for that is signed in with this login."""
    return key._replace(signed_in=answer.login_id)


class UpstreamLease:
    """Where a request goes next.

    Attributes:
        way: The way that it takes.
        preferred: The way that it would take if no upstream were dead.
        is_parked: It waits at the sign-in desk: when its client leaves, nobody needs it.
        is_spent: A login was sent while connecting, and may have cost a log-on.
        left_behind: The connection to a SOCKS server whose verdict on the login is on its way,
            although the client has left; None if there is none.
    """

    __slots__ = (
        "_client",
        "_engine",
        "_heard",
        "_line",
        "_link",
        "_request",
        "_taken_key",
        "is_parked",
        "is_spent",
        "left_behind",
        "preferred",
        "way",
    )

    def __init__(self, link: "Downstream", request: Request, preferred: Route, way: Route) -> None:
        """Connect to nothing yet."""
        self.way = way
        self.preferred = preferred
        self.is_parked = False
        self.is_spent = False
        self.left_behind: SocketStream | None = None
        self._link = link
        self._engine = link.engine
        self._client = link.client
        self._request = request
        self._heard: tuple[Route, int] | None = None
        self._line: PoolKey | None = None
        self._taken_key: PoolKey | None = None

    @property
    def desk(self) -> Desk:
        """Who hears what becomes of logins."""
        return self._engine.desk

    async def connected(
        self,
        answer: Credentials | None,
        *,
        fresh: bool,
        on_trial: bool = False,
        asks_first: bool = False,
    ) -> UpstreamConnection:
        """Return a connection to the next hop that may carry this answer.

        Args:
            answer: What the request goes with.
            fresh: A new one.
            on_trial: Not one that has lain idle, and may be dead: the answer goes out only once.
            asks_first: One that has lain idle even so, for a tunnel as well: the next hop is asked
                for a challenge on it before the answer goes out. Behind a balancer it leads to the
                proxy that has asked this request for the login.

        Raises:
            RequestRefusedError: There is none to be had.
        """
        link, pool = self._link, self._engine.pool
        pool.look_for_sleep()
        key = self._key(answer)
        own = link.upstream
        if own is not None and not fresh and self._fits(own, key, answer) and own.is_quiet():
            return self._taken(own, key, answer)
        self.let_go()
        if fresh or (on_trial and not asks_first):
            kept = None
        else:
            kept = self._from_pool(key, answer, uses_up=asks_first)
        if kept is not None:
            link.drop_begun()  # Nobody would look after it until it is used, if it ever is.
        link.upstream = kept or UpstreamConnection(await self._dial(answer), key)
        return self._taken(link.upstream, key, answer)

    def let_go(self) -> None:
        """Leave the connection to whoever needs one."""
        link = self._link
        own, link.upstream = link.upstream, None
        if own is None:
            return
        link.release(own.stream.descriptor)
        if own.is_quiet():
            self._engine.pool.keep(own)
        else:
            own.stream.close()

    def _key(self, answer: Credentials | None) -> PoolKey:
        """Return what connections have in common that nobody is signed in on, and that requests
        with this answer may take."""
        epoch = self._engine.pool.epoch
        if answer is None:
            return PoolKey(self._name(), epoch=epoch)
        return PoolKey(self._name(), answer.upstream_id.profile_id, answer.generation, epoch)

    def _fits(
        self, connection: UpstreamConnection, key: PoolKey, answer: Credentials | None
    ) -> bool:
        """Whether a connection may carry this answer."""
        if connection.key == key:
            return True
        if answer is None or not self.way.signs_requests:
            return False
        # Nobody has a login on it: what comes now may be the first.
        return connection.key in (_signed_in(key, answer), self._key(None))

    def _from_pool(
        self, key: PoolKey, answer: Credentials | None, *, uses_up: bool = False
    ) -> UpstreamConnection | None:
        pool, is_connect = self._engine.pool, self._request.method == b"CONNECT"
        signs = answer is not None and self.way.signs_requests
        if answer is not None and signs and answer.scheme.binds_connection:
            kept = pool.take(_signed_in(key, answer))
            if kept is not None:
                self._taken_key = kept.key
                return kept
        if is_connect and not uses_up:
            return None  # A tunnel would use it up, and the next request would have to connect.
        return pool.take(key) or (pool.take(self._key(None)) if signs else None)

    # --- connections that are signed in ahead (see `warming`) ---

    def register_demand(self, answer: Credentials) -> None:
        """Say that this request needs a connection that is signed in with this login."""
        key = _signed_in(self._key(answer), answer)
        own = self._link.upstream
        if self._line is None and (own is None or own.key != key):
            self._line = key
            self._engine.warming.arrives(key)

    def deregister_demand(self) -> None:
        """Say that it has one, or needs none any more."""
        if self._line is not None:
            line, self._line = self._line, None
            self._engine.warming.leaves(line)

    def end_sign_in(self) -> None:
        """Say that the request has its answer, or has come to nothing: another connection may be
        made ready for the next one."""
        self.deregister_demand()
        if self._taken_key is not None:
            key, self._taken_key = self._taken_key, None
            self._engine.warming.took(key)

    def paid(self, answer: Credentials) -> None:
        """Say that it had to sign one in with more than one message."""
        target = self._request.target.authority
        assert target is not None
        key = _signed_in(self._key(answer), answer)
        self._engine.warming.paid(key, PreconnectOrder(self.way, answer, target))

    async def waited_for_spare(self) -> bool:
        """Wait for a connection that is being signed in ahead, if one is; what becomes of that may
        be the end of the login. Return whether there was one.

        Raises:
            ClientGoneError: The client left meanwhile.
        """
        flight = self._engine.warming.under_way(self._line) if self._line is not None else None
        if flight is None:
            return False
        over, left = flight
        self._link.deadline = None
        with self.parked():
            await self.pause(IoWait({}, future=over, timeout=left))
        return True

    def _taken(
        self, connection: UpstreamConnection, key: PoolKey, answer: Credentials | None
    ) -> UpstreamConnection:
        """Write down what a connection is used for now."""
        connection.way = self.way
        if self._heard is None or self._heard[0] is not self.way:
            self._heard = (self.way, self.way.pulse.answers)
        connection.heard_before = self._heard[1]
        if not connection.is_signed_in:
            connection.key = key
        is_plain = answer is None or answer.repeats or not self.way.signs_requests
        connection.answer = answer if is_plain or connection.is_signed_in else None
        return connection

    def _name(self) -> str:
        """Return what connections must have in common that stand for each other."""
        hop = str(self.way.upstream or "direct:")
        return f"{hop} {self._request.target.authority}" if self.way.is_direct else hop

    async def _dial(self, answer: Credentials | None) -> SocketStream:
        """Return a new connection to the next hop.

        Raises:
            UnreachableError: It is dead.
            AuthRequiredError: It wants a login, or another one, at once.
            RequestRefusedError: There is none to be had.
        """
        target = self._request.target.authority
        assert target is not None
        link = self._link
        call = ConnectRequest(
            self.way,
            target,
            answer,
            self.pause,
            link.release,
            link.begun,
            self._spend,
            self._keep_for_verdict,
        )
        try:
            stream = await self._engine.dialler.dial(call)
        except BaseException as error:
            link.drop_begun()
            if isinstance(error, UnusableError):
                self.failed(error.page)
            raise
        link.begun = None
        return stream

    def _spend(self) -> None:
        self.is_spent = True

    def _keep_for_verdict(self, stream: SocketStream) -> bool:
        self.left_behind = stream
        return True

    # --- what it is like ---

    def failed(self, page: ErrorPage) -> None:
        """Tell whoever watches that it does not answer."""
        self._engine.observer.failed(self.way, page)

    def wants_page(self, url: str) -> None:
        """Tell whoever watches that the network wants people to sign in on a page of its own."""
        self._engine.observer.wants_page(self.way, url)

    def answered(self, upstream: UpstreamConnection) -> None:
        """Take note that it has answered on this connection."""
        if not upstream.used and self.preferred.fallbacks and self.way.upstream is not None:
            self._engine.failover.mark_alive(self.way.upstream)
        upstream.used += 1
        self.way.pulse.answers += 1
        self._engine.observer.reached(self.way)

    def was_silent(self) -> None:
        """Let the next requests take another way, if this next hop stays without answers."""
        if self.preferred.fallbacks and self.way.upstream is not None:
            self._engine.failover.mark_silent(self.way.upstream)

    def gave_up(self) -> RequestRefusedError:
        """Close the connection to a next hop that does not answer; return what to raise.

        A proxy that has answered anything else since the request began is alive: its site is slow.
        One that has not may be silent, or the site is slow; what a site has to do before it answers
        a GET takes longer than what a proxy has to do before it opens a tunnel.
        """
        connection, way, target = self._link.upstream, self.way, self._request.target.authority
        self._link.drop_upstream()
        assert target is not None
        limit = self._engine.limits.answer_s(self._request.method)
        if way.upstream is None or way.is_socks:
            page = silent(target.host, limit, through_upstream=False)
            if way.upstream is None:
                self.failed(page)
            return RequestRefusedError(page)
        if connection is not None and way.pulse.answers > connection.heard_before:
            return RequestRefusedError(slow_site(target.host, limit))
        self.was_silent()
        if self._request.method != b"CONNECT":
            return RequestRefusedError(slow_or_silent(target.host, way.upstream.host, limit))
        page = silent(way.upstream.host, limit, through_upstream=True)
        self.failed(page)
        return RequestRefusedError(page)

    # --- waiting ---

    @contextmanager
    def parked(self) -> Iterator[None]:
        """Wait for somebody else than the next hop: if the client leaves, nobody needs it."""
        self.is_parked = True
        try:
            yield
        finally:
            self.is_parked = False

    async def served(self, seat: "Future[Outcome]") -> Outcome:
        """Wait until the desk serves this request, and return the desk's answer.

        Meanwhile the request holds no connection: a person takes longer than a proxy keeps one.

        Args:
            seat: What `Desk.challenged` or `Desk.departing` returned for this request.

        Raises:
            ClientGoneError: The client left. The desk knows that the request waits no longer.
        """
        if seat.done():
            return seat.result()
        try:
            self.let_go()
            self._link.deadline = None
            with self.parked():
                while not seat.done():
                    await self.pause(IoWait({}, future=seat))
        except BaseException:
            # The desk may have served the request in the same moment.
            self.desk.give_up(seat)
            raise
        return seat.result()

    async def pause(self, wait: IoWait) -> int:
        """Wait, and meanwhile read what the client sends ahead and see whether it leaves.

        Raises:
            ClientGoneError: It left, and nobody else needs the request.
        """
        client, loop = self._client, self._engine.loop
        end = None if wait.timeout is None else loop.time() + wait.timeout
        while True:
            is_heard = not client.ended and len(client.inbox) < self._engine.limits.early_octets
            events = {**wait.events, client.descriptor: READ} if is_heard else wait.events
            left = None if end is None else max(0.0, end - loop.time())
            if self.is_parked and not is_heard:
                self._look_for_client()
                left = LOOK_AGAIN_S if left is None else min(LOOK_AGAIN_S, left)
            woken = await IoWait(events, wait.future, left)
            if woken == TIMED_OUT and (end is None or loop.time() < end):
                continue
            if woken != client.descriptor:
                return woken
            try:
                client.fill()
            except OSError:
                raise ClientGoneError from None

    def _look_for_client(self) -> None:
        """Find out whether a client that is not heard any more still waits.

        It has sent all that we take, or has ended its sending, which may mean either: that is the
        only thing that a connection says.

        Raises:
            ClientGoneError: It has left.
        """
        is_held = self._engine.guard.is_held(self._client.socket)
        if is_held is False or (is_held is None and self._client.ended):
            raise ClientGoneError
