"""Trying a profile step by step: find, connect, challenge, sign-in, fetch (ux §3.3).

It sends what a program would send, but stops at the first step that fails and says which that was.
The sign-in step goes through the desk like any request, so it costs at most one log-on and keeps
every rule.
"""

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass, replace

from trayproxy.control.messages import Problem, Step, StepState
from trayproxy.desk.answer import Answer, Waiter
from trayproxy.desk.desk import Desk
from trayproxy.desk.problems import Refusal
from trayproxy.desk.space import Space
from trayproxy.engine.limits import Limits
from trayproxy.engine.pages import Page, not_found, refused_connection, silent
from trayproxy.http.challenges import Challenge, parse_challenges
from trayproxy.http.errors import MessageError
from trayproxy.http.heads import find_response_head
from trayproxy.http.request import Request, parse_request, request_target, write_request
from trayproxy.http.response import Response, parse_response
from trayproxy.profiles.profile import Profile, SignIn

STEPS = ("find", "connect", "encryption", "challenge", "sign-in", "fetch")


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
        limits: The engine's figures.
        via: Our pseudonym.
        now: The loop's clock.
    """

    desk: Desk
    limits: Limits
    via: bytes
    now: Callable[[], float]


class Check:
    """One run through the steps."""

    def __init__(self, profile: Profile, url: str, tools: Tools) -> None:
        self._profile = profile
        self._tools = tools
        self._request = _request_for(url)
        self._space = Space(profile.id, str(profile.upstream))
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
            start = self._tools.now()
            try:
                step = await action(Step(name, StepState.OK))
            except StepFailedError as failed:
                step = Step(name, StepState.FAILED, problem=failed.problem)
            took = (self._tools.now() - start) * 1000
            tried = step.state is not StepState.NOT_NEEDED
            self._done.append(replace(step, took=took if tried else None))
            if step.state is StepState.FAILED:
                break
        missing = STEPS[len(self._done) :]
        return (*self._done, *(Step(name, StepState.NOT_TRIED) for name in missing))

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
        _, writer = await self._open()
        writer.close()
        return replace(step, detail=f"port {self._profile.upstream.port}")

    async def _encrypt(self, step: Step) -> Step:
        return replace(step, state=StepState.NOT_NEEDED, detail="none (http proxy)")

    async def _challenge(self, step: Step) -> Step:
        known = self._tools.desk.known(self._space)
        response = await self._send(None)
        if response.status != 407:
            return replace(step, state=StepState.NOT_NEEDED, detail="the proxy does not ask")
        self._challenges = parse_challenges(response.fields.get_all(b"proxy-authenticate"))
        self._answer = known
        self._asked = True
        return replace(step, detail=_offered(self._challenges))

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
            try:
                response = await self._send(answer)
            except BaseException as error:
                self._tools.desk.inconclusive(answer, str(error))
                raise
            if response.status != 407:
                self._tools.desk.accepted(answer)
                self._answer = answer
                return replace(step, detail=answer.login.user)
            self._challenges = parse_challenges(response.fields.get_all(b"proxy-authenticate"))
            tried = answer

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

    async def _open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        upstream, limits = self._profile.upstream, self._tools.limits
        try:
            async with asyncio.timeout(limits.connect_total_s):
                return await asyncio.open_connection(
                    upstream.host, upstream.port, happy_eyeballs_delay=limits.next_address_s
                )
        except ConnectionRefusedError:
            page = refused_connection(upstream.host, upstream.port)
        except OSError:
            page = silent(upstream.host, limits.connect_s, through_upstream=True)
        raise StepFailedError(_problem(page))

    async def _send(self, answer: Answer | None) -> Response:
        """Send the request on a connection of its own and return the head of its final answer."""
        request = self._request
        credentials = (
            answer.credentials(request.method, request_target(request)) if answer else None
        )
        reader, writer = await self._open()
        try:
            async with asyncio.timeout(self._tools.limits.upstream_head_s):
                writer.write(write_request(request, via=self._tools.via, credentials=credentials))
                return await _final_head(reader, request.method)
        except (OSError, EOFError, MessageError):
            upstream = self._profile.upstream
            page = silent(upstream.host, self._tools.limits.upstream_head_s, through_upstream=True)
            raise StepFailedError(_problem(page)) from None
        finally:
            writer.transport.abort()


async def _final_head(reader: asyncio.StreamReader, method: bytes) -> Response:
    received = bytearray()
    while True:
        end = find_response_head(received) if received else None
        if end is None:
            data = await reader.read(65_536)
            if not data:
                raise EOFError
            received += data
            continue
        response = parse_response(bytes(received[:end]), method)
        if not response.is_interim:
            return response
        del received[:end]


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
