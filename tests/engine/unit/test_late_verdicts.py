"""The reports about logins whose clients have disconnected before the response."""

import asyncio
import socket
from contextlib import ExitStack
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from tests.engine.fakes import LOGIN, FakeBroker
from tests.engine.schemes import REJECTED, TYPE_1
from trayproxy.auth.scheme import Offer, Verdict, VerdictKind
from trayproxy.auth.socks import SocksPassword, socks_challenge
from trayproxy.desk.broker import Accepted, NoVerdict, Report
from trayproxy.engine.limits import EngineLimits
from trayproxy.engine.net.socket_stream import SocketStream
from trayproxy.engine.proxy_auth.auth_port import PendingLogin
from trayproxy.engine.proxy_auth.challenge_detection import ChallengeDetector
from trayproxy.engine.proxy_auth.late_verdicts import (
    MAX_READERS,
    LateVerdicts,
    UnansweredRequest,
    UnansweredSocksLogin,
)
from trayproxy.engine.upstream.route import Route
from trayproxy.profiles.profile import Profile, ProxyScheme, Upstream

PROXY = Upstream("socks.test", 1080, ProxyScheme.SOCKS5)
ROUTE = Route.via_profile(Profile("office", "Office", PROXY))
assert ROUTE.upstream_id is not None
OFFER = Offer(SocksPassword(), socks_challenge())
CREDENTIALS = FakeBroker().answer_with(ROUTE.upstream_id, OFFER, LOGIN)
NEVER, SOON = 60.0, 0.01


class RecordingBroker(FakeBroker):
    """A desk that records all reports, and whether a report has arrived."""

    def __init__(self) -> None:
        super().__init__(LOGIN)
        self.reports: list[object] = []
        self.has_report = asyncio.Event()

    def report(self, credentials: object, report: Report) -> None:
        assert credentials is CREDENTIALS
        self.reports.append(report)
        self.has_report.set()


class LateScenario:
    """A reader of late responses in the running loop, and a connection to the next hop.

    Attributes:
        broker: The desk.
        late: The reader.
        peer: The next hop's end of the connection.
        stream: The reader's end of the connection.
    """

    def __init__(self, stack: ExitStack, *, orphaned_s: float, missing_s: float) -> None:
        self.broker = RecordingBroker()
        limits = EngineLimits(orphaned_response_s=orphaned_s, missing_response_s=missing_s)
        context: Any = SimpleNamespace(
            loop=asyncio.get_running_loop(), limits=limits, broker=self.broker, closing=False
        )
        self.context = context
        self.late = LateVerdicts(context, ChallengeDetector(), lambda credentials: 3)
        near, self.peer = (stack.enter_context(end) for end in socket.socketpair())
        self.stream = SocketStream(near)

    def read(self, *, is_on_trial: bool) -> bool:
        """Start to read the reply to a SOCKS login."""
        login = PendingLogin(CREDENTIALS, is_on_trial, was_sent=True)
        return self.late.read_socks_reply(
            UnansweredSocksLogin(self.stream, ROUTE, login, "origin.test:80")
        )


def run(play: Any) -> LateScenario:
    """Run a play in a loop that watches descriptors; the default loop of Windows does not."""
    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        scenario: LateScenario = runner.run(play)
        return scenario


@pytest.mark.parametrize("is_on_trial", [True, False])
@pytest.mark.parametrize(
    ("reply", "is_closed", "reports"),
    [
        (b"\x01\x00", False, [Accepted()]),
        (b"\x01\x01", False, []),
        (b"\x01", True, [NoVerdict("the server left")]),
        (b"", True, [NoVerdict("the server left")]),
        (b"", False, [NoVerdict("TimeoutError")]),
    ],
    ids=["accepted", "rejected", "half", "closed", "silent"],
)
def test_the_reply_to_a_socks_login_is_reported(
    stack: ExitStack, reply: bytes, is_closed: bool, reports: list[object], is_on_trial: bool
) -> None:
    async def play() -> LateScenario:
        is_silent = not (reply or is_closed)
        scenario = LateScenario(stack, orphaned_s=SOON if is_silent else NEVER, missing_s=NEVER)
        assert scenario.read(is_on_trial=is_on_trial)
        scenario.peer.send(reply)
        if is_closed:
            scenario.peer.close()
        (task,) = asyncio.all_tasks() - {asyncio.current_task()}
        await task
        return scenario

    scenario = run(play())
    assert scenario.broker.reports == reports
    refused = [
        (one.refused, one.verdict, one.challenges, one.pending.target)
        for one in scenario.broker.challenged_requests
    ]
    rejection = (CREDENTIALS, Verdict(VerdictKind.REJECTED), (socks_challenge(),), "origin.test:80")
    assert refused == ([] if reports else [rejection])
    assert scenario.stream.socket.fileno() < 0


def test_a_missing_reply_to_a_shared_login_is_reported_before_it_is_given_up(
    stack: ExitStack,
) -> None:
    """Other requests carry the login meanwhile."""

    async def play() -> LateScenario:
        scenario = LateScenario(stack, orphaned_s=NEVER, missing_s=SOON)
        assert scenario.read(is_on_trial=False)
        await scenario.broker.has_report.wait()
        await scenario.late.close()
        return scenario

    scenario = run(play())
    assert scenario.broker.reports == [NoVerdict("the client has left")]
    assert scenario.stream.socket.fileno() < 0


@pytest.mark.parametrize("reason", ["closing", "too many"])
def test_a_response_is_not_read_late_by_a_closing_engine_or_by_too_many_readers(
    stack: ExitStack, reason: str
) -> None:
    async def play() -> LateScenario:
        scenario = LateScenario(stack, orphaned_s=NEVER, missing_s=NEVER)
        scenario.context.closing = reason == "closing"
        results = [scenario.read(is_on_trial=True) for _ in range(MAX_READERS + 1)]
        accepted = 0 if reason == "closing" else MAX_READERS
        assert results == [True] * accepted + [False] * (MAX_READERS + 1 - accepted)
        await scenario.late.close()
        return scenario

    assert run(play()).broker.reports == []


@pytest.mark.parametrize(
    ("step", "is_other", "kind"),
    [
        (None, False, VerdictKind.REJECTED),
        (None, True, VerdictKind.REJECTED),
        (REJECTED, False, VerdictKind.REJECTED),
        (REJECTED, True, VerdictKind.REJECTED),
        (replace(REJECTED, other_nonce=True), False, VerdictKind.REJECTED),
        (replace(REJECTED, other_nonce=True), True, VerdictKind.UNCLEAR),
        (TYPE_1, False, None),
    ],
)
def test_the_handshake_decides_whether_a_late_refusal_rejects_the_login(
    step: Any, is_other: bool, kind: VerdictKind | None
) -> None:
    handshake: Any = None if step is None else SimpleNamespace(step=lambda challenges: step)
    login = PendingLogin(CREDENTIALS, True, handshake, is_other)
    cached: Any = None
    verdict = UnansweredRequest(cached, cached, ROUTE, login).verdict(())
    assert (verdict and verdict.kind) == kind
