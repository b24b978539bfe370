"""Tests for tests.support.origin, with curl and Git straight to it."""

import json
import os
import socket
from hashlib import sha256
from pathlib import Path

import pytest

from tests.support.clients import Clients
from tests.support.octets import digest, digest_of, write
from tests.support.origin import Origin, make_repository
from tests.support.processes import Home
from tests.support.tls import CertificateAuthority


def at(origin: Origin, path: str) -> str:
    """Return a URL without the host name of the origin."""
    return f"http://127.0.0.1:{origin.port}{path}"


@pytest.mark.parametrize("page", ["bytes", "chunked", "until-close"])
@pytest.mark.parametrize("size", [0, 1, 65536, 200_001])
def test_a_stream_arrives_whole(
    origin: Origin, clients: Clients, place: Home, page: str, size: int
) -> None:
    path = place.root / "got"
    path.touch()
    clients.curl("-o", str(path), at(origin, f"/{page}/{size}")).result()
    assert path.stat().st_size == size
    assert digest_of(path) == digest(size)


@pytest.mark.parametrize("coding", [(), ("-H", "Transfer-Encoding: chunked")])
def test_an_upload_is_digested(
    origin: Origin, clients: Clients, place: Home, coding: tuple[str, ...]
) -> None:
    path = write(place.root / "sent", 2_000_000)
    got = clients.curl("-T", str(path), *coding, at(origin, "/sha256")).result()
    assert got.out == f"2000000 {digest(2_000_000)}"
    assert origin.received[0].value("expect") == "100-continue"


def test_a_refusal_comes_before_the_body(origin: Origin, clients: Clients, place: Home) -> None:
    path = write(place.root / "sent", 2_000_000)
    got = clients.curl("-T", str(path), "-w", "%{size_upload}", at(origin, "/refuse")).result()
    assert got.out.splitlines() == ["no", "0"]


def test_head_and_204_have_no_body(origin: Origin, clients: Clients) -> None:
    got = clients.curl("-I", at(origin, "/bytes/100"), at(origin, "/status/204")).result()
    assert got.code == 0
    assert "Content-Length: 100" in got.out


def test_received_requests_are_recorded(origin: Origin, clients: Clients) -> None:
    got = clients.curl("-H", "X-Said: a", "-H", "x-said: b", at(origin, "/echo?q")).result()
    assert json.loads(got.out)["target"] == "/echo?q"
    assert origin.received[0].values("x-said") == ["a", "b"]


def test_a_connection_is_used_again(origin: Origin, clients: Clients) -> None:
    urls = [at(origin, "/hello")] * 3
    got = clients.curl("-w", "%{num_connects}", *urls).result()
    assert got.out.splitlines() == ["hello", "1hello", "0hello", "0"]


def test_a_gate_holds_a_response_back(origin: Origin, clients: Clients, place: Home) -> None:
    path = place.root / "got"
    job = clients.curl("-o", str(path), at(origin, "/gate/one/500000"))
    gate = origin.gate("one")
    assert gate.reached.wait(20)
    assert job.process.running
    gate.opened.set()
    assert job.result().code == 0
    assert digest_of(path) == digest(500_000)


def test_an_origin_closes_while_a_response_waits_at_a_gate(clients: Clients) -> None:
    with Origin() as origin:
        clients.curl("-o", "/dev/null", at(origin, "/gate/one/500000"))
        assert origin.gate("one").reached.wait(20)


def test_an_origin_serves_tls(
    secure_origin: Origin, clients: Clients, authority: CertificateAuthority
) -> None:
    resolve = f"www.test.lan:{secure_origin.port}:127.0.0.1"
    trust = ("--resolve", resolve, "--cacert", str(authority.pem))
    got = clients.curl(*trust, secure_origin.url("/hello")).result()
    assert (got.code, got.out) == (0, "hello")


@pytest.mark.parametrize("size", [5, 200, 70_000])
def test_a_websocket_echoes(origin: Origin, size: int) -> None:
    payload = os.urandom(size)
    with socket.create_connection(("127.0.0.1", origin.port), timeout=20) as connection:
        connection.sendall(
            b"GET /websocket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        stream = connection.makefile("rb")
        head = b"".join(iter(stream.readline, b"\r\n"))
        # RFC 6455, section 1.3, has this key and its answer.
        assert b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in head
        # A mask of zeros leaves the payload as it is.
        length = bytes([0x80 | 127]) + size.to_bytes(8, "big")
        connection.sendall(b"\x82" + length + bytes(4) + payload)
        header = {5: 2, 200: 4, 70_000: 10}[size]
        assert stream.read(header)[0] == 0x82
        assert stream.read(size) == payload
        stream.close()


def test_git_clones_and_pushes(clients: Clients, place: Home) -> None:
    content = write(place.root / "content", 3_000_000)
    make_repository(place, "demo.git", content)
    with Origin(repositories=place) as origin:
        url = at(origin, "/git/demo.git")
        work = clients.home.path("work") / "demo"
        assert clients.git("", "clone", url, str(work)).result().code == 0
        assert digest_of(work / "content") == digest(3_000_000)
        commit = ("-C", str(work), "commit", "--allow-empty", "-m", "second")
        assert clients.git("", *commit).result().code == 0
        pushed = clients.git("", "-C", str(work), "push", "origin", "main").result()
        assert pushed.code == 0, pushed


def test_the_stream_is_the_same_in_memory_and_in_a_file(tmp_path: Path) -> None:
    assert digest_of(write(tmp_path / "file", 100_000)) == digest(100_000)
    assert digest(0) == sha256().hexdigest()
