import gzip
import socket
import ssl
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import count

import pytest

from tests.pac.pac_server import SCRIPT, PacServer, ok, response
from tests.support.tls import CertificateAuthority
from trayproxy.engine.net.tls import private_ca_context, system_context
from trayproxy.pac.decoding import MAX_SIZE
from trayproxy.pac.direct_connection import (
    Address,
    Deadline,
    DownloadError,
    MakeContext,
    UnknownNameError,
    is_of_this_computer,
)
from trayproxy.pac.download import MAX_REDIRECTS, Download, Downloader
from trayproxy.pac.stored_copy import Validators

NONE = Validators()
KNOWN = Validators('"5"', "Mon, 30 Nov 2026 20:00:00 GMT")


def no_context() -> ssl.SSLContext:
    raise AssertionError("no TLS is needed")


def download(
    server: PacServer,
    path: str = "/proxy.pac",
    validators: Validators = NONE,
    *,
    scheme: str = "http",
    make_context: MakeContext = no_context,
    limit_s: float = 10.0,
) -> Download | None:
    downloader = Downloader(server.look_up, make_context, Deadline(limit_s))
    return downloader.download(server.url(path, scheme), validators)


def failure(*answers: bytes | Callable[[socket.socket], None], limit_s: float = 10.0) -> str:
    with PacServer(*answers) as server, pytest.raises(DownloadError) as failed:
        download(server, limit_s=limit_s)
    return str(failed.value)


def test_a_script_is_downloaded_without_login_cookies_and_proxy(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    fields = (
        "Content-Type: application/x-ns-proxy-autoconfig; charset=UTF-8",
        'ETag: "5"',
        f"Last-Modified: {KNOWN.last_modified}",
        "Set-Cookie: a=b",
    )
    with PacServer(ok(SCRIPT, *fields)) as server:
        for path in ("/proxy.pac?site=5", "/proxy.pac"):
            assert download(server, path) == Download(SCRIPT.encode(), "UTF-8", KNOWN)
    first, second = server.requests
    assert first.target == "/proxy.pac?site=5"
    assert first.value("host") == f"pac.example:{server.port}"
    assert {name for name, _ in (*first.fields, *second.fields)} == {
        *("host", "user-agent", "accept", "accept-encoding", "connection")
    }


@pytest.mark.parametrize(
    "answer",
    [
        response("200 OK") + SCRIPT.encode(),
        response("200 OK", "Transfer-Encoding: chunked")
        + b"%x\r\n%b\r\n0\r\n\r\n" % (len(SCRIPT), SCRIPT.encode()),
        response("103 Early Hints") + response("100 Continue") + ok(),
        ok(gzip.compress(SCRIPT.encode(), mtime=0), "Content-Encoding: gzip"),
        b"HTTP/1.0 200 OK\n\n" + SCRIPT.encode(),
        ok() + b"surplus",
    ],
)
def test_the_forms_of_an_answer(answer: bytes) -> None:
    with PacServer(answer) as server:
        found = download(server)
    assert found is not None
    assert found.octets == SCRIPT.encode()


def test_a_known_script_is_not_sent_again() -> None:
    with PacServer(response("304 Not Modified")) as server:
        assert download(server, validators=KNOWN) is None
    [request] = server.requests
    assert request.value("if-none-match") == KNOWN.etag
    assert request.value("if-modified-since") == KNOWN.last_modified


def test_validators_from_a_damaged_file_do_not_become_fields() -> None:
    with PacServer(ok()) as server:
        assert download(server, validators=Validators('"5"\r\nCookie: x', "\0"))
    assert server.requests[0].value("cookie") == ""


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 x", "307 x", "308 x"])
@pytest.mark.parametrize("location", ["/other.pac", "other.pac#top", "//pac2.example/other.pac"])
def test_a_redirect_is_followed(status: str, location: str) -> None:
    with PacServer(response(status, f"Location: {location}"), ok()) as server:
        assert download(server)
    assert [request.target for request in server.requests] == ["/proxy.pac", "/other.pac"]


def test_redirects_end() -> None:
    loop = response("302 Found", "Location: /proxy.pac")
    with PacServer(loop) as server, pytest.raises(DownloadError, match="more than 5 times"):
        download(server)
    assert len(server.requests) == 1 + MAX_REDIRECTS


@pytest.mark.parametrize(
    ("location", "reason"),
    [
        ("file:///etc/passwd", "the server redirects to an unusable address"),
        ("data:,function FindProxyForURL", "the server redirects to an unusable address"),
        ("ftp://pac.example/x.pac", "the server redirects to an unusable address"),
        ("http://user:secret@pac.example/", "the server redirects to an unusable address"),
        ("http://pac.example:99999/", "the server redirects to an unusable address"),
        ("http://[fd00::", "the server redirects to an unusable address"),
        ("", "the server redirects to an unusable address"),
        (
            "https://pac.example/x.pac",
            "the server redirects to another protocol; use https://pac.example/x.pac "
            "if it is right",
        ),
    ],
)
def test_other_redirects_are_not_followed(location: str, reason: str) -> None:
    assert failure(response("302 Found", f"Location: {location}"), ok()) == reason


def test_a_server_of_the_network_cannot_redirect_to_this_computer() -> None:
    with PacServer(ok()) as here, PacServer(response("302 x", "Location: http://here/")) as away:

        def look_up(host: str, port: int) -> Sequence[Address]:
            return here.look_up(host, port) if host == "here" else away.look_up(host, port)

        def is_here(address: Address) -> bool:
            return bool(address[1][1] == here.port)

        downloader = Downloader(look_up, no_context, Deadline(10.0), is_here)
        with pytest.raises(DownloadError, match="the server redirects to this computer"):
            downloader.download(away.url(), NONE)
        assert not here.requests
        # Servers of this computer may redirect to each other.
        assert Downloader(look_up, no_context, Deadline(10.0)).download(away.url(), NONE)


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("127.0.0.1", True),
        ("127.1.2.3", True),
        ("0.0.0.0", True),
        ("169.254.169.254", True),
        ("::1", True),
        ("::", True),
        ("fe80::1%lo", True),
        ("::ffff:127.0.0.1", True),
        ("10.1.2.3", False),
        ("192.0.2.1", False),
        ("fd00::1", False),
        ("::ffff:10.1.2.3", False),
    ],
)
def test_the_addresses_of_this_computer(address: str, expected: bool) -> None:
    assert is_of_this_computer((socket.AF_INET, (address, 80))) is expected


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (response("401 x"), "the server asks for a sign-in, and scripts are loaded without one"),
        (response("407 x"), "the server asks for a sign-in, and scripts are loaded without one"),
        (response("404 x"), "the server does not have it (status 404)"),
        (response("500 x"), "the server answered with the status 500"),
        (response("206 x"), "the server answered with the status 206"),
        (response("304 x"), "the server answered with the status 304"),
        (response("511 x"), "the network requires a sign-in on its own page (status 511)"),
        (b"", "the server closed the connection without an answer"),
        (b"HTTP/1.1 200 O", "the server closed the connection without an answer"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "the answer of the server is not HTTP"),
        (b"HTTP/1.1 100 x\r\n\r\n" * 20, "the answer of the server is not HTTP"),
        (b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 20_000, "the answer of the server is not HTTP"),
        (ok()[:-1], "the answer of the server is not complete"),
        (
            response("200 OK", "Transfer-Encoding: chunked") + b"5\r\nabc",
            "the answer of the server is not complete",
        ),
        (response("200 OK", f"Content-Length: {MAX_SIZE + 1}"), "it is larger than 1 MiB"),
        (response("200 OK") + bytes(MAX_SIZE + 1), "it is larger than 1 MiB"),
        (
            ok(gzip.compress(bytes(MAX_SIZE + 1), mtime=0), "Content-Encoding: gzip"),
            "it is larger than 1 MiB",
        ),
        (
            ok(gzip.compress(SCRIPT.encode(), mtime=0)[:-9], "Content-Encoding: gzip"),
            "the answer of the server is not complete",
        ),
        (ok(b"no gzip", "Content-Encoding: gzip"), "it is compressed, and damaged"),
        (ok(b"?", "Content-Encoding: br"), "the server has compressed it in an unknown way"),
    ],
)
def test_other_answers_are_refused_with_the_reason(answer: bytes, reason: str) -> None:
    assert failure(answer) == reason


def test_an_endless_answer_is_cut_off() -> None:
    def endless(connection: socket.socket) -> None:
        connection.sendall(response("200 OK"))
        with suppress(OSError):
            while True:
                connection.sendall(bytes(1 << 16))

    assert failure(endless) == "it is larger than 1 MiB"


@pytest.mark.parametrize("start", [b"", b"HTTP/1.1 200 OK\r\n", response("200 OK")])
def test_a_server_that_sends_octet_by_octet_does_not_extend_the_time(start: bytes) -> None:
    def slow(connection: socket.socket) -> None:
        connection.settimeout(0.02)
        connection.sendall(start)
        with suppress(OSError):
            for _ in count():
                connection.sendall(b"A")
                with suppress(TimeoutError):
                    if not connection.recv(1):
                        return

    reason = failure(slow if start else lambda connection: silent(connection), limit_s=0.3)
    assert reason == "the server did not answer completely within 0.3 s"


def silent(connection: socket.socket) -> None:
    while connection.recv(1):
        pass


def test_the_next_address_is_tried() -> None:
    with PacServer(ok()) as server:
        port = server.port
        addresses = [(socket.AF_INET, ("127.0.0.1", 9)), (socket.AF_INET, ("127.0.0.1", port))]
        downloader = Downloader(lambda host, port: addresses, no_context, Deadline(10.0))
        assert downloader.download(server.url(), NONE)


def test_a_name_that_does_not_exist() -> None:
    for error, kind in (
        (socket.EAI_NONAME, UnknownNameError),
        (socket.EAI_AGAIN, DownloadError),
        (socket.EAI_FAIL, DownloadError),
    ):

        def look_up(host: str, port: int, error: int = error) -> Sequence[Address]:
            raise socket.gaierror(error, "?")

        downloader = Downloader(look_up, no_context, Deadline(10.0))
        with pytest.raises(DownloadError) as failed:
            downloader.download("http://pac.example/x", NONE)
        assert type(failed.value) is kind
        assert "pac.example" in str(failed.value)


def test_a_server_that_refuses_the_connection() -> None:
    with PacServer(ok()) as server:
        pass
    with pytest.raises(DownloadError, match="the server refuses the connection"):
        download(server)


def tls_failure(server_context: ssl.SSLContext | None, make_context: MakeContext) -> str:
    with PacServer(ok(), tls=server_context) as server, pytest.raises(DownloadError) as failed:
        download(server, scheme="https", make_context=make_context)
    assert not server.requests
    return str(failed.value)


def test_an_https_server_is_verified(authority: CertificateAuthority) -> None:
    def trusting() -> ssl.SSLContext:
        return private_ca_context(authority.pem.read_bytes())

    right = authority.issue("pac.example").context()
    with PacServer(ok(), tls=right) as server:
        assert download(server, scheme="https", make_context=trusting)
    not_trusted = "the certificate of the server is not trusted"
    assert not_trusted in tls_failure(right, system_context)
    assert not_trusted in tls_failure(authority.issue("other.example").context(), trusting)
    assert "there is no secure connection to the server" in tls_failure(None, trusting)


def test_a_ca_file_that_cannot_be_read_is_the_reason() -> None:
    def broken() -> ssl.SSLContext:
        raise DownloadError("the file with the company's certificate cannot be read")

    assert tls_failure(None, broken) == "the file with the company's certificate cannot be read"
