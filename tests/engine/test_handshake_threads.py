"""Steps of sign-ins that wait for a server, taken beside the loop."""

import asyncio
from collections.abc import Sequence
from threading import Event, Semaphore

from tests.support.lines import PATIENCE
from trayproxy.auth.scheme import Leg
from trayproxy.engine.proxy_auth.handshake_threads import MAX_THREADS, HandshakeThreads
from trayproxy.http.challenges import Challenge
from trayproxy.http.fields import Fields

LEG = Leg(b"Negotiate abc")


class Waiting:
    """A handshake whose steps wait until they may end.

    Attributes:
        begun: Released by each step that begins.
        may_end: Lets all steps end.
        count: How many steps have begun.
    """

    def __init__(self) -> None:
        self.begun = Semaphore(0)
        self.may_end = Event()
        self.count = 0

    def step(self, challenges: Sequence[Challenge]) -> Leg:
        self.count += 1
        self.begun.release()
        assert self.may_end.wait(PATIENCE)
        return LEG

    def finish(self, fields: Fields) -> None:
        pass

    def wait_for(self, count: int) -> None:
        """Wait until so many more steps have begun."""
        for _ in range(count):
            assert self.begun.acquire(timeout=PATIENCE)


def test_only_so_many_steps_wait_at_once_and_the_others_follow() -> None:
    async def run() -> None:
        steps, handshake = HandshakeThreads(asyncio.get_running_loop()), Waiting()
        taken = [steps.run(handshake, ()) for _ in range(2 * MAX_THREADS + 1)]
        handshake.wait_for(MAX_THREADS)
        assert steps._threads == handshake.count == MAX_THREADS
        handshake.may_end.set()
        assert await asyncio.wait_for(asyncio.gather(*taken), PATIENCE) == [LEG] * len(taken)

    asyncio.run(run())


def test_steps_are_taken_also_after_the_threads_have_ended() -> None:
    async def run() -> None:
        steps = HandshakeThreads(asyncio.get_running_loop())
        for _ in range(3):
            handshake = Waiting()
            taken = [steps.run(handshake, ()) for _ in range(MAX_THREADS)]
            handshake.wait_for(MAX_THREADS)
            handshake.may_end.set()
            assert await asyncio.wait_for(asyncio.gather(*taken), PATIENCE) == [LEG] * MAX_THREADS

    asyncio.run(run())


def test_a_step_that_was_cancelled_in_time_is_not_taken() -> None:
    async def run() -> None:
        steps, first, second = HandshakeThreads(asyncio.get_running_loop()), Waiting(), Waiting()
        taken = [steps.run(first, ()) for _ in range(MAX_THREADS)]
        first.wait_for(MAX_THREADS)
        steps.run(second, ()).cancel()
        last = steps.run(first, ())
        first.may_end.set()
        assert await asyncio.wait_for(asyncio.gather(*taken, last), PATIENCE)
        assert (first.count, second.count) == (MAX_THREADS + 1, 0)

    asyncio.run(run())
