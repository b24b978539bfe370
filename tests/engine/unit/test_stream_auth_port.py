"""The port of a client's request: errors, heads, evidence and steps, without sockets."""

import asyncio
from collections.abc import Coroutine
from types import SimpleNamespace
from typing import Any, TypeVar

import pytest

from tests.engine.fakes import LOGIN, FakeBroker
from tests.engine.schemes import REJECTED, ScriptedScheme
from tests.engine.wire import connect, get
from trayproxy.auth.basic import Basic
from trayproxy.auth.scheme import Leg, Offer, RequestToAuthenticate
from trayproxy.engine import error_pages
from trayproxy.engine.error_pages import ErrorPage, RequestRefusedError
from trayproxy.engine.limits import EngineLimits
from trayproxy.engine.net.fd_task import FUTURE_DONE, TIMED_OUT
from trayproxy.engine.proxy_auth.auth_port import (
    SERVER_SILENT,
    ConnectionLostError,
    ContentNotRepeatableError,
    Message,
)
from trayproxy.engine.proxy_auth.challenge_detection import ChallengeDetector
from trayproxy.engine.proxy_auth.exempt_sites import ExemptSites
from trayproxy.engine.proxy_auth.stream_auth_port import StreamAuthPort
from trayproxy.engine.transfer.head_cache import CachedRequest
from trayproxy.engine.transfer.response_reader import RequestBodyError, ResponseBrokenError
from trayproxy.engine.upstream.pool import PoolKey
from trayproxy.engine.upstream.route import Route
from trayproxy.http.challenges import Challenge
from trayproxy.http.errors import MessageError
from trayproxy.http.request import parse_request
from trayproxy.http.response import parse_response
from trayproxy.profiles.profile import Profile, ProxyScheme, SignIn, Upstream

T = TypeVar("T")

PROXY = Upstream("proxy.test", 3128)
HTTP = Route.via_profile(Profile("office", "Office", PROXY))
NO_SIGN_IN = Route.via_profile(Profile("office", "Office", PROXY, SignIn.NONE))
SOCKS = Route.via_profile(
    Profile("office", "Office", Upstream("socks.test", 1080, ProxyScheme.SOCKS5))
)
DIRECT = Route.direct()
GET, CONNECT = get(b"http://origin.test/"), connect(b"origin.test:443")
OK = parse_response(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b"GET")
REFUSAL = b'HTTP/1.1 407 Auth\r\nProxy-Authenticate: Basic realm="r"\r\nContent-Length: 0\r\n\r\n'
OFFER = Offer(Basic(), Challenge("basic"))
BASIC = FakeBroker().answer_with(HTTP.upstream_id, OFFER, LOGIN)  # type: ignore[arg-type]


def result_of(coroutine: Coroutine[Any, Any, T]) -> T:
    """Return the result of a coroutine that does not wait."""
    with pytest.raises(StopIteration) as stop:
        coroutine.send(None)
    result: T = stop.value.value
    return result


def fake(**attributes: object) -> Any:
    """Return an object with these attributes."""
    return SimpleNamespace(**attributes)


class StreamScenario:
    """The port of one request, and everything around it.

    Attributes:
        calls: The calls of the port.
        outcome: The response that the reader returns, or the error that it raises.
        upstream: The connection in use.
        writer: The writer of the request.
    """

    def __init__(self, route: Route = HTTP, octets: bytes = GET, *, is_sent: bool = False) -> None:
        self.calls: list[object] = []
        self.outcome: Any = OK
        self.woken = FUTURE_DONE
        self.has_timed_out = False
        self.upstream = fake(
            stream=SimpleNamespace(end_point=b""),
            key=PoolKey("http://proxy.test:3128", epoch=3),
            response_count=0,
            responses_before=route.activity.responses,
            is_authenticated=False,
        )
        self.writer = writer = fake(
            started=True,
            body_started=False,
            waits_for_client=False,
            replay_buffer=SimpleNamespace(is_complete=True),
            start=lambda stream, head: self.calls.append(head),
            start_without_content=lambda stream, head: self.calls.append(("no content", head)),
            adopt_sent_request=lambda stream: self.calls.append("adopted"),
        )
        context = SimpleNamespace(
            limits=EngineLimits(),
            pool=SimpleNamespace(epoch=3),
            caches=SimpleNamespace(
                requests=SimpleNamespace(clear=lambda: self.calls.append("cleared"))
            ),
            own_address=SimpleNamespace(via=b"here"),
        )
        self.downstream = downstream = fake(
            context=context,
            upstream=self.upstream,
            pending_credentials=None,
            drop_upstream=lambda: self.calls.append("dropped"),
            clear_deadline=lambda: None,
            take_timeout=lambda: self.has_timed_out,
        )
        self.sites = ExemptSites()
        auth = SimpleNamespace(
            challenge_detector=ChallengeDetector(), exempt_sites=self.sites, handshake_threads=self
        )
        lease: Any = SimpleNamespace(
            route=route,
            auth=auth,
            record_silence=lambda: self.calls.append("silence"),
            report_failure=lambda page: self.calls.append(page),
            record_response=lambda upstream: self.calls.append("response"),
            wait=self._wait,
        )
        reader: Any = SimpleNamespace(
            read_head=self._read_head, reject_response=lambda error: RuntimeError(str(error))
        )
        self.cached = CachedRequest(parse_request(octets), None)
        self.site = self.cached.request.target.authority
        sent_on = self.upstream if is_sent else None
        self.port = StreamAuthPort(downstream, self.cached, lease, reader, writer, sent_on)

    async def _read_head(self, writer: object, upstream: object) -> Any:
        self.calls.append(self.downstream.pending_credentials)
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome

    async def _wait(self, io_wait: object, *, is_parked: bool) -> int:
        self.calls.append(("wait", is_parked))
        return self.woken

    def run(self, handshake: Any, challenges: Any) -> Any:
        future: asyncio.Future[object] = asyncio.Future(loop=asyncio.new_event_loop())
        future.set_result(handshake.step(challenges))
        future.get_loop().close()
        return future

    def send(self, message: Message | None = None) -> Any:
        """Send a message; return the response."""
        return result_of(self.port.send(message or Message(self.cached.request)))


# --- a request without a response ---

SITE = ("origin.test",)
SLOW_SITE = error_pages.slow_site("origin.test", 900)
EITHER = error_pages.slow_site_or_proxy("origin.test", "proxy.test", 900)
NO_SITE = error_pages.no_response("origin.test", 900, through_upstream=False)
NO_PROXY = error_pages.no_response("proxy.test", 60, through_upstream=True)


@pytest.mark.parametrize("is_sent", [False, True], ids=["request loop", "fast path"])
@pytest.mark.parametrize(
    ("route", "octets", "has_answered", "page", "calls"),
    [
        (HTTP, GET, True, SLOW_SITE, []),
        (HTTP, CONNECT, True, error_pages.slow_site("origin.test", 60), []),
        (HTTP, GET, False, EITHER, ["silence"]),
        (HTTP, CONNECT, False, NO_PROXY, ["silence", NO_PROXY]),
        (SOCKS, GET, False, NO_SITE, []),
        (DIRECT, GET, False, NO_SITE, [NO_SITE]),
    ],
)
def test_a_timeout_names_the_party_that_may_be_silent(
    route: Route,
    octets: bytes,
    has_answered: bool,
    page: ErrorPage,
    calls: list[object],
    is_sent: bool,
) -> None:
    scenario = StreamScenario(route, octets, is_sent=is_sent)
    scenario.upstream.responses_before = route.activity.responses - has_answered
    scenario.outcome, scenario.has_timed_out = TimeoutError(), is_sent
    with pytest.raises(RequestRefusedError) as refused:
        scenario.send()
    assert refused.value.page == page
    assert scenario.calls[scenario.calls.index("dropped") + 1 :] == calls


@pytest.mark.parametrize(
    ("outcome", "waits_for_client", "expected"),
    [
        (ResponseBrokenError(request_was_unread=True), False, ConnectionLostError),
        (RequestBodyError(400, "why"), False, RequestBodyError),
        (MessageError(502, "why"), False, RuntimeError),
        (TimeoutError(), True, RequestBodyError),
    ],
)
@pytest.mark.parametrize("was_used", [False, True])
def test_each_failure_of_the_reader_has_its_error(
    outcome: Exception, waits_for_client: bool, expected: type[Exception], was_used: bool
) -> None:
    scenario = StreamScenario()
    scenario.outcome, scenario.writer.waits_for_client = outcome, waits_for_client
    scenario.upstream.response_count = int(was_used)
    with pytest.raises(expected) as raised:
        scenario.send()
    if isinstance(raised.value, ConnectionLostError):
        assert raised.value.request_was_unread
        assert raised.value.connection.was_used is was_used
    elif waits_for_client:
        assert getattr(raised.value, "status", 0) == 408
    assert "response" not in scenario.calls


# --- what is sent ---


@pytest.mark.parametrize("is_lost", [False, True])
@pytest.mark.parametrize(
    ("carried", "started", "was_sent"),
    [(None, True, False), (BASIC, True, True), (BASIC, False, False)],
)
def test_a_login_counts_as_sent_with_the_first_octet_even_without_a_response(
    carried: Any, started: bool, was_sent: bool, is_lost: bool
) -> None:
    scenario = StreamScenario()
    scenario.writer.started = started
    scenario.outcome = ResponseBrokenError() if is_lost else OK
    try:
        assert scenario.send(Message(scenario.cached.request, carried, carried)) is OK
    except ConnectionLostError:
        assert is_lost
    assert scenario.port.login_was_sent is was_sent
    # While the response is awaited, the login is pending.
    assert (scenario.calls[1], scenario.downstream.pending_credentials) == (carried, None)


def test_a_request_of_the_fast_path_is_not_sent_again() -> None:
    scenario = StreamScenario(is_sent=True)
    states = [scenario.port.is_sent]
    assert scenario.send() is OK
    assert scenario.calls == ["adopted", None, "response"]
    states.append(scenario.port.is_sent)
    assert scenario.send() is OK
    assert (states, type(scenario.calls[3])) == ([True, False], bytes)


@pytest.mark.parametrize("is_complete", [True, False])
@pytest.mark.parametrize("has_started", [True, False])
def test_content_that_is_not_held_is_not_sent_twice(is_complete: bool, has_started: bool) -> None:
    scenario = StreamScenario()
    scenario.writer.body_started = has_started
    scenario.writer.replay_buffer.is_complete = is_complete
    if has_started and not is_complete:
        with pytest.raises(ContentNotRepeatableError):
            scenario.send()
    else:
        assert scenario.send() is OK
    # A leg without content can be sent all the same.
    assert scenario.send(Message(scenario.cached.request, has_content=False)) is OK
    assert ("no content", scenario.cached.wire) in scenario.calls or not scenario.cached.wire


@pytest.mark.parametrize(
    ("changes", "is_cached"),
    [
        ({}, True),
        ({"carried": BASIC, "credentials": BASIC}, True),
        ({"leg": b"Basic eA=="}, False),
        ({"holds_content": True}, False),
    ],
)
def test_the_head_of_a_request_is_kept_for_its_next_use(
    changes: dict[str, Any], is_cached: bool
) -> None:
    scenario = StreamScenario()
    scenario.send(Message(scenario.cached.request, **changes))
    assert scenario.cached.wire == (scenario.calls[0] if is_cached else b"")
    scenario.send(Message(scenario.cached.request, **changes))
    assert (scenario.calls[3] is scenario.calls[0]) is is_cached


# --- sites ---


@pytest.mark.parametrize(
    ("route", "epoch", "status", "is_exempt"),
    [
        (HTTP, 3, 200, True),
        (HTTP, 3, 401, False),
        (HTTP, 3, 502, False),
        (HTTP, 2, 200, False),
        (NO_SIGN_IN, 3, 200, False),
    ],
)
def test_a_site_served_without_a_login_is_exempt_until_it_is_refused(
    route: Route, epoch: int, status: int, is_exempt: bool
) -> None:
    scenario = StreamScenario(route)
    scenario.upstream.key = scenario.upstream.key._replace(epoch=epoch)
    head = b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n" % status
    scenario.port.note_served(parse_response(head, b"GET"))
    assert scenario.sites.has(route.upstream_id, scenario.site) is is_exempt
    refusal = parse_response(REFUSAL, b"GET")
    assert scenario.port.challenges_in(OK, b"GET", None) is None
    assert scenario.calls == []
    assert scenario.port.challenges_in(refusal, b"GET", None)
    assert not scenario.sites.has(route.upstream_id, scenario.site)
    # The fast path must not repeat requests without the login.
    assert scenario.calls == (["cleared"] if is_exempt else [])


def test_without_a_connection_no_site_is_exempt() -> None:
    scenario = StreamScenario()
    scenario.downstream.upstream = None
    scenario.port.note_served(OK)
    assert not scenario.sites.has(HTTP.upstream_id, scenario.site)


@pytest.mark.parametrize("route", [DIRECT, SOCKS])
def test_a_site_gets_no_proxy_login(route: Route) -> None:
    scenario = StreamScenario(route)
    with pytest.raises(RequestRefusedError) as refused:
        scenario.port.challenges_in(parse_response(REFUSAL, b"GET"), b"GET", None)
    assert (refused.value.page, scenario.calls) == (error_pages.SITE_WANTS_SIGN_IN, ["dropped"])


# --- steps ---


@pytest.mark.parametrize("scheme_blocks", [True, False])
@pytest.mark.parametrize("login_blocks", [True, False])
@pytest.mark.parametrize("is_silent", [True, False])
def test_only_a_blocking_step_runs_in_a_thread(
    scheme_blocks: bool, login_blocks: bool, is_silent: bool
) -> None:
    scenario, leg = StreamScenario(), Leg(b"NTLM eA==")
    scheme = ScriptedScheme((leg, REJECTED), blocks=scheme_blocks)
    credentials: Any = SimpleNamespace(
        scheme=scheme, authenticator=SimpleNamespace(blocks=login_blocks)
    )
    scenario.woken = TIMED_OUT if is_silent else FUTURE_DONE
    handshake = scheme.begin(RequestToAuthenticate(b"GET", b"/", b"", b""))
    step = result_of(scenario.port.run_step(credentials, handshake, ()))
    is_in_thread = scheme_blocks and login_blocks
    assert step == (SERVER_SILENT if is_in_thread and is_silent else leg)
    # The client may disconnect meanwhile.
    assert scenario.calls == ([("wait", True)] if is_in_thread else [])
