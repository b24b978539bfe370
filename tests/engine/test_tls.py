"""Requests through https upstreams: trusted certificates, and nothing is sent to others (F03)."""

import socket
import ssl
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from tests.engine.conftest import MakeUpstream, Serve, Start
from tests.engine.fakes import LOGIN, FakeBroker, office
from tests.engine.recorder import Recorder
from tests.engine.running import LOOPS, Running
from tests.engine.wire import CutError, ProxyClient, connect, get, post
from tests.support.octets import octets
from tests.support.scripted_upstream import (
    ESTABLISHED,
    OK,
    Script,
    ScriptedConnection,
    ScriptedUpstream,
    answering,
    challenge,
    silent,
)
from tests.support.server import LoopbackServer
from tests.support.tls import Certificate, CertificateAuthority
from trayproxy.engine.limits import EngineLimits
from trayproxy.engine.net.tls import TrustStore
from trayproxy.profiles.profile import Profile, ProxyScheme, SignIn, Upstream

URL = b"http://origin.test/"
GET = get(URL)
CONNECT = connect(b"origin.test:443")
HOST = "127.0.0.1"


@pytest.fixture
def certificate(authority: CertificateAuthority) -> Certificate:
    return authority.issue("proxy.test.lan", HOST)


@pytest.fixture
def https_upstream(stack: ExitStack, certificate: Certificate) -> Recorder:
    """An upstream which answers every request, inside TLS."""
    return stack.enter_context(Recorder(certificate.context()))


@pytest.fixture
def serve_tls(
    start: Start, stack: ExitStack, certificate: Certificate, authority: CertificateAuthority
) -> Serve:
    """Connect a client to an engine in front of a scripted https upstream."""

    def serve_tls(
        *scripts: Script, desk: FakeBroker | None = None, sign_in: SignIn = SignIn.PASSWORD
    ) -> tuple[ProxyClient, ScriptedUpstream]:
        upstream = stack.enter_context(ScriptedUpstream(*scripts, tls=certificate.context()))
        profile = replace(company_profile(upstream.port, authority.pem), sign_in=sign_in)
        return stack.enter_context(start(profile, desk).connect()), upstream

    return serve_tls


def company_profile(port: int, ca_file: Path | str, *, host: str = HOST) -> Profile:
    """Return a profile with an https upstream and the CA file of the company."""
    upstream = Upstream(host, port, ProxyScheme.HTTPS)
    return Profile("company", "Company", upstream, ca_file=str(ca_file))


# --- trusted certificates ------------------------------------------------------------------------


@pytest.mark.parametrize("engines_loop", list(LOOPS.values()), ids=list(LOOPS))
def test_requests_and_tunnels_are_sent_inside_tls(
    start: Start, https_upstream: Recorder, authority: CertificateAuthority
) -> None:
    desk = FakeBroker(LOGIN, is_known=True)
    engine = start(company_profile(https_upstream.port, authority.pem), desk)
    with engine.connect() as client:
        for _ in range(3):
            assert client.ask(GET).body == b"ok"
        assert client.ask(post(URL, b"body"), b"POST").status == 200
        assert client.ask(CONNECT, b"CONNECT").status == 200
        client.send(b"through the tunnel")
        assert client.take(18) == b"through the tunnel"
    assert [request.target for request in https_upstream.requests] == [URL] * 4 + [
        b"origin.test:443"
    ]
    assert all(request.values(b"proxy-authorization") for request in https_upstream.requests)
    # A tunnel is begun on a connection of its own; the others share one.
    assert {request.connection for request in https_upstream.requests[:4]} == {1}


def test_a_tls_connection_is_pooled_for_the_next_client(
    start: Start, https_upstream: Recorder, authority: CertificateAuthority
) -> None:
    engine = start(company_profile(https_upstream.port, authority.pem), FakeBroker())
    for _ in range(3):
        with engine.connect() as client:
            assert client.ask(GET).status == 200
        engine.until_clients_left()
    assert {request.connection for request in https_upstream.requests} == {1}


def test_the_systems_trust_store_is_used_without_a_ca_file(
    start: Start,
    https_upstream: Recorder,
    authority: CertificateAuthority,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.pem))  # What OpenSSL calls the system's.
    with start(company_profile(https_upstream.port, "")).connect() as client:
        assert client.ask(GET).status == 200


def test_a_ca_file_replaces_the_systems_trust_store(
    start: Start,
    https_upstream: Recorder,
    authority: CertificateAuthority,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.pem))
    other = CertificateAuthority(tmp_path)
    with start(company_profile(https_upstream.port, other.pem)).connect() as client:
        assert b"TP-204" in client.ask(GET).reason
    assert not https_upstream.requests


def test_an_authority_added_to_the_ca_file_is_trusted_at_the_next_request(
    start: Start, https_upstream: Recorder, authority: CertificateAuthority, tmp_path: Path
) -> None:
    file = tmp_path / "company.pem"
    (tmp_path / "other").mkdir()
    file.write_bytes(CertificateAuthority(tmp_path / "other").pem.read_bytes())
    with start(company_profile(https_upstream.port, file)).connect() as client:
        assert client.ask(GET).status == 502
        file.write_bytes(file.read_bytes() + authority.pem.read_bytes())
        assert client.ask(GET).status == 200


def test_a_self_signed_certificate_may_be_the_ca_file(
    start: Start, stack: ExitStack, authority: CertificateAuthority
) -> None:
    own = authority.issue(HOST, signs_itself=True)
    recorder = stack.enter_context(Recorder(own.context()))
    with start(company_profile(recorder.port, own.pem)).connect() as client:
        assert client.ask(GET).status == 200


def test_many_clients_at_once_load_the_trust_store_and_all_succeed(
    start: Start,
    https_upstream: Recorder,
    authority: CertificateAuthority,
    stack: ExitStack,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = start(company_profile(https_upstream.port, authority.pem))
    clients = [stack.enter_context(engine.connect()) for _ in range(30)]
    for client in clients:
        client.send(GET)
    assert [client.reply().status for client in clients] == [200] * 30
    # Later connections use the loaded certificates.
    monkeypatch.delattr(TrustStore, "load")
    assert stack.enter_context(engine.connect()).ask(CONNECT, b"CONNECT").status == 200


# --- untrusted certificates (F03) ----------------------------------------------------------------


class RecordingTlsServer(LoopbackServer):
    """An upstream which does TLS by hand and records every decrypted octet."""

    def __init__(self, certificate: Certificate) -> None:
        self.http = b""
        self.connections = 0
        self._certificate = certificate
        super().__init__(self._listen)

    def _listen(self, connection: socket.socket) -> None:
        self.connections += 1
        context = self._certificate.context()
        with context.wrap_socket(connection, server_side=True) as inside:
            while data := inside.recv(1 << 16):
                self.http += data


REASONS = {
    "expired": b"It has expired.",
    "another name": b"It was issued for another",
    "another address": b"It was issued for another",
    "signed by itself": b"The proxy has signed it itself.",
    "unknown authority": b"an authority that this computer does not know",
}


@pytest.fixture(params=list(REASONS))
def untrusted(
    request: pytest.FixtureRequest, authority: CertificateAuthority, tmp_path: Path
) -> tuple[str, Certificate]:
    kind: str = request.param
    match kind:
        case "expired":
            return kind, authority.issue(HOST, ended=True)
        case "another name":
            return kind, authority.issue("other.test.lan")
        case "another address":
            return kind, authority.issue("127.0.0.2")
        case "signed by itself":
            return kind, authority.issue(HOST, signs_itself=True)
    return kind, CertificateAuthority(tmp_path).issue(HOST)


@pytest.mark.parametrize("request_octets", [GET, CONNECT, post(URL, b"secret")])
def test_an_untrusted_proxy_is_sent_nothing(
    start: Start,
    stack: ExitStack,
    authority: CertificateAuthority,
    untrusted: tuple[str, Certificate],
    request_octets: bytes,
) -> None:
    kind, certificate = untrusted
    upstream = stack.enter_context(RecordingTlsServer(certificate))
    desk = FakeBroker(LOGIN, is_known=True)
    engine = start(company_profile(upstream.port, authority.pem), desk)
    with engine.connect() as client:
        reply = client.ask(request_octets, request_octets.split()[0])
    assert reply.status == 502
    assert b"(TP-204)" in reply.reason
    assert REASONS[kind].replace(b"'", b"&#x27;") in reply.body
    assert b"TrayProxy has not sent your password" in reply.body
    assert reply.values(b"proxy-status")[0].startswith(b"TrayProxy; error=tls_certificate_error")
    upstream.close()
    assert upstream.connections == 1
    assert upstream.http == b""
    assert not desk.accepted
    assert engine.observer.failures


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", b"It answered without encryption."),
        (b"SSH-2.0-OpenSSH_9.2\r\n", b"It answered without encryption."),
        (b"\x15\x03\x01\x00\x02\x02\x28", b"It did not agree on an encryption, or"),
        (b"", b"It closed the connection."),
    ],
    ids=["HTTP", "SSH", "an alert", "nothing"],
)
def test_a_proxy_without_tls_is_sent_nothing_in_plain(
    start: Start, script: MakeUpstream, authority: CertificateAuthority, answer: bytes, words: bytes
) -> None:
    def play(peer: ScriptedConnection) -> None:
        peer.read(5)
        peer.send(answer)
        peer.half_close()
        peer.read_all()

    upstream = script(play)
    desk = FakeBroker(LOGIN, is_known=True)
    with start(company_profile(upstream.port, authority.pem), desk).connect() as client:
        reply = client.ask(GET)
    assert reply.status == 502
    assert b"(TP-204)" in reply.reason
    assert words in reply.body
    (peer,) = upstream.peers
    assert peer.received.startswith(b"\x16\x03\x01")  # A handshake, and nothing readable in it.
    for word in (b"GET", b"origin", b"Proxy-Authorization", b"HTTP"):
        assert word not in peer.received.replace(b"http/1.1", b"")


def test_a_reset_during_the_handshake_gives_an_error_page(
    start: Start, script: MakeUpstream, authority: CertificateAuthority
) -> None:
    def play(peer: ScriptedConnection) -> None:
        peer.read(5)
        peer.reset()

    upstream = script(play)
    with start(company_profile(upstream.port, authority.pem)).connect() as client:
        assert b"(TP-204)" in client.ask(GET).reason


def test_a_handshake_without_a_response_times_out(
    start: Start, script: MakeUpstream, authority: CertificateAuthority
) -> None:
    upstream = script(ScriptedConnection.hang)
    limits = EngineLimits(handshake_s=0.2)
    with start(company_profile(upstream.port, authority.pem), limits=limits).connect() as client:
        reply = client.ask(GET)
    assert (reply.status, b"(TP-203)" in reply.reason) == (504, True)


def test_old_tls_versions_are_rejected(
    start: Start, stack: ExitStack, certificate: Certificate, authority: CertificateAuthority
) -> None:
    context = certificate.context()
    context.set_ciphers("DEFAULT@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1 is deprecated"):
        context.minimum_version = ssl.TLSVersion.TLSv1
    with pytest.warns(DeprecationWarning, match="TLSv1_1 is deprecated"):
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    recorder = stack.enter_context(Recorder(context))
    with start(company_profile(recorder.port, authority.pem)).connect() as client:
        reply = client.ask(GET)
    assert b"a version of TLS that is no longer safe" in reply.body
    assert not recorder.octets


@pytest.mark.parametrize("content", [None, b"", b"nonsense"])
def test_a_file_that_cannot_be_used_is_named_as_the_reason(
    start: Start, https_upstream: Recorder, tmp_path: Path, content: bytes | None
) -> None:
    file = tmp_path / "company.pem"
    if content is not None:
        file.write_bytes(content)
    with start(company_profile(https_upstream.port, file)).connect() as client:
        reply = client.ask(GET)
    assert b"the company&#x27;s certificate" in reply.body
    assert not https_upstream.records


def test_a_client_that_leaves_during_the_handshake_leaks_nothing(
    start: Start, script: MakeUpstream, authority: CertificateAuthority
) -> None:
    upstream = script(silent)
    engine = start(company_profile(upstream.port, authority.pem))
    base = engine.holdings()
    with engine.connect() as client:
        client.send(GET)
        upstream.peer(1)
        client.reset()
    engine.until_clients_left()
    engine.until_it_holds(base)


# --- traffic -------------------------------------------------------------------------------------


def test_signing_in_works_inside_tls(serve_tls: Serve) -> None:
    desk = FakeBroker(LOGIN)
    client, upstream = serve_tls(
        answering(challenge('Basic realm="x"'), OK), answering(OK), desk=desk
    )
    assert client.ask(GET).status == 200
    assert [request.upstream_id.upstream for request in desk.challenged_requests] == [
        f"https://{HOST}:{upstream.port}"
    ]
    assert len(desk.accepted) == 1


def test_bulk_data_passes_a_tunnel_both_ways_and_its_ends_are_relayed(serve_tls: Serve) -> None:
    length = 2_000_000

    def play(peer: ScriptedConnection) -> None:
        peer.read_head()
        peer.send(ESTABLISHED)
        got = peer.read_all()
        for block in octets(length):
            peer.send(block)
        peer.send(b"%d" % len(got))

    client, _ = serve_tls(play)
    assert client.ask(CONNECT, b"CONNECT").status == 200
    for block in octets(length):
        client.send(block)
    client.finish()
    assert client.take_all() == b"".join(octets(length)) + b"%d" % length
    assert not client.was_reset


def test_a_large_response_arrives_completely(serve_tls: Serve) -> None:
    body = b"".join(octets(1_500_000))
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    client, _ = serve_tls(answering(answer))
    assert client.ask(GET).body == body


@pytest.mark.parametrize("sends_close_notify", [True, False])
def test_a_response_that_ends_with_the_connection_is_complete_only_after_close_notify(
    serve_tls: Serve, sends_close_notify: bool
) -> None:
    def play(peer: ScriptedConnection) -> None:
        peer.read_head()
        peer.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nall of it?")
        if sends_close_notify:
            peer.close_tls()

    client, _ = serve_tls(play)
    client.send(GET)
    if sends_close_notify:
        assert client.reply().body == b"all of it?"
    else:
        with pytest.raises(CutError):
            client.reply()


def test_the_page_of_a_profile_without_sign_in_says_that_the_proxy_wants_a_sign_in(
    serve_tls: Serve,
) -> None:
    client, _ = serve_tls(answering(challenge('Basic realm="x"')), sign_in=SignIn.NONE)
    assert b"wants a sign-in" in client.ask(GET).body


def test_http_upstreams_do_not_load_the_trust_store(start: Start, recorder: Recorder) -> None:
    engine: Running = start(office(recorder.port))
    with engine.connect() as client:
        assert client.ask(GET).status == 200
    assert engine.call(lambda: engine.engine.context.connector.trust_store) is None


def test_tls_from_a_client_is_rejected(engine: Running) -> None:
    with ProxyClient(engine.port) as client:
        client.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 64)
        assert client.reply().status == 400
