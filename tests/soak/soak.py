"""The soak test: programs, an upstream with faults and a user, with the real service."""

import asyncio
import random
import re
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from time import monotonic

from tests.soak.operations import (
    OPERATIONS,
    Operation,
    SoakProgram,
    UnexpectedResponseError,
    WronglyForbiddenError,
    check_content,
)
from tests.soak.upstream import USER, Act, Content, SoakUpstream
from tests.soak.watch import SPIN, IdleSample, cpu_seconds, growth, take_sample
from tests.support.dumpable_service import DUMPABLE
from tests.support.front_end import FrontEnd
from tests.support.processes import Home
from tests.support.service import ServiceProcess, service
from trayproxy.auth.login import Login
from trayproxy.control.messages import AnswerPrompt
from trayproxy.domain.signin import Prompt
from trayproxy.engine.transfer.head_cache import MAX_ENTRIES

PROGRAMS = 12
PAUSE_S = 0.05
"""Maximum pause of a program between two operations, so that the test does not occupy two cores."""
PATIENCE_S = 45.0
"""Seconds after which an operation counts as hanging. A sign-in takes about a second."""
PASSWORD_S = 10.0
"""Seconds between two changes of the password."""
RECOVERY_S = 8.0
"""Seconds after a new password in which a refusal may be taken for a forbidden address."""
AGAIN_S = 1.0
"""Seconds after which the user answers again a prompt that has stayed open."""
QUIET_S = 20.0
"""Seconds in which the service must release all resources: it closes connections gracefully."""
TROUBLE = re.compile(r"Traceback|connection \S+ failed|failed to shut down|never retrieved|ERROR")
"""The log lines that count as errors."""


@dataclass(slots=True)
class Report:
    """The result of a soak test.

    Attributes:
        errors: The errors, each with the number of its occurrences.
        samples: The resources of the idle service, the first sample after the warm-up.
        denied: The number of 407 responses of the upstream.
        wrongly_forbidden: The number of requests wrongly called forbidden.
        peak: The peak of the resident memory of the service, in octets.
    """

    done: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    samples: list[IdleSample] = field(default_factory=list)
    passwords: int = 1
    denied: int = 0
    prompts: int = 0
    wrongly_forbidden: int = 0
    peak: int = 0

    def __str__(self) -> str:
        lines = [
            f"{self.done.total()} operations: "
            + ", ".join(f"{count} {name}" for name, count in self.done.most_common()),
            f"{self.passwords} passwords, {self.denied} 407 responses, {self.prompts} prompts",
            f"{self.wrongly_forbidden} requests wrongly called forbidden",
            *map(str, self.samples),
            f"peak of resident memory: {self.peak / (1 << 20):.1f} MiB",
            *(f"ERROR ({count} times): {error}" for error, count in self.errors.items()),
        ]
        return "\n".join(lines)


def soak(place: Home, seconds: float, seed: int, say: Callable[[str], None]) -> Report:
    """Run the soak test.

    Args:
        seed: The seed of the random operations. Their order also depends on the machine.
        say: Called with each progress message.
    """
    return asyncio.run(_Soak(seconds, seed, say).run(place))


class _Soak:
    def __init__(self, seconds: float, seed: int, say: Callable[[str], None]) -> None:
        self._seconds = seconds
        self._say = say
        self._random = random.Random(seed)
        self._content = Content()
        self._upstream = SoakUpstream(self._content, random.Random(seed))
        self._report = Report()
        self._rest_after = 0.0
        self._changed = 0.0
        self._over = False

    async def run(self, place: Home) -> Report:
        await self._upstream.start()
        arguments = ("--upstream", f"http://127.0.0.1:{self._upstream.port}")
        login = Login(USER, self._upstream.password)
        try:
            with service(place, *arguments, login=login, program=DUMPABLE) as running:
                with FrontEnd(running.paths, remember=False) as front_end:
                    await self._use(running, front_end)
                self._report.peak = running.memory().peak
                self._end(running)
        finally:
            await self._upstream.stop()
        self._report.passwords = self._upstream.passwords
        self._report.denied = self._upstream.denied
        return self._report

    def _end(self, running: ServiceProcess) -> None:
        if code := running.stop():
            self._report.errors[f"the service ended with {code}"] += 1
        for line in running.log().splitlines():
            if TROUBLE.search(line):
                self._report.errors[f"in the log: {line}"] += 1

    async def _use(self, running: ServiceProcess, front_end: FrontEnd) -> None:
        """Run programs that use the service, with a few idle moments between."""
        user = asyncio.create_task(asyncio.to_thread(self._answer_prompts, front_end))
        began = monotonic()
        # The first turn is the warm-up: it fills caches and imports modules.
        turns = max(4, round(self._seconds / 60) + 1)
        try:
            await self._fill_head_caches(running)
            for turn in range(turns):
                await self._turn(running, self._seconds / turns)
                sample = await self._idle_sample(running, began)
                self._report.samples.append(sample)
                self._say(f"{turn + 1} of {turns}, {self._report.done.total()} done, {sample}")
            self._report.errors.update(growth(self._report.samples))
        finally:
            self._over = True
            await user
        self._report.prompts = len(front_end.prompts)

    async def _fill_head_caches(self, running: ServiceProcess) -> None:
        """Fill the head caches of the service, so that they do not count as growth."""
        program = SoakProgram(running.port, self._content, random.Random(self._random.random()))
        for size in range(MAX_ENTRIES + 1):
            check_content(
                await program.get(Act.LENGTH, size), self._content.first(size), Act.LENGTH
            )
        await program.hang_up()

    async def _turn(self, running: ServiceProcess, seconds: float) -> None:
        self._rest_after = monotonic() + seconds
        programs = [
            SoakProgram(running.port, self._content, random.Random(self._random.random()))
            for _ in range(PROGRAMS)
        ]
        change = asyncio.create_task(self._change_passwords())
        try:
            await asyncio.gather(*map(self._run_program, programs))
        finally:
            change.cancel()
            await asyncio.wait([change])

    async def _run_program(self, program: SoakProgram) -> None:
        """Run the operations of a program until the end of the turn."""
        operations, weights = list(OPERATIONS), list(OPERATIONS.values())
        while monotonic() < self._rest_after:
            (operation,) = program.random.choices(operations, weights)
            await self._do(operation, program)
            await asyncio.sleep(program.random.random() * PAUSE_S)
        await program.hang_up()

    async def _do(self, operation: Operation, program: SoakProgram) -> None:
        name = getattr(operation, "__name__", str(operation)).replace("_", " ")
        self._report.done[name] += 1
        try:
            await asyncio.wait_for(_awaited(operation(program)), PATIENCE_S)
        except UnexpectedResponseError as error:
            self._report.errors[f"{name}: {error}"] += 1
        except WronglyForbiddenError as error:
            self._report.wrongly_forbidden += 1
            if monotonic() > self._changed + RECOVERY_S:
                self._report.errors[f"{name}: {error}, long after the password changed"] += 1
        except TimeoutError:
            self._report.errors[f"{name}: no result in {PATIENCE_S:.0f} s"] += 1
        except (OSError, asyncio.IncompleteReadError) as error:
            self._report.errors[f"{name}: {type(error).__name__}: {error}"] += 1
        else:
            return
        await program.hang_up()

    async def _change_passwords(self) -> None:
        while True:
            await asyncio.sleep(PASSWORD_S)
            self._upstream.change_password()
            self._changed = monotonic()

    async def _idle_sample(self, running: ServiceProcess, began: float) -> IdleSample:
        """Wait until the service is idle and has released all resources; return a sample."""
        end = monotonic() + QUIET_S
        fewest = min((sample.sockets for sample in self._report.samples), default=None)
        while True:
            # In each round: the service's own request may open a connection after `cut`.
            self._upstream.cut()
            share = await self._share(running)
            active = (await asyncio.to_thread(running.status)).active
            sample = take_sample(running.pid, monotonic() - began, active)
            is_still = share <= SPIN and not active
            if is_still and (fewest is None or sample.sockets <= fewest):
                return sample
            if monotonic() > end:
                if share > SPIN:
                    self._report.errors[f"the idle service uses {share:.0%} of a core"] += 1
                return sample

    async def _share(self, running: ServiceProcess) -> float:
        """Return the share of a core that the service uses."""
        before, began = cpu_seconds(running.pid), monotonic()
        await asyncio.sleep(0.3)
        return (cpu_seconds(running.pid) - before) / (monotonic() - began)

    def _answer_prompts(self, front_end: FrontEnd) -> None:
        """Answer each prompt with the current password. Runs in a separate thread."""
        answered: dict[int, float] = {}

        def is_new(prompt: Prompt) -> bool:
            # A prompt stays open if its answer could not be verified because the request met with
            # a fault. It is answered again.
            return not prompt.checking and monotonic() > answered.get(prompt.number, 0.0)

        while not self._over:
            with suppress(AssertionError):  # There was no prompt for a while.
                prompt = front_end.wait_for_prompt(is_new, timeout=0.5)
                answered[prompt.number] = monotonic() + AGAIN_S
                login = Login(USER, self._upstream.password)
                front_end.request(AnswerPrompt(prompt.number, login, remember=False))


async def _awaited(awaitable: Awaitable[None]) -> None:
    await awaitable
