"""Trying a profile step by step: find, connect, challenge, sign-in, fetch (ux §3.3).

It sends what a program would send, in the way the engine would, but stops at the first step that
fails and says which that was. The sign-in step goes through the desk like any request, so it costs
at most one log-on and keeps every rule. Of the profile's other upstreams it only finds out whether
they can be reached.
"""

import asyncio
import socket
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from trayproxy.control.messages import Problem, Step, StepState
from trayproxy.desk.answer import Answer, Waiter
from trayproxy.desk.desk import Desk
from trayproxy.desk.problems import Refusal
from trayproxy.desk.space import Space
from trayproxy.engine.dial import Call, Dialler, SignInWantedError, TargetRefusedError
from trayproxy.engine.limits import Limits
from trayproxy.engine.pages import Page, RefusedError, not_found, silent
from trayproxy.engine.strand import READ, WRITE, Wait, wait_in_task
from trayproxy.engine.stream import Stream
from trayproxy.engine.tls import TlsStream
from trayproxy.engine.way import Way
from trayproxy.http.challenges import Challenge, parse_challenges
from trayproxy.http.errors import MessageError
from trayproxy.http.heads import find_response_head
from trayproxy.http.request import Request, parse_request, request_target, write_request
from trayproxy.http.response import Response, parse_response
from trayproxy.profiles.profile import Profile, Scheme, SignIn

STEPS = ("find", "connect", "encryption", "challenge", "sign-in", "fetch")
FALLBACK = "fallback"


class StepFailedError(Exception):
    """The present step failed; nothing after it is tried."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.title)
        self.problem = problem


@dataclass(frozen=True, slots=True)
class Tools:
    """What a check works with.

    Attributes:
        desk: Signs in.
        dialler: Reaches upstreams.
        limits: The engine's figures.
        via: Our pseudonym.
        now: The loop's clock.
    """

    desk: Desk
    dialler: Dialler
    limits: Limits
    via: bytes
    now: Callable[[], float]


class Check:
    """One run through the steps."""

    def __init__(self, profile: Profile, url: str, tools: Tools) -> None:
        """Prepare it.

        Args:
            profile: What to try.
            url: What to fetch through it.
            tools: What to do it with.

        Raises:
            MessageError: The URL is not a plain http one.
        """
        self._profile = profile
        self._tools = tools
        self._request = _request_for(url)
        self._way = Way.through(profile)
        self._done: list[Step] = []
        self._answer: Answer | None = None
        self._asked = False
        self._challenges: tuple[Challenge, ...] = ()

    async def run(self) -> tuple[Step, ...]:
        """Return all steps, those that were not tried too."""
        actions = (
            self._find,
            self._connect,
            self._encrypt,
            self._challenge,
            self._sign_in,
            self._fetch,
        )
        for name, action in zip(STEPS, actions, strict=True):
            step = await self._take(name, action)
            self._done.append(step)
            if step.state is StepState.FAILED:
                break
        missing = (Step(name, StepState.NOT_TRIED) for name in STEPS[len(self._done) :])
        others = [
            await self._take(FALLBACK, partial(self._reach, way=way)) for way in self._way.others
        ]
        return (*self._done, *missing, *others)

    async def _take(self, name: str, action: Callable[[Step], Coroutine[Any, Any, Step]]) -> Step:
        start = self._tools.now()
        try:
            step = await action(Step(name, StepState.OK))
        except StepFailedError as failed:
            step = Step(name, StepState.FAILED, problem=failed.problem)
        except RefusedError as refused:
            step = Step(name, StepState.FAILED, problem=_problem(refused.page))
        took = (self._tools.now() - start) * 1000
        return replace(step, took=None if step.state is StepState.NOT_NEEDED else took)

    async def _find(self, step: Step) -> Step:
        upstream = self._profile.upstream
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._tools.limits.resolve_s):
                found = await loop.getaddrinfo(
                    upstream.host, upstream.port, type=socket.SOCK_STREAM
                )
        except (OSError, UnicodeError):
            problem = _problem(not_found(upstream.host, through_upstream=True))
            raise StepFailedError(problem) from None
        return replace(step, detail=str(found[0][4][0]))

    async def _connect(self, step: Step) -> Step:
        connection = await self._tools.dialler.connect(self._call(self._way, None))
        connection.close()
        return replace(step, detail=f"port {self._profile.upstream.port}")

    async def _encrypt(self, step: Step) -> Step:
        scheme = self._profile.upstream.scheme
        if scheme is not Scheme.HTTPS:
            return replace(step, state=StepState.NOT_NEEDED, detail=f"none ({scheme} proxy)")
        return replace(step, detail=await self._encryption(self._way))

    async def _encryption(self, way: Way) -> str:
        stream = await self._tools.dialler.dial(self._call(way, None))
        stream.close()
        assert isinstance(stream, TlsStream)
        return f"{stream.version}, certificate by {stream.issuer or 'an unnamed authority'}"

    async def _reach(self, step: Step, way: Way) -> Step:
        upstream = way.upstream
        assert upstream is not None
        if upstream.scheme is Scheme.HTTPS:
            return replace(step, detail=f"{upstream}: {await self._encryption(way)}")
        connection = await self._tools.dialler.connect(self._call(way, None))
        connection.close()
        return replace(step, detail=str(upstream))

    async def _challenge(self, step: Step) -> Step:
        try:
            await self._send(None)
        except SignInWantedError as wanted:
            self._asked, self._challenges = True, wanted.challenges
            self._answer = self._tools.desk.known(self._space)
            return replace(step, detail=_offered(self._challenges))
        except TargetRefusedError:
            pass  # The proxy let it through as far as that.
        return replace(step, state=StepState.NOT_NEEDED, detail="the proxy does not ask")

    async def _sign_in(self, step: Step) -> Step:
        if not self._asked:
            return replace(step, state=StepState.NOT_NEEDED)
        if self._profile.sign_in is SignIn.NONE:
            raise StepFailedError(
                Problem(
                    "TP-303",
                    "The proxy wants a sign-in",
                    "The profile says that it needs none. Change its sign-in.",
                )
            )
        tried: Answer | None = None
        answer = self._answer
        while True:
            if answer is None or answer is tried:
                answer = await self._ask(tried)
            if await self._is_accepted(answer):
                self._answer = answer
                return replace(step, detail=answer.login.user if answer.login else "")
            tried = answer

    async def _is_accepted(self, answer: Answer) -> bool:
        """Send the request with a login, and tell the desk what came of it."""
        desk = self._tools.desk
        try:
            await self._send(answer)
        except SignInWantedError as wanted:
            self._challenges = wanted.challenges
            return False
        except TargetRefusedError:
            return True  # Whether it was the login's turn, the dialler has told the desk.
        except BaseException as error:
            desk.inconclusive(answer, str(error))
            raise
        if self._way.signs_requests:
            desk.accepted(answer)
        return True

    @property
    def _space(self) -> Space:
        assert self._way.space is not None
        return self._way.space

    async def _ask(self, tried: Answer | None) -> Answer:
        waiter = Waiter(str(self._request.target.authority))
        result = await self._tools.desk.challenged(
            self._space, self._profile, self._challenges, waiter, tried
        )
        if isinstance(result, Refusal):
            raise StepFailedError(result.problem)
        return result

    async def _fetch(self, step: Step) -> Step:
        response = await self._send(self._answer)
        reason = response.reason.decode("latin-1")
        if response.status >= 500:
            raise StepFailedError(
                Problem(
                    "TP-203",
                    f"The page answered {response.status}",
                    "The proxy works and the sign-in is right, but the test page did not load.",
                )
            )
        return replace(step, detail=f"{response.status} {reason}".strip())

    # --- the wire ---

    def _call(self, way: Way, answer: Answer | None) -> Call:
        target = self._request.target.authority
        assert target is not None
        # A task waits for descriptors one wait at a time: none is left to be released.
        return Call(way, target, answer, wait_in_task, lambda descriptor: None)

    async def _send(self, answer: Answer | None) -> Response:
        """Send the request on a connection of its own and return the head of its final answer.

        Raises:
            SignInWantedError: The proxy wants a login, or another one.
            RefusedError: There is no connection.
            StepFailedError: There is no answer.
        """
        request, way = self._request, self._way
        credentials = None
        if answer is not None and way.signs_requests:
            credentials = answer.credentials(request.method, request_target(request))
        head = write_request(
            request, via=self._tools.via, credentials=credentials, direct=way.ends_at_target
        )
        stream = await self._tools.dialler.dial(self._call(way, answer))
        try:
            async with asyncio.timeout(self._tools.limits.upstream_head_s):
                await _send_all(stream, head)
                response = await _final_head(stream, request.method)
        except (OSError, EOFError, MessageError):
            upstream = self._profile.upstream
            page = silent(upstream.host, self._tools.limits.upstream_head_s, through_upstream=True)
            raise StepFailedError(_problem(page)) from None
        finally:
            stream.close()
        if response.status == 407 and not way.ends_at_target:
            fields = response.fields.get_all(b"proxy-authenticate")
            raise SignInWantedError(parse_challenges(fields))
        return response


async def _send_all(stream: Stream, octets: bytes) -> None:
    rest = memoryview(octets)
    while rest := rest[stream.send(rest) :]:
        await wait_in_task(Wait({stream.descriptor: WRITE}))


async def _final_head(stream: Stream, method: bytes) -> Response:
    while True:
        end = find_response_head(stream.inbox) if stream.inbox else None
        if end is not None:
            response = parse_response(bytes(stream.inbox[:end]), method)
            if not response.is_interim:
                return response
            del stream.inbox[:end]
        elif stream.ended:
            raise EOFError
        elif not stream.fill() and not stream.ended:
            await wait_in_task(Wait({stream.descriptor: READ}))


def _request_for(url: str) -> Request:
    """Return a GET for this URL.

    Raises:
        MessageError: It is not a plain http URL.
    """
    host = url.removeprefix("http://").partition("/")[0]
    head = f"GET {url} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: TrayProxy\r\nAccept: */*\r\n\r\n"
    return parse_request(head.encode("ascii", "replace"))


def _offered(challenges: tuple[Challenge, ...]) -> str:
    names = [
        f"{challenge.scheme.capitalize()}" + (f", “{challenge.realm}”" if challenge.realm else "")
        for challenge in challenges
    ]
    return "; ".join(names)


def _problem(page: Page) -> Problem:
    return Problem(page.code, page.title, page.body)
