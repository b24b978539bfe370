"""Reads the responses to requests with a login after their clients have disconnected.

The login was sent, so a wrong login has already cost a failed log-on. Without the response, the
login would have to be sent again to find out whether it is right.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from trayproxy.auth.scheme import Verdict, VerdictKind
from trayproxy.auth.socks import socks_challenge
from trayproxy.desk.broker import Accepted, CredentialBroker, NoVerdict, SilentUpstream
from trayproxy.desk.credentials import Credentials, PendingRequest
from trayproxy.desk.protection_space import LoginId
from trayproxy.engine.context import EngineContext
from trayproxy.engine.downstream import NullDownstream
from trayproxy.engine.net.fd_task import READ, IoWait, run_in_task, wait_in_task
from trayproxy.engine.net.socket_stream import SocketStream
from trayproxy.engine.proxy_auth.auth_port import PendingLogin
from trayproxy.engine.proxy_auth.challenge_detection import ChallengeDetector, report_evidence
from trayproxy.engine.transfer.head_cache import CachedRequest
from trayproxy.engine.transfer.request_writer import writer_without_content
from trayproxy.engine.transfer.response_reader import ResponseBrokenError, ResponseReader
from trayproxy.engine.upstream.pool import UpstreamConnection
from trayproxy.engine.upstream.route import Route
from trayproxy.http.challenges import Challenge
from trayproxy.http.errors import MessageError
from trayproxy.http.response import Response

T = TypeVar("T")

logger = logging.getLogger(__name__)

MAX_READERS = 64
"""The most connections that are read at a time for clients that have disconnected."""


@dataclass(frozen=True, slots=True)
class UnansweredRequest:
    """A request with a login whose client has disconnected. The response is still expected on this
    connection."""

    connection: UpstreamConnection
    cached_request: CachedRequest
    route: Route
    login: PendingLogin

    def verdict(self, challenges: tuple[Challenge, ...]) -> Verdict | None:
        """Return the verdict on the login after a refusal with these challenges; None if only the
        nonce was refused."""
        login = self.login
        if login.handshake is None:
            return Verdict(VerdictKind.REJECTED)
        step = login.handshake.step(challenges)
        if not isinstance(step, Verdict):
            return None
        return step.on_other_connection() if login.is_other_connection else step


@dataclass(frozen=True, slots=True)
class UnansweredSocksLogin:
    """A login that was sent to a SOCKS server for a client. The client has disconnected before the
    reply.

    Attributes:
        stream: The connection on which the reply of two octets is expected (RFC 1929, section 2).
        target: The target of the client, such as ``github.com:443``.
    """

    stream: SocketStream
    route: Route
    login: PendingLogin
    target: str


class LateVerdicts:
    """Reads responses whose clients have disconnected, each in a task of its own."""

    def __init__(
        self,
        context: EngineContext,
        challenge_detector: ChallengeDetector,
        count_unanswered: Callable[[Credentials], int],
    ) -> None:
        """Create a reader without responses; for `count_unanswered` see `ConnectionServices`."""
        self._context = context
        self._challenge_detector = challenge_detector
        self._count_unanswered = count_unanswered
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiting: list[UnansweredRequest] = []

    def read_response(self, unanswered: UnansweredRequest) -> bool:
        """Start to read the response to a request. Return False if it cannot be read any more."""
        return self._start(self._read_response(unanswered))

    def read_socks_reply(self, unanswered: UnansweredSocksLogin) -> bool:
        """Start to read the reply of a SOCKS server to a login. Return False if it cannot be read
        any more."""
        return self._start(self._read_socks_reply(unanswered))

    def _start(self, reader: Coroutine[Any, Any, None]) -> bool:
        """Start a task for this coroutine. Return False if the engine is closing or there are too
        many tasks."""
        if self._context.closing or len(self._tasks) >= MAX_READERS:
            reader.close()
            return False
        task = self._context.loop.create_task(reader)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True

    def count_silent(self, login_id: LoginId) -> int:
        """Return the number of unanswered requests with this login at a next hop that has sent no
        response at all since the request was sent."""
        return sum(
            unanswered.connection.is_upstream_silent
            for unanswered in self._waiting
            if unanswered.login.credentials.login_id == login_id
        )

    async def close(self) -> None:
        """Cancel the reading of all responses."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _read_response(self, unanswered: UnansweredRequest) -> None:
        """Read a response and report its verdict, or the lack of a verdict, to the desk."""
        context, connection, login = self._context, unanswered.connection, unanswered.login
        downstream, timer = NullDownstream(context), None
        downstream.use_upstream(connection)
        self._waiting.append(unanswered)
        if not login.is_on_trial:
            timer = context.loop.call_later(
                context.limits.silent_upstream_s, self._report_if_silent, unanswered
            )
        writer = writer_without_content(downstream.client)
        writer.adopt_sent_request(connection.stream)
        reader = ResponseReader(downstream, unanswered.cached_request)
        try:
            response = await self._read(login, run_in_task(reader.read_head(writer, connection)))
            if response is not None:
                self._report(unanswered, response)
        finally:
            if timer is not None:
                timer.cancel()
            self._waiting.remove(unanswered)
            downstream.drop_upstream()

    async def _read_socks_reply(self, unanswered: UnansweredSocksLogin) -> None:
        """Read a SOCKS reply and report its verdict, or the lack of a verdict, to the desk."""
        from trayproxy.engine.net.socks5 import AUTH_REPLY_OCTETS, is_accepted

        async def receive() -> bytearray:
            while len(stream.inbox) < AUTH_REPLY_OCTETS and not stream.ended:
                if not stream.fill() and not stream.ended:
                    await wait_in_task(IoWait({stream.descriptor: READ}))
            return stream.inbox[:AUTH_REPLY_OCTETS]

        broker, login, stream = self._context.broker, unanswered.login, unanswered.stream
        credentials, route, target = login.credentials, unanswered.route, unanswered.target
        try:
            reply = await self._read(login, receive())
        finally:
            stream.close()
        if reply is None:
            return
        if len(reply) < AUTH_REPLY_OCTETS:
            broker.report(credentials, NoVerdict("the server left"))
        elif is_accepted(reply):
            broker.report(credentials, Accepted())
        else:
            rejected = Verdict(VerdictKind.REJECTED)
            report_rejection(broker, route, target, credentials, (socks_challenge(),), rejected)

    async def _read(self, login: PendingLogin, response: Coroutine[Any, Any, T]) -> T | None:
        """Return a response; None after the lack of a verdict was reported to the desk."""
        context, credentials, timer = self._context, login.credentials, None
        if not login.is_on_trial:
            # Other requests may carry the login meanwhile, so a missing response is reported early.
            timer = context.loop.call_later(
                context.limits.missing_response_s,
                context.broker.report,
                credentials,
                NoVerdict("the client has left"),
            )
        try:
            async with asyncio.timeout(context.limits.orphaned_response_s):
                return await response
        except (TimeoutError, OSError, ResponseBrokenError, MessageError) as error:
            context.broker.report(credentials, NoVerdict(type(error).__name__))
        except Exception:
            logger.exception("reading a late verdict failed")
            context.broker.report(credentials, NoVerdict("an error"))
        finally:
            if timer is not None:
                timer.cancel()
        return None

    def _report_if_silent(self, unanswered: UnansweredRequest) -> None:
        """Report an overdue response to the desk if the next hop has not responded at all since the
        request was sent."""
        if unanswered.connection.is_upstream_silent:
            credentials = unanswered.login.credentials
            report = SilentUpstream(self._count_unanswered(credentials))
            self._context.broker.report(credentials, report)

    def _report(self, unanswered: UnansweredRequest, response: Response) -> None:
        """Report the evidence of the response about the login to the desk."""
        login, route, broker = unanswered.login, unanswered.route, self._context.broker
        request, credentials = unanswered.cached_request.request, login.credentials
        challenges = self._challenge_detector.challenges_in(
            response, request.method, route.upstream_id, credentials
        )
        if challenges is None:
            if login.handshake is not None:
                login.handshake.finish(response.fields)
            report_evidence(broker, credentials, request, response, on_trial=login.is_on_trial)
            return
        verdict = unanswered.verdict(challenges)
        if verdict is None:
            broker.report(credentials, NoVerdict("the nonce was refused"))
            return
        target = str(request.target.authority)
        report_rejection(broker, route, target, credentials, challenges, verdict)


def report_rejection(
    broker: CredentialBroker,
    route: Route,
    target: str,
    credentials: Credentials,
    challenges: tuple[Challenge, ...],
    verdict: Verdict,
) -> None:
    """Report to the desk a refusal of a login by the next hop, for a request without a client. The
    target is empty for no particular target."""
    assert route.profile is not None  # An upstream with a login belongs to a profile.
    future = broker.challenged(
        credentials.upstream_id,
        route.profile,
        challenges,
        PendingRequest(target),
        credentials,
        verdict,
    )
    broker.withdraw(future)
