"""The soak: programs, an upstream with faults and a person, around the real service."""

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
    MistakenError,
    Operation,
    Program,
    UntoldError,
    must_be,
)
from tests.soak.upstream import USER, Act, Content, Upstream
from tests.soak.watch import SPIN, Quiet, cpu_seconds, growth, look
from tests.support.dumpable_service import DUMPABLE
from tests.support.front_end import FrontEnd
from tests.support.processes import Home
from tests.support.service import Service, service
from trayproxy.auth.login import Login
from trayproxy.control.messages import AnswerPrompt
from trayproxy.domain.signin import Prompt
from trayproxy.engine.transfer.head_cache import MAX_ENTRIES

PROGRAMS = 12
PAUSE_S = 0.05
"""How long a program rests at most between two things, so that two cores are not all ours."""
PATIENCE_S = 45.0
"""What takes longer hangs. A sign-in on the way is a matter of a second."""
PASSWORD_S = 10.0
"""How often the password changes."""
RECOVERY_S = 8.0
"""How long a changed password may be taken for a forbidden address."""
AGAIN_S = 1.0
"""When the person types again into a question that has stayed open."""
QUIET_S = 20.0
"""How long the service may take to let go of everything: it lingers, and expects stragglers."""
TROUBLE = re.compile(r"Traceback|connection \S+ failed|failed to shut down|never retrieved|ERROR")
"""What the service's log has no reason to say."""


@dataclass(slots=True)
class Report:
    """What came of it.

    Attributes:
        done: How often each operation was done.
        wrong: What went wrong, each once, with how often.
        moments: What the service held when nobody used it, the first after the warm-up.
        passwords: How many passwords there were.
        denied: How many requests the upstream answered 407.
        questions: How many questions the person was asked.
        mistaken: How many programs were told that the proxy forbids what it does not.
        peak: The service's peak of resident memory, in octets.
    """

    done: Counter[str] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)
    moments: list[Quiet] = field(default_factory=list)
    passwords: int = 1
    denied: int = 0
    questions: int = 0
    mistaken: int = 0
    peak: int = 0

    def __str__(self) -> str:
        lines = [
            f"{self.done.total()} operations: "
            + ", ".join(f"{count} {name}" for name, count in self.done.most_common()),
            f"{self.passwords} passwords, {self.denied} answers of 407, {self.questions} questions",
            f"{self.mistaken} programs told that the proxy forbids it",
            *map(str, self.moments),
            f"peak of resident memory: {self.peak / (1 << 20):.1f} MiB",
            *(f"WRONG ({count} times): {what}" for what, count in self.wrong.items()),
        ]
        return "\n".join(lines)


def soak(place: Home, seconds: float, seed: int, say: Callable[[str], None]) -> Report:
    """Run it.

    Args:
        place: Where the service has its home.
        seconds: How long programs use it.
        seed: Draws what they do; how it mixes is up to the machine.
        say: Is told how it goes.
    """
    return asyncio.run(_Soak(seconds, seed, say).run(place))


class _Soak:
    def __init__(self, seconds: float, seed: int, say: Callable[[str], None]) -> None:
        self._seconds = seconds
        self._say = say
        self._random = random.Random(seed)
        self._content = Content()
        self._upstream = Upstream(self._content, random.Random(seed))
        self._report = Report()
        self._rest_after = 0.0
        self._changed = 0.0
        self._over = False

    async def run(self, place: Home) -> Report:
        await self._upstream.start()
        arguments = ("--upstream", f"http://127.0.0.1:{self._upstream.port}")
        login = ("--user", USER, "--password-stdin")
        stdin = f"{self._upstream.password}\n".encode()
        try:
            with service(place, *arguments, *login, stdin=stdin, program=DUMPABLE) as running:
                with FrontEnd(running.paths, remember=False) as front_end:
                    await self._use(running, front_end)
                self._report.peak = running.memory().peak
                self._end(running)
        finally:
            await self._upstream.stop()
        self._report.passwords = self._upstream.passwords
        self._report.denied = self._upstream.denied
        return self._report

    def _end(self, running: Service) -> None:
        if code := running.stop():
            self._report.wrong[f"the service ended with {code}"] += 1
        for line in running.log().splitlines():
            if TROUBLE.search(line):
                self._report.wrong[f"in the log: {line}"] += 1

    async def _use(self, running: Service, front_end: FrontEnd) -> None:
        """Let programs use the service, with a few moments of quiet between."""
        person = asyncio.create_task(asyncio.to_thread(self._answer_questions, front_end))
        began = monotonic()
        # The first turn is the warm-up: caches fill, code is loaded when it is needed first.
        turns = max(4, round(self._seconds / 60) + 1)
        try:
            await self._fill_memories(running)
            for turn in range(turns):
                await self._turn(running, self._seconds / turns)
                moment = await self._quiet(running, began)
                self._report.moments.append(moment)
                self._say(f"{turn + 1} of {turns}, {self._report.done.total()} done, {moment}")
            self._report.wrong.update(growth(self._report.moments))
        finally:
            self._over = True
            await person
        self._report.questions = len(front_end.prompts)

    async def _fill_memories(self, running: Service) -> None:
        """Let the service remember as many heads as it ever does, so that this is no growth."""
        program = Program(running.port, self._content, random.Random(self._random.random()))
        for size in range(MAX_ENTRIES + 1):
            must_be(await program.ask(Act.LENGTH, size), self._content.first(size), Act.LENGTH)
        await program.hang_up()

    async def _turn(self, running: Service, seconds: float) -> None:
        self._rest_after = monotonic() + seconds
        programs = [
            Program(running.port, self._content, random.Random(self._random.random()))
            for _ in range(PROGRAMS)
        ]
        change = asyncio.create_task(self._change_passwords())
        try:
            await asyncio.gather(*map(self._live, programs))
        finally:
            change.cancel()
            await asyncio.wait([change])

    async def _live(self, program: Program) -> None:
        """Be one program until it is time to rest."""
        operations, weights = list(OPERATIONS), list(OPERATIONS.values())
        while monotonic() < self._rest_after:
            (operation,) = program.random.choices(operations, weights)
            await self._do(operation, program)
            await asyncio.sleep(program.random.random() * PAUSE_S)
        await program.hang_up()

    async def _do(self, operation: Operation, program: Program) -> None:
        name = getattr(operation, "__name__", str(operation)).replace("_", " ")
        self._report.done[name] += 1
        try:
            await asyncio.wait_for(_awaited(operation(program)), PATIENCE_S)
        except UntoldError as error:
            self._report.wrong[f"{name}: {error}"] += 1
        except MistakenError as error:
            self._report.mistaken += 1
            if monotonic() > self._changed + RECOVERY_S:
                self._report.wrong[f"{name}: {error}, long after the password changed"] += 1
        except TimeoutError:
            self._report.wrong[f"{name}: nothing came of it in {PATIENCE_S:.0f} s"] += 1
        except (OSError, asyncio.IncompleteReadError) as error:
            self._report.wrong[f"{name}: {type(error).__name__}: {error}"] += 1
        else:
            return
        await program.hang_up()

    async def _change_passwords(self) -> None:
        while True:
            await asyncio.sleep(PASSWORD_S)
            self._upstream.change_password()
            self._changed = monotonic()

    async def _quiet(self, running: Service, began: float) -> Quiet:
        """Wait until the service holds nothing for anybody, and does nothing."""
        end = monotonic() + QUIET_S
        fewest = min((moment.sockets for moment in self._report.moments), default=None)
        while True:
            # Again and again: a request of the service's own may open a connection after a cut.
            self._upstream.cut()
            share = await self._share(running)
            active = (await asyncio.to_thread(running.status)).active
            moment = look(running.pid, monotonic() - began, active)
            is_still = share <= SPIN and not active
            if is_still and (fewest is None or moment.sockets <= fewest):
                return moment
            if monotonic() > end:
                if share > SPIN:
                    self._report.wrong[f"unused, it takes {share:.0%} of a core"] += 1
                return moment

    async def _share(self, running: Service) -> float:
        """Return the share of a core that the service takes for a moment."""
        before, began = cpu_seconds(running.pid), monotonic()
        await asyncio.sleep(0.3)
        return (cpu_seconds(running.pid) - before) / (monotonic() - began)

    def _answer_questions(self, front_end: FrontEnd) -> None:
        """Be the person, who knows every new password at once. In a thread of its own."""
        answered: dict[int, float] = {}

        def is_new(question: Prompt) -> bool:
            # One that is still open a while after its answer could not be checked: its request met
            # with a fault. It has the old reason to ask, then, and the person types once more.
            return not question.checking and monotonic() > answered.get(question.number, 0.0)

        while not self._over:
            with suppress(AssertionError):  # Nobody has asked for a while.
                question = front_end.wait_for_prompt(is_new, timeout=0.5)
                answered[question.number] = monotonic() + AGAIN_S
                login = Login(USER, self._upstream.password)
                front_end.request(AnswerPrompt(question.number, login, remember=False))


async def _awaited(awaitable: Awaitable[None]) -> None:
    await awaitable
