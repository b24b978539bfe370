"""Steps of a sign-in that may wait for the network or the disk: Kerberos asks its server.

They are taken in threads that the end of the program does not wait for: a sign-in server behind a
firewall that swallows everything holds one for half a minute.
"""

import asyncio
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from threading import Lock, Thread

from trayproxy.auth.scheme import Handshake, Leg, Verdict
from trayproxy.http.challenges import Challenge

MAX_THREADS = 8
"""Threads. A step is done in milliseconds, unless the server is silent: then all wait alike."""

Step = Leg | Verdict


@dataclass(frozen=True, slots=True)
class _Job:
    handshake: Handshake
    challenges: tuple[Challenge, ...]
    done: "asyncio.Future[Step]"


class HandshakeThreads:
    """Takes steps beside the loop. Its threads end when there is nothing to do."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._lock = Lock()
        self._jobs: deque[_Job] = deque()
        self._threads = 0

    def run(
        self, handshake: Handshake, challenges: tuple[Challenge, ...]
    ) -> "asyncio.Future[Step]":
        """Take the next step of a handshake. A future that is cancelled in time costs nothing."""
        job = _Job(handshake, challenges, self._loop.create_future())
        with self._lock:
            self._jobs.append(job)
            is_needed = self._threads < MAX_THREADS
            self._threads += is_needed
        if is_needed:
            Thread(target=self._work, name="sign-in", daemon=True).start()
        return job.done

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._jobs:
                    self._threads -= 1
                    return
                job = self._jobs.popleft()
            if not job.done.cancelled():
                step = job.handshake.step(job.challenges)
                with suppress(RuntimeError):  # The loop is closed: nobody needs it any more.
                    self._loop.call_soon_threadsafe(_finish, job.done, step)


def _finish(done: "asyncio.Future[Step]", step: Step) -> None:
    if not done.done():
        done.set_result(step)
