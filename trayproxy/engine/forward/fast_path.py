"""The short way for what happens most: a request as it came before, answered as it was before.

Programs repeat themselves, so most requests are found whole among the heads that were read before,
and so are the heads of their answers: one piece out and one piece back, or a tunnel. Then nothing
is left to decide, and it is done here in one go. Whatever is not as usual is put back where the
story of the connection looks for it (`trayproxy.engine.forward.request_loop`), which decides
everything.
"""

from enum import Enum, auto
from errno import ENOTCONN
from typing import TYPE_CHECKING, Final

from trayproxy.engine.net.happy_eyeballs import begin
from trayproxy.engine.net.socket_stream import SocketStream
from trayproxy.engine.transfer.head_cache import CachedRequest
from trayproxy.engine.transfer.tunnel import Tunnel
from trayproxy.engine.upstream.pool import UpstreamConnection

if TYPE_CHECKING:
    from trayproxy.engine.server.client_connection import ClientConnection


class FastPathResult(Enum):
    """What becomes of a client connection after an event."""

    WAIT = auto()
    """It waits for the next one."""
    SLOW_PATH = auto()
    """It is not as usual: the story goes on."""
    TUNNEL = auto()
    """It has become a tunnel."""
    END = auto()
    """It is over."""


# To look up a member takes Python 3.11 as long as calling a function does.
WAIT: Final = FastPathResult.WAIT
SLOW_PATH: Final = FastPathResult.SLOW_PATH
TUNNEL: Final = FastPathResult.TUNNEL
END: Final = FastPathResult.END


def from_client(link: "ClientConnection") -> FastPathResult:
    """Take what the client says while it is at rest, or while its request is on its way.

    Raises:
        OSError: The client's connection broke.
    """
    if link.plan is not None:
        return SLOW_PATH  # It sends ahead, or leaves.
    client = link.client
    data = client.receive()
    if not data:
        return WAIT if data is None else END
    plan = link.engine.plans.get(data)
    if plan is not None and _is_as_before(link, plan):
        upstream = _connection(link, plan)
        if upstream is not None and _send(link, plan, upstream):
            return WAIT
    client.inbox += data
    return SLOW_PATH


def _is_as_before(link: "ClientConnection", plan: CachedRequest) -> bool:
    """Whether a request takes the way of the last one like it, with the same login."""
    engine, way = link.engine, plan.way
    if way is None or way.is_direct or engine.closing or not (plan.simple or plan.opens):
        return False
    authority = plan.request.target.authority
    if authority is None or engine.signpost(authority) is not way:
        return False
    if way.fallbacks and engine.failover.is_dead(way):
        return False  # Choosing one is done once for each request, by the story.
    known = (
        engine.desk.known(way.upstream_id) if way.upstream_id is not None and way.signs_in else None
    )
    if plan.known is not known:
        return False
    # One that was not accepted lately goes out alone at first: see `trayproxy.desk.machine.pacing`.
    # `standing.fresh` is `Answer.verified` without a call.
    answer = plan.answer
    is_sure = answer is None or answer.acceptance.is_recent or plan.key.signed_in is not None
    return is_sure and engine.pool.is_current(plan.key)


def _connection(link: "ClientConnection", plan: CachedRequest) -> UpstreamConnection | None:
    """Return a connection for the request; None: finding one is for the story."""
    own, engine = link.upstream, link.engine
    if own is not None:
        # What a tunnel needs another connection for.
        is_free = plan.simple and own.key == plan.key
        return own if is_free and engine.pool.is_quiet(own) else None
    kept = engine.pool.take(plan.key) if plan.simple else None
    if kept is not None:
        return kept
    if plan.key.signed_in is not None:
        return None
    assert plan.way is not None
    address = engine.dialler.only_address(plan.way)
    if address is None:
        return None
    try:
        return UpstreamConnection(SocketStream(begin(address)), plan.key)
    except OSError:
        return None


def _send(link: "ClientConnection", plan: CachedRequest, upstream: UpstreamConnection) -> bool:
    """Send the request. Return False if that needs more than one go."""
    stream, wire = upstream.stream, plan.wire
    try:
        sent = stream.send(wire)
    except OSError as error:
        # What Linux does not do yet, other systems cannot do yet.
        sent = 0 if error.errno == ENOTCONN else -1
    if sent != len(wire):
        if sent == 0 and link.upstream is None and not upstream.used:
            link.begun = stream.socket  # It is being established still.
        elif link.upstream is not None:
            link.drop_upstream()
        else:
            link.engine.pool.drop(upstream)
        return False
    upstream.way, upstream.answer = plan.way, plan.answer
    link.upstream = upstream
    link.plan = plan
    link.between = False
    upstream.heard_before = plan.way.pulse.answers if plan.way is not None else 0
    limits = link.engine.limits
    link.deadline_in(limits.connect_head_s if plan.opens else limits.upstream_head_s)
    return True


def from_upstream(link: "ClientConnection") -> FastPathResult:
    """Take what the next hop says: the answer, or something that nobody asked for.

    Raises:
        OSError: The client's connection broke.
    """
    upstream, plan = link.upstream, link.plan
    assert upstream is not None
    if plan is None:
        if not upstream.is_quiet():
            link.drop_upstream()
        return WAIT
    stream = upstream.stream
    try:
        data = stream.receive()
    except OSError:
        stream.ended = True  # Whether to try another connection is the story's decision.
        return SLOW_PATH
    if not data:
        return WAIT if data is None else SLOW_PATH
    turn = _open(link, upstream, data) if plan.opens else _pass_back(link, upstream, data)
    if turn is SLOW_PATH and not link.undelivered:
        stream.inbox += data
    return turn


def _pass_back(
    link: "ClientConnection", upstream: UpstreamConnection, data: bytes
) -> FastPathResult:
    """Send the answer to the client, if it is here as a whole and its head was seen before."""
    engine = link.engine
    head_end = data.find(b"\r\n\r\n") + 4
    seen = engine.answers.get(data[:head_end])
    if seen is None or len(data) - head_end != seen.length or engine.closing:
        return SLOW_PATH
    _note(link, upstream, confirms=seen.confirms)
    link.plan = None
    engine.counters.received += seen.length
    head = seen.head if seen.dated else engine.date.add(seen.head)
    octets = head + data[head_end:]
    sent = link.client.send(octets)
    link.deadline_in(engine.limits.idle_s)
    if sent < len(octets):
        link.undelivered = octets[sent:]
        return SLOW_PATH
    link.between = True
    return WAIT


def _open(link: "ClientConnection", upstream: UpstreamConnection, data: bytes) -> FastPathResult:
    """Let the tunnel begin, if the next hop says so in the words that it used before."""
    head = link.engine.openings.get(data)
    if head is None:
        return SLOW_PATH
    _note(link, upstream, confirms=True)
    # If the client has gone, this raises while there is a plan still: what was opened leads to the
    # site now, and must not be kept for requests.
    sent = link.client.send(head)
    link.tunnel = Tunnel(link.client, upstream.stream, link.engine.pipes, head[sent:])
    link.plan = None
    return TUNNEL


def _note(link: "ClientConnection", upstream: UpstreamConnection, *, confirms: bool) -> None:
    """Record that a request was answered.

    Args:
        link: Its client.
        upstream: Where the answer came from.
        confirms: The answer confirms the login that the request carried.
    """
    engine, way, answer = link.engine, upstream.way, upstream.answer
    assert way is not None
    if not upstream.used and way.fallbacks and way.upstream is not None:
        engine.failover.mark_alive(way.upstream)
    upstream.used += 1
    way.pulse.answers += 1
    engine.observer.reached(way)
    # That a connection is still signed in says nothing about the login.
    if (
        answer is not None
        and not answer.acceptance.is_recent
        and confirms
        and not upstream.is_signed_in
    ):
        engine.desk.accepted(answer)
