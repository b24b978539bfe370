"""The corpus of well-formed and malformed messages, played against the engine over real sockets.

Each case names the behaviour of a correct forwarding proxy; http.md explains its outcomes and the
invariants I1 to I6. In the client cases, the octets of the case are sent to the engine, and a
strict upstream records the requests forwarded. In the upstream cases, the upstream sends the octets
of the case, and a strict client reads the response.
"""

import hashlib
import json
import os
import re
import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from select import select
from threading import Event, Thread
from typing import Any
from urllib.parse import quote

import h11
import httptools
import pytest

from tests.engine.fakes import FakeBroker, office, scaled_limits
from tests.engine.recorder import Recorder
from tests.engine.running import Running
from tests.engine.schemes import TicketScheme
from tests.engine.wire import CutError, ProxyClient, Reply, get, post
from tests.http.readers import with_ascii_targets
from tests.support.closeable import Closeable
from tests.support.process_output import PATIENCE
from tests.support.scripted_upstream import ScriptedConnection, ScriptedUpstream
from tests.support.searchable_secret import SearchableSecret
from trayproxy.auth.basic import Basic, basic_credentials
from trayproxy.auth.digest import Digest
from trayproxy.auth.login import Login
from trayproxy.auth.ntlm import ntlm_scheme
from trayproxy.engine.limits import EngineLimits

Case = dict[str, Any]

CASES: list[Case] = json.loads(
    (Path(__file__).parents[1] / "http" / "corpus.json").read_text(encoding="utf-8")
)

LIMITS = scaled_limits(1 / 100)
"""A head then has 0.15 s, an upstream 3 s, and the executor's sweep looks once a second."""

CLIENT_CASES = [case for case in CASES if case["side"] == "client"]
UPSTREAM_CASES = [case for case in CASES if case["side"] == "upstream"]

CANARY_URL = b"http://canary.test/"
ECHOES = 20_000
"""How often a thread of the test answers, one question after the other, before the engine must have
answered the canary. That takes a second or two on an idle computer. The canary needs some ten, on a
computer with five times more work than processors 1,300: work delays both, and what holds up the
engine delays the canary alone."""
WORK_AT_MOST_S = 0.5
"""Processor time that the engine may spend on one case."""

OWN_CHALLENGE = re.compile(rb"(?i)proxy-authenticat|\A[^\r]* 407 ")


def octets_of(case: Case, text: str, engine: Running) -> bytes:
    octets = text.encode("ascii").decode("unicode_escape").encode("latin-1")
    for token, (part, count) in case.get("expand", {}).items():
        octets = octets.replace(token.encode(), part.encode("latin-1") * count)
    own = engine.engine.address.encode()
    return octets.replace(b"@SELF@", own).replace(b"@VIA@", engine.engine.context.own_address.via)


def by_id(case: Case) -> str:
    return str(case["id"])


# --- the invariants -----------------------------------------------------------------------------


class EchoThread(Closeable):
    """A thread which sends all octets back."""

    def __init__(self) -> None:
        self._ours, self._its = socket.socketpair()
        self._thread = Thread(target=self._answer, name="echo", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._ours.close()
        self._thread.join(PATIENCE)

    def ask(self) -> None:
        """Send an octet and wait for its echo."""
        self._ours.sendall(b"?")
        assert self._ours.recv(1) == b"?"

    def _answer(self) -> None:
        with self._its:
            while octet := self._its.recv(1):
                self._its.sendall(octet)


class InvariantChecker:
    """Asserts the invariants of every case: I3, I4, I5 and I6."""

    def __init__(self, engine: Running, secret: SearchableSecret, echo: EchoThread) -> None:
        self._engine = engine
        self._secret = secret
        self._echo = echo
        engine.settle()
        self._base = engine.holdings()
        self._worked = engine.seconds_worked()
        engine.complaints.lines.clear()

    def check(self, client_octets: bytes) -> None:
        """Assert the invariants after a case, with its client and upstream closed."""
        self._check_canary()
        worked = self._engine.seconds_worked() - self._worked
        assert worked < WORK_AT_MOST_S, f"{worked} s of processor time: I4"
        self._engine.settle()
        log = "\n".join(self._engine.complaints.lines).encode()
        self._secret.assert_absent([("an answer", client_octets), ("the log", log)])
        assert not self._engine.complaints.errors
        # The threads of the upstream may still be closing their sockets.
        self._engine.until_it_holds(self._base)

    def _check_canary(self) -> None:
        echoes = 0
        with self._engine.connect() as client:
            client.send(get(CANARY_URL))
            while not select([client.socket], [], [], 0)[0]:
                self._echo.ask()
                echoes += 1
                assert echoes < ECHOES, "the engine is held up: I4"
            assert client.reply().body == b"ok"


def check_requests(recorder: Recorder, credentials: bytes) -> None:
    """Assert I1, I2 and I3 for all octets sent upstream."""
    for record in recorder.records:
        assert not record.offence, f"h11: {record.offence}: I1"
        read_by_llhttp(bytes(record.octets))
    for request in recorder.requests:
        check_head(request.head, credentials)


def check_head(head: bytes, *credentials: bytes) -> None:
    assert len(re.findall(rb"(?i)\r\nhost:", head)) == 1, "I2"
    assert len(re.findall(rb"(?i)\r\n(?:content-length|transfer-encoding):", head)) <= 1, "I2"
    assert not re.search(rb"\r\n[ \t]|\r(?!\n)|(?<!\r)\n|\x00", head), "I2"
    sent = re.findall(rb"(?i)\r\nproxy-authorization: ([^\r]*)", head)
    assert sent == [] or sent in ([one] for one in credentials), "I3"


def read_by_llhttp(octets: bytes) -> None:
    """Parse all requests of a connection with llhttp, which raises for a malformed request."""
    with suppress(httptools.HttpParserUpgrade):
        httptools.HttpRequestParser(object()).feed_data(with_ascii_targets(octets))


# --- the client's side --------------------------------------------------------------------------


@dataclass
class ClientOutcome:
    """The outcome of a client's octets: the word of the corpus, and the responses."""

    word: str = "close"
    replies: list[Reply] = field(default_factory=list)
    octets: bytes = b""
    incomplete_response: bytes = b""


@pytest.fixture(scope="module")
def secret() -> SearchableSecret:
    return SearchableSecret()


@pytest.fixture(scope="module")
def echo() -> Iterator[EchoThread]:
    with EchoThread() as echo:
        yield echo


@pytest.fixture(scope="module")
def recorder() -> Iterator[Recorder]:
    with Recorder() as recorder:
        yield recorder


@pytest.fixture(scope="module")
def engine(recorder: Recorder, secret: SearchableSecret) -> Iterator[Running]:
    desk = FakeBroker(secret.login, is_known=True)
    with Running(office(recorder.port), desk=desk, limits=LIMITS) as running:
        yield running


def test_a_blocked_engine_is_noticed(
    engine: Running, secret: SearchableSecret, echo: EchoThread
) -> None:
    checker, may_go_on = InvariantChecker(engine, secret, echo), Event()
    engine.loop.call_soon_threadsafe(may_go_on.wait)
    try:
        with pytest.raises(AssertionError, match="I4"):
            checker.check(b"")
    finally:
        may_go_on.set()
    engine.settle()


def play_client(case: Case, engine: Running, recorder: Recorder) -> ClientOutcome:
    octets = octets_of(case, case["bytes"], engine)
    outcome = ClientOutcome()
    with engine.connect() as client:
        if case.get("split") == "bytes":
            client.try_to_send(*(octets[n : n + 1] for n in range(len(octets))))
        else:
            client.try_to_send(octets)
        if case.get("half_close"):
            client.finish()
        method = octets.lstrip(b"\r\n").split(b" ")[0]
        read_replies(client, method, case.get("fwd", {}).get("count", 1), outcome)
        if outcome.word == "tunnel":
            client.send(b"through?")
            assert client.take(8) == b"through?"
        if case.get("conn") != "close":
            # The engine handles the octets already sent, and then closes the connection.
            client.finish()
        outcome.replies += read_rest(client)
        outcome.octets = bytes(client.octets)
        assert not outcome.octets or not client.was_reset, "R-075"
    classify(outcome, recorder)
    return outcome


def read_replies(client: ProxyClient, method: bytes, count: int, outcome: ClientOutcome) -> None:
    """Read the number of responses expected by the case, or fewer if the connection ends."""
    known = method if method in (b"CONNECT", b"HEAD") else b"GET"
    for _ in range(max(count, 1)):
        try:
            reply = client.reply(known)
        except CutError as error:
            outcome.incomplete_response = error.octets
            return
        outcome.replies.append(reply)
        if known == b"CONNECT" and reply.is_forwarded:
            outcome.word = "tunnel"
        if outcome.word == "tunnel" or reply.closes:
            return


def read_rest(client: ProxyClient) -> list[Reply]:
    """Read further responses until the end of the connection."""
    replies = []
    with suppress(CutError):
        while True:
            replies.append(client.reply())
    assert not client.unread
    return replies


def classify(outcome: ClientOutcome, recorder: Recorder) -> None:
    """Set the word of the corpus for an outcome."""
    first = outcome.replies[0] if outcome.replies else None
    if outcome.word == "tunnel":
        return
    if first is not None and first.is_forwarded:
        outcome.word = "forward-normalised"
    elif recorder.octets:
        outcome.word = "abort"
        assert not any(request.whole for request in recorder.requests)
        assert first is None or 400 <= first.status < 600
    elif first is not None and first.status == 408:
        outcome.word = "timeout-408"
    elif first is not None:
        kind = "local" if first.status < 300 else "reject"
        outcome.word = f"{kind}-{first.status}"


@pytest.mark.parametrize("case", CLIENT_CASES, ids=by_id)
def test_octets_of_clients_have_the_outcome_of_the_corpus(
    case: Case, engine: Running, recorder: Recorder, secret: SearchableSecret, echo: EchoThread
) -> None:
    engine.routes.direct = set(case.get("setup", {}).get("bypass", ()))
    checker = InvariantChecker(engine, secret, echo)
    recorder.forget()
    outcome = play_client(case, engine, recorder)
    assert not outcome.incomplete_response
    check_requests(recorder, basic_credentials(secret.login))
    assert outcome.word in {case["expect"], *case["accept"]}
    check_sent(case, outcome, recorder)
    check_response(case, outcome)
    checker.check(outcome.octets)


def check_sent(case: Case, outcome: ClientOutcome, recorder: Recorder) -> None:
    """Assert the expectations of the case about the octets sent upstream."""
    expected = case.get("fwd", {})
    everything = recorder.octets.decode("latin-1")
    assert not [
        pattern for pattern in expected.get("must_not", ()) if re.search(pattern, everything)
    ]
    requests = recorder.requests
    for request in requests:
        head = request.head.decode("latin-1")
        assert not [p for p in expected.get("head_must_not", ()) if re.search(p, head)]
    if outcome.word not in ("forward-normalised", "tunnel"):
        return
    assert len(requests) == expected.get("count", len(requests))
    head = requests[0].head.decode("latin-1")
    assert not [pattern for pattern in expected.get("must", ()) if not re.search(pattern, head)]
    if "body" in expected:
        assert requests[0].body == expected["body"].encode("latin-1")


def check_response(case: Case, outcome: ClientOutcome) -> None:
    """Assert the expectations of the case about the octets sent to the client."""
    got = outcome.octets.decode("latin-1")
    assert not [p for p in case.get("resp_must_not", ()) if re.search(p, got)]
    if case.get("no_1xx"):
        assert not any(reply.interim for reply in outcome.replies)
    if case.get("conn") == "close" and outcome.replies:
        assert outcome.replies[-1].closes
    for reply in outcome.replies:
        assert reply.status != 407
        assert not reply.values(b"proxy-authenticate")


# --- the upstream's side ------------------------------------------------------------------------

OFFICE = b"origin.test"
TRIGGERS = {
    "GET": get(b"http://origin.test/"),
    "HEAD": get(b"http://origin.test/", method=b"HEAD"),
    "CONNECT": b"CONNECT origin.test:443 HTTP/1.1\r\nHost: origin.test:443\r\n\r\n",
    "POST64K": post(b"http://origin.test/", b"p" * 65536),
    "PUT_EXPECT": get(
        b"http://origin.test/", b"Content-Length: 5", b"Expect: 100-continue", method=b"PUT"
    ),
    "UPGRADE": get(b"http://origin.test/", b"Connection: upgrade", b"Upgrade: websocket"),
}


@dataclass
class CorpusRequest:
    """A request as read by the scripted upstream.

    Attributes:
        head: The octets of the head.
        fields: The values of the fields by name, in lower case.
        body: The content, without framing.
        connection: The number of the connection, from 1.
    """

    head: bytes
    fields: dict[bytes, bytes]
    body: bytes
    connection: int

    @property
    def credentials(self) -> bytes | None:
        return self.fields.get(b"proxy-authorization")

    @property
    def scheme(self) -> str:
        return (self.credentials or b"none").split(b" ")[0].decode().lower()


class CorpusUpstream:
    """An upstream which answers each request with the next octets of a case.

    Attributes:
        received: The complete requests received.
        first_ended: Set when the engine has closed the first connection.
    """

    def __init__(self, case: Case, answers: list[bytes]) -> None:
        self._case = case
        self._answers = answers
        self._connections = 0
        self.received: list[CorpusRequest] = []
        self.first_ended = Event()

    def script(self, peer: ScriptedConnection) -> None:
        self._connections += 1
        number = self._connections
        try:
            self._converse(peer, number)
        except (EOFError, OSError):
            if number == 1:
                self.first_ended.set()

    def _converse(self, peer: ScriptedConnection, number: int) -> None:
        if self._case.get("immediate"):
            peer.send(self._answers[0])
            peer.half_close()
            peer.read_all()
            return
        goes_on = True
        while goes_on:
            index = min(len(self.received), len(self._answers) - 1)
            index = 0 if "parallel" in self._case else index
            octets = self._answers[index]
            head = peer.read_head()
            fields = fields_of(head)
            if self._challenges_again(number, fields):
                goes_on = self._answer(peer, self._answers[0], is_first=True)
                continue
            length = int(fields.get(b"content-length", b"0"))
            if b"expect" not in fields:
                body = peer.read(length)
            elif octets.startswith(b"HTTP/1.1 100 "):
                interim, end, octets = octets.partition(b"\r\n\r\n")
                peer.send(interim + end)
                body = peer.read(length)
            else:
                body = b""
            self.received.append(CorpusRequest(head, fields, body, number))
            goes_on = self._answer(peer, octets, is_first=index == 0)

    def _challenges_again(self, number: int, fields: Mapping[bytes, bytes]) -> bool:
        """Return whether this connection gets the Digest challenge of the first connection again.

        The engine needs a challenge of the connection used for a login on trial.
        """
        is_new = number > 1 and len(self.received) == 1
        return (
            is_new
            and self._case["expect"] == "auth:digest"
            and b"proxy-authorization" not in fields
        )

    def _answer(self, peer: ScriptedConnection, octets: bytes, *, is_first: bool) -> bool:
        """Send octets of the case. Return whether the connection continues with HTTP."""
        case = self._case
        is_refusal = octets.split(b" ")[1:2] == [b"407"]
        for part in pieces(octets) if is_first and case.get("split") == "bytes" else (octets,):
            peer.send(part)
        if is_first and case.get("rst"):
            peer.reset()
        elif is_first and case.get("hang"):
            peer.hang()
        elif case["trigger"] in ("CONNECT", "UPGRADE") and not case.get("eof", is_refusal):
            while True:
                peer.send(peer.read(1))
        return not ((is_first and (case.get("eof") or case.get("rst"))) or case.get("close_each"))


def pieces(octets: bytes) -> Iterator[bytes]:
    for n in range(len(octets)):
        yield octets[n : n + 1]


def fields_of(head: bytes) -> dict[bytes, bytes]:
    """Parse a request head with h11, which is strict."""
    reader = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 18)
    reader.receive_data(head)
    event = reader.next_event()
    assert isinstance(event, h11.Request)
    return {bytes(name): bytes(value) for name, value in event.headers}


@dataclass
class ClientResult:
    """The octets received by a client.

    Attributes:
        word: The word of the corpus for the result.
        reply: The response; None if it was incomplete.
        octets: All octets received.
        tail: Octets of the upstream received through a tunnel.
    """

    word: str
    reply: Reply | None
    octets: bytes
    tail: bytes = b""


def read_result(trigger: str, client: ProxyClient, tail: bytes) -> ClientResult:
    """Read the response to a request; send the request's content after a 100."""
    method = TRIGGERS[trigger].split(b" ")[0]
    if trigger == "PUT_EXPECT":
        while not re.search(rb"\AHTTP/1.1 100 .*\r\n\r\n", client.octets, re.DOTALL):
            assert client.more()
        client.send(b"hello")
    try:
        reply = client.reply(method, upgrade=trigger == "UPGRADE")
    except CutError as error:
        word = "truncate" if error.octets.startswith(b"HTTP/1.1 ") else "nothing"
        return ClientResult(word, None, bytes(client.octets))
    word, tunnelled = "forward", b""
    if not reply.is_forwarded:
        word = str(reply.status)
    elif reply.status == 101 or (trigger == "CONNECT" and reply.status < 300):
        word = "tunnel"
        client.send(b"through?")
        tunnelled = client.take(len(tail) + len(b"through?"))
        assert tunnelled[len(tail) :] == b"through?"
    elif trigger == "CONNECT":
        word = "no-tunnel"
    return ClientResult(word, reply, bytes(client.octets), tunnelled[: len(tail)])


SAME = {"no-tunnel": "forward", "503": "502"}
"""Words the corpus does not always distinguish: by those of `read_result`, those of the corpus."""


def words_for(result: ClientResult, received: list[CorpusRequest]) -> set[str]:
    """Return all words of the corpus describing the result."""
    schemes = {request.scheme for request in received} - {"none"}
    found = {result.word, SAME.get(result.word, result.word)}
    return found | ({f"auth:{scheme}" for scheme in schemes} or {"auth:none"})


@pytest.fixture(scope="module")
def upstream_engine(recorder: Recorder) -> Iterator[Running]:
    limits = EngineLimits(response_head_s=1.0, connect_response_head_s=1.0, linger_s=0.1)
    schemes = (TicketScheme(), ntlm_scheme(), Digest(os.urandom), Basic())
    with Running(office(recorder.port), desk=FakeBroker(schemes=schemes), limits=limits) as running:
        yield running


@pytest.mark.parametrize("case", UPSTREAM_CASES, ids=by_id)
def test_octets_of_upstreams_have_the_outcome_of_the_corpus(
    case: Case,
    upstream_engine: Running,
    recorder: Recorder,
    secret: SearchableSecret,
    echo: EchoThread,
) -> None:
    engine = upstream_engine
    login = Login(*case["creds"].split(":")) if ":" in case["creds"] else None
    is_own = case["creds"] == "sso"
    engine.call(lambda: engine.desk.begin(login, uses_own_sign_in=is_own))
    checker = InvariantChecker(engine, secret, echo)
    corpus_upstream = CorpusUpstream(
        case, [octets_of(case, text, engine) for text in (case["bytes"], *case["then"])]
    )
    with ScriptedUpstream(corpus_upstream.script) as upstream:
        engine.routes.profile = office(upstream.port)
        if case.get("setup", {}).get("mode") == "direct":
            engine.routes.direct = {upstream.host}
        octets = play_case(case, engine, upstream, corpus_upstream)
        for peer in upstream.peers:
            read_by_llhttp(peer.received)
    engine.routes.direct = set()
    engine.routes.profile = office(recorder.port)
    check_received(case, corpus_upstream, login)
    if "prompts" in case and login is not None:
        prompts = [
            request for request in engine.desk.challenged_requests if request.refused is not None
        ]
        assert len(prompts) == case["prompts"]
    checker.check(octets)


def play_case(
    case: Case, engine: Running, upstream: ScriptedUpstream, script: CorpusUpstream
) -> bytes:
    """Play one case and assert its expectations. Return all octets received by its clients."""
    octets = TRIGGERS[case["trigger"]]
    if engine.routes.direct:
        octets = octets.replace(OFFICE, b"127.0.0.1:%d" % upstream.port)
    tail = case.get("client", {}).get("tail", "").encode("latin-1")
    with ExitStack() as stack:
        clients = [stack.enter_context(engine.connect()) for _ in range(case.get("parallel", 1))]
        for client in clients:
            client.send(octets)
        if "parallel" in case:
            engine.desk.wait_for_challenged(len(clients))
            engine.call(engine.desk.refuse_all)
        results = [read_result(case["trigger"], client, tail) for client in clients]
        for client in clients * (case.get("requests", 1) - 1):
            client.send(octets)
            results.append(read_result(case["trigger"], client, tail))
        if case.get("up_conn") == "closed":
            assert script.first_ended.wait(PATIENCE)
    for result in results:
        assert words_for(result, script.received) & {case["expect"], *case["accept"]}, result
        check_result(case, result)
    return b"".join(result.octets for result in results)


def check_result(case: Case, result: ClientResult) -> None:
    """Assert the expectations of the case about the response."""
    expected = case.get("client", {})
    assert not OWN_CHALLENGE.search(result.octets), "R-083"
    if expected.get("no_tunnel"):
        assert result.word != "tunnel"
    if result.word not in ("forward", "tunnel", "no-tunnel") or result.reply is None:
        return
    reply = result.reply
    head = reply.head.decode("latin-1") + "\r\n"
    assert reply.status == expected.get("status", reply.status)
    assert reply.body == expected.get("body", reply.body.decode("latin-1")).encode("latin-1")
    assert list(reply.interim) == expected.get("interim", list(reply.interim))
    assert result.tail == expected.get("tail", "").encode("latin-1")
    text = result.octets.decode("latin-1")
    assert not [pattern for pattern in expected.get("must_not", ()) if re.search(pattern, text)]
    assert not [pattern for pattern in expected.get("must", ()) if not re.search(pattern, text)]
    assert not [
        pattern for pattern in expected.get("head_must_not", ()) if re.search(pattern, head)
    ]


def check_received(case: Case, script: CorpusUpstream, login: Login | None) -> None:
    """Assert the expectations of the case about the requests received by the upstream."""
    received = script.received
    basic = [basic_credentials(login)] if login is not None and ":" not in login.user else []
    for request in received:
        # The credentials of other schemes are not known in advance; they are checked below.
        own = [request.credentials or b""] if request.scheme != "basic" else basic
        check_head(request.head, *own)
    attempts = [request for request in received if request.credentials]
    schemes = {request.scheme for request in attempts}
    assert not schemes & set(case.get("not_sends", ()))
    if case.get("sends") == ["none"]:
        assert not attempts
    assert len(attempts) <= case.get("attempts", len(attempts))
    assert len(received) <= case.get("max_upstream_requests", len(received))
    if "expect_header" in case:
        assert [request.credentials for request in attempts] == [case["expect_header"].encode()]
    if "up_body_len" in case:
        assert len(received[-1].body) == case["up_body_len"]
    if case.get("up_conn") == "new":
        assert received[0].connection != received[-1].connection
    if case.get("same_conn"):
        assert len({request.connection for request in attempts}) == 1
    for wish in case.get("second_request_must", ()):
        assert wish.encode() in (attempts[1].credentials or b"")
    if login is not None:
        for request in attempts:
            if request.scheme == "digest":
                check_digest(case, request, login)


def check_digest(case: Case, request: CorpusRequest, login: Login) -> None:
    """Compute the response of RFC 7616, section 3.4.1, and compare it (R-100 to R-110)."""
    credentials = (request.credentials or b"").decode("latin-1")
    found = re.findall(r'(\w+\*?)=(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))', credentials)
    params = {name: re.sub(r"\\(.)", r"\1", quoted) or plain for name, quoted, plain in found}
    assert len(params) == len(found), "R-108"
    method, target, _ = request.head.decode("latin-1").split("\r\n")[0].split(" ")
    assert params["uri"] == target, "R-103"
    if "username*" in params:
        assert "username" not in params, "R-108"
        assert params["username*"] == "UTF-8''" + quote(login.user, safe="")
    assert params["realm"] == case.get("realm", params["realm"])
    algorithm = params.get("algorithm", "MD5")
    expected = case.get("digest", {})
    assert algorithm == expected.get("algorithm", algorithm)
    assert params.get("qop") in expected.get("qop", params.get("qop") or "").split("|") or [None]
    assert not re.search(r'(?:algorithm|qop|nc)="', credentials), "R-102"

    def hashed(*parts: str) -> str:
        octets = ":".join(parts).encode("latin-1")
        return hashlib.new("sha256" if "SHA-256" in algorithm else "md5", octets).hexdigest()

    user, password = (text.encode().decode("latin-1") for text in (login.user, login.password))
    secret = hashed(user, params["realm"], password)
    if algorithm.endswith("-sess"):
        secret = hashed(secret, params["nonce"], params["cnonce"])
    middle = [params[name] for name in ("nc", "cnonce", "qop") if name in params]
    assert len(middle) in (0, 3), "R-104"
    assert params["response"] == hashed(secret, params["nonce"], *middle, hashed(method, target))
