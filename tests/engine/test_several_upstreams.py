"""Profiles with several upstreams: requests use a fallback while the first upstream is dead."""

import asyncio
import errno
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace

import pytest

from tests.engine.conftest import MakeUpstream, Start
from tests.engine.fakes import LOGIN, FakeBroker
from tests.engine.recorder import Recorder
from tests.engine.wire import connect, get, post
from tests.support.scripted_upstream import OK, answering, challenge, closing_early
from tests.support.socks import SocksServer
from tests.support.tls import CertificateAuthority
from trayproxy.engine.limits import LIMITS
from trayproxy.engine.net.resolver import Address
from trayproxy.engine.upstream.connector import Connector
from trayproxy.engine.upstream.route import Route
from trayproxy.profiles.profile import Profile, ProxyScheme, SignIn, Upstream

URL = b"http://origin.test/"
GET = get(URL)


def several(first: Upstream | int, *others: Upstream | int) -> Profile:
    upstreams = [at if isinstance(at, Upstream) else Upstream("127.0.0.1", at) for at in others]
    preferred = first if isinstance(first, Upstream) else Upstream("127.0.0.1", first)
    return Profile("office", "Office", preferred, fallbacks=tuple(upstreams))


@pytest.fixture
def unused_port() -> Iterator[int]:
    """A port on which no program listens, reserved for the test."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


@pytest.mark.parametrize("octets", [GET, connect(b"origin.test:443"), post(URL, b"the body")])
@pytest.mark.parametrize("sign_in", [SignIn.PASSWORD, SignIn.NONE])
def test_a_dead_first_upstream_is_skipped(
    start: Start, recorder: Recorder, unused_port: int, octets: bytes, sign_in: SignIn
) -> None:
    profile = replace(several(unused_port, recorder.port), sign_in=sign_in)
    engine = start(profile, FakeBroker(LOGIN, is_known=True))
    with engine.connect() as client:
        assert client.ask(octets, octets.split()[0]).status == 200
    assert recorder.request(1).body in (b"", b"the body")
    assert not engine.observer.failures  # No failure is reported to the user.


def test_an_upload_that_has_begun_continues_at_the_next_upstream(
    start: Start, recorder: Recorder
) -> None:
    """The first upstream ends while it receives the content, which is held for a repetition."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        profile = several(listener.getsockname()[1], recorder.port)
        engine = start(profile, FakeBroker(LOGIN, is_known=True))
        with engine.connect() as client:
            client.send(GET)
            first, _ = listener.accept()
            with first:
                first.recv(1 << 16)
                first.sendall(OK)
                assert client.reply().status == 200
                listener.close()
                client.send(get(URL, b"Content-Length: 8", method=b"PUT"), b"the ")
                received = b""
                while not received.endswith(b"the "):
                    received += first.recv(1 << 16)
            client.send(b"body")
            assert client.reply(b"PUT").status == 200
    assert recorder.request(1).body == b"the body"


@pytest.mark.parametrize("kind", ["not found", "silent"])
def test_an_unresolvable_or_silent_upstream_is_skipped(
    start: Start, recorder: Recorder, nowhere: int, kind: str
) -> None:
    dead = Upstream("no.such.host.invalid", 80) if kind == "not found" else nowhere
    limits = replace(LIMITS, connect_s=0.3, connect_total_s=0.3)
    with start(several(dead, recorder.port), limits=limits).connect() as client:
        assert client.ask(GET).status == 200


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS])
def test_a_resource_shortage_makes_no_upstream_dead(
    start: Start, recorder: Recorder, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    engine = start(several(recorder.port, 1))

    def nothing(address: Address) -> socket.SocketType:
        raise OSError(code, os.strerror(code))

    with engine.connect() as client:
        with monkeypatch.context() as patch:
            patch.setattr("trayproxy.engine.net.happy_eyeballs.start_connect", nothing)
            reply = client.ask(GET)
            assert (reply.status, reply.values(b"retry-after")) == (503, [b"5"])
            assert b"Too many connections" in reply.body
        assert engine.observer.failures == []
        assert client.ask(GET).status == 200
    assert len(recorder.requests) == 1


@pytest.mark.parametrize("code", [errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EACCES])
def test_a_missing_route_is_reported_with_the_systems_message(
    start: Start, recorder: Recorder, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    engine = start(several(recorder.port))

    def nothing(address: Address) -> socket.SocketType:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("trayproxy.engine.net.happy_eyeballs.start_connect", nothing)
    with engine.connect() as client:
        reply = client.ask(GET)
    assert reply.status == 502
    assert reply.reason == b"There is no route to 127.0.0.1 (TP-208)"
    assert os.strerror(code).encode() in reply.body
    assert b"does not answer" not in reply.body
    assert [page.code for page in engine.observer.failures] == ["TP-208"]


def test_a_dead_upstream_is_not_used_until_it_is_back(
    start: Start, script: MakeUpstream, recorder: Recorder
) -> None:
    first = script(closing_early, closing_early, answering(OK))
    engine = start(several(first.port, recorder.port), limits=replace(LIMITS, dead_upstream_s=0.3))
    with engine.connect() as client:
        assert [client.ask(GET).status for _ in range(3)] == [502, 502, 200]
        assert len(first.peers) == 2
        end = engine.loop.time() + 0.3
        engine.until(lambda: engine.loop.time() >= end, "the end of the pause")
        for _ in range(3):
            assert client.ask(GET).body == b"ok\n"
    assert len(first.peers) == 3
    assert len(recorder.requests) == 1


def test_if_all_upstreams_are_dead_the_page_names_the_first(
    start: Start, unused_port: int, stack: ExitStack
) -> None:
    other = stack.enter_context(socket.socket())
    other.bind(("127.0.0.1", 0))
    missing = Upstream("no.such.host.invalid", 8080)
    engine = start(several(missing, unused_port, other.getsockname()[1]))
    with engine.connect() as client:
        for _ in range(2):
            reply = client.ask(GET)
            assert b"no.such.host.invalid was not found (TP-201)" in reply.reason
    assert len(engine.observer.failures) == 2


def test_a_returning_upstream_is_found_immediately_if_all_are_dead(
    start: Start, stack: ExitStack, unused_port: int
) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        engine = start(several(unused_port, port))
        with engine.connect() as client:
            assert client.ask(GET).status == 502
            bound.listen()
            client.send(GET)
            bound.settimeout(20)
            upstream, _ = bound.accept()
            with upstream:
                assert upstream.recv(1 << 16).startswith(b"GET")
                upstream.sendall(OK)
                assert client.reply().status == 200


# --- logins --------------------------------------------------------------------------------------


def test_each_upstream_has_its_own_login_and_prompt(
    start: Start, script: MakeUpstream, unused_port: int
) -> None:
    """A login for the first upstream is not sent to the second, whatever its realm is."""
    realm = challenge('Basic realm="Same"')
    second = script(answering(realm, OK), answering(OK))
    desk = FakeBroker(LOGIN)
    engine = start(several(unused_port, second.port), desk)
    with engine.connect() as client:
        assert client.ask(GET).status == 200
    assert [request.upstream_id.upstream for request in desk.challenged_requests] == [second.url]
    assert b"Proxy-Authorization" not in second.peer(1).received.split(b"\r\n\r\n")[0]


def test_a_rejected_login_makes_no_upstream_dead(
    start: Start, script: MakeUpstream, recorder: Recorder
) -> None:
    first = script(answering(challenge('Basic realm="x"')))
    desk = FakeBroker(LOGIN)
    with start(several(first.port, recorder.port), desk).connect() as client:
        for _ in range(3):
            assert client.ask(GET).status == 503
    assert not recorder.requests


def test_a_timeout_is_no_rejection_of_the_login(
    start: Start, nowhere: int, recorder: Recorder
) -> None:
    limits = replace(LIMITS, connect_s=0.2, connect_total_s=0.2)
    desk = FakeBroker(LOGIN, is_known=True)
    with start(several(nowhere, recorder.port), desk, limits=limits).connect() as client:
        assert client.ask(GET).status == 200
    assert not desk.challenged_requests
    # No request carried the login of the first upstream; the second got its own.
    assert desk.without_verdict == []
    assert [answer.upstream_id.upstream for answer in desk.accepted] == [
        f"http://127.0.0.1:{recorder.port}"
    ]


# --- what looks like death and is none -----------------------------------------------------------


def test_an_error_response_of_an_upstream_is_forwarded(
    start: Start, script: MakeUpstream, recorder: Recorder
) -> None:
    error = b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"
    with start(several(script(answering(error)).port, recorder.port)).connect() as client:
        assert client.ask(GET).status == 503
    assert not recorder.requests


def test_two_connections_without_a_response_make_an_upstream_dead(
    start: Start, script: MakeUpstream, recorder: Recorder
) -> None:
    first = script(closing_early)
    with start(several(first.port, recorder.port)).connect() as client:
        assert [client.ask(GET).status for _ in range(4)] == [502, 502, 200, 200]
    assert len(recorder.requests) == 2


def test_a_sent_request_is_not_sent_to_a_fallback(
    start: Start, script: MakeUpstream, recorder: Recorder
) -> None:
    first = script(closing_early)
    with start(several(first.port, recorder.port)).connect() as client:
        assert client.ask(post(URL, b"once"), b"POST").status == 502
    assert not recorder.requests


def test_an_untrusted_certificate_is_reported_without_failover(
    start: Start, stack: ExitStack, recorder: Recorder, authority: CertificateAuthority
) -> None:
    """An attacker must not be able to move requests from an encrypted upstream to a plain one."""
    wrong = stack.enter_context(Recorder(authority.issue("other.test.lan").context()))
    secure = Upstream("127.0.0.1", wrong.port, ProxyScheme.HTTPS)
    profile = replace(several(secure, recorder.port), ca_file=str(authority.pem))
    with start(profile).connect() as client:
        for _ in range(3):
            assert b"(TP-204)" in client.ask(GET).reason
    assert not recorder.records
    assert not wrong.octets


def test_a_fallback_may_have_another_scheme(
    start: Start, stack: ExitStack, unused_port: int
) -> None:
    socks = stack.enter_context(SocksServer({LOGIN.user: LOGIN.password}))
    origin = stack.enter_context(Recorder())
    dead = Upstream("127.0.0.1", unused_port, ProxyScheme.HTTPS)
    profile = several(dead, Upstream("127.0.0.1", socks.port, ProxyScheme.SOCKS5))
    with start(profile, FakeBroker(LOGIN)).connect() as client:
        url = b"http://127.0.0.1:%d/" % origin.port
        assert client.ask(post(url, b"body"), b"POST").status == 200
    assert origin.request(1).body == b"body"


def test_a_hundred_concurrent_requests_use_the_fallback(
    start: Start, stack: ExitStack, recorder: Recorder, unused_port: int
) -> None:
    engine = start(several(unused_port, recorder.port))
    clients = [stack.enter_context(engine.connect()) for _ in range(100)]
    for client in clients:
        client.send(GET)
    assert {client.reply().status for client in clients} == {200}


def test_a_disconnected_client_ends_the_failover(
    start: Start, nowhere: int, recorder: Recorder
) -> None:
    limits = replace(LIMITS, connect_s=0.5, connect_total_s=0.5)
    engine = start(several(nowhere, recorder.port), limits=limits)
    with engine.connect() as client:
        client.send(GET)
        engine.until(lambda: bool(engine.engine.executor.works), "the request")
        client.reset()
    engine.until_clients_left()
    assert not recorder.requests


# --- what the desk asks about them ---------------------------------------------------------------


def test_addresses_of_returns_only_cached_addresses(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    connector = start(None).engine.context.connector
    url = "http://proxy.test:3128"
    assert connector.addresses_of(url) == ()
    found = ((socket.AF_INET6, ("2001:db8::1", 3128, 0, 0)), (socket.AF_INET, ("192.0.2.7", 3128)))
    cached = {("proxy.test", 3128): found}
    monkeypatch.setattr(connector.resolver, "known", lambda *name: cached.get(name))
    assert connector.addresses_of(url) == ("192.0.2.7:3128", "2001:db8::1:3128")
    assert connector.addresses_of("http://proxy.test:3129") == ()
    assert connector.addresses_of("http://proxy.test") == ()
    assert connector.addresses_of("direct:") == ()


@pytest.mark.parametrize(
    ("scheme", "known", "is_own", "expected"),
    [
        (ProxyScheme.HTTP, 1, False, True),
        (ProxyScheme.HTTP, 2, False, False),
        (ProxyScheme.HTTP, None, False, False),
        (ProxyScheme.HTTP, 1, True, False),
        (ProxyScheme.HTTPS, 1, False, False),
        (ProxyScheme.SOCKS5, 1, False, False),
    ],
)
def test_only_an_http_upstream_with_one_cached_address_has_a_sole_address(
    loop: asyncio.AbstractEventLoop,
    monkeypatch: pytest.MonkeyPatch,
    scheme: ProxyScheme,
    known: int | None,
    is_own: bool,
    expected: bool,
) -> None:
    connector = Connector(loop, LIMITS, FakeBroker(), lambda found: is_own)
    address = (socket.AF_INET, ("192.0.2.7", 3128))
    found = None if known is None else (address,) * known
    monkeypatch.setattr(connector.resolver, "known", lambda *name: found)
    route = Route.via_profile(several(Upstream("proxy.test", 3128, scheme)))
    for _ in range(2):
        assert connector.sole_address(route) == (address if expected else None)
    assert connector.sole_address(Route.direct()) is None
