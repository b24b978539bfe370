"""Tests for trayproxy.http.request."""

from dataclasses import replace

import pytest

from tests.http.refusals import refusal_status
from trayproxy.http.fields import Fields
from trayproxy.http.framing import Chunked, Framing, Length, NoBody
from trayproxy.http.request import Request, parse_request, request_target, write_request
from trayproxy.http.target import parse_target

VIA = b"tray-5f0c"
MINE = b"Basic b3VyczpvbmzX"


def head(line: bytes, *fields: bytes, host: bytes = b"Host: a") -> bytes:
    return b"\r\n".join((line, host, *fields, b"", b""))


def get(*fields: bytes) -> bytes:
    return head(b"GET http://a/ HTTP/1.1", *fields)


def post(*fields: bytes, minor: int = 1) -> bytes:
    return head(b"POST http://a/ HTTP/1.%d" % minor, *fields)


def options(*fields: bytes, url: bytes = b"http://a/") -> bytes:
    return head(b"OPTIONS %b HTTP/1.1" % url, *fields)


def write(octets: bytes, credentials: bytes | None = MINE, *, direct: bool = False) -> bytes:
    return write_request(parse_request(octets), via=VIA, credentials=credentials, direct=direct)


def lines(octets: bytes) -> list[bytes]:
    return octets.split(b"\r\n")


def status_of(octets: bytes) -> int:
    return refusal_status(parse_request, octets)


def test_a_request_is_parsed() -> None:
    target = parse_target(b"GET", b"http://a/")
    fields = Fields(((b"Host", b"a"), (b"Accept", b"*/*")))
    expected = Request(b"GET", target, 1, fields, NoBody(), keep_alive=True)
    assert parse_request(get(b"Accept: */*")) == expected


def test_a_request_is_serialized_again() -> None:
    assert write(get(b"Accept: */*")) == (
        b"GET http://a/ HTTP/1.1\r\nHost: a\r\nAccept: */*\r\nVia: 1.1 tray-5f0c\r\n"
        b"Proxy-Authorization: Basic b3VyczpvbmzX\r\n\r\n"
    )


INVALID_LINES = [
    # Separators other than a single SP.
    *(b"GET  http://a/ HTTP/1.1", b"GET http://a/  HTTP/1.1", b"GET http://a/ HTTP/1.1 "),
    *(b" GET http://a/ HTTP/1.1", b"GET\thttp://a/ HTTP/1.1", b"GET http://a/\rHTTP/1.1"),
    *(b"GET http://a/ b HTTP/1.1", b"GET http://a/ \xc3\xa9 HTTP/1.1"),
    # An invalid octet.
    *(b"G(T http://a/ HTTP/1.1", b"G\xe9T http://a/ HTTP/1.1", b"GET http://\xc3\xa9/ HTTP/1.1"),
    *(b"CONNECT \xc3\xa9:443 HTTP/1.1", b"GET http://a/\x00 HTTP/1.1"),
    b"GET http://a/\x7f HTTP/1.1",
    # An invalid version, or none.
    *(b"GET http://a/", b"GET http://a/ http/1.1", b"GET http://a/ HTTP/1"),
    *(b"GET http://a/ HTTP/1.10", b"GET http://a/ HTTP/11.1", b"GET http://a/ HTTP/+1.1"),
    *(b"GET http://a/ HTTP/1,1", b"GET http://a/ RTSP/1.0"),
]
OTHER_VERSIONS = [
    *(b"GET http://a/ HTTP/2.0", b"GET http://a/ HTTP/3.0", b"GET http://a/ HTTP/0.9"),
    b"PRI * HTTP/2.0",
]


@pytest.mark.parametrize(
    ("line", "status"),
    [*((line, 400) for line in INVALID_LINES), *((line, 505) for line in OTHER_VERSIONS)],
)
def test_an_invalid_request_line_is_refused_r_008(line: bytes, status: int) -> None:
    assert status_of(head(line)) == status


def test_a_higher_minor_version_is_processed_as_1_1_rfc9110_2_5() -> None:
    request = parse_request(head(b"GET http://a/ HTTP/1.2"))
    assert request.keep_alive
    assert write(head(b"GET http://a/ HTTP/1.2")).startswith(b"GET http://a/ HTTP/1.1\r\n")


def test_the_own_version_is_sent_and_via_names_the_received_version_r_007_r_053() -> None:
    written = lines(write(head(b"GET http://a/ HTTP/1.0", b"Via: 1.0 b, 1.1 c")))
    assert written[0] == b"GET http://a/ HTTP/1.1"
    assert [line for line in written if line.startswith(b"Via")] == [
        b"Via: 1.0 b, 1.1 c",
        b"Via: 1.0 tray-5f0c",
    ]


@pytest.mark.parametrize(
    "fields",
    [
        (),
        (b"Host: a", b"Host: a"),
        (b"Host: a", b"host: b"),
        (b"Host: a, b",),
        (b"Host: http://a",),
        (b"Host: u@a",),
        (b"Host: a:b",),
    ],
)
def test_a_missing_repeated_or_invalid_host_is_a_400_r_022(fields: tuple[bytes, ...]) -> None:
    assert status_of(b"\r\n".join((b"GET http://a/ HTTP/1.1", *fields, b"", b""))) == 400


def test_http_1_0_needs_no_host() -> None:
    octets = b"GET http://a:8080/ HTTP/1.0\r\n\r\n"
    assert b"\r\nHost: a:8080\r\n" in write(octets)


@pytest.mark.parametrize("host", [b"Host: evil.test", b"Host:", b"Host: a:99"])
def test_host_is_made_from_the_target_r_021(host: bytes) -> None:
    written = write(head(b"GET http://a/ HTTP/1.1", host=host))
    assert [line for line in lines(written) if line.lower().startswith(b"host")] == [b"Host: a"]


@pytest.mark.parametrize(
    ("fields", "framing"),
    [
        ((), NoBody()),
        ((b"Content-Length: 0",), Length(0)),
        ((b"Content-Length: 5",), Length(5)),
        ((b"Content-Length: 0010",), Length(10)),
        ((b"Content-Length: 5, 5",), Length(5)),
        ((b"Content-Length: 5", b"content-length: 5"), Length(5)),
        ((b"Content-Length: 9999999999999999999",), Length(9999999999999999999)),
        ((b"Transfer-Encoding: chunked",), Chunked()),
        ((b"Transfer-Encoding: ,Chunked ,",), Chunked()),
        ((b"Content_Length: 9", b"Content-Length: 5"), Length(5)),
        ((b"Connection: content-length", b"Content-Length: 5"), Length(5)),
        ((b"Connection: transfer-encoding", b"Transfer-Encoding: chunked"), Chunked()),
    ],
)
def test_framing_is_parsed_and_serialized_again_r_043_r_052(
    fields: tuple[bytes, ...], framing: Framing
) -> None:
    assert parse_request(post(*fields)).framing == framing
    assert parse_request(write(post(*fields))).framing == framing


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ((b"Content-Length: 5", b"Transfer-Encoding: chunked"), 400),
        ((b"Content-Length: 5", b"Content-Length: 6"), 400),
        *(
            ((b"Content-Length:" + value,), 400)
            for value in (
                *(b" 5, 6", b" 5,", b" 5, 05", b"", b" +5", b" -5", b" 0x5", b" 1_0", b" 5.0"),
                *(b" 5 5", b" \xb2", b" \xa05", b" 99999999999999999999"),
            )
        ),
        ((b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity"), 400),
        *(
            ((b"Transfer-Encoding:" + value,), 400)
            for value in (
                *(b"", b" identity", b" gzip", b" chunked, chunked", b" chunked, gzip"),
                *(b" chunked;q=1", b" xchunked", b' "chunked"', b" \xa0chunked"),
            )
        ),
        ((b"Transfer-Encoding: gzip, chunked",), 501),
        ((b"Transfer-Encoding: gzip", b"Transfer-Encoding: chunked"), 501),
    ],
)
def test_invalid_framing_is_refused_r_040_r_041_r_043(
    fields: tuple[bytes, ...], status: int
) -> None:
    assert status_of(post(*fields)) == status


def test_transfer_encoding_in_http_1_0_is_invalid_r_042() -> None:
    assert status_of(post(b"Transfer-Encoding: chunked", minor=0)) == 400


@pytest.mark.parametrize("line", [b"CONNECT a:443 HTTP/1.1", b"TRACE http://a/ HTTP/1.1"])
@pytest.mark.parametrize("field", [b"Transfer-Encoding: chunked", b"Content-Length: 5"])
def test_connect_and_trace_have_no_content_r_037(line: bytes, field: bytes) -> None:
    assert status_of(head(line, field)) == 400
    request = parse_request(head(line, b"Content-Length: 0"))
    assert request.framing == NoBody()
    assert b"Content-Length" not in write_request(request, via=VIA, credentials=None)


@pytest.mark.parametrize(
    ("octets", "keep_alive"),
    [
        (get(), True),
        (get(b"Connection: keep-alive"), True),
        (get(b"Connection: close"), False),
        (get(b"Connection: keep-alive, Close"), False),
        (get(b"Proxy-Connection: close"), False),
        (head(b"GET http://a/ HTTP/1.0"), False),
        (head(b"GET http://a/ HTTP/1.0", b"Connection: keep-alive"), False),
        (head(b"GET http://a/ HTTP/1.0", b"Proxy-Connection: keep-alive"), False),
    ],
)
def test_a_connection_persists_only_in_http_1_1_r_070_r_071(
    octets: bytes, keep_alive: bool
) -> None:
    assert parse_request(octets).keep_alive is keep_alive


def test_hop_by_hop_fields_are_removed_r_050_r_051() -> None:
    written = write(
        get(
            b"Connection: X-Foo, close, via, TE",
            b"X-Foo: gone",
            b"X-Bar: stays",
            b"Keep-Alive: timeout=5",
            b"Proxy-Connection: keep-alive",
            b"TE: trailers",
            b"Upgrade: websocket",
            b"Via: 1.1 gone",
        )
    )
    assert lines(written)[1:-3] == [b"Host: a", b"X-Bar: stays", b"Via: 1.1 tray-5f0c"]


def test_fields_written_by_the_proxy_are_kept_if_connection_names_them_r_052() -> None:
    written = write(
        post(b"Connection: host, content-length, proxy-authorization, via", b"Content-Length: 5")
    )
    assert lines(written)[1:-2] == [
        b"Host: a",
        b"Via: 1.1 tray-5f0c",
        b"Content-Length: 5",
        b"Proxy-Authorization: " + MINE,
    ]


def test_the_proxy_authorization_of_the_client_is_never_forwarded() -> None:
    octets = get(b"pRoXy-AuThOrIzAtIoN: Basic ZXZpbDpldmls", b"Proxy-Authorization: NTLM TlRM")
    assert b"proxy-authorization" not in write(octets, None).lower()
    assert write(octets).lower().count(b"proxy-authorization") == 1


def test_credentials_for_the_origin_are_forwarded_r_058() -> None:
    octets = get(b"Authorization: Basic dTpw", b"Cookie: s=1")
    assert b"\r\nAuthorization: Basic dTpw\r\nCookie: s=1\r\n" in write(octets)


@pytest.mark.parametrize("value", [b"", b"Basic a\r\nX: y", b"Basic a\n", b"Basic \x00"])
def test_credentials_that_are_not_a_field_value_are_refused(value: bytes) -> None:
    with pytest.raises(ValueError, match="cannot be sent") as refused:
        write(get(), value)
    assert "Basic" not in str(refused.value)


def test_trace_carries_no_credentials_r_056() -> None:
    assert MINE not in write(head(b"TRACE http://a/ HTTP/1.1"))


def test_a_direct_request_is_in_origin_form_and_carries_no_credentials() -> None:
    written = write(head(b"GET http://a:81/b?c HTTP/1.1"), direct=True)
    assert written.startswith(b"GET /b?c HTTP/1.1\r\nHost: a:81\r\n")
    assert MINE not in written


@pytest.mark.parametrize(
    ("method", "url", "sent", "sent_directly"),
    [
        (b"GET", b"http://a", b"http://a/", b"/"),
        (b"GET", b"http://a?b", b"http://a/?b", b"/?b"),
        (b"GET", b"http://a:80//b", b"http://a//b", b"//b"),
        (b"OPTIONS", b"http://a", b"http://a", b"*"),
        (b"OPTIONS", b"http://a/", b"http://a/", b"/"),
        (b"OPTIONS", b"http://a?b", b"http://a/?b", b"/?b"),
    ],
)
def test_the_request_target_sent_upstream_r_025_r_027(
    method: bytes, url: bytes, sent: bytes, sent_directly: bytes
) -> None:
    request = parse_request(head(b"%b %b HTTP/1.1" % (method, url)))
    assert request_target(request) == sent
    assert request_target(request, direct=True) == sent_directly


def test_connect_is_sent_in_authority_form() -> None:
    written = write(head(b"CONNECT A.test:443 HTTP/1.0", b"Proxy-Connection: keep-alive"))
    assert lines(written)[:2] == [b"CONNECT a.test:443 HTTP/1.1", b"Host: a.test:443"]


@pytest.mark.parametrize("direct", [False, True])
def test_only_a_proxy_is_asked_to_keep_the_connection_open(*, direct: bool) -> None:
    request = parse_request(get())
    written = write_request(
        request, via=VIA, credentials=None, direct=direct, request_keep_alive=True
    )
    assert (b"Proxy-Connection: keep-alive" in lines(written)) is not direct


@pytest.mark.parametrize("line", [b"GET / HTTP/1.1", b"OPTIONS * HTTP/1.1"])
def test_a_target_without_a_server_is_never_forwarded_r_028(line: bytes) -> None:
    request = parse_request(head(line))
    for direct in (False, True):
        with pytest.raises(ValueError, match="forwarded"):
            write_request(request, via=VIA, credentials=None, direct=direct)


@pytest.mark.parametrize("path", [b"/caf\xc3\xa9", b"/?q=caf\xe9", b"/\x80\xa0\xff"])
def test_octets_above_ascii_are_allowed_in_path_and_query_r_025(path: bytes) -> None:
    octets = head(b"GET http://a%b HTTP/1.1" % path)
    assert write(octets).startswith(b"GET http://a%b HTTP/1.1\r\n" % path)
    assert write(octets, direct=True).startswith(b"GET %b HTTP/1.1\r\n" % path)


@pytest.mark.parametrize(
    ("url", "sent", "host"),
    [
        (b"https://a.test", b"https://a.test/", b"a.test"),
        (b"https://a.test?q", b"https://a.test/?q", b"a.test"),
        (b"HTTPS://A.test:443/", b"https://a.test/", b"a.test"),
        (b"https://a.test:80/", b"https://a.test:80/", b"a.test:80"),
        (b"https://a.test:8443/", b"https://a.test:8443/", b"a.test:8443"),
        (b"http://a.test:443/", b"http://a.test:443/", b"a.test:443"),
        (b"ftp://a.test/b;type=i", b"ftp://a.test/b;type=i", b"a.test"),
        (b"ftp://a.test", b"ftp://a.test", b"a.test"),
        (b"ftp://me:p%40ss@a.test:2121/b", b"ftp://me:p%40ss@a.test:2121/b", b"a.test:2121"),
        (b"gopher://[::1]:70/", b"gopher://[::1]/", b"[::1]"),
        (b"ftp://a.test:21/", b"ftp://a.test/", b"a.test"),
        (b"ws://a.test:80/", b"ws://a.test/", b"a.test"),
        (b"wss://a.test:443/", b"wss://a.test/", b"a.test"),
        (b"x-new+1.0://a.test/b", b"x-new+1.0://a.test/b", b"a.test"),
        (b"x-new://[::1]/b", b"x-new://[::1]/b", b"[::1]"),
        (b"x-new://a.test:7/b", b"x-new://a.test:7/b", b"a.test:7"),
    ],
)
def test_a_url_of_any_scheme_is_forwarded_unchanged_to_a_proxy_r_029(
    url: bytes, sent: bytes, host: bytes
) -> None:
    request = parse_request(head(b"GET %b HTTP/1.1" % url, host=b"Host: other.test"))
    written = write_request(request, via=VIA, credentials=None)
    assert written.startswith(b"GET %b HTTP/1.1\r\nHost: %b\r\n" % (sent, host))
    assert request.can_be_sent_directly is sent.startswith(b"http:")
    assert b"p%40ss" not in repr(request).encode()
    if not request.can_be_sent_directly:
        with pytest.raises(ValueError, match="only a proxy"):
            write_request(request, via=VIA, credentials=None, direct=True)


def test_host_may_repeat_the_user_information_of_ftp() -> None:
    line = b"GET ftp://me:x@a.test/ HTTP/1.1"
    assert parse_request(head(line, host=b"Host: me:x@a.test"))
    for host in (b"you@a.test", b"me@a.test", b"me:x@", b"me:x@a.tes", b"me:x@b.test"):
        assert status_of(head(line, host=b"Host: " + host)) == 400
    assert status_of(head(b"GET http://a.test/ HTTP/1.1", host=b"Host: me:x@a.test")) == 400


def test_a_direct_connect_is_not_forwarded_as_a_message() -> None:
    with pytest.raises(ValueError, match="forwarded"):
        write(head(b"CONNECT a:443 HTTP/1.1"), direct=True)


def test_max_forwards_is_decremented_r_054() -> None:
    assert b"\r\nMax-Forwards: 4\r\n" in write(options(b"max-forwards: 5"))
    nominated = options(b"Connection: max-forwards", b"Max-Forwards: 5")
    assert b"\r\nMax-Forwards: 4\r\n" in write(nominated)


def test_max_forwards_0_is_answered_here_r_054() -> None:
    request = parse_request(options(b"Max-Forwards: 0"))
    assert request.has_max_forwards_zero
    assert not parse_request(options(b"Max-Forwards: 1")).has_max_forwards_zero
    with pytest.raises(ValueError, match="used up"):
        write_request(request, via=VIA, credentials=None)


def test_max_forwards_of_other_methods_is_forwarded_unchanged() -> None:
    request = parse_request(get(b"Max-Forwards: 0"))
    assert not request.has_max_forwards_zero
    assert b"\r\nMax-Forwards: 0\r\n" in write_request(request, via=VIA, credentials=None)


@pytest.mark.parametrize("value", [b"", b"-1", b"+1", b"1_0", b"1, 2", b"9999999999"])
def test_an_invalid_max_forwards_is_a_400(value: bytes) -> None:
    assert status_of(options(b"Max-Forwards: " + value)) == 400


@pytest.mark.parametrize("second", [b"5", b"6", b"x"])
@pytest.mark.parametrize("method", [b"OPTIONS", b"TRACE"])
def test_two_max_forwards_lines_are_a_400_even_if_equal(method: bytes, second: bytes) -> None:
    line = b"%b http://a/ HTTP/1.1" % method
    assert status_of(head(line, b"Max-Forwards: 5", b"Max-Forwards: " + second)) == 400


@pytest.mark.parametrize("count", [1, 999_999_999])
def test_valid_values_of_max_forwards(count: int) -> None:
    octets = options(b"Max-Forwards: %d" % count)
    assert b"\r\nMax-Forwards: %d\r\n" % (count - 1) in write(octets)


def test_upgrade_is_forwarded_only_with_the_connection_option_r_060() -> None:
    asked = get(b"Connection: Upgrade, keep-alive", b"Upgrade: websocket, foo/2")
    assert parse_request(asked).upgrade == (b"websocket", b"foo/2")
    assert b"\r\nConnection: upgrade\r\nUpgrade: websocket, foo/2\r\n" in write(asked)
    for octets in (
        get(b"Upgrade: websocket"),
        get(b"Connection: upgrade"),
        head(b"GET http://a/ HTTP/1.0", b"Connection: upgrade", b"Upgrade: websocket"),
        head(b"CONNECT a:443 HTTP/1.1", b"Connection: upgrade", b"Upgrade: websocket"),
    ):
        assert parse_request(octets).upgrade == ()
        assert b"pgrade" not in write(octets)


def test_an_upgrade_to_http_2_is_removed() -> None:
    octets = get(b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: H2C", b"HTTP2-Settings: AAA")
    assert b"pgrade" not in write(octets)
    assert b"HTTP2" not in write(octets)


@pytest.mark.parametrize("field", [b"Content-Length: 5", b"Transfer-Encoding: chunked"])
def test_an_expectation_is_forwarded_r_062(field: bytes) -> None:
    octets = post(b"Expect: 100-Continue", field)
    assert parse_request(octets).expects_continue
    assert b"\r\nExpect: 100-continue\r\n" in write(octets)


@pytest.mark.parametrize(
    "octets",
    [
        post(b"Expect: 100-continue", b"Content-Length: 5", minor=0),
        post(b"Expect: other", b"Content-Length: 5", minor=0),
        post(b"Expect: 100-continue", b"Content-Length: 0"),
        post(b"Expect:", b"Content-Length: 5"),
        get(b"Expect: 100-continue"),
    ],
)
def test_an_expectation_of_http_1_0_or_without_content_is_ignored_r_063(octets: bytes) -> None:
    assert not parse_request(octets).expects_continue
    assert b"Expect" not in write(octets)


def test_the_engine_may_remove_an_expectation() -> None:
    request = parse_request(post(b"Expect: 100-continue", b"Content-Length: 5"))
    changed: Request = replace(request, expects_continue=False, framing=Chunked())
    written = write_request(changed, via=VIA, credentials=None)
    assert b"Expect" not in written
    assert parse_request(written).framing == Chunked()


def test_an_unknown_expectation_is_a_417() -> None:
    assert status_of(post(b"Expect: 200-maybe", b"Content-Length: 5")) == 417
    assert status_of(post(b"Expect: 100-continue, x", b"Content-Length: 5")) == 417


def test_too_many_lines_are_a_431_r_010() -> None:
    assert len(parse_request(get(*[b"X: y"] * 511)).fields) == 512
    assert status_of(get(*[b"X: y"] * 512)) == 431


def test_two_heads_are_refused_as_a_head() -> None:
    assert status_of(get() + get()) == 400


def test_repr_contains_no_secret() -> None:
    octets = head(b"GET http://a/secret HTTP/1.1", b"Cookie: secret", b"Authorization: secret")
    assert "secret" not in repr(parse_request(octets))
