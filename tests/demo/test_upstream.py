import socket
from base64 import b64encode
from collections.abc import Iterator
from contextlib import closing, suppress
from http.client import HTTPConnection, HTTPResponse
from typing import Any

import pytest

from trayproxy.auth.login import Login
from trayproxy.demo.company_network import LAB, OFFICE, SITE, URL, CompanyNetwork, company_network
from trayproxy.demo.origin import PAGE
from trayproxy.demo.upstream import ProxyDecision, ProxyLogEntry
from trayproxy.demo.wire import LOOPBACK

TIMEOUT_S = 10.0


@pytest.fixture
def log() -> list[ProxyLogEntry]:
    return []


@pytest.fixture
def network(log: list[ProxyLogEntry]) -> Iterator[CompanyNetwork]:
    with company_network(log.append) as running:
        yield running


@pytest.fixture
def connection(network: CompanyNetwork) -> Iterator[HTTPConnection]:
    with closing(HTTPConnection(LOOPBACK, network.ports.office, TIMEOUT_S)) as connection:
        yield connection


def send(connection: HTTPConnection, method: str, target: str = URL, **more: Any) -> HTTPResponse:
    connection.request(method, target, **more)
    return connection.getresponse()


def signed(login: Login) -> dict[str, str]:
    token = b64encode(f"{login.user}:{login.password}".encode()).decode()
    return {"Proxy-Authorization": f"Basic {token}"}


def test_a_request_without_a_login_is_challenged_with_the_realm(
    connection: HTTPConnection, log: list[ProxyLogEntry]
) -> None:
    response = send(connection, "GET")
    assert response.status == 407
    assert response.getheader("Proxy-Authenticate") == 'Basic realm="Office", charset="UTF-8"'
    assert log == [ProxyLogEntry(OFFICE, ProxyDecision.CHALLENGED, f"GET {URL}")]


def test_the_connection_of_a_challenge_serves_the_next_request(
    connection: HTTPConnection, network: CompanyNetwork
) -> None:
    send(connection, "GET").read()
    response = send(connection, "GET", headers=signed(network.login))
    assert (response.status, response.read().decode()) == (200, PAGE)


def test_a_challenge_to_a_request_with_a_body_closes_the_connection(
    connection: HTTPConnection,
) -> None:
    response = send(connection, "POST", body=b"GET http://x/ HTTP/1.1\r\n\r\n")
    assert (response.status, response.getheader("Connection")) == (407, "close")


def test_a_wrong_password_is_logged_as_rejected(
    connection: HTTPConnection, network: CompanyNetwork, log: list[ProxyLogEntry]
) -> None:
    headers = signed(Login(network.login.user, "wrong"))
    assert send(connection, "GET", headers=headers).status == 407
    assert [entry.decision for entry in log] == [ProxyDecision.REJECTED]


def test_the_scheme_is_recognised_in_any_case(
    connection: HTTPConnection, network: CompanyNetwork
) -> None:
    value = signed(network.login)["Proxy-Authorization"].replace("Basic", "bASIC")
    assert send(connection, "GET", headers={"Proxy-Authorization": value}).status == 200


def test_a_tunnel_needs_the_login_too(connection: HTTPConnection) -> None:
    connection.set_tunnel(*SITE)
    with pytest.raises(OSError, match="407 Proxy Authentication Required"):
        connection.request("GET", "/")


def test_a_tunnel_reaches_the_site_again_and_again(
    connection: HTTPConnection, network: CompanyNetwork
) -> None:
    connection.set_tunnel(*SITE, headers=signed(network.login))
    for _ in range(2):
        assert send(connection, "GET", "/").read().decode() == PAGE


def test_a_half_closed_tunnel_still_delivers_the_response(network: CompanyNetwork) -> None:
    credentials = signed(network.login)["Proxy-Authorization"]
    with socket.create_connection((LOOPBACK, network.ports.office), TIMEOUT_S) as tunnel:
        head = f"CONNECT {SITE[0]}:{SITE[1]} HTTP/1.1\r\nProxy-Authorization: {credentials}\r\n\r\n"
        tunnel.sendall(head.encode() + b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        tunnel.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: tunnel.recv(4096), b""))
    assert answer.endswith(PAGE.encode())


def test_the_lab_proxy_requires_no_login(network: CompanyNetwork, log: list[ProxyLogEntry]) -> None:
    with closing(HTTPConnection(LOOPBACK, network.ports.lab, TIMEOUT_S)) as connection:
        assert send(connection, "HEAD").status == 200
    assert log == [ProxyLogEntry(LAB, ProxyDecision.PASSED, f"HEAD {URL}")]


@pytest.mark.parametrize("target", ["http://example.com/", "/", "http://x:99999/"])
def test_other_hosts_are_refused(
    connection: HTTPConnection, network: CompanyNetwork, target: str
) -> None:
    assert send(connection, "GET", target, headers=signed(network.login)).status == 403


def test_the_site_accepts_no_uploads(connection: HTTPConnection, network: CompanyNetwork) -> None:
    assert send(connection, "POST", body=b"x", headers=signed(network.login)).status == 405


@pytest.mark.parametrize(
    "octets", [b"\x16\x03\x01\r\n\r\n", b"GET / HTTP/2.0\r\n\r\n", b"\r\n\r\n", b"A" * 100_000]
)
def test_a_malformed_request_closes_the_connection(network: CompanyNetwork, octets: bytes) -> None:
    with socket.create_connection((LOOPBACK, network.ports.office), TIMEOUT_S) as connection:
        connection.sendall(octets)
        # Unread octets make the system reset the connection, which also ends it.
        with suppress(ConnectionError):
            assert connection.recv(1) == b""


def test_the_network_ends_despite_open_connections(log: list[ProxyLogEntry]) -> None:
    with company_network(log.append) as running:
        idle = socket.create_connection((LOOPBACK, running.ports.office), TIMEOUT_S)
        tunnel = socket.create_connection((LOOPBACK, running.ports.lab), TIMEOUT_S)
        tunnel.sendall(f"CONNECT {SITE[0]}:{SITE[1]} HTTP/1.1\r\n\r\n".encode())
        assert tunnel.recv(4096).startswith(b"HTTP/1.1 200")
    with idle, tunnel:
        assert (idle.recv(1), tunnel.recv(1)) == (b"", b"")


def test_each_run_has_a_new_password_hidden_from_repr() -> None:
    with company_network(lambda _: None) as first, company_network(lambda _: None) as second:
        assert first.login.password != second.login.password
        assert first.login.password not in repr(first)
