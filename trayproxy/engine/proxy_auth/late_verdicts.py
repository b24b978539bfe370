"""Read the response to a request that carried a login after its client has disconnected.

The login has been sent, so a wrong one has already cost a failed log-on. If the response were not
read, the login would have to be sent once more to find out whether it is right.
"""

import asyncio
import logging
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from trayproxy.auth.scheme import Verdict, VerdictKind
from trayproxy.auth.socks import socks_challenge
from trayproxy.desk.credentials import Credentials, PendingRequest
from trayproxy.desk.protection_space import LoginId
from trayproxy.engine.forward.forwarder import report_evidence
from trayproxy.engine.net.fd_task import READ, IoWait, run_in_task, wait_in_task
from trayproxy.engine.net.socks5 import STATUS_OCTETS, is_accepted
from trayproxy.engine.proxy_auth.auth_exchange import UnansweredGreeting, UnansweredRequest
from trayproxy.engine.proxy_auth.preconnect import NullDownstream
from trayproxy.engine.transfer.replay_buffer import ReplayBuffer
from trayproxy.engine.transfer.request_writer import RequestWriter
from trayproxy.engine.transfer.response_reader import ResponseBrokenError, ResponseReader
from trayproxy.engine.upstream.route import Route
from trayproxy.http.challenges import Challenge
from trayproxy.http.errors import MessageError
from trayproxy.http.framing import NoBody
from trayproxy.http.response import Response

if TYPE_CHECKING:
    from trayproxy.engine.engine import Engine

logger = logging.getLogger(__name__)

READ_AT_MOST = 64
"""The most connections that are read at a time for clients that have disconnected."""


class LateVerdicts:
    """Reads responses whose clients have disconnected, each in a task of its own."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine
        self._tasks: set[asyncio.Task[None]] = set()
        self._waiting: list[UnansweredRequest] = []

    def read(self, spent: UnansweredRequest) -> bool:
        """Start to read the response to a request. Return False if it cannot be read any more."""
        return self._begin(self._read(spent))

    def read_greeting(self, spent: UnansweredGreeting) -> bool:
        """Begin to read what a SOCKS server says about a login. Return False if it cannot be read
        any more."""
        return self._begin(self._read_greeting(spent))

    def _begin(self, reading: Coroutine[Any, Any, None]) -> bool:
        if self._engine.closing or len(self._tasks) >= READ_AT_MOST:
            reading.close()
            return False
        task = self._engine.loop.create_task(reading)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True

    def count(self, mark: LoginId) -> int:
        """Return how many requests with this login wait for a next hop that does not respond."""
        waiting = [spent for spent in self._waiting if spent.answer.login_id == mark]
        return sum(spent.connection.is_unheard for spent in waiting)

    async def close(self) -> None:
        """Stop reading all responses."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _read(self, spent: UnansweredRequest) -> None:
        engine, answer = self._engine, spent.answer
        link = NullDownstream(engine)
        link.upstream = spent.connection
        timers = []
        self._waiting.append(spent)
        if not spent.is_on_trial:
            # Other requests may carry the login meanwhile, so the desk hears early of one without a
            # response.
            limits = engine.limits
            timers = [
                engine.loop.call_later(limits.mute_s, self._mute, spent),
                engine.loop.call_later(limits.late_silence_s, self._silent, answer),
            ]
        try:
            async with asyncio.timeout(engine.limits.late_s):
                response = await run_in_task(self._head(link, spent))
        except (TimeoutError, OSError, ResponseBrokenError, MessageError) as error:
            engine.desk.inconclusive(answer, type(error).__name__, sent=True)
        except Exception:
            logger.exception("reading a late verdict failed")
            engine.desk.inconclusive(answer, "an error", sent=True)
        else:
            self._tell(spent, response)
        finally:
            for timer in timers:
                timer.cancel()
            self._waiting.remove(spent)
            link.drop_upstream()

    async def _head(self, link: NullDownstream, spent: UnansweredRequest) -> Response:
        sender = RequestWriter(link.client, NoBody(), ReplayBuffer(wanted=False))
        sender.go_on(spent.connection.stream)
        return await ResponseReader(link, spent.plan).await_head(sender, spent.connection)

    async def _read_greeting(self, spent: UnansweredGreeting) -> None:
        engine, answer, stream = self._engine, spent.answer, spent.stream
        timer = None
        if not spent.is_on_trial:
            # Others may carry the login meanwhile. A server that says nothing is told soon.
            timer = engine.loop.call_later(engine.limits.late_silence_s, self._silent, answer)
        try:
            async with asyncio.timeout(engine.limits.late_s):
                while len(stream.inbox) < STATUS_OCTETS:
                    if not stream.fill() and not stream.ended:
                        await wait_in_task(IoWait({stream.descriptor: READ}))
                    if stream.ended:
                        break
        except (TimeoutError, OSError) as error:
            engine.desk.inconclusive(answer, type(error).__name__, sent=True)
        else:
            if len(stream.inbox) < STATUS_OCTETS:
                engine.desk.inconclusive(answer, "the server left", sent=True)
            elif is_accepted(stream.inbox[:STATUS_OCTETS]):
                engine.desk.accepted(answer)
            else:
                rejected = Verdict(VerdictKind.REJECTED)
                self._reject(spent.way, spent.target, answer, (socks_challenge(),), rejected)
        finally:
            if timer is not None:
                timer.cancel()
            stream.close()

    def _mute(self, spent: UnansweredRequest) -> None:
        """Tell the desk if the next hop has not responded at all since the request was sent."""
        if spent.connection.is_unheard:
            self._engine.desk.overdue(spent.answer, self._engine.count_unanswered(spent.answer))

    def _silent(self, answer: Credentials) -> None:
        self._engine.desk.inconclusive(answer, "the client has left", sent=True)

    def _tell(self, spent: UnansweredRequest, response: Response) -> None:
        """Tell the desk what the response says about the login."""
        engine, answer, way = self._engine, spent.answer, spent.way
        request, desk = spent.plan.request, engine.desk
        challenges = engine.refusals.challenges_in(
            response, request.method, way.upstream_id, answer
        )
        if challenges is None:
            if spent.handshake is not None:
                spent.handshake.finish(response.fields)
            report_evidence(desk, answer, request, response, on_trial=spent.is_on_trial)
            return
        verdict = spent.verdict(challenges)
        if verdict is None:
            desk.inconclusive(answer, "the nonce was refused", sent=True)
            return
        self._reject(way, str(request.target.authority), answer, challenges, verdict)

    def _reject(
        self,
        way: Route,
        target: str,
        answer: Credentials,
        challenges: tuple[Challenge, ...],
        verdict: Verdict,
    ) -> None:
        """Tell the desk that the next hop refused the login, or did not say why."""
        desk = self._engine.desk
        assert way.profile is not None  # A next hop with a login belongs to one.
        waiter = PendingRequest(target)
        seat = desk.challenged(answer.upstream_id, way.profile, challenges, waiter, answer, verdict)
        desk.give_up(seat)
