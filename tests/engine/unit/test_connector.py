"""The errors of connecting to a next hop, with a fake resolver and fake connections."""

import errno
import socket
from collections.abc import Callable, Coroutine
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from trayproxy.auth.socks import socks_challenge
from trayproxy.engine import error_pages
from trayproxy.engine.context import Counters
from trayproxy.engine.error_pages import ErrorPage, RequestRefusedError
from trayproxy.engine.limits import LIMITS, EngineLimits
from trayproxy.engine.net.fd_task import FUTURE_DONE, TIMED_OUT, IoWait
from trayproxy.engine.net.handshake_error import (
    ClientCertificateError,
    HandshakeError,
    HandshakeTimeoutError,
)
from trayproxy.engine.net.socks5 import (
    ConnectFailedError,
    NoAcceptableMethodError,
    NotSocksError,
    SocksAuthRejectedError,
    SocksAuthRequiredError,
)
from trayproxy.engine.net.socks_client import SocksConnectionLostError
from trayproxy.engine.net.tls import TlsFiles
from trayproxy.engine.upstream import connector as module
from trayproxy.engine.upstream.connector import (
    AuthRequiredError,
    Connector,
    ConnectRequest,
    TargetRefusedError,
    UnreachableError,
    UnusableError,
    handshake_failure,
    socks_failure,
)
from trayproxy.engine.upstream.network_grace import RETRY_S
from trayproxy.engine.upstream.route import Route
from trayproxy.http.target import Authority
from trayproxy.profiles.profile import Profile, ProxyScheme, SignIn, Upstream

TARGET = Authority("origin.test", 80)
SOCKS = Upstream("proxy.test", 3128, ProxyScheme.SOCKS5)
ROUTE = Route.via_profile(Profile("office", "Office", Upstream("proxy.test", 3128)))
ADDRESSES = ((socket.AF_INET, ("192.0.2.7", 3128)),)


class ConnectorScenario:
    """A connector, the answers of its resolver, and the results of its connection attempts.

    Attributes:
        now: The time.
        attempts: What each look-up or connection attempt raises; None for a connection.
        waits: The waits of the connector.
        connected: The number of connection attempts.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *attempts: OSError | None) -> None:
        self.now, self.attempts = 0.0, list(attempts)
        self.waits: list[IoWait] = []
        self.woken: list[int] = []
        self.connected = 0
        self.has_own_address = False
        self.connection: object = "a connection"
        loop: Any = SimpleNamespace(time=lambda: self.now, create_future=lambda: "a change")
        broker: Any = None
        self.connector = Connector(
            loop, EngineLimits(), broker, lambda addresses: self.has_own_address
        )
        self.connector.resolver = SimpleNamespace(look_up=self._look_up)  # type: ignore[assignment]
        grace: Any = SimpleNamespace(is_active=False, change="a change", changes=0)
        self.grace = self.connector.network_grace = grace
        monkeypatch.setattr(module, "connect", self._connect)

    async def _look_up(self, *arguments: object) -> Any:
        if isinstance(self.attempts[0], socket.gaierror):
            raise self.attempts.pop(0)  # type: ignore[misc]
        return ADDRESSES

    async def _connect(self, addresses: object, pause: Any, *arguments: object) -> Any:
        self.connected += 1
        assert addresses == ADDRESSES
        error = self.attempts.pop(0)
        if isinstance(error, TimeoutError) and self.woken:
            await pause(IoWait({7: 2}, timeout=1.0))
        if error is not None:
            raise error
        return self.connection

    async def pause(self, wait: IoWait) -> int:
        self.waits.append(wait)
        self.now += wait.timeout or 0.0
        return self.woken.pop(0) if self.woken else TIMED_OUT

    def connect(self, route: Route = ROUTE) -> object:
        request = ConnectRequest(route, TARGET, None, self.pause, lambda descriptor: None)
        task: Coroutine[Any, Any, object] = self.connector.connect(request)
        try:
            task.send(None)
        except StopIteration as stop:
            return stop.value
        raise AssertionError


NO_NAME = socket.gaierror(socket.EAI_NONAME, "no name")
NO_NETWORK = OSError(errno.ENETUNREACH, "Network is unreachable")
NO_REASON = OSError("it failed")


@pytest.mark.parametrize("is_direct", [False, True])
@pytest.mark.parametrize(
    ("error", "page_of"),
    [
        (NO_NAME, lambda host, port, hint: error_pages.not_found(host, **hint)),
        (
            ConnectionRefusedError(),
            lambda host, port, hint: error_pages.refused_connection(host, port),
        ),
        (TimeoutError(), lambda host, port, hint: error_pages.no_response(host, 10, **hint)),
        (
            NO_NETWORK,
            lambda host, port, hint: error_pages.no_route(host, "Network is unreachable", **hint),
        ),
        (NO_REASON, lambda host, port, hint: error_pages.no_route(host, "it failed", **hint)),
    ],
    ids=["name", "refused", "timeout", "network", "other"],
)
def test_an_unreachable_next_hop_is_named_with_the_reason(
    monkeypatch: pytest.MonkeyPatch,
    error: OSError,
    page_of: Callable[[str, int, dict[str, bool]], ErrorPage],
    is_direct: bool,
) -> None:
    scenario = ConnectorScenario(monkeypatch, error)
    with pytest.raises(UnreachableError) as raised:
        scenario.connect(Route.direct() if is_direct else ROUTE)
    host, port = ("origin.test", 80) if is_direct else ("proxy.test", 3128)
    assert raised.value.page == page_of(host, port, {"through_upstream": not is_direct})
    assert not scenario.waits


@pytest.mark.parametrize("error", [NO_NAME, OSError(errno.EMFILE, "Too many open files")])
def test_a_shortage_on_this_computer_is_no_failure_of_the_next_hop(
    monkeypatch: pytest.MonkeyPatch, error: OSError
) -> None:
    """The resolver reports an unknown name if it has no descriptor for its query."""
    monkeypatch.setattr(module, "lacks_descriptors", lambda: True)
    scenario = ConnectorScenario(monkeypatch, error)
    scenario.grace.is_active = True
    with pytest.raises(RequestRefusedError) as raised:
        scenario.connect()
    assert (type(raised.value), raised.value.page) == (RequestRefusedError, error_pages.BUSY)


def test_a_name_looked_up_during_a_shortage_is_not_reported_as_unknown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The descriptors which the resolver lacked are free again when it reports the failure."""
    scenario = ConnectorScenario(monkeypatch, NO_NAME)
    look_up = scenario.connector.resolver.look_up

    async def look_up_during_a_shortage(*arguments: Any) -> Any:
        scenario.connector.shortages += 1
        return await look_up(*arguments)

    scenario.connector.resolver.look_up = look_up_during_a_shortage  # type: ignore[assignment]
    with pytest.raises(RequestRefusedError) as raised:
        scenario.connect()
    assert raised.value.page == error_pages.BUSY


def test_trayproxy_never_connects_to_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    scenario = ConnectorScenario(monkeypatch, None)
    scenario.has_own_address = True
    with pytest.raises(RequestRefusedError) as raised:
        scenario.connect()
    assert (raised.value.page, scenario.connected) == (error_pages.LOOP, 0)


def test_a_failed_attempt_is_repeated_during_the_grace_period(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scenario = ConnectorScenario(monkeypatch, NO_NAME, NO_NETWORK, None)
    scenario.grace.is_active = True
    assert scenario.connect() == "a connection"
    waits: list[object] = [(wait.events, wait.future, wait.timeout) for wait in scenario.waits]
    assert waits == [({}, "a change", RETRY_S)] * 2
    # A refused connection proves that the network works.
    scenario.attempts = [ConnectionRefusedError(), None]
    with pytest.raises(UnreachableError):
        scenario.connect()


@pytest.mark.parametrize(("changes", "attempts"), [(1, 2), (3, 4), (30, 21)])
def test_an_attempt_restarts_at_a_network_change_until_its_time_is_over(
    monkeypatch: pytest.MonkeyPatch, changes: int, attempts: int
) -> None:
    """Each attempt takes a second. If the network keeps changing, the last failure is reported."""
    scenario = ConnectorScenario(monkeypatch, *[TimeoutError()] * changes, None)
    scenario.woken = [FUTURE_DONE] * changes
    if attempts > changes:
        assert scenario.connect() == "a connection"
    else:
        with pytest.raises(UnreachableError) as raised:
            scenario.connect()
        assert raised.value.page.code == "TP-203"
    assert scenario.connected == attempts


# --- handshakes ---


@pytest.mark.parametrize(
    ("error", "kind", "page_of"),
    [
        (HandshakeError("Why.", is_gone=True), UnreachableError, error_pages.no_secure_connection),
        (HandshakeError("Why."), UnusableError, error_pages.no_secure_connection),
        (
            ClientCertificateError("Why."),
            UnusableError,
            partial(error_pages.client_certificate, is_refused=False),
        ),
        (
            ClientCertificateError("Why.", is_refused=True),
            UnusableError,
            partial(error_pages.client_certificate, is_refused=True),
        ),
        (HandshakeError("Why.", is_about_certificate=True), UnusableError, error_pages.untrusted),
    ],
    ids=["lost", "no TLS", "own certificate", "no own certificate", "certificate"],
)
def test_only_a_lost_connection_during_a_tls_handshake_permits_a_fallback(
    error: HandshakeError, kind: type[RequestRefusedError], page_of: Callable[[str, str], ErrorPage]
) -> None:
    failure = handshake_failure("proxy.test", error)
    assert (type(failure), failure.page) == (kind, page_of("proxy.test", "Why."))


TLS_ROUTE = Route.via_profile(
    Profile("office", "Office", Upstream("proxy.test", 3128, ProxyScheme.HTTPS))
)


@pytest.mark.parametrize(
    ("error", "lacks_descriptors", "kind"),
    [
        (OSError(errno.EMFILE, "Too many open files"), False, RequestRefusedError),
        (HandshakeError("Why."), True, RequestRefusedError),
        (ImportError(), True, RequestRefusedError),
        (HandshakeError("Why."), False, UnusableError),
        (ImportError(), False, ImportError),
        (HandshakeTimeoutError(), True, UnreachableError),
        (ConnectionResetError(), True, ConnectionResetError),
    ],
)
def test_a_shortage_during_a_tls_handshake_is_no_failure_of_the_next_hop(
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    lacks_descriptors: bool,
    kind: type[Exception],
) -> None:
    """Without descriptors, the certificates cannot be loaded."""
    monkeypatch.setattr(module, "lacks_descriptors", lambda: lacks_descriptors)
    calls: list[object] = []

    def load(files: TlsFiles) -> object:
        assert files == TlsFiles()
        raise error

    scenario = ConnectorScenario(monkeypatch, None)
    trust: Any = SimpleNamespace(loaded_context=load, expire=lambda: calls.append("expired"))
    scenario.connector.trust_store = trust
    scenario.connection = SimpleNamespace(fileno=lambda: 7, close=lambda: calls.append("closed"))
    request = ConnectRequest(TLS_ROUTE, TARGET, None, scenario.pause, calls.append)
    with pytest.raises(kind) as raised:
        scenario.connector.open(request).send(None)
    assert type(raised.value) is kind
    is_expired = kind in (RequestRefusedError, UnusableError)
    assert calls == [7, "closed", *(["expired"] if is_expired else [])]
    if kind is RequestRefusedError:
        assert getattr(raised.value, "page", None) == error_pages.BUSY
    elif kind is UnreachableError:
        page = error_pages.no_response("proxy.test", 10, through_upstream=True)
        assert getattr(raised.value, "page", None) == page


@pytest.mark.parametrize(("host", "gets_it"), [("proxy.test", True), ("other.test", False)])
def test_only_the_upstreams_of_a_profile_get_its_client_certificate(
    monkeypatch: pytest.MonkeyPatch, host: str, gets_it: bool
) -> None:
    """A script may name other upstreams."""
    asked: list[TlsFiles] = []

    def load(files: TlsFiles) -> object:
        asked.append(files)
        raise HandshakeError("Enough.")

    assert TLS_ROUTE.profile is not None
    profile = replace(TLS_ROUTE.profile, client_certificate="/c.pem", client_key="/k.pem")
    own = Route.via_profile(profile)
    assert own.upstream is not None
    route = replace(own, upstream=replace(own.upstream, host=host))
    scenario = ConnectorScenario(monkeypatch, None)
    trust: Any = SimpleNamespace(loaded_context=load, expire=lambda: None)
    scenario.connector.trust_store = trust
    scenario.connection = SimpleNamespace(fileno=lambda: 7, close=lambda: None)
    request = ConnectRequest(route, TARGET, None, scenario.pause, lambda descriptor: None)
    with pytest.raises(UnusableError):
        scenario.connector.open(request).send(None)
    assert asked == [TlsFiles("", "/c.pem", "/k.pem") if gets_it else TlsFiles()]


@pytest.mark.parametrize(
    ("error", "kind", "page"),
    [
        (SocksConnectionLostError(), UnreachableError, error_pages.CONNECTION_CLOSED),
        (NotSocksError(), UnreachableError, error_pages.not_socks("proxy.test")),
        (ConnectFailedError(5), TargetRefusedError, error_pages.socks_refused("origin.test", 5)),
        (NoAcceptableMethodError(), UnusableError, error_pages.NO_COMMON_METHOD),
        (SocksAuthRequiredError(), AuthRequiredError, None),
        (SocksAuthRejectedError(), AuthRequiredError, None),
        (OSError(), type(None), None),
    ],
)
@pytest.mark.parametrize("sign_in", [SignIn.PASSWORD, SignIn.NONE])
def test_each_failure_of_a_socks_dialogue_has_its_consequence(
    error: Exception, kind: type[object], page: ErrorPage | None, sign_in: SignIn
) -> None:
    route = Route.via_profile(Profile("office", "Office", SOCKS, sign_in))
    request: Any = SimpleNamespace(route=route, target=TARGET)
    failure = socks_failure("proxy.test", request, error)
    if isinstance(error, NoAcceptableMethodError) and sign_in is SignIn.NONE:
        page = error_pages.sign_in_not_set("Office")
    assert type(failure) is kind
    assert getattr(failure, "page", None) == page
    if isinstance(failure, AuthRequiredError):
        assert failure.challenges == (socks_challenge(),)


@pytest.mark.parametrize(
    ("active", "remote", "is_remote", "is_full"),
    [
        (10, 5, True, False),
        (10, 6, True, True),
        (10, 6, False, False),
        (11, 0, False, True),
        (11, 1, True, True),
    ],
)
def test_other_computers_leave_room_for_the_programs_of_this_one(
    active: int, remote: int, is_remote: bool, is_full: bool
) -> None:
    limits = replace(LIMITS, max_clients=10, max_remote_clients=5)
    assert Counters(active, remote).is_full(limits, is_remote=is_remote) is is_full
