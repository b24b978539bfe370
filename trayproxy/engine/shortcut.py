"""The short way for what happens most: one piece out and one piece back, both seen before.

A client that repeats itself on a kept connection needs no story: its request is found whole among
the heads that were read before, and so is the head of the answer. While the story of the connection
waits for the next request, this takes the events in its place. It decides nothing that the story
would decide otherwise: whatever is not as usual is put back where the story looks for it, and the
story goes on from there.
"""

from typing import TYPE_CHECKING

from trayproxy.engine.memory import Plan
from trayproxy.engine.upstream import Connection

if TYPE_CHECKING:
    from trayproxy.engine.client import ClientWork


class Shortcut:
    """Answers simple requests of one connection.

    Attributes:
        plan: The request that is on its way, None if none is.
    """

    __slots__ = ("_engine", "_link", "plan")

    def __init__(self, link: "ClientWork") -> None:
        self._link = link
        self._engine = link.engine
        self.plan: Plan | None = None

    def handle(self, descriptor: int) -> bool:
        """Take an event. Return False if it is the story's.

        Raises:
            OSError: The client's connection broke.
        """
        link = self._link
        upstream = link.upstream
        if upstream is None or not link.is_resting:
            return False
        if self.plan is not None:
            return descriptor == upstream.stream.descriptor and self._pass_back(upstream)
        return descriptor == link.client.descriptor and self._pass_on(upstream)

    def _pass_on(self, upstream: Connection) -> bool:
        """Send the client's request to the next hop that its last one went to."""
        link, engine = self._link, self._engine
        data = link.client.receive()
        if not data:
            return data is None  # Of an end the story has to hear.
        plan = engine.plans.get(data)
        if plan is None or not self._is_as_before(plan, upstream) or not upstream.is_quiet():
            link.client.inbox += data
            return False
        try:
            is_sent = upstream.stream.send(plan.wire) == len(plan.wire)
        except OSError:
            is_sent = False
        if not is_sent:
            link.drop_upstream()
            link.client.inbox += data
            return False
        self.plan = plan
        link.between = False
        link.deadline_in(engine.limits.upstream_head_s)
        return True

    def _is_as_before(self, plan: Plan, upstream: Connection) -> bool:
        """Whether this request takes the way of the last one, with the same login."""
        engine = self._engine
        if not plan.simple or engine.closing:
            return False
        authority = plan.request.target.authority
        way = engine.signpost(authority) if authority is not None else None
        if way is None or upstream.way is not way or plan.way is not way or way.ends_at_target:
            return False
        if way.others and engine.failover.choose(way) is not way:
            return False
        answer = engine.desk.known(way.space) if way.space is not None and way.signs_in else None
        is_same = plan.answer is answer and upstream.answer is answer
        return is_same and engine.pool.is_current(upstream)

    def _pass_back(self, upstream: Connection) -> bool:
        """Send the answer to the client, if it is here as a whole and its head was seen before."""
        link, engine, stream = self._link, self._engine, upstream.stream
        try:
            data = stream.receive()
        except OSError:
            stream.ended = True  # Whether to try another connection is the story's decision.
            return False
        if not data:
            return data is None
        head_end = data.find(b"\r\n\r\n") + 4
        seen = engine.answers.get(data[:head_end])
        if seen is None or len(data) - head_end != seen.length or engine.closing:
            stream.inbox += data
            return False
        self.plan = None
        assert upstream.way is not None
        engine.observer.reached(upstream.way)
        if upstream.answer is not None and not upstream.answer.verified:
            engine.desk.accepted(upstream.answer)
        engine.counters.received += seen.length
        head = seen.head if seen.dated else engine.date.add(seen.head)
        octets = head + data[head_end:]
        sent = link.client.send(octets)
        if sent < len(octets):
            link.undelivered = octets[sent:]
            return False
        link.between = True
        link.deadline_in(engine.limits.idle_s)
        return True
