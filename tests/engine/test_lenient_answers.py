"""Responses which violate the grammar but are widely accepted are relayed in strict form."""

import pytest

from tests.engine.conftest import Serve, StartScripted
from tests.engine.wire import get
from tests.support.scripted_upstream import OK, ScriptedConnection, answering

GET = get(b"http://origin.test/")
CHUNKS = b"5\r\nhello\r\n0\r\n\r\n"
SPLIT = b"HTTP/1.1 200 Forged\r\nContent-Length: 6\r\n\r\nforged"
"""What a site may put behind its answer in the hope that it answers the next request."""

ODD = {
    "bare LF": b"HTTP/1.1 200 OK\nContent-Length: 5\n\nhello",
    "one bare LF": b"HTTP/1.1 200 OK\r\nX: y\nContent-Length: 5\r\n\r\nhello",
    "a folded line": b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 5\r\n\r\nhello",
    "two framings": b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n"
    + CHUNKS,
    "identity": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\nContent-Length: 5\r\n\r\nhello",
    "a padded size": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5   \r\nhello\r\n"
    b"0\r\n\r\n",
    "chunks with bare LF": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello\n0\n\n",
    "an odd 103": b"HTTP/1.1 103 Early Hints\nLink: </a>\n\n"
    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
}


@pytest.mark.parametrize("behind", [b"", SPLIT], ids=["alone", "with more behind it"])
@pytest.mark.parametrize("octets", ODD.values(), ids=ODD)
def test_a_malformed_but_readable_response_arrives_and_its_connection_closes(
    serve: Serve, octets: bytes, behind: bytes
) -> None:
    def odd(peer: ScriptedConnection) -> None:
        peer.read_head()
        peer.send(octets + behind)
        peer.hang()

    client, upstream = serve(odd, answering(OK))
    reply = client.ask(GET)
    assert (reply.status, reply.body) == (200, b"hello")
    assert client.ask(GET).body == b"ok\n"
    assert client.ask(GET).body == b"ok\n"
    assert len(upstream.peers) == 2
    assert upstream.peers[0].received.count(b"GET ") == 1


def test_an_http_1_0_client_gets_all_chunks_of_a_packet_without_framing(serve: Serve) -> None:
    """The chunks arrive in one packet, and HTTP/1.0 has no chunked coding (RFC 9112, section
    7.1.2)."""
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    client, _ = serve(answering(chunked + b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"))
    client.send(get(b"http://origin.test/", version=b"1.0"))
    head, _, body = client.take_all().partition(b"\r\n\r\n")
    assert b"chunked" not in head
    assert body == b"hello"


def test_the_page_for_a_too_large_header_names_trayproxys_own_limit(
    start_scripted: StartScripted,
) -> None:
    large = b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000 + b"\r\nContent-Length: 0\r\n\r\n"
    engine, _ = start_scripted(answering(large))
    with engine.connect() as client:
        reply = client.ask(GET)
    assert reply.status == 502
    assert b"TrayProxy&#x27;s own limit" in reply.body
    assert b"not a proper HTTP answer" not in reply.body
    with engine.connect() as client:
        reply = client.ask(get(b"http://origin.test/", b"X: " + b"x" * 70_000))
    assert reply.status == 431
    assert b"TrayProxy&#x27;s own limit" in reply.body


def test_a_header_of_64_kib_passes_both_ways(serve: Serve) -> None:
    field = b"X: " + b"x" * 65_000
    large = b"HTTP/1.1 200 OK\r\n" + field + b"\r\nContent-Length: 2\r\n\r\nok"
    client, upstream = serve(answering(large))
    reply = client.ask(get(b"http://origin.test/", *[field] * 4))
    assert reply.values(b"x") == [field[3:]]
    assert upstream.peers[0].received.count(field) == 4
