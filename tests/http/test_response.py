"""Tests for trayproxy.http.response."""

import pytest

from tests.http.readers import h11_response
from tests.http.refusals import refusal_status
from trayproxy.http.fields import Fields
from trayproxy.http.framing import Chunked, Framing, Length, NoBody, UntilClose
from trayproxy.http.request import parse_request
from trayproxy.http.response import (
    Response,
    client_framing,
    parse_response,
    switches_protocols,
    write_interim,
    write_response,
)

VIA = b"tray-5f0c"
CHUNKED = b"Transfer-Encoding: chunked"
FIVE = b"Content-Length: 5"


def head(line: bytes, *fields: bytes) -> bytes:
    return b"\r\n".join((line, *fields, b"", b""))


def ok(*fields: bytes, minor: int = 1) -> bytes:
    return head(b"HTTP/1.%d 200 OK" % minor, *fields)


def write(octets: bytes, method: bytes = b"GET", minor: int = 1, *, close: bool = False) -> bytes:
    response = parse_response(octets, method)
    return write_response(response, via=VIA, client_minor=minor, close=close)


def test_a_response_is_parsed() -> None:
    response = parse_response(head(b"HTTP/1.1 404 Not  Found", b"Content-Length: 0"), b"GET")
    fields = Fields(((b"Content-Length", b"0"),))
    assert response == Response(1, 404, b"Not  Found", fields, Length(0), keep_alive=True)
    assert not response.is_interim


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"HTTP/1.1 200 ", b""),
        (b"HTTP/1.1 200", b""),
        (b"HTTP/1.1 200  x", b" x"),
        (b"HTTP/1.1 200 caf\xe9\t", b"caf\xe9\t"),
        (b"HTTP/1.2 200 OK", b"OK"),
    ],
)
def test_any_reason_phrase_is_accepted(line: bytes, reason: bytes) -> None:
    octets = head(line, b"Content-Length: 0")
    assert parse_response(octets, b"GET").reason == reason
    assert write(octets).startswith(b"HTTP/1.1 200 " + reason + b"\r\n")


@pytest.mark.parametrize(
    "line",
    [
        # Another protocol or version.
        *(b"", b"220 mail.test ESMTP", b"<html>not http</html>"),
        *(b"HTTP/2.0 200 OK", b"HTTP/1.12 200 OK", b"http/1.1 200 OK"),
        # A status other than 100 to 599.
        *(b"HTTP/1.1 20 OK", b"HTTP/1.1 2000 OK", b"HTTP/1.1 -200 OK", b"HTTP/1.1 2x0 OK"),
        *(b"HTTP/1.1 099 OK", b"HTTP/1.1 600 OK", b"HTTP/1.1 999 OK"),
        # Separators other than a single SP.
        *(b"HTTP/1.1 200OK", b"HTTP/1.1  200 OK", b"HTTP/1.1\t200\tOK", b" HTTP/1.1 200 OK"),
        # Control octets.
        *(b"HTTP/1.1 200 O\x00K", b"HTTP/1.1 200 O\rK", b"HTTP/1.1 200 O\nK"),
    ],
)
def test_an_invalid_status_line_is_a_502(line: bytes) -> None:
    assert refusal_status(parse_response, head(line, b"Content-Length: 0"), b"GET") == 502


@pytest.mark.parametrize(
    "line",
    [b" a\r\nX-A: b", b"X-A: a\rb", b"X-A: a\nb", b"X-A: a\x00b", b"nocolon", b"X A: b", b": b"],
)
def test_an_invalid_field_line_is_a_502_r_012_r_013(line: bytes) -> None:
    assert refusal_status(parse_response, ok(line, b"Content-Length: 0"), b"GET") == 502


def test_the_space_before_a_colon_is_removed_r_011() -> None:
    assert b"\r\nX-A: b\r\n" in write(ok(b"X-A : b", b"Content-Length : 0"))


@pytest.mark.parametrize(
    ("method", "octets", "framing"),
    [
        (b"GET", ok(FIVE), Length(5)),
        (b"GET", ok(FIVE, FIVE), Length(5)),
        (b"GET", ok(b"Content-Length: 5, 5"), Length(5)),
        (b"GET", ok(CHUNKED), Chunked()),
        (b"GET", ok(), UntilClose()),
        (b"GET", ok(CHUNKED, minor=0), Chunked()),
        (b"GET", ok(FIVE, CHUNKED), Chunked()),
        (b"GET", ok(CHUNKED, b"Content-Length: x"), Chunked()),
        (b"GET", ok(b"Transfer-Encoding: identity", FIVE), Length(5)),
        (b"GET", ok(b"Transfer-Encoding: Identity"), UntilClose()),
        (b"GET", ok(b"Transfer-Encoding: identity, chunked", FIVE), Chunked()),
        (b"HEAD", ok(FIVE), NoBody(5)),
        (b"HEAD", ok(CHUNKED), NoBody()),
        (b"HEAD", ok(), NoBody()),
        (b"HEAD", ok(FIVE, CHUNKED), NoBody()),
        (b"HEAD", ok(b"Content-Length: x"), NoBody()),
        (b"GET", head(b"HTTP/1.1 204 No Content", FIVE), NoBody()),
        (b"GET", head(b"HTTP/1.1 204 No Content", CHUNKED), NoBody()),
        (b"GET", head(b"HTTP/1.1 304 Not Modified", FIVE), NoBody(5)),
        (b"GET", head(b"HTTP/1.1 304 Not Modified"), NoBody()),
        (b"GET", head(b"HTTP/1.1 103 Early Hints", FIVE, CHUNKED), NoBody()),
        (b"GET", head(b"HTTP/1.1 205 Reset Content", b"Content-Length: 0"), Length(0)),
        (b"CONNECT", ok(FIVE), NoBody()),
        (b"CONNECT", ok(CHUNKED, FIVE), NoBody()),
        (b"CONNECT", ok(b"Content-Length: x"), NoBody()),
        (b"CONNECT", head(b"HTTP/1.1 299 Odd"), NoBody()),
        (b"CONNECT", head(b"HTTP/1.1 300 Many", FIVE), Length(5)),
        (b"CONNECT", head(b"HTTP/1.1 103 Hints", FIVE), NoBody()),
        (b"GET", head(b"HTTP/1.1 199 Odd", FIVE), NoBody()),
        (b"GET", head(b"HTTP/1.1 203 Odd", FIVE), Length(5)),
        (b"GET", head(b"HTTP/1.1 205 Odd", FIVE), Length(5)),
        (b"GET", head(b"HTTP/1.1 303 Odd", FIVE), Length(5)),
        (b"GET", head(b"HTTP/1.1 305 Odd", FIVE), Length(5)),
        (b"CONNECT", head(b"HTTP/1.1 407 No", FIVE), Length(5)),
        (b"CONNECT", head(b"HTTP/1.1 503 No"), UntilClose()),
    ],
)
def test_method_and_status_decide_the_framing_r_032_r_045(
    method: bytes, octets: bytes, framing: Framing
) -> None:
    response = parse_response(octets, method)
    assert response.framing == framing
    assert response.opens_tunnel is (method == b"CONNECT" and 200 <= response.status < 300)


@pytest.mark.parametrize(
    "fields",
    [
        (FIVE, b"Content-Length: 6"),
        *(
            (b"Content-Length:" + value,)
            for value in (b" 5,6", b"", b" +5", b" 0x5", b" 99999999999999999999999")
        ),
        (b"Transfer-Encoding: chunked, gzip",),
        (b"Transfer-Encoding: gzip, chunked",),
        (b"Transfer-Encoding: chunked, identity",),
        (b"Transfer-Encoding: identity, gzip",),
        (b"Transfer-Encoding:",),
    ],
)
def test_invalid_framing_is_a_502_r_040_r_043(fields: tuple[bytes, ...]) -> None:
    assert refusal_status(parse_response, ok(*fields), b"GET") == 502


@pytest.mark.parametrize(
    ("octets", "keep_alive"),
    [
        (ok(FIVE), True),
        (ok(FIVE, b"Connection: close"), False),
        (ok(FIVE, b"Proxy-Connection: Close"), False),
        (ok(), False),
        (ok(FIVE, minor=0), False),
        (ok(FIVE, b"Connection: Keep-Alive", minor=0), True),
        (ok(FIVE, b"Proxy-Connection: keep-alive", minor=0), True),
        (ok(CHUNKED, b"Connection: keep-alive", minor=0), False),
        (ok(CHUNKED), True),
        (ok(CHUNKED, FIVE), False),
        (ok(b"Transfer-Encoding: identity", FIVE), False),
        (ok(b"Transfer-Encoding: identity, chunked"), False),
        (ok(b"Content-Length : 5"), False),
        (ok(b"Transfer-Encoding\t: chunked"), False),
        (ok(b"X-A : b", FIVE), True),
        (ok(b"X-A: a\r\n b", FIVE), False),
        (ok(b"X-A: a\nX-B: b", FIVE), False),
        (b"HTTP/1.1 200 OK\nContent-Length: 5\n\n", False),
        (b"\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", True),
    ],
)
def test_persistence_of_the_upstream_connection_r_042_r_071(
    octets: bytes, keep_alive: bool
) -> None:
    assert parse_response(octets, b"GET").keep_alive is keep_alive


def test_a_response_is_serialized_again() -> None:
    assert write(ok(b"X-A: b", FIVE, minor=0)) == (
        b"HTTP/1.1 200 OK\r\nX-A: b\r\nVia: 1.0 tray-5f0c\r\nContent-Length: 5\r\n\r\n"
    )


def test_hop_by_hop_fields_are_removed_r_050() -> None:
    octets = ok(
        b"Connection: X-Secret, keep-alive",
        b"X-Secret: s",
        b"Keep-Alive: timeout=5",
        b"Proxy-Connection: keep-alive",
        b"Upgrade: h2,h2c",
        b"Proxy-Authenticate: Basic realm=x",
        b"Proxy-Authentication-Info: nextnonce=x",
        FIVE,
    )
    assert write(octets) == ok(b"Via: 1.1 tray-5f0c", FIVE)


def test_end_to_end_fields_are_forwarded_unchanged_r_015_r_058() -> None:
    fields = (b"WWW-Authenticate: Negotiate", b"Set-Cookie: a=1", b"Set-Cookie: b=2, x")
    assert b"\r\n".join((b"", *fields, b"")) in write(ok(*fields, FIVE))


@pytest.mark.parametrize(
    ("octets", "minor", "framing"),
    [
        (ok(CHUNKED), 1, Chunked()),
        (ok(CHUNKED), 0, UntilClose()),
        (ok(FIVE), 0, Length(5)),
        (ok(), 1, UntilClose()),
    ],
)
def test_an_http_1_0_client_gets_no_chunks(octets: bytes, minor: int, framing: Framing) -> None:
    assert client_framing(parse_response(octets, b"GET"), minor) == framing
    assert parse_response(write(octets, minor=minor), b"GET").framing == framing


@pytest.mark.parametrize(
    ("octets", "minor", "close", "says_close"),
    [
        (ok(FIVE), 1, False, False),
        (ok(FIVE), 1, True, True),
        (ok(FIVE), 0, False, True),
        (ok(), 1, False, True),
        (ok(b"Connection: close", FIVE), 1, False, False),
    ],
)
def test_the_close_option_is_sent_to_the_client_r_070(
    octets: bytes, minor: int, close: bool, says_close: bool
) -> None:
    assert (b"\r\nConnection: close\r\n" in write(octets, minor=minor, close=close)) is says_close


@pytest.mark.parametrize("minor", [0, 1])
@pytest.mark.parametrize("close", [False, True])
def test_a_tunnel_begins_without_framing_or_close_r_032(minor: int, close: bool) -> None:
    octets = ok(FIVE, CHUNKED, b"Connection: close")
    written = write(octets, b"CONNECT", minor, close=close)
    assert written == ok(b"Via: 1.1 tray-5f0c")


def test_head_and_304_announce_their_length() -> None:
    assert FIVE in write(ok(FIVE), b"HEAD")
    assert FIVE in write(head(b"HTTP/1.1 304 Not Modified", FIVE))
    assert FIVE not in write(head(b"HTTP/1.1 204 No Content", FIVE))


WEBSOCKET = (
    b"GET http://a/ HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: WebSocket\r\n\r\n"
)


def switch(*fields: bytes) -> Response:
    return parse_response(head(b"HTTP/1.1 101 Switching Protocols", *fields), b"GET")


def test_101_keeps_upgrade_r_061() -> None:
    response = switch(b"Upgrade: websocket", b"Connection: Upgrade")
    assert switches_protocols(parse_request(WEBSOCKET), response)
    assert not response.is_interim
    written = write_response(response, via=VIA, client_minor=1, close=False)
    assert written == (
        b"HTTP/1.1 101 Switching Protocols\r\nVia: 1.1 tray-5f0c\r\n"
        b"Connection: upgrade\r\nUpgrade: websocket\r\n\r\n"
    )


def test_an_unrequested_101_does_not_switch_protocols_r_061() -> None:
    plain = parse_request(b"GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n")
    websocket = parse_request(WEBSOCKET)
    asked_for = switch(b"Upgrade: websocket", b"Connection: Upgrade")
    assert not switches_protocols(plain, asked_for)
    assert not switches_protocols(websocket, switch(b"Upgrade: evil", b"Connection: upgrade"))
    assert not switches_protocols(websocket, switch(b"Upgrade: websocket"))
    assert not switches_protocols(websocket, switch())


def test_426_keeps_upgrade() -> None:
    octets = head(b"HTTP/1.1 426 No", b"Connection: upgrade", b"Upgrade: foo/2", FIVE)
    assert b"\r\nConnection: upgrade, close\r\nUpgrade: foo/2\r\n" in write(octets, close=True)


def test_interim_responses_are_forwarded_except_to_http_1_0_r_063() -> None:
    octets = head(b"HTTP/1.1 103 Early Hints", b"Link: </a>", b"Connection: x", b"X: y")
    response = parse_response(octets, b"GET")
    assert response.is_interim
    assert write_interim(response, via=VIA, client_minor=0) == b""
    written = write_interim(response, via=VIA, client_minor=1)
    assert written == head(b"HTTP/1.1 103 Early Hints", b"Link: </a>", b"Via: 1.1 tray-5f0c")
    assert h11_response(written).start[0] == b"103"


def test_repr_contains_no_secret() -> None:
    assert "secret" not in repr(parse_response(ok(b"Set-Cookie: secret"), b"GET"))
