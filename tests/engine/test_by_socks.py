"""Requests through SOCKS5 upstreams, and signing in there."""

from contextlib import ExitStack
from threading import Event

import pytest

from tests.engine.conftest import MakeUpstream, Start
from tests.engine.fakes import LOGIN, FakeBroker
from tests.engine.recorder import Recorder
from tests.engine.running import LOOPS
from tests.engine.wire import connect, get, post
from tests.support.octets import octets
from tests.support.scripted_upstream import (
    OK,
    ScriptedConnection,
    ScriptedUpstream,
    answering,
    challenge,
    silent,
)
from tests.support.socks import SocksLogin, SocksRequest, SocksServer
from trayproxy.auth.scheme import Verdict, VerdictKind
from trayproxy.auth.socks import socks_challenge
from trayproxy.engine.limits import EngineLimits
from trayproxy.profiles.profile import Profile, ProxyScheme, SignIn, Upstream

USERS = {LOGIN.user: LOGIN.password}
NAME = b"www.test.lan"


def socks_profile(port: int, sign_in: SignIn = SignIn.PASSWORD) -> Profile:
    return Profile("socks", "Socks", Upstream("127.0.0.1", port, ProxyScheme.SOCKS5), sign_in)


@pytest.fixture
def url(recorder: Recorder) -> bytes:
    """The URL of the recorder, which is the origin in these tests."""
    return b"http://%b:%d/path?query" % (NAME, recorder.port)


@pytest.mark.parametrize("engines_loop", list(LOOPS.values()), ids=list(LOOPS))
def test_requests_reach_the_origin_in_origin_form(
    start: Start, stack: ExitStack, recorder: Recorder, url: bytes
) -> None:
    socks = stack.enter_context(SocksServer())
    engine = start(socks_profile(socks.port), FakeBroker())
    with engine.connect() as client:
        assert client.ask(get(url)).body == b"ok"
        assert client.ask(post(url, b"body"), b"POST").body == b"ok"
    assert [request.target for request in recorder.requests] == [b"/path?query"] * 2
    assert [request.values(b"host") for request in recorder.requests] == [
        [b"%b:%d" % (NAME, recorder.port)]
    ] * 2
    # One connection was reused, and the server resolved the name.
    assert socks.wishes == [SocksRequest(3, NAME.decode(), recorder.port)]


def test_a_tunnel_is_a_connection_through_the_server(
    start: Start, stack: ExitStack, recorder: Recorder
) -> None:
    socks = stack.enter_context(SocksServer())
    length = 1_000_000

    def play(peer: ScriptedConnection) -> None:
        peer.send(b"the server speaks first")
        got = peer.read_all()
        peer.send(b"%d" % len(got))

    origin = stack.enter_context(ScriptedUpstream(play))
    with start(socks_profile(socks.port)).connect() as client:
        assert client.ask(connect(b"%b:%d" % (NAME, origin.port)), b"CONNECT").status == 200
        assert client.take(23) == b"the server speaks first"
        for block in octets(length):
            client.send(block)
        client.finish()
        assert client.take_all() == b"%d" % length


def test_replies_may_arrive_octet_by_octet(start: Start, stack: ExitStack, url: bytes) -> None:
    socks = stack.enter_context(SocksServer(USERS, slowly=True))
    with start(socks_profile(socks.port), FakeBroker(LOGIN, is_known=True)).connect() as client:
        assert client.ask(get(url)).status == 200


def test_two_targets_never_share_a_connection(start: Start, stack: ExitStack) -> None:
    socks = stack.enter_context(SocksServer())
    first, second = stack.enter_context(Recorder()), stack.enter_context(Recorder())
    with start(socks_profile(socks.port)).connect() as client:
        for _ in range(2):
            for origin in (first, second):
                client.ask(get(b"http://%b:%d/" % (NAME, origin.port)))
    assert [len(origin.requests) for origin in (first, second)] == [2, 2]


# --- sign-in -------------------------------------------------------------------------------------


def test_the_login_is_asked_for_and_tried_once(start: Start, stack: ExitStack, url: bytes) -> None:
    socks = stack.enter_context(SocksServer(USERS))
    desk = FakeBroker(LOGIN)
    with start(socks_profile(socks.port), desk).connect() as client:
        assert client.ask(get(url)).status == 200
        assert client.ask(post(url, b"body"), b"POST").status == 200
        assert client.ask(connect(b"%b:1" % NAME), b"CONNECT").status == 502
    (request,) = desk.challenged_requests
    assert request.challenges == (socks_challenge(),)
    assert request.refused is None
    assert request.upstream_id.upstream == socks.url
    # Of the second connection, no report is wanted.
    assert socks.logons == [SocksLogin(LOGIN.user, LOGIN.password, accepted=True)] * 2
    assert len(desk.accepted) == 1
    assert not desk.without_verdict


@pytest.mark.parametrize("is_tunnel", [False, True])
def test_a_rejected_login_is_reported_to_the_desk(
    start: Start, stack: ExitStack, url: bytes, recorder: Recorder, is_tunnel: bool
) -> None:
    socks = stack.enter_context(SocksServer({LOGIN.user: "another"}))
    desk = FakeBroker(LOGIN)
    octets = connect(b"%b:%d" % (NAME, recorder.port)) if is_tunnel else get(url)
    with start(socks_profile(socks.port), desk).connect() as client:
        reply = client.ask(octets, octets.split()[0])
    assert reply.status == 503
    assert [request.refused is None for request in desk.challenged_requests] == [True, False]
    assert desk.verdicts == [None, VerdictKind.REJECTED]
    assert [logon.accepted for logon in socks.logons] == [False]
    assert not desk.accepted
    assert not desk.without_verdict
    assert not socks.wishes


@pytest.mark.parametrize("is_tunnel", [False, True])
def test_a_login_without_a_reply_counts_as_sent(
    start: Start, script: MakeUpstream, url: bytes, is_tunnel: bool
) -> None:
    def leave(peer: ScriptedConnection) -> None:
        peer.read(4)
        peer.send(b"\x05\x02")
        peer.read(3 + len(LOGIN.user) + len(LOGIN.password))

    desk = FakeBroker(LOGIN)
    octets = connect(b"www.test.lan:443") if is_tunnel else get(url)
    with start(socks_profile(script(leave).port), desk).connect() as client:
        assert client.ask(octets, octets.split()[0]).status >= 500
    assert desk.login_was_sent == [True]


@pytest.mark.parametrize("is_tunnel", [False, True])
@pytest.mark.parametrize("status", [b"\x01\x00", b"\x01\x01"], ids=["right", "wrong"])
def test_the_verdict_is_read_after_the_only_client_has_left(
    start: Start, script: MakeUpstream, stack: ExitStack, url: bytes, status: bytes, is_tunnel: bool
) -> None:
    """A wrong login has cost a failed log-on: it must not be sent again to learn the verdict."""
    came, may_answer = Event(), Event()
    stack.callback(may_answer.set)

    def play(peer: ScriptedConnection) -> None:
        peer.read(4)
        peer.send(b"\x05\x02")
        peer.read(3 + len(LOGIN.user) + len(LOGIN.password))
        came.set()
        may_answer.wait()
        peer.send(status)

    desk = FakeBroker(LOGIN)
    engine = start(socks_profile(script(play).port), desk)
    base = engine.holdings()
    octets = connect(b"www.test.lan:443") if is_tunnel else get(url)
    with engine.connect() as client:
        client.send(octets)
        assert came.wait(10)
        client.reset()
    engine.until_clients_left()
    assert desk.login_was_sent == []
    may_answer.set()
    if status[1] == 0:
        engine.until(lambda: len(desk.accepted) == 1, "the verdict")
    else:
        desk.wait_for_challenged(2)
        assert desk.challenged_requests[-1].verdict == Verdict(VerdictKind.REJECTED)
    engine.until_it_holds(base)


@pytest.mark.parametrize("is_tunnel", [False, True])
def test_a_changed_password_costs_one_failed_log_on(
    start: Start, script: MakeUpstream, stack: ExitStack, url: bytes, is_tunnel: bool
) -> None:
    """T14: independent of the number of programs sending requests at once."""
    came, may_answer = Event(), Event()
    stack.callback(may_answer.set)
    carried: list[bytes] = []

    def play(peer: ScriptedConnection) -> None:
        peer.read(4)
        peer.send(b"\x05\x02")
        carried.append(peer.read(3 + len(LOGIN.user) + len(LOGIN.password)))
        came.set()
        may_answer.wait()
        peer.send(b"\x01\x01")

    count = 10
    desk = FakeBroker(LOGIN, is_known=True)
    engine = start(socks_profile(script(play).port), desk)
    octets = connect(b"www.test.lan:443") if is_tunnel else get(url)
    clients = [stack.enter_context(engine.connect()) for _ in range(count)]
    for client in clients:
        client.send(octets)
    assert came.wait(10)
    engine.call(desk.forget_login)
    may_answer.set()
    desk.wait_for_challenged(count)
    engine.call(desk.refuse_all)
    assert [client.reply(octets.split()[0]).status for client in clients] == [503] * count
    assert len(carried) == 1


def test_requests_never_contain_the_login(start: Start, stack: ExitStack, url: bytes) -> None:
    socks = stack.enter_context(SocksServer(USERS))
    origin = stack.enter_context(ScriptedUpstream(answering(OK)))
    with start(socks_profile(socks.port), FakeBroker(LOGIN, is_known=True)).connect() as client:
        client.ask(get(b"http://%b:%d/" % (NAME, origin.port)))
    received = origin.peer(1).received.lower()
    assert b"proxy-authorization" not in received
    assert LOGIN.password.encode() not in received


def test_a_site_that_asks_for_the_login_does_not_get_it(start: Start, stack: ExitStack) -> None:
    socks = stack.enter_context(SocksServer(USERS))
    origin = stack.enter_context(ScriptedUpstream(answering(challenge('Basic realm="proxy"'))))
    desk = FakeBroker(LOGIN, is_known=True)
    with start(socks_profile(socks.port), desk).connect() as client:
        reply = client.ask(get(b"http://%b:%d/" % (NAME, origin.port)))
    assert b"The site asked for a proxy sign-in" in reply.body
    assert not desk.challenged_requests


def test_a_login_not_requested_by_the_server_is_neither_sent_nor_accepted(
    start: Start, stack: ExitStack, url: bytes
) -> None:
    socks = stack.enter_context(SocksServer())
    desk = FakeBroker(LOGIN, is_known=True)
    with start(socks_profile(socks.port), desk).connect() as client:
        assert client.ask(get(url)).status == 200
    assert not socks.logons
    assert not desk.accepted
    assert desk.login_was_sent == [False]


def test_a_login_is_accepted_although_the_target_is_unreachable(
    start: Start, stack: ExitStack
) -> None:
    socks = stack.enter_context(SocksServer(USERS, refuses={NAME.decode(): 5}))
    desk = FakeBroker(LOGIN)
    with start(socks_profile(socks.port), desk).connect() as client:
        reply = client.ask(get(b"http://%b/" % NAME))
    assert reply.status == 502
    assert len(desk.accepted) == 1
    assert not desk.without_verdict


def test_a_profile_without_sign_in_offers_no_login_and_gives_an_error_page(
    start: Start, stack: ExitStack, url: bytes
) -> None:
    socks = stack.enter_context(SocksServer(USERS))
    with start(socks_profile(socks.port, SignIn.NONE)).connect() as client:
        assert b"The profile says that it needs none" in client.ask(get(url)).body
    assert socks.offers == [b"\x00"]


# --- faults --------------------------------------------------------------------------------------


def test_the_page_names_the_servers_reason(start: Start, stack: ExitStack) -> None:
    socks = stack.enter_context(SocksServer(refuses={NAME.decode(): 6}))
    engine = start(socks_profile(socks.port))
    with engine.connect() as client:
        reply = client.ask(get(b"http://%b/" % NAME))
    assert reply.status == 504
    assert b"error=connection_timeout" in reply.values(b"proxy-status")[0]
    assert b"SOCKS reply 6" in reply.values(b"proxy-status")[0]
    assert not engine.observer.failures  # The proxy is all right.


@pytest.mark.parametrize(
    ("answer", "code"),
    [(b"HTTP/1.1 400 Bad Request\r\n\r\n", b"TP-205"), (b"\x05", b"closed the connection")],
)
def test_a_server_that_does_not_speak_socks5_gives_an_error_page(
    start: Start, script: MakeUpstream, url: bytes, answer: bytes, code: bytes
) -> None:
    def play(peer: ScriptedConnection) -> None:
        peer.read(4)
        peer.send(answer)
        peer.half_close()
        peer.read_all()

    engine = start(socks_profile(script(play).port), FakeBroker(LOGIN, is_known=True))
    with engine.connect() as client:
        reply = client.ask(get(url))
    assert reply.status == 502
    assert code in reply.head + reply.body
    assert engine.observer.failures


def test_a_silent_server_times_out(start: Start, script: MakeUpstream, url: bytes) -> None:
    limits = EngineLimits(handshake_s=0.2)
    with start(socks_profile(script(silent).port), limits=limits).connect() as client:
        reply = client.ask(get(url))
    assert (reply.status, b"(TP-203)" in reply.reason) == (504, True)


def test_a_client_that_leaves_during_the_dialogue_leaks_nothing(
    start: Start, script: MakeUpstream, url: bytes
) -> None:
    upstream = script(silent)
    engine = start(socks_profile(upstream.port))
    base = engine.holdings()
    with engine.connect() as client:
        client.send(get(url))
        upstream.peer(1).wait_for(b"\x05\x02")
        client.reset()
    engine.until_clients_left()
    engine.until_it_holds(base)
