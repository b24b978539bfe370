"""The authentication exchange on sockets: connections, content, and clients that disconnect (F07).

The messages of the exchange play values, in `tests.engine.unit.test_auth_plays`.
"""

import os
import re
from collections.abc import Callable
from contextlib import ExitStack, suppress
from hashlib import md5, sha256
from itertools import count
from pathlib import Path
from threading import Event
from time import monotonic

import pytest

from tests.engine.conftest import MakeUpstream, Serve, Start, StartNtlm, StartScripted
from tests.engine.fakes import LOGIN, FakeBroker, desk_for, office
from tests.engine.recorder import Recorder
from tests.engine.running import Running
from tests.engine.schemes import REJECTED, TYPE_1, TYPE_3, ScriptedScheme, ntlm_like_scheme
from tests.engine.wire import ProxyClient, connect, get, post
from tests.support.octets import octets
from tests.support.scripted_upstream import (
    ESTABLISHED,
    OK,
    ScriptedConnection,
    ScriptedUpstream,
    answering,
    challenge,
    closing,
    digest_challenge,
)
from tests.support.tls import CertificateAuthority
from trayproxy.auth.digest import Digest
from trayproxy.auth.login import Login
from trayproxy.auth.scheme import Leg, Scheme, VerdictKind
from trayproxy.engine.limits import EngineLimits
from trayproxy.engine.proxy_auth.handshake_threads import MAX_THREADS
from trayproxy.profiles.profile import Profile, ProxyScheme, SignIn, Upstream

URL = b"http://origin.test/"
GET = get(URL)
CONNECT = connect(b"origin.test:443")
BASIC = challenge('Basic realm="corp"')


class SignInServer:
    """A sign-in server, responding only after a call of `answer`."""

    def __init__(self, stack: ExitStack) -> None:
        self.received_request = Event()
        self._may_respond = Event()
        stack.callback(self._may_respond.set)

    def scheme(self) -> ScriptedScheme:
        return ScriptedScheme((TYPE_1, TYPE_3, REJECTED), blocks=True, before_step=self._wait)

    def answer(self) -> None:
        self._may_respond.set()

    def _wait(self) -> None:
        self.received_request.set()
        self._may_respond.wait()


@pytest.fixture
def server(stack: ExitStack) -> SignInServer:
    return SignInServer(stack)


# --- legs ---


def test_large_chunked_content_is_sent_complete_with_the_last_leg_r_125(
    start_ntlm: StartNtlm,
) -> None:
    engine, upstream = start_ntlm()
    length = 3 << 20
    with engine.connect() as client:
        client.send(get(URL, b"Transfer-Encoding: chunked", method=b"POST"))
        for piece in octets(length):
            client.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        client.send(b"0\r\n\r\n")
        assert client.reply(b"POST").status == 200
    assert upstream.requests[-1].message == "type 3"
    assert sha256(upstream.requests[-1].body).digest() == sha256(b"".join(octets(length))).digest()


def test_only_the_last_leg_expects_a_100_for_the_client_r_064(start_ntlm: StartNtlm) -> None:
    engine, upstream = start_ntlm(desk_for(is_known=True))
    with engine.connect() as client:
        assert client.ask(GET).status == 200
        client.send(get(URL, b"Content-Length: 5", b"Expect: 100-continue", method=b"PUT"))
        while b" 100 Continue" not in client.octets:
            assert client.more()
        client.send(b"hello")
        assert client.reply(b"PUT").interim == (100,)
    assert [one.expects_continue for one in upstream.requests] == [False, False, True]


@pytest.mark.parametrize("is_known", [False, True], ids=["first", "known"])
@pytest.mark.parametrize("length", [5, 5_000, 200_000])
def test_a_407_to_head_may_have_content_during_a_handshake(
    start_ntlm: StartNtlm, length: int, is_known: bool
) -> None:
    engine, upstream = start_ntlm(
        desk_for(is_known=is_known), sends_body_to_head=True, refusal_body=b"<" * length
    )
    with engine.connect() as client:
        assert client.ask(get(URL, method=b"HEAD"), b"HEAD").status == 200
        assert client.ask(GET).body == b"ok"
    assert [message for _, _, message in upstream.messages][-3:] == ["type 1", "type 3", "none"]


def test_the_content_of_a_407_to_head_may_arrive_late_and_in_chunks(serve: Serve) -> None:
    def play(peer: ScriptedConnection) -> None:
        peer.read_head()
        peer.send(b"HTTP/1.1 407 No\r\nProxy-Authenticate: NTLM dHdv\r\n")
        peer.send(b"Transfer-Encoding: chunked\r\n\r\n")
        peer.read_head()
        for piece in (b"5\r\nno", b"pe!\r\n0\r\n", b"\r\nHT"):
            peer.send(piece)
        peer.send(OK.replace(b"HT", b"", 1).partition(b"\r\n\r\n")[0] + b"\r\n\r\n")
        peer.read_all()

    client, _ = serve(play, desk=desk_for(is_known=True))
    assert client.ask(get(URL, method=b"HEAD"), b"HEAD").status == 200


# --- proxies that close the connection after a 407 without announcing it ---


CHALLENGES: dict[str, Callable[[], Scheme]] = {
    'Digest realm="c", nonce="n", qop="auth"': lambda: Digest(os.urandom),
    "NTLM": ntlm_like_scheme,
}
"""More of them play values, in `tests.engine.unit.test_auth_plays`."""


class ClosingUpstream:
    """An upstream closing the connection after a 407 to a request without a login.

    Attributes:
        logins: The heads of the requests with a login.
    """

    def __init__(self, scheme: str, *, is_late: bool) -> None:
        self.logins: list[bytes] = []
        self._scheme = scheme
        self._is_late = is_late

    def play(self, peer: ScriptedConnection) -> None:
        head = self._read(peer)
        if b"\r\nProxy-Authorization: " not in head:
            peer.send(challenge(self._scheme))
            if self._is_late and b"\r\nContent-Length: " not in head:
                peer.leave_unread()
            return
        if b"NTLM b25l" in head:
            peer.send(challenge("NTLM dHdv"))
            head = self._read(peer)
        self.logins.append(head)
        peer.send(ESTABLISHED if head.startswith(b"CONNECT") else OK)

    @staticmethod
    def _read(peer: ScriptedConnection) -> bytes:
        head = peer.read_head()
        length = re.search(rb"Content-Length: (\d+)", head)
        peer.read(int(length[1]) if length else 0)
        return head


@pytest.mark.parametrize("is_late", [False, True], ids=["at once", "when more has come"])
@pytest.mark.parametrize("challenged", CHALLENGES)
@pytest.mark.parametrize(
    "octets", [GET, CONNECT, post(URL, b"content")], ids=["get", "connect", "post"]
)
def test_after_a_407_with_a_closed_connection_the_login_uses_a_new_connection(
    serve: Serve, octets: bytes, challenged: str, is_late: bool
) -> None:
    upstream, method = ClosingUpstream(challenged, is_late=is_late), octets.partition(b" ")[0]
    desk = FakeBroker(LOGIN, schemes=(CHALLENGES[challenged](),))
    client, _ = serve(upstream.play, desk=desk)
    client.send(octets)
    reply = client.reply(method)
    assert reply.status == 200
    assert len(upstream.logins) == 1
    assert not desk.without_verdict


# --- authenticated connections ---


def test_a_tunnel_uses_an_idle_authenticated_connection(start_ntlm: StartNtlm) -> None:
    engine, upstream = start_ntlm()
    with engine.connect() as client:
        assert client.ask(GET).status == 200
    engine.until_clients_left()
    with engine.connect() as client:
        client.open_tunnel(CONNECT)
    assert upstream.messages[-1] == (1, "CONNECT", "none")


def test_the_next_client_uses_the_authenticated_connection(start_ntlm: StartNtlm) -> None:
    engine, upstream = start_ntlm()
    for _ in range(3):
        with engine.connect() as client:
            assert client.ask(GET).status == 200
        engine.until_clients_left()
    assert upstream.messages[3:] == [(1, "GET", "none")] * 2


def test_an_authenticated_connection_serves_no_other_login_r_121(start_ntlm: StartNtlm) -> None:
    engine, upstream = start_ntlm()
    with engine.connect() as client:
        assert client.ask(GET).status == 200
        engine.call(lambda: engine.desk.begin(Login("other", "pass")))
        assert client.ask(GET).status == 200
    assert upstream.messages[3:] == [(2, "GET", "none"), (2, "GET", "type 1"), (2, "GET", "type 3")]


def test_an_authenticated_connection_serves_no_other_profile_r_121(start_ntlm: StartNtlm) -> None:
    engine, upstream = start_ntlm()
    with engine.connect() as client:
        assert client.ask(GET).status == 200
        other = Profile("other", "Other", Upstream("127.0.0.1", upstream.port), SignIn.PASSWORD)
        engine.routes.profile = other
        assert client.ask(GET).status == 200
    assert {connection for connection, _, _ in upstream.messages[3:]} == {2}


def test_a_handshake_continues_with_its_upstream_after_a_profile_switch(
    start_ntlm: StartNtlm, script: MakeUpstream, server: SignInServer
) -> None:
    """The request is completed through the old upstream; the next request uses the new upstream
    (F25)."""
    new = script(answering(OK))
    engine, old = start_ntlm(desk_for(server.scheme()))
    with engine.connect() as client:
        client.send(GET)
        assert server.received_request.wait(10)
        engine.routes.profile = office(new.port)
        engine.call(engine.engine.forget_connections)
        server.answer()
        assert client.reply().body == b"ok"
        assert client.ask(GET).body == b"ok\n"
    assert [message for _, _, message in old.messages] == ["none", "type 1", "type 3"]
    assert b"Proxy-Authorization" not in new.peer(1).received


# --- blocking steps ---


def test_only_the_requests_of_the_handshake_wait_for_a_sign_in_server(
    start_ntlm: StartNtlm, script: MakeUpstream, server: SignInServer
) -> None:
    engine, _ = start_ntlm(desk_for(server.scheme()))
    engine.routes.direct.add("127.0.0.1")
    elsewhere = script(answering(OK))
    with engine.connect() as client, engine.connect() as other:
        client.send(GET)
        assert server.received_request.wait(10)
        assert other.ask(get(b"http://127.0.0.1:%d/" % elsewhere.port)).status == 200
        server.answer()
        assert client.reply().status == 200


def test_a_client_may_disconnect_while_a_step_blocks(
    start_ntlm: StartNtlm, server: SignInServer
) -> None:
    engine, _ = start_ntlm(desk_for(server.scheme()))
    with engine.connect() as client:
        client.send(GET)
        assert server.received_request.wait(10)
    engine.until_clients_left()
    assert engine.desk.login_was_sent == [False]


def test_a_silent_sign_in_server_is_no_rejection(
    start_ntlm: StartNtlm, server: SignInServer
) -> None:
    engine, _ = start_ntlm(desk_for(server.scheme()), EngineLimits(auth_step_s=0.1))
    with engine.connect() as client:
        assert client.ask(GET).status == 503
    assert engine.desk.verdicts[-1] is VerdictKind.UNUSABLE


def test_more_blocking_steps_than_threads_are_queued(
    start_ntlm: StartNtlm, stack: ExitStack, server: SignInServer
) -> None:
    engine, upstream = start_ntlm(desk_for(server.scheme()))
    clients = [stack.enter_context(engine.connect()) for _ in range(3 * MAX_THREADS)]
    for client in clients:
        client.send(GET)
    upstream.wait_for(len(clients))
    server.answer()
    assert [client.reply().status for client in clients] == [200] * len(clients)


# --- content read ahead ---


NEEDS_CONTENT = challenge('Digest realm="c", nonce="n", qop="auth-int"')


def require_auth_int(peer: ScriptedConnection) -> None:
    """Serve requests with five octets of content covered by Digest auth-int; refuse all others."""
    while True:
        head = peer.read_head()
        if b"Proxy-Authorization: Digest" in head:
            # Content read ahead is sent as one chunk.
            content = peer.read(15)[3:8] if b"chunked" in head else peer.read(5)
            is_right = f'response="{digest_response(head, content)}"'.encode() in head
            peer.send(OK if is_right else NEEDS_CONTENT)
        else:
            peer.send(NEEDS_CONTENT)


def digest_response(head: bytes, content: bytes) -> str:
    """Return the Digest response of a POST request with this content (RFC 7616, section 3.4.1)."""

    def h(*parts: str) -> str:
        return md5(":".join(parts).encode(), usedforsecurity=False).hexdigest()

    params = dict(re.findall(r'(\w+)="?([^",\s]*)', head.decode()))
    ha1 = h(LOGIN.user, "c", LOGIN.password)
    ha2 = h("POST", URL.decode(), h(content.decode()))
    return h(ha1, "n", params["nc"], params["cnonce"], "auth-int", ha2)


@pytest.mark.parametrize("is_known", [False, True], ids=["first", "again"])
@pytest.mark.parametrize("expects", [False, True], ids=["", "100"])
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_the_content_is_read_ahead_for_auth_int(
    start_scripted: StartScripted, is_known: bool, expects: bool, chunked: bool
) -> None:
    engine, _ = start_scripted(require_auth_int, desk=desk_for(Digest(os.urandom)))
    framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: 5"
    fields = (framing, *([b"Expect: 100-continue"] if expects else []))
    pieces = (b"2\r\nhe\r\n", b"3\r\nllo\r\n0\r\n\r\n") if chunked else (b"he", b"llo")
    with engine.connect() as client:
        if is_known:
            client.send(get(URL, b"Content-Length: 5", method=b"POST") + b"first")
            assert client.reply(b"POST").status == 200
        turns = len(engine.desk.challenged_requests)
        client.send(get(URL, *fields, method=b"POST"))
        if not is_known:
            engine.desk.wait_for_challenged(turns + 1)
        while expects and b" 100 Continue" not in client.octets:
            assert client.more()
        for piece in pieces:
            client.send(piece)
        assert client.reply(b"POST").status == 200
    assert [request.verdict for request in engine.desk.challenged_requests] == [None]


def test_an_upstream_may_close_while_content_is_read_ahead(
    start_scripted: StartScripted, recorder: Recorder
) -> None:
    """The idle connection for the request closes while the client still sends content."""
    engine, upstream = start_scripted(require_auth_int, desk=desk_for(Digest(os.urandom)))
    with engine.connect() as client:
        assert client.ask(post(URL, b"first"), b"POST").status == 200
    engine.until_clients_left()
    with engine.connect() as client, engine.connect() as other:
        client.send(get(URL, b"Content-Length: 5", method=b"POST"))
        engine.until_pool_is_empty()
        before = len(upstream.peers)
        for peer in upstream.peers:
            with suppress(OSError):  # The connection may already be closed.
                peer.half_close()
        engine.routes.profile = office(recorder.port)
        assert other.ask(GET).status == 200
        client.send(b"hello")
        assert client.reply(b"POST").status == 200
    assert len(upstream.peers) == before + 1


def test_missing_content_for_auth_int_is_a_408(serve: Serve) -> None:
    desk = desk_for(Digest(os.urandom))
    limits = EngineLimits(body_s=0.2)
    client, _ = serve(require_auth_int, desk=desk, limits=limits)
    client.send(get(URL, b"Content-Length: 5", method=b"POST") + b"he")
    assert client.reply(b"POST").status == 408
    assert desk.login_was_sent == [False]


@pytest.mark.parametrize("is_known", [False, True], ids=["first", "again"])
def test_malformed_chunks_for_auth_int_close_the_client_connection(
    serve: Serve, is_known: bool
) -> None:
    desk = desk_for(Digest(os.urandom))
    client, upstream = serve(require_auth_int, desk=desk)
    if is_known:
        assert client.ask(post(URL, b"first"), b"POST").status == 200
    octets = get(URL, b"Transfer-Encoding: chunked", method=b"POST")
    client.send(octets + b"2\r\nhe\r\nnonsense\r\n" + GET)
    reply = client.reply(b"POST")
    assert reply.status == 400
    assert b"a chunk size is malformed" in reply.body
    assert client.take_all() == b""  # The following octets are content, not a request.
    assert not desk.without_verdict or desk.login_was_sent == [False]
    received = b"".join(peer.received for peer in upstream.peers)
    assert b"GET " not in received


def test_the_response_timeout_does_not_limit_a_sign_in_server(
    start_scripted: StartScripted,
) -> None:
    legs = (Leg(b"Negotiate eA=="), Leg(b"Negotiate eQ=="), REJECTED)
    scheme = ScriptedScheme(legs, name="negotiate", binds_connection=False, blocks=True)
    steps, goes_on = [0], Event()

    def wait_at_the_second_step() -> None:
        steps[0] += 1
        if steps[0] == 2:
            goes_on.wait(20)

    scheme.before_step = wait_at_the_second_step
    limits = EngineLimits(response_head_s=0.1)
    engine, _ = start_scripted(
        answering(challenge("Negotiate"), closing(challenge("Negotiate"))),
        answering(OK),
        desk=desk_for(scheme),
        limits=limits,
    )
    with engine.connect() as client:
        client.send(GET)
        engine.until(lambda: steps[0] == 2, "the second step")
        sweeps = engine.call(lambda: engine.loop.time()) + 2.5
        engine.until(lambda: engine.loop.time() > sweeps, "two sweeps of the executor")
        goes_on.set()
        assert client.reply().status == 200


@pytest.mark.parametrize(
    "chunks",
    [
        b"zz\r\nhello\r\n0\r\n\r\n",
        b"5\r\nhelloX\r\n0\r\n\r\n",
        b"-5\r\nhello\r\n0\r\n\r\n",
        b"5\r\nhello\r\n0\r\nno trailer\r\n\r\n",
        b"ffffffffffffffffff\r\n",
    ],
)
@pytest.mark.parametrize("is_known", [False, True], ids=["first", "again"])
def test_malformed_content_for_auth_int_is_a_400_and_is_not_sent(
    serve: Serve, chunks: bytes, is_known: bool
) -> None:
    desk = desk_for(Digest(os.urandom))
    client, upstream = serve(require_auth_int, desk=desk)
    if is_known:
        client.send(get(URL, b"Content-Length: 5", method=b"POST") + b"first")
        assert client.reply(b"POST").status == 200
    turns = len(desk.challenged_requests)
    client.send(get(URL, b"Transfer-Encoding: chunked", method=b"POST"))
    if not is_known:
        desk.wait_for_challenged(turns + 1)
    client.send(chunks)
    assert client.reply(b"POST").status == 400
    assert not client.more()
    assert b"hello" not in b"".join(peer.received for peer in upstream.peers)
    assert not any(desk.login_was_sent)


def test_a_client_may_disconnect_during_content_for_auth_int(start_scripted: StartScripted) -> None:
    desk = desk_for(Digest(os.urandom))
    engine, _ = start_scripted(require_auth_int, desk=desk)
    with engine.connect() as client:
        client.send(get(URL, b"Content-Length: 5", method=b"POST") + b"he")
        desk.wait_for_challenged(1)
    engine.until_clients_left()
    assert not any(desk.login_was_sent)


def test_a_handshake_over_tls_has_a_channel_binding_r_127(
    start: Start, script: MakeUpstream, stack: ExitStack, tmp_path: Path
) -> None:
    authority = CertificateAuthority(tmp_path)
    certificate = authority.issue("localhost")
    upstream = stack.enter_context(
        ScriptedUpstream(answering(challenge("NTLM"), OK), tls=certificate.context())
    )
    scheme = ScriptedScheme((Leg(b"NTLM eA=="), REJECTED), binds_connection=False)
    profile = Profile(
        "office",
        "Office",
        Upstream("localhost", upstream.port, ProxyScheme.HTTPS),
        ca_file=str(authority.pem),
    )
    with start(profile, desk_for(scheme)).connect() as client:
        assert client.ask(GET).status == 200
    assert len(scheme.handshakes[0].request.end_point) == sha256().digest_size


# --- a changed password ---


class SlowUpstream:
    """An upstream with Basic that responds to a login only after `may_respond` is set.

    By default it refuses every login.

    Attributes:
        logins: The heads of the requests with a login.
        may_respond: Set to let the upstream respond to them.
        login_received: Set when the first request with a login arrives.
    """

    def __init__(self, stack: ExitStack, *, is_right: bool = False) -> None:
        self.logins: list[bytes] = []
        self.may_respond = Event()
        self.login_received = Event()
        self._is_right = is_right
        stack.callback(self.may_respond.set)

    def play(self, peer: ScriptedConnection) -> None:
        while True:
            head = peer.read_head()
            if b"Proxy-Authorization" in head:
                self.logins.append(head)
                self.login_received.set()
                self.may_respond.wait()
                peer.send(OK if self._is_right else BASIC)
            else:
                peer.send(BASIC)


def test_a_changed_password_costs_one_failed_log_on(
    start_scripted: StartScripted, stack: ExitStack
) -> None:
    """One log-on, however many programs send the old password at once (T14)."""
    upstream, count = SlowUpstream(stack), 30
    engine, _ = start_scripted(upstream.play, desk=FakeBroker(LOGIN, is_known=True))
    clients = [stack.enter_context(engine.connect()) for _ in range(count)]
    for client in clients:
        client.send(GET)
    assert upstream.login_received.wait(10)
    engine.call(engine.desk.forget_login)
    upstream.may_respond.set()
    engine.desk.wait_for_challenged(count)
    engine.call(engine.desk.refuse_all)
    assert [client.reply().status for client in clients] == [503] * count
    assert len(upstream.logins) == 1


def test_a_right_password_releases_all_requests(
    start_scripted: StartScripted, stack: ExitStack
) -> None:
    upstream = SlowUpstream(stack, is_right=True)
    engine, _ = start_scripted(upstream.play, desk=FakeBroker(LOGIN, is_known=True))
    clients = [stack.enter_context(engine.connect()) for _ in range(10)]
    for client in clients:
        client.send(GET)
    assert upstream.login_received.wait(10)
    upstream.may_respond.set()
    assert [client.reply().status for client in clients] == [200] * 10
    assert len(engine.desk.accepted) == 1


def test_a_slow_response_does_not_block_other_requests(
    start_scripted: StartScripted, stack: ExitStack
) -> None:
    """The desk releases another request after a while, see trayproxy.desk.machine.pacing."""
    upstream = SlowUpstream(stack, is_right=True)
    engine, _ = start_scripted(upstream.play, answering(OK), desk=FakeBroker(LOGIN, is_known=True))
    with engine.connect() as slow, engine.connect() as other:
        slow.send(GET)
        assert upstream.login_received.wait(10)
        other.send(GET)
        engine.desk.wait_for_permits(2)
        engine.call(engine.desk.grant_one_more)
        assert other.reply().status == 200
        upstream.may_respond.set()
        assert slow.reply().status == 200


def test_a_disconnected_first_request_releases_the_next(
    start_scripted: StartScripted, stack: ExitStack
) -> None:
    upstream = SlowUpstream(stack, is_right=True)
    engine, _ = start_scripted(upstream.play, answering(OK), desk=FakeBroker(LOGIN, is_known=True))
    with engine.connect() as other:
        with engine.connect() as first:
            first.send(get(URL, b"X: first"))
            assert upstream.login_received.wait(10)
            other.send(GET)
            first.reset()
        assert other.reply().status == 200
        upstream.may_respond.set()


# --- the content of refusals ---


def refusal(body: bytes, *lines: bytes) -> bytes:
    """Return a 407 with this content and these field lines."""
    head = b"HTTP/1.1 407 No\r\nProxy-Authenticate: Basic realm=corp\r\n"
    return head + b"".join(line + b"\r\n" for line in lines) + b"\r\n" + body


@pytest.mark.parametrize("length", [0, 200_000, 256 << 10])
def test_the_connection_is_reused_after_a_short_refusal_r_084(serve: Serve, length: int) -> None:
    body = b"x" * length
    client, upstream = serve(
        answering(refusal(body, b"Content-Length: %d" % len(body)), OK), desk=FakeBroker(LOGIN)
    )
    assert client.ask(GET).status == 200
    assert len(upstream.peers) == 1


@pytest.mark.parametrize(
    "octets",
    [
        refusal(b"x" * 600_000, b"Content-Length: 600000"),
        refusal(b"x", b"Content-Length: 2"),
        refusal(b"", b"Transfer-Encoding: chunked"),
        refusal(b"xx", b"Content-Length: 1"),
    ],
    ids=["too long", "too slow", "without an end", "with something behind it"],
)
def test_the_connection_is_closed_after_a_long_refusal_r_084(serve: Serve, octets: bytes) -> None:
    def refuse(peer: ScriptedConnection) -> None:
        peer.read_head()
        peer.send(octets)
        peer.read_all()

    limits = EngineLimits(drain_407_s=0.2)
    client, upstream = serve(refuse, answering(OK), desk=FakeBroker(LOGIN), limits=limits)
    assert client.ask(GET).status == 200
    assert len(upstream.peers) == 2


def test_a_parked_request_holds_no_connection(start_scripted: StartScripted) -> None:
    engine, upstream = start_scripted(answering(BASIC))
    with engine.connect() as first, engine.connect() as second:
        for number, client in enumerate((first, second), 1):
            client.send(GET)
            engine.desk.wait_for_challenged(number)
        assert len(upstream.peers) == 1
        engine.call(engine.desk.refuse_all)


LARGE = 8 << 20


def reset_upload(peer: ScriptedConnection) -> None:
    """Reset the connection during an upload, so a 407 would be lost."""
    peer.read_head()
    peer.read(1)
    peer.reset()


def challenge_upload(peer: ScriptedConnection) -> None:
    """Refuse an upload with a 407 before its content."""
    assert b"Expect: 100-continue" in peer.read_head()
    peer.send(BASIC)
    peer.read_all()


def accept_upload(peer: ScriptedConnection) -> None:
    """Read uploads and respond to them."""
    while True:
        head = peer.read_head()
        if b"Expect" in head:
            peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        peer.read(LARGE)
        peer.send(OK)


def upload(client: ProxyClient, method: bytes) -> tuple[int, tuple[int, ...]]:
    """Send an upload. Return its final status and its interim statuses."""
    client.try_to_send(get(URL, b"Content-Length: %d" % LARGE, method=method))
    client.try_to_send(*octets(LARGE))
    reply = client.reply(method)
    return reply.status, reply.interim


def test_a_put_is_resent_with_an_expectation_after_a_reset(serve: Serve) -> None:
    """PUT is idempotent (RFC 9110, section 9.2.2), so it may be sent again."""
    client, _ = serve(reset_upload, challenge_upload, accept_upload, desk=FakeBroker(LOGIN))
    assert upload(client, b"PUT") == (200, ())


@pytest.mark.parametrize("method", [b"POST", b"PATCH"])
@pytest.mark.parametrize("is_known", [False, True], ids=["bare", "with a login"])
def test_a_post_is_not_resent_after_a_reset_r_073(
    start_scripted: StartScripted, method: bytes, is_known: bool
) -> None:
    """The next upload of the client expects a 100 first."""
    engine, upstream = start_scripted(
        reset_upload,
        accept_upload if is_known else challenge_upload,
        accept_upload,
        desk=FakeBroker(LOGIN, is_known=is_known),
    )
    with engine.connect() as client:
        assert upload(client, method)[0] == 502
    assert len(upstream.peers) == 1
    with engine.connect() as client:
        assert upload(client, method) == (200, ())


# --- parked clients ---


def parked_client(engine: Running, *parts: bytes, finish: bool = False) -> ProxyClient:
    """Return a client whose request waits at the desk."""
    client = engine.connect()
    client.send(*parts)
    if finish:
        client.finish()
    engine.desk.wait_for_challenged(1)
    return client


def test_a_parked_upload_detects_a_disconnected_client(start_scripted: StartScripted) -> None:
    """The inbox of the client is full, so reading does not detect its disconnection."""

    def refuse(peer: ScriptedConnection) -> None:
        peer.read_head()
        peer.send(BASIC)
        peer.read_all()

    engine, _ = start_scripted(refuse, limits=EngineLimits(max_early_octets=1000))
    head = get(URL, b"Content-Length: 10000000", method=b"POST")
    client = parked_client(engine, head, b"x" * 500_000)
    client.close()
    engine.until_withdrawn()


@pytest.mark.parametrize("when", ["before", "while"])
def test_a_parked_client_may_close_its_sending_side(
    start_scripted: StartScripted, when: str
) -> None:
    engine, _ = start_scripted(answering(BASIC), answering(OK))
    client = parked_client(engine, GET, finish=when == "before")
    if when == "while":
        client.finish()
    engine.call(lambda: None)
    with client:
        engine.call(engine.desk.release_all)
        assert client.reply().status == 200


def test_a_client_disconnected_before_the_refusal_is_soon_dropped(
    start_scripted: StartScripted,
) -> None:
    gone = Event()

    def refuse(peer: ScriptedConnection) -> None:
        peer.read_head()
        gone.wait(10)
        peer.send(BASIC)
        peer.read_all()

    engine, upstream = start_scripted(refuse)
    with engine.connect() as client:
        client.send(GET)
        upstream.peer(1).wait_for(b"\r\n\r\n")
    gone.set()
    engine.desk.wait_for_challenged(1)
    engine.until_withdrawn()


def test_content_in_single_octets_times_out(serve: Serve) -> None:
    def read(peer: ScriptedConnection) -> None:
        peer.read_all()

    client, _ = serve(read, limits=EngineLimits(body_s=1.0))
    client.send(get(URL, b"Content-Length: 1000", method=b"POST"))
    begun = monotonic()
    client.socket.settimeout(0.1)
    while True:
        client.try_to_send(b"x")
        try:
            if not client.more() or b"408" in client.octets:
                break
        except TimeoutError:
            assert monotonic() - begun < 8
    assert client.octets.startswith(b"HTTP/1.1 408 ")


def test_content_that_stalls_after_a_sign_in_times_out(start_scripted: StartScripted) -> None:
    """The request had no time limit while it waited at the desk."""

    def refuse(peer: ScriptedConnection) -> None:
        peer.read_head()
        peer.send(BASIC)
        peer.read_all()

    engine, _ = start_scripted(
        refuse, lambda peer: peer.read_all(), limits=EngineLimits(body_s=0.5)
    )
    with parked_client(engine, get(URL, b"Content-Length: 1000", method=b"POST"), b"x") as client:
        engine.call(engine.desk.release_all)
        assert client.reply(b"POST").status == 408


@pytest.mark.parametrize("is_known", [True, False], ids=["known", "on trial"])
def test_a_silent_next_hop_is_reported_to_the_desk(
    start_scripted: StartScripted, stack: ExitStack, is_known: bool
) -> None:
    """Some upstreams do not respond to a wrong password, so other requests must not send it."""
    upstream = SlowUpstream(stack)
    desk = FakeBroker(LOGIN, is_known=is_known)
    engine, _ = start_scripted(upstream.play, desk=desk, limits=EngineLimits(silent_upstream_s=0.1))
    with engine.connect() as client:
        client.send(GET)
        assert upstream.login_received.wait(10)
        engine.until(lambda: bool(desk.silent), "the report")
        upstream.may_respond.set()
        client.reply()
    assert len(desk.silent) == 1


def reset_before(engine: Running, client: ProxyClient, serve: Callable[[], None]) -> None:
    """Call `serve` after the client has reset its connection, before the engine detects the reset.

    uvloop polls its sockets before it runs the callbacks of a completed future.
    """

    def leave() -> None:
        client.reset()
        serve()

    engine.call(leave)


def test_credentials_for_a_disconnected_client_are_returned_to_the_desk(
    start_scripted: StartScripted,
) -> None:
    """Otherwise all other requests would wait for a verdict forever."""
    engine, _ = start_scripted(answering(BASIC))
    client = parked_client(engine, GET)
    reset_before(engine, client, lambda: engine.desk.release_all(flight=1))
    engine.until(lambda: bool(engine.desk.without_verdict), "the return of the login")
    assert (len(engine.desk.without_verdict), engine.desk.login_was_sent) == (1, [False])


def test_a_permit_for_a_disconnected_client_is_returned_to_the_desk(
    start_scripted: StartScripted, stack: ExitStack
) -> None:
    upstream = SlowUpstream(stack)
    engine, _ = start_scripted(upstream.play, desk=FakeBroker(LOGIN, is_known=True))
    with engine.connect() as first, engine.connect() as second:
        first.send(GET)
        assert upstream.login_received.wait(10)
        second.send(GET)
        engine.desk.wait_for_permits(2)
        reset_before(engine, second, engine.desk.grant_one_more)
        engine.until(lambda: bool(engine.desk.without_verdict), "the return of the login")
        assert engine.desk.login_was_sent == [False]
        upstream.may_respond.set()
    assert len(upstream.logins) == 1


def reset_after_login(engine: Running, received: Event) -> None:
    """Send a request, and reset its client connection after the upstream has received the login."""
    with engine.connect() as client:
        client.send(GET)
        assert received.wait(10)
        client.reset()


def test_the_verdict_is_read_after_the_client_disconnected(
    start_scripted: StartScripted, stack: ExitStack
) -> None:
    """Otherwise the login would be sent again to obtain a verdict (T14)."""
    upstream = SlowUpstream(stack)
    engine, _ = start_scripted(upstream.play, desk=FakeBroker(LOGIN))
    reset_after_login(engine, upstream.login_received)
    upstream.may_respond.set()
    engine.desk.wait_for_challenged(2)
    assert engine.desk.challenged_requests[1].refused is not None
    assert engine.desk.verdicts == [None, VerdictKind.REJECTED]
    assert engine.desk.without_verdict == []
    assert len(upstream.logins) == 1


def test_the_verdict_of_a_handshake_is_read_after_the_client_disconnected(
    start_ntlm: StartNtlm,
) -> None:
    """As in NTLM, only the last leg may cost a log-on."""
    received, may_respond = Event(), Event()

    def hold(head: object, message: str) -> None:
        if message == "type 3":
            received.set()
            may_respond.wait()

    engine, upstream = start_ntlm(rejects_all=True, before_response=hold)
    try:
        reset_after_login(engine, received)
    finally:
        may_respond.set()
    engine.desk.wait_for_challenged(2)
    assert engine.desk.verdicts == [None, VerdictKind.REJECTED]
    assert engine.desk.without_verdict == []
    assert [message for _, _, message in upstream.messages].count("type 3") == 1


class ClosingDigestUpstream:
    """A Digest upstream. It closes the connection after each 407, and responds to a login when told
    to.

    Attributes:
        login_received: Set when a request with a login arrives.
        may_respond: Set to let the upstream respond to the login.
    """

    def __init__(self, stack: ExitStack, answer: bytes) -> None:
        self.login_received, self.may_respond = Event(), Event()
        self._answer = answer
        self._nonces = count()
        stack.callback(self.may_respond.set)

    def play(self, peer: ScriptedConnection) -> None:
        if b"Proxy-Authorization" in peer.read_head():
            self.login_received.set()
            self.may_respond.wait()
            peer.send(self._answer)
        else:
            peer.send(closing(digest_challenge(f"n{next(self._nonces)}")))


@pytest.mark.parametrize(
    ("refusal", "kind"),
    [
        (digest_challenge("other"), VerdictKind.UNCLEAR),
        (
            challenge('Digest realm="c", nonce="other", qop="auth", stale=false'),
            VerdictKind.REJECTED,
        ),
    ],
    ids=["unclear", "clear"],
)
def test_a_late_digest_refusal_has_the_same_verdict(
    start_scripted: StartScripted, stack: ExitStack, refusal: bytes, kind: VerdictKind
) -> None:
    upstream = ClosingDigestUpstream(stack, refusal)
    engine, _ = start_scripted(upstream.play, desk=FakeBroker(LOGIN))
    reset_after_login(engine, upstream.login_received)
    upstream.may_respond.set()
    engine.desk.wait_for_challenged(2)
    assert engine.desk.verdicts[-1] is kind


def test_a_stale_nonce_is_no_late_rejection(
    start_scripted: StartScripted, stack: ExitStack
) -> None:
    stale = challenge('Digest realm="c", nonce="other", qop="auth", stale=true')
    upstream = ClosingDigestUpstream(stack, stale)
    engine, _ = start_scripted(upstream.play, desk=FakeBroker(LOGIN))
    reset_after_login(engine, upstream.login_received)
    upstream.may_respond.set()
    engine.until(lambda: bool(engine.desk.without_verdict), "the verdict")
    assert len(engine.desk.challenged_requests) == 1


class SilentAfterLoginUpstream(SlowUpstream):
    """An upstream with Basic, accepting the first login and not responding to later logins.

    Attributes:
        answers_b: True to respond to all requests for b.test.
    """

    answers_b = False

    def play(self, peer: ScriptedConnection) -> None:
        while True:
            head = peer.read_head()
            if b"Proxy-Authorization" not in head:
                peer.send(BASIC)
                continue
            self.logins.append(head)
            if len(self.logins) > 1 and not (self.answers_b and b"b.test" in head):
                self.login_received.set()
                self.may_respond.wait()
            peer.send(OK)


def test_all_requests_at_a_silent_next_hop_are_reported_together(
    start_scripted: StartScripted, stack: ExitStack
) -> None:
    """Their login was proved just now, so they needed no permit."""
    upstream, desk = SilentAfterLoginUpstream(stack), FakeBroker(LOGIN)
    engine, _ = start_scripted(upstream.play, desk=desk, limits=EngineLimits(silent_upstream_s=0.1))
    clients = [stack.enter_context(engine.connect()) for _ in range(4)]
    assert clients[0].ask(GET).status == 200
    for client in clients:
        client.send(GET)
    engine.until(lambda: len(clients) in desk.silent_counts, "the report of all requests")
    upstream.may_respond.set()
    assert [client.reply().status for client in clients] == [200] * len(clients)


def test_a_request_to_a_slow_site_is_not_counted_after_another_response(
    start_scripted: StartScripted, stack: ExitStack
) -> None:
    upstream, desk = SilentAfterLoginUpstream(stack), FakeBroker(LOGIN)
    upstream.answers_b = True
    engine, _ = start_scripted(upstream.play, desk=desk, limits=EngineLimits(silent_upstream_s=0.1))
    clients = [stack.enter_context(engine.connect()) for _ in range(4)]
    assert clients[0].ask(GET).status == 200
    for client in clients[1:]:
        client.send(GET)
    engine.until(lambda: len(upstream.logins) == len(clients), "the logins of all requests")
    assert clients[0].ask(get(b"http://b.test/")).status == 200
    engine.until(lambda: desk.silent_counts[-1:] == [1], "the report of the slow request")
    upstream.may_respond.set()


@pytest.mark.parametrize("is_proved", [True, False], ids=["proved lately", "on its turn"])
def test_a_missing_verdict_is_reported_soon_after_the_client_disconnected(
    start_scripted: StartScripted, stack: ExitStack, is_proved: bool
) -> None:
    upstream, desk = SilentAfterLoginUpstream(stack), FakeBroker(LOGIN)
    desk.wants_all_reports = not is_proved
    limits = EngineLimits(silent_upstream_s=0.1, missing_response_s=0.2)
    engine, _ = start_scripted(upstream.play, desk=desk, limits=limits)
    with engine.connect() as client:
        assert client.ask(GET).status == 200
    reset_after_login(engine, upstream.login_received)
    engine.until(lambda: bool(desk.without_verdict), "the report of the missing verdict")
    assert desk.login_was_sent == [True]
    assert desk.silent_counts[:1] == [1]
    upstream.may_respond.set()
