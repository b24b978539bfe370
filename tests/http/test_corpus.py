"""The corpus of valid and invalid messages, as far as it needs no connections.

Each case states the behaviour of a correct forwarding proxy. Here the messages are only parsed and
serialized; cases about time, routing or authentication belong to the engine's tests.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.http.feeding import feed, single_octets
from tests.http.readers import h11_request, h11_response, llhttp_request, llhttp_response
from trayproxy.http.body import (
    Body,
    ChunkedBody,
    request_body_reader,
    response_body_reader,
    write_chunk,
    write_last_chunk,
)
from trayproxy.http.challenges import parse_challenges
from trayproxy.http.errors import MessageError
from trayproxy.http.heads import find_head, find_response_head
from trayproxy.http.hop_by_hop import is_loop
from trayproxy.http.limits import DEFAULT_LIMITS, MessageLimits
from trayproxy.http.request import Request, parse_request, write_request
from trayproxy.http.response import (
    Response,
    parse_response,
    switches_protocols,
    write_interim,
    write_response,
)
from trayproxy.http.target import Form

VIA = b"tray-5f0c"
OWN = "127.0.0.1:3128"
CREDENTIALS = b"Basic b3Vyczpvbmx5"
CASES: list[dict[str, Any]] = json.loads(
    Path(__file__).with_name("corpus.json").read_text(encoding="utf-8")
)

# Cases with a clock, a listener or a counter: tests/engine/test_corpus.py runs them.
NOT_HERE = {
    "C119": "knows its own listener",
    "C303": "has a time limit",
    "C304": "has a time limit",
    "U197": "counts interim responses",
}


CASES = [case for case in CASES if case["id"] not in NOT_HERE]
CLIENT_CASES = [case for case in CASES if case["side"] == "client"]


def octets_of(case: dict[str, Any], text: str) -> bytes:
    octets = text.encode("ascii").decode("unicode_escape").encode("latin-1")
    for token, (part, count) in case.get("expand", {}).items():
        octets = octets.replace(token.encode(), part.encode("latin-1") * count)
    return octets.replace(b"@SELF@", OWN.encode()).replace(b"@VIA@", VIA)


@dataclass
class RequestOutcome:
    """The result for a client's octets: the word of the corpus, and the octets sent upstream."""

    word: str = "none"
    heads: list[bytes] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    sent: list[bytes] = field(default_factory=list)
    closes: bool = False


Finder = Callable[[bytes | bytearray, MessageLimits, int, int], int | None]


def find(finder: Finder, octets: bytes, piecewise: bool) -> int | None:
    if not piecewise:
        return finder(octets, DEFAULT_LIMITS, 0, 0)
    buffer = bytearray()
    for octet in octets:
        buffer.append(octet)
        if end := finder(buffer, DEFAULT_LIMITS, 0, len(buffer) - 1):
            return end
    return None


def rewrite_body(body: Body, content: bytes) -> bytes:
    return (
        write_chunk(content) + write_last_chunk(body.trailers)
        if isinstance(body, ChunkedBody)
        else content
    )


def forward(octets: bytes, piecewise: bool) -> RequestOutcome:
    """Process a client's octets like the engine, without a network."""
    outcome = RequestOutcome()
    while octets and not outcome.closes:
        try:
            end = find(find_head, octets, piecewise)
            if end is None:
                outcome.word = "incomplete" if not outcome.heads else outcome.word
                break
            request = parse_request(octets[:end])
        except MessageError as error:
            outcome.word = outcome.word if outcome.heads else f"reject-{error.status}"
            outcome.closes = True
            break
        octets = octets[end:]
        outcome.closes = not request.keep_alive
        word = answered_locally(request)
        if word:
            outcome.word = word
            break
        head = write_request(request, via=VIA, credentials=CREDENTIALS)
        outcome.heads.append(head)
        if request.target.form is Form.AUTHORITY:
            outcome.word = "tunnel"
            outcome.sent.append(head)
            break
        outcome.word, octets = forward_body(request, head, octets, piecewise, outcome)
    return outcome


def forward_body(
    request: Request, head: bytes, octets: bytes, piecewise: bool, outcome: RequestOutcome
) -> tuple[str, bytes]:
    body = request_body_reader(request.framing)
    try:
        content, surplus = feed(body, *(single_octets(octets) if piecewise else [octets]))
        body.eof()
    except MessageError:
        outcome.closes = True
        return "abort", b""
    outcome.bodies.append(content)
    outcome.sent.append(head + rewrite_body(body, content))
    return "forward-normalised", surplus


def answered_locally(request: Request) -> str | None:
    """Return the word of the corpus if the engine answers the request itself, otherwise None.

    The exact response to origin-form is tested with the engine.
    """
    if request.target.form in (Form.ORIGIN, Form.ASTERISK):
        return "reject-400"
    if request.method == b"OPTIONS" and request.has_max_forwards_zero:
        return "local-200"
    return "reject-508" if is_loop(request.fields, VIA) else None


def check_patterns(patterns: dict[str, Any], head: bytes, everything: bytes) -> None:
    for pattern in patterns.get("must", ()):
        assert re.search(pattern, head.decode("latin-1")), pattern
    for pattern in patterns.get("must_not", ()):
        assert not re.search(pattern, everything.decode("latin-1")), pattern
    for pattern in patterns.get("head_must_not", ()):
        assert not re.search(pattern, head.decode("latin-1")), pattern


def check_head(head: bytes) -> None:
    """Check the invariants I2 and I3 of the corpus."""
    assert len(re.findall(rb"(?i)\r\nhost:", head)) == 1
    assert len(re.findall(rb"(?i)\r\n(?:content-length|transfer-encoding):", head)) <= 1
    assert not re.search(rb"\r\n[ \t]|\r(?!\n)|(?<!\r)\n|\x00", head)
    credentials = re.findall(rb"(?i)\r\nproxy-authorization: ([^\r]*)", head)
    assert credentials == ([] if head.startswith(b"TRACE") else [CREDENTIALS])


@pytest.mark.parametrize("piecewise", [False, True], ids=["whole", "octets"])
@pytest.mark.parametrize("case", CLIENT_CASES, ids=lambda case: str(case["id"]))
def test_the_octets_of_a_client_are_forwarded_as_in_the_corpus(
    case: dict[str, Any], piecewise: bool
) -> None:
    octets = octets_of(case, case["bytes"])
    outcome = forward(octets, piecewise)
    allowed = {case["expect"], *case["accept"]}
    assert outcome.word in allowed
    patterns = case.get("fwd", {})
    for head in outcome.heads:
        check_head(head)
    if outcome.word in ("forward-normalised", "tunnel"):
        assert len(outcome.heads) == patterns.get("count", len(outcome.heads))
        check_patterns(patterns, outcome.heads[0], b"".join(outcome.sent))
    if "body" in patterns and outcome.bodies:
        assert outcome.bodies[0] == patterns["body"].encode("latin-1")
    if case.get("conn") == "close":
        assert outcome.closes
    if not piecewise:
        check_with_other_parsers(outcome)


def check_with_other_parsers(outcome: RequestOutcome) -> None:
    """Assert that h11 and llhttp accept all octets sent upstream."""
    bodies = outcome.bodies or [b""]
    for head, message, body in zip(outcome.heads, outcome.sent, bodies, strict=False):
        ours = parse_request(head)
        for read in (h11_request, llhttp_request):
            reading = read(message)
            assert reading.start == (ours.method, ours.target.raw)
            assert reading.fields == tuple((n.lower(), v) for n, v in ours.fields)
            assert reading.body == body


TRIGGERS = {
    "GET": b"GET http://origin.test/ HTTP/1.1\r\nHost: origin.test\r\n\r\n",
    "HEAD": b"HEAD http://origin.test/ HTTP/1.1\r\nHost: origin.test\r\n\r\n",
    "CONNECT": b"CONNECT origin.test:443 HTTP/1.1\r\nHost: origin.test:443\r\n\r\n",
    "POST64K": b"POST http://origin.test/ HTTP/1.1\r\nHost: origin.test\r\n"
    b"Content-Length: 65536\r\n\r\n",
    "PUT_EXPECT": b"PUT http://origin.test/ HTTP/1.1\r\nHost: origin.test\r\n"
    b"Content-Length: 5\r\nExpect: 100-continue\r\n\r\n",
    "UPGRADE": b"GET http://origin.test/ HTTP/1.1\r\nHost: origin.test\r\n"
    b"Connection: upgrade\r\nUpgrade: websocket\r\n\r\n",
}


# A case with a slow client needs a clock too.
UPSTREAM_CASES = [
    case for case in CASES if case["side"] == "upstream" and case["trigger"] in TRIGGERS
]


@dataclass
class ResponseOutcome:
    """The result for an upstream's octets: the word of the corpus, and the client's octets."""

    word: str
    interim: list[int] = field(default_factory=list)
    response: Response | None = None
    head: bytes = b""
    body: bytes = b""
    tail: bytes = b""
    sent: bytes = b""


def forward_response(case: dict[str, Any], request: Request) -> ResponseOutcome:
    """Process an upstream's octets like the engine, without a network."""
    octets = octets_of(case, case["bytes"])
    piecewise = case.get("split") == "bytes"
    result = ResponseOutcome("504" if case.get("hang") else "502")
    while True:
        try:
            end = find(find_response_head, octets, piecewise)
            if end is None:
                return result
            response = parse_response(octets[:end], request.method)
        except MessageError as error:
            result.word = str(error.status)
            return result
        octets = octets[end:]
        if not response.is_interim:
            break
        result.interim.append(response.status)
        assert write_interim(response, via=VIA, client_minor=0) == b""
        h11_response(write_interim(response, via=VIA, client_minor=1))
    if response.status == 101 and not switches_protocols(request, response):
        return result
    result.response = response
    result.head = write_response(response, via=VIA, client_minor=1, close=False)
    result.tail = octets
    if response.status == 101 or response.opens_tunnel:
        result.word = "tunnel"
        return result
    forward_response_body(response, octets, result)
    return result


def forward_response_body(response: Response, octets: bytes, result: ResponseOutcome) -> None:
    body = response_body_reader(response.framing)
    try:
        result.body, _ = feed(body, octets)
        body.eof()
    except MessageError:
        result.word = "truncate"
        return
    result.word = "forward"
    result.sent = result.head + rewrite_body(body, result.body)


def check_response(case: dict[str, Any], result: ResponseOutcome) -> None:
    allowed = {case["expect"], *case["accept"]}
    word = result.word
    if any(a.startswith("auth:") or a == "407" for a in allowed):
        # Without a connection, only the parsing of the first challenge can be checked.
        if word in allowed:
            return
        assert result.response, word
        assert result.response.status in (401, 407)
        challenges = parse_challenges(result.response.fields.get_all(b"proxy-authenticate"))
        scheme = case["expect"].removeprefix("auth:")
        if scheme not in ("none", "rejected", "502"):
            assert scheme in {challenge.scheme for challenge in challenges}
        return
    if word == "forward" and "no-tunnel" in allowed:
        word = "no-tunnel"
    assert word in allowed


@pytest.mark.parametrize("case", UPSTREAM_CASES, ids=lambda case: str(case["id"]))
def test_the_octets_of_an_upstream_are_forwarded_as_in_the_corpus(case: dict[str, Any]) -> None:
    request = parse_request(TRIGGERS[case["trigger"]])
    result = forward_response(case, request)
    check_response(case, result)
    client = case.get("client", {})
    answered = not case["expect"].startswith("auth:") and result.word in ("forward", "tunnel")
    if answered and result.response:
        assert result.response.status == client.get("status", result.response.status)
        assert result.interim == client.get("interim", result.interim)
        check_patterns(client, result.head, result.head)
        if "body" in client:
            assert result.body == client["body"].encode("latin-1")
        if "tail" in client:
            assert result.tail == client["tail"].encode("latin-1")
    if case.get("realm") and result.response:
        challenges = parse_challenges(result.response.fields.get_all(b"proxy-authenticate"))
        assert case["realm"] in [challenge.realm for challenge in challenges]
    check_response_with_other_parsers(request, result)


def check_response_with_other_parsers(request: Request, result: ResponseOutcome) -> None:
    """Assert that h11 and llhttp accept all octets sent to the client."""
    if not result.response or not result.sent:
        return
    status = b"%d" % result.response.status
    readings = [h11_response(result.sent, request.method)]
    if request.method != b"HEAD":
        readings.append(llhttp_response(result.sent))
    for reading in readings:
        assert reading.start[0] == status
        assert reading.body == result.body
