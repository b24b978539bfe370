"""Threads for handshake steps that may wait for the network or the disk, as Kerberos does for its
server.

The threads are daemons, so the process does not wait for them when it exits: if a firewall silently
drops the packets to a sign-in server, a step blocks its thread for half a minute.
"""

import asyncio
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from threading import Lock, Thread

from trayproxy.auth.scheme import Handshake, Leg, Verdict
from trayproxy.http.challenges import Challenge

MAX_THREADS = 8
"""The most threads. A step takes milliseconds unless the server is silent; then all steps wait
alike."""

Step = Leg | Verdict


@dataclass(frozen=True, slots=True)
class _Job:
    """A handshake step in the queue, with the future for its result."""

    handshake: Handshake
    challenges: tuple[Challenge, ...]
    done: "asyncio.Future[Step]"


class HandshakeThreads:
    """Runs handshake steps outside the event loop. A thread ends when the queue is empty."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._lock = Lock()
        self._jobs: deque[_Job] = deque()
        self._threads = 0

    def run(
        self, handshake: Handshake, challenges: tuple[Challenge, ...]
    ) -> "asyncio.Future[Step]":
        """Run the next step of a handshake in a thread, and return the future of its result. A
        future cancelled while in the queue skips the step."""
        job = _Job(handshake, challenges, self._loop.create_future())
        with self._lock:
            self._jobs.append(job)
            is_needed = self._threads < MAX_THREADS
            self._threads += is_needed
        if is_needed:
            Thread(target=self._work, name="sign-in", daemon=True).start()
        return job.done

    def _work(self) -> None:
        """Run the steps in the queue until the queue is empty."""
        while True:
            with self._lock:
                if not self._jobs:
                    self._threads -= 1
                    return
                job = self._jobs.popleft()
            if not job.done.cancelled():
                step = job.handshake.step(job.challenges)
                with suppress(RuntimeError):  # The loop is closed: the result is not needed.
                    self._loop.call_soon_threadsafe(_finish, job.done, step)


def _finish(done: "asyncio.Future[Step]", step: Step) -> None:
    if not done.done():
        done.set_result(step)
