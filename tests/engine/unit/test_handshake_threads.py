"""Handshake steps that wait for a server and run in threads."""

import asyncio
import threading
from collections.abc import Sequence
from threading import Event, Semaphore

from tests.support.process_output import PATIENCE
from trayproxy.auth.scheme import Leg
from trayproxy.engine.proxy_auth.handshake_threads import MAX_THREADS, HandshakeThreads
from trayproxy.http.challenges import Challenge
from trayproxy.http.fields import Fields

LEG = Leg(b"Negotiate abc")


class BlockingHandshake:
    """A handshake whose steps block until `may_return` is set.

    Attributes:
        started: Released by each step when it starts.
        may_return: Set to let all steps return.
        count: The number of started steps.
    """

    def __init__(self) -> None:
        self.started = Semaphore(0)
        self.may_return = Event()
        self.count = 0

    def step(self, challenges: Sequence[Challenge]) -> Leg:
        self.count += 1
        self.started.release()
        assert self.may_return.wait(PATIENCE)
        return LEG

    def finish(self, fields: Fields) -> None:
        pass

    def wait_for(self, count: int) -> None:
        """Wait until this number of further steps has started."""
        for _ in range(count):
            assert self.started.acquire(timeout=PATIENCE)


async def test_blocking_steps_above_the_limit_are_queued() -> None:
    steps, handshake = HandshakeThreads(asyncio.get_running_loop()), BlockingHandshake()
    taken = [steps.run(handshake, ()) for _ in range(2 * MAX_THREADS + 1)]
    handshake.wait_for(MAX_THREADS)
    threads = [thread for thread in threading.enumerate() if thread.name == "sign-in"]
    assert len(threads) == handshake.count == MAX_THREADS
    handshake.may_return.set()
    assert await asyncio.wait_for(asyncio.gather(*taken), PATIENCE) == [LEG] * len(taken)


async def test_steps_run_after_the_threads_have_ended() -> None:
    steps = HandshakeThreads(asyncio.get_running_loop())
    for _ in range(3):
        handshake = BlockingHandshake()
        taken = [steps.run(handshake, ()) for _ in range(MAX_THREADS)]
        handshake.wait_for(MAX_THREADS)
        handshake.may_return.set()
        assert await asyncio.wait_for(asyncio.gather(*taken), PATIENCE) == [LEG] * MAX_THREADS


async def test_a_step_cancelled_in_the_queue_does_not_run() -> None:
    steps, first, second = (
        HandshakeThreads(asyncio.get_running_loop()),
        BlockingHandshake(),
        BlockingHandshake(),
    )
    taken = [steps.run(first, ()) for _ in range(MAX_THREADS)]
    first.wait_for(MAX_THREADS)
    steps.run(second, ()).cancel()
    last = steps.run(first, ())
    first.may_return.set()
    assert await asyncio.wait_for(asyncio.gather(*taken, last), PATIENCE)
    assert (first.count, second.count) == (MAX_THREADS + 1, 0)
