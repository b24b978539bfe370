"""Connections to the next hop: finding addresses, dialling, keeping, reusing."""

import asyncio
import errno
import os
import socket
from collections import deque
from collections.abc import Callable, Coroutine
from itertools import chain, zip_longest
from typing import Any, NamedTuple

from trayproxy.desk.credentials import Credentials
from trayproxy.desk.protection_space import LoginId
from trayproxy.engine.limits import EngineLimits
from trayproxy.engine.net.fd_task import READ, TIMED_OUT, WRITE, IoWait
from trayproxy.engine.net.poller import Poller
from trayproxy.engine.net.resource_shortage import is_shortage
from trayproxy.engine.net.socket_stream import SocketStream
from trayproxy.engine.transfer.leftover_content import LeftoverContent
from trayproxy.engine.upstream.route import Route

Address = tuple[socket.AddressFamily, tuple[Any, ...]]
"""An address family and a socket address of it."""

Pause = Callable[[IoWait], Coroutine[IoWait, int, int]]
"""Waits, and meanwhile looks after whatever else the caller is responsible for."""

NAMES_KEPT_S = 10.0
NAMES_KEPT = 256
KEPT_PER_KEY = 64
NEVER_BLOCKS = getattr(socket, "SOCK_NONBLOCK", 0)
"""Makes a socket that does not block from the start, where that is possible."""
BUSY_S = 0.05
"""A connection used so short a time ago is in the middle of its work: the sweep, once a second,
finds the one computer that fell asleep just then."""


def literal_address(host: str, port: int) -> tuple[Address, ...]:
    """Return the address that an IP literal is; nothing for a name.

    An address of IPv6 may have a zone (RFC 4007, section 11). Not every resolver passes it on
    (uvloop's drops it), so it is looked up here. One that there is not becomes an interface that
    there is not: connecting says so.
    """
    plain, mark, zone = host.partition("%")
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, plain)
        except (OSError, ValueError):
            continue
        if family == socket.AF_INET6:
            return ((family, (plain, port, 0, _zone_index(zone) if mark else 0)),)
        return () if mark else ((family, (plain, port)),)
    return ()


_NO_INTERFACE = (1 << 31) - 1
"""The number of an interface that there is not."""


def _zone_index(zone: str) -> int:
    """Return the number of a network interface, which may be given by its name or number."""
    if zone.isascii() and zone.isdigit():
        return min(int(zone), _NO_INTERFACE)
    try:
        return socket.if_nametoindex(zone)
    except (OSError, ValueError):
        return _NO_INTERFACE


class _LookUp:
    """One that is under way.

    Attributes:
        answer: What the system will say.
        waiting: How many requests wait for that.
    """

    __slots__ = ("answer", "waiting")

    def __init__(self, answer: "asyncio.Future[list[Any]]") -> None:
        self.answer = answer
        self.waiting = 0


class Resolver:
    """Finds the addresses of names, off the loop; remembers them for a few seconds.

    However many requests wait for a name, the system is asked once: it asks in few threads, and
    while a name server is silent each of them is one that other names do without.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._known: dict[tuple[str, int], tuple[float, tuple[Address, ...]]] = {}
        self._under_way: dict[tuple[str, int], _LookUp] = {}

    def known(self, host: str, port: int) -> tuple[Address, ...] | None:
        """Return the addresses that need no look-up: of an IP literal, or of a name asked
        before."""
        found = self._known.get((host, port))
        if found is not None and found[0] > self._loop.time():
            return found[1]
        literal = literal_address(host, port)
        return self._remember(host, port, literal) if literal else None

    async def look_up(
        self, host: str, port: int, pause: Pause, limit_s: float
    ) -> tuple[Address, ...]:
        """Return the addresses of a name, IPv6 and IPv4 in turn (RFC 8305, section 4).

        Raises:
            socket.gaierror: It has none, or no name server has answered in time.
        """
        known = self.known(host, port)
        if known is not None:
            return known
        look_up = self._begin(host, port)
        answer = look_up.answer
        look_up.waiting += 1
        try:
            while not answer.done():
                if await pause(IoWait({}, future=answer, timeout=limit_s)) == TIMED_OUT:
                    # Whoever comes next asks anew: the name server may be back by then.
                    self._leave((host, port), look_up)
                    raise socket.gaierror(socket.EAI_AGAIN, "the name server does not answer")
        finally:
            look_up.waiting -= 1
            if not look_up.waiting:
                self._leave((host, port), look_up)
                answer.cancel()
        found: dict[int, list[Address]] = {}
        for family, _, _, _, address in answer.result():
            found.setdefault(family, []).append((family, address))
        turns = chain.from_iterable(zip_longest(*found.values()))
        return self._remember(host, port, tuple(address for address in turns if address))

    def _begin(self, host: str, port: int) -> _LookUp:
        """Return the look-up of a name that is under way, or begin one."""
        under_way = self._under_way.get((host, port))
        if under_way is not None and not under_way.answer.done():
            return under_way
        # As octets: Python's IDNA codec, which text goes through, raises UnicodeError at names that
        # no name server would know either.
        asked = self._loop.getaddrinfo(host.encode("ascii"), port, type=socket.SOCK_STREAM)
        begun = self._under_way[host, port] = _LookUp(asyncio.ensure_future(asked, loop=self._loop))
        return begun

    def _leave(self, name: tuple[str, int], look_up: _LookUp) -> None:
        """Let nobody else wait for a look-up."""
        if self._under_way.get(name) is look_up:
            del self._under_way[name]

    def _remember(
        self, host: str, port: int, addresses: tuple[Address, ...]
    ) -> tuple[Address, ...]:
        if len(self._known) >= NAMES_KEPT:
            self._known.clear()
        self._known[host, port] = (self._loop.time() + NAMES_KEPT_S, addresses)
        return addresses

    def forget(self) -> None:
        """Forget all names: the network has changed. Who waits for one goes on waiting."""
        self._known.clear()
        self._under_way.clear()


def begin(address: Address) -> socket.SocketType:
    """Return a connection to this address that is being established, or is already.

    Raises:
        OSError: It cannot be: the system has no IPv6 or no descriptors, or knows no route.
    """
    family, sockaddr = address
    attempt = socket.SocketType(family, socket.SOCK_STREAM | NEVER_BLOCKS)
    if not NEVER_BLOCKS:
        attempt.setblocking(False)
    code = attempt.connect_ex(sockaddr)
    if code not in (0, errno.EINPROGRESS, errno.EWOULDBLOCK):
        attempt.close()
        raise OSError(code, os.strerror(code))
    return attempt


def is_connected(connection: socket.SocketType) -> bool:
    """Whether a connection that was begun is established already, as on loopback it is at once."""
    try:
        connection.getpeername()
    except OSError:
        return False
    return True


def _timed_out() -> OSError:
    return OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))


def _telling_more(one: OSError | None, other: OSError) -> OSError:
    """Return the error that says more about why none of several addresses answers.

    A family that this computer has no route for says least: the names of most proxies have an
    address of each.
    """

    def rank(error: OSError) -> int:
        if is_shortage(error):
            return 3
        if isinstance(error, ConnectionRefusedError):
            return 2
        return isinstance(error, TimeoutError)

    return other if one is None or rank(other) >= rank(one) else one


async def connect(
    addresses: tuple[Address, ...],
    pause: Pause,
    release: Callable[[int], None],
    limits: EngineLimits,
    now: Callable[[], float],
    begun: socket.SocketType | None = None,
) -> socket.SocketType:
    """Return a connection to the first address that answers (RFC 8305, section 5).

    Args:
        addresses: In the order of preference.
        pause: Waits.
        release: Called with each descriptor that was waited for, before it is closed or returned.
        limits: The times.
        now: The loop's clock.
        begun: A connection to the first address that somebody has begun already.

    Raises:
        OSError: No address answered; the error that says most, `TimeoutError` if there is none.
    """
    queue = deque(addresses)
    trying: dict[int, tuple[socket.SocketType, float]] = {}
    failure: OSError | None = None
    end = now() + limits.connect_total_s
    next_start = 0.0
    if begun is not None and begun.fileno() >= 0:
        queue.popleft()
        trying[begun.fileno()] = (begun, now() + limits.connect_s)
        next_start = now() + limits.next_address_s

    def give_up(descriptor: int) -> None:
        release(descriptor)
        trying.pop(descriptor)[0].close()

    try:
        while queue or trying:
            if queue and (not trying or now() >= next_start):
                try:
                    attempt = begin(queue.popleft())
                except OSError as error:
                    failure = _telling_more(failure, error)
                    continue
                if is_connected(attempt):
                    return attempt
                trying[attempt.fileno()] = (attempt, now() + limits.connect_s)
                next_start = now() + limits.next_address_s
                continue
            soonest = min(limit for _, limit in trying.values())
            wake = min(end, soonest, next_start if queue else end)
            events = dict.fromkeys(trying, WRITE)
            woken = await pause(IoWait(events, timeout=max(0.0, wake - now())))
            if woken == TIMED_OUT:
                if now() >= end:
                    failure = _telling_more(failure, _timed_out())
                    break
                for descriptor, (_, limit) in list(trying.items()):
                    if now() >= limit:
                        give_up(descriptor)
                        failure = _telling_more(failure, _timed_out())
            elif woken in trying:
                code = trying[woken][0].getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if code == 0:
                    release(woken)
                    return trying.pop(woken)[0]
                give_up(woken)
                failure = _telling_more(failure, OSError(code, os.strerror(code)))
        raise failure or _timed_out()
    finally:
        for descriptor in list(trying):
            give_up(descriptor)


class PoolKey(NamedTuple):
    """What an upstream connection may be used for again.

    Attributes:
        hop: URL of the next hop.
        owner: The profile whose login it carries, empty if none does.
        generation: Of that login: a connection does not outlive a changed password.
        epoch: Of the pool: nor a switch, nor a sleep.
        signed_in: The login that the connection is signed in with: requests go on it as they are.
            None if it is not.
    """

    hop: str
    owner: str = ""
    generation: int = 0
    epoch: int = 0
    signed_in: LoginId | None = None


class UpstreamConnection:
    """A connection to the next hop.

    Attributes:
        stream: Its socket.
        key: What it may be used for.
        used: How many answers have come over it.
        way: The way that the last request on it took.
        answer: What the last request on it carried, if the next one may carry it in the same way.
        leftover: Skips content that may come in front of the next head.
        heard_before: How many answers the next hop had given when the last request began.
    """

    __slots__ = ("answer", "heard_before", "key", "leftover", "stream", "used", "way")

    def __init__(self, stream: SocketStream, key: PoolKey) -> None:
        self.stream = stream
        self.key = key
        self.used = 0
        self.way: Route | None = None
        self.answer: Credentials | None = None
        self.leftover: LeftoverContent | None = None
        self.heard_before = 0

    @property
    def is_signed_in(self) -> bool:
        """Whether requests go on it as they are."""
        return self.key.signed_in is not None

    @property
    def is_unheard(self) -> bool:
        """Whether the next hop has answered nothing at all since the last request began."""
        return self.way is not None and self.way.pulse.answers == self.heard_before

    def is_quiet(self) -> bool:
        """Whether it is open and nothing unasked has come (RFC 9112, section 9.2)."""
        if self.leftover is not None:
            self.skip_leftover()
        return self.stream.is_quiet()

    def skip_leftover(self) -> None:
        """Drop content that came in front of the next head."""
        if self.leftover is not None and not self.leftover.skip(self.stream):
            self.leftover = None


class Pool:
    """Idle upstream connections, by what they may be used for.

    Attributes:
        epoch: Grows when the profile, a login or the network changes: connections that were made
            before are used no more, also those that were in use then and become idle later.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        limits: EngineLimits,
        descriptors: Poller,
        look_for_sleep: Callable[[], None] = lambda: None,
    ) -> None:
        """Make an empty one.

        Args:
            loop: Its clock counts.
            limits: How long to keep them.
            descriptors: Tells when an idle connection ends, or says something.
            look_for_sleep: Called before a connection from earlier is used; calls `clear` if the
                computer has slept since.
        """
        self.epoch = 0
        self._look_for_sleep = look_for_sleep
        self._looked_at = -BUSY_S
        self._loop = loop
        self._limits = limits
        self._descriptors = descriptors
        self._idle: dict[PoolKey, deque[tuple[UpstreamConnection, float]]] = {}
        self._by_descriptor: dict[int, UpstreamConnection] = {}
        self._timer: asyncio.TimerHandle | None = None

    def is_current(self, key: PoolKey) -> bool:
        """Whether connections with this key are from the time after the last change."""
        # As `look_for_sleep`, which is not called for every request.
        if self._loop.time() - self._looked_at > BUSY_S:
            self.look_for_sleep()
        return key.epoch == self.epoch

    def look_for_sleep(self) -> None:
        """Notice that the computer has slept."""
        now = self._loop.time()
        # The clock that counts sleep is too slow to be read for every request of a busy client.
        if now - self._looked_at > BUSY_S:
            self._looked_at = now
            self._look_for_sleep()

    def is_quiet(self, connection: UpstreamConnection) -> bool:
        """Whether a connection is open and nothing unasked has come.

        What has come is told to whoever watches it, but it may be that nobody has got round to it.
        """
        stream = connection.stream
        if self._descriptors.may_have_news(stream.descriptor):
            return stream.is_quiet()
        return not (stream.inbox or stream.ended)

    def take(self, key: PoolKey) -> UpstreamConnection | None:
        """Return an idle connection, the one used last; None if there is none.

        It is watched still, and who takes it watches it next.
        """
        idle = self._idle.get(key)
        while idle:
            connection, since = idle.pop()
            self._by_descriptor.pop(connection.stream.descriptor)
            # An upstream that has had enough says so before it closes, and the answer to nobody's
            # request must not become that of the next. Just after use there is none.
            is_fresh = self._loop.time() - since < BUSY_S
            if self.is_quiet(connection) if is_fresh else connection.is_quiet():
                return connection
            self.drop(connection)
        return None

    def has(self, key: PoolKey) -> bool:
        """Whether there is an idle connection, as far as is known."""
        return bool(self._idle.get(key))

    def keep(self, connection: UpstreamConnection) -> None:
        """Keep a connection whose last answer is complete, or close it if it is from earlier, not
        quiet, or one of many."""
        if connection.key.epoch != self.epoch or not self.is_quiet(connection):
            self.drop(connection)
            return
        idle = self._idle.get(connection.key)
        if idle is None:
            idle = self._idle[connection.key] = deque()
        if len(idle) >= KEPT_PER_KEY:
            self.drop(connection)
            return
        descriptor = connection.stream.descriptor
        try:
            self._descriptors.watch(descriptor, READ, self._on_news)
        except OSError:
            self.drop(connection)  # The system is out of something (epoll_ctl(2)).
            return
        idle.append((connection, self._loop.time()))
        self._by_descriptor[descriptor] = connection
        if self._timer is None:
            self._timer = self._loop.call_later(self._limits.kept_s, self._expire)

    def _on_news(self, descriptor: int, mask: int) -> None:
        """Close a connection that has ended, or that said something unasked."""
        connection = self._by_descriptor.get(descriptor)
        if connection is None:
            # It was taken, and who has it waits for something else first, such as a ticket: he is
            # told when he asks.
            self._descriptors.forget(descriptor)
            return
        if connection.is_quiet():
            return  # A ticket or new keys, inside the encryption.
        idle = self._idle[connection.key]
        self._idle[connection.key] = deque(entry for entry in idle if entry[0] is not connection)
        self._close(connection)

    def _close(self, connection: UpstreamConnection) -> None:
        """Close a connection that is kept."""
        del self._by_descriptor[connection.stream.descriptor]
        self.drop(connection)

    def drop(self, connection: UpstreamConnection) -> None:
        """Close a connection that is kept no more."""
        self._descriptors.drop(connection.stream.descriptor)
        connection.stream.close()

    def _expire(self) -> None:
        self._timer = None
        oldest = self._loop.time() - self._limits.kept_s
        for key, idle in list(self._idle.items()):
            while idle and idle[0][1] <= oldest:
                self._close(idle.popleft()[0])
            if not idle:
                del self._idle[key]
        if self._idle:
            self._timer = self._loop.call_later(self._limits.kept_s, self._expire)

    def clear(self) -> None:
        """Close all: the profile, the login or the network has changed."""
        self.epoch += 1
        for idle in self._idle.values():
            for connection, _ in idle:
                self._close(connection)
        self._idle.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
