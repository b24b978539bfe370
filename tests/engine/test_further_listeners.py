"""Listeners beside the local address: fixed forwards, and listeners for other devices."""

import logging
import socket
from base64 import b64encode
from contextlib import ExitStack
from ipaddress import ip_network
from time import monotonic
from typing import Any

import pytest

from tests.engine.conftest import Start, StartScripted
from tests.engine.fakes import LOGIN, FakeBroker, office
from tests.engine.recorder import Recorder
from tests.engine.running import Running
from tests.engine.wire import ProxyClient, connect, get
from tests.support.scripted_upstream import ESTABLISHED, ScriptedConnection, answering
from trayproxy.engine.error_pages import BUSY, ErrorPage, write_page
from trayproxy.engine.forward.client_password import ClientPassword
from trayproxy.engine.limits import EngineLimits
from trayproxy.engine.server.access_control import Inquiry
from trayproxy.engine.server.listener_use import ListenerUse
from trayproxy.engine.server.network_access import NetworkAccess
from trayproxy.http.target import Authority

TARGET = Authority("git.test", 22)
URL = b"http://www.test/"


def add(engine: Running, **use: Any) -> int:
    """Add a listener, and return its port."""

    def run() -> int:
        verify = use.pop("verify", None)
        default = engine.engine.access_control if verify is None else of_devices("127.0.0.0/8")
        access = use.pop("access_control", default)
        made = ListenerUse(engine.routes, access, **use)
        if verify is not None:
            made = made.with_password(verify)
        return engine.engine.listeners.add("127.0.0.1", 0, made)[1]

    return engine.call(run)


def of_devices(network: str, refused: list[str] | None = None) -> NetworkAccess:
    """Return an access control for which the clients of the tests are other devices."""
    found: list[str] = [] if refused is None else refused
    networks = (ip_network(network),)
    return NetworkAccess(networks, NobodyAdmitted(), found.append, lambda address: False)


def opening(peer: ScriptedConnection) -> None:
    peer.read_head()
    peer.send(ESTABLISHED + b"SSH-2.0-server\r\n")
    peer.send(peer.read_all())


# --- fixed forwards ------------------------------------------------------------------------------


def test_a_connection_of_a_forward_is_a_tunnel_to_its_target(start_scripted: StartScripted) -> None:
    engine, upstream = start_scripted(opening)
    with ProxyClient(add(engine, target=TARGET)) as client:
        # The server speaks first, and the client has sent nothing.
        assert client.take(16) == b"SSH-2.0-server\r\n"
        client.send(b"SSH-2.0-client\r\n")
        client.finish()
        assert client.take_all() == b"SSH-2.0-client\r\n"
    assert upstream.peer(1).received.startswith(b"CONNECT git.test:22 HTTP/1.1\r\n")


def test_octets_of_a_forward_are_never_read_as_http_or_socks(start_scripted: StartScripted) -> None:
    engine, _ = start_scripted(opening)
    port = add(engine, target=TARGET)
    for octets in (get(URL), b"\x05\x01\x00"):
        with ProxyClient(port) as client:
            client.send(octets)
            client.finish()
            assert client.take_all() == b"SSH-2.0-server\r\n" + octets


def test_a_refused_tunnel_resets_the_connection(start_scripted: StartScripted) -> None:
    page = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno"
    engine, _ = start_scripted(answering(page))
    assert is_reset(add(engine, target=TARGET))


def is_reset(port: int) -> bool:
    """Return whether a connection to a port is reset, which may be before it is used."""
    try:
        with ProxyClient(port) as client:
            return client.take_all() == b"" and client.was_reset
    except ConnectionResetError:
        return True


def test_a_full_engine_resets_connections_of_forwards(start_scripted: StartScripted) -> None:
    engine, _ = start_scripted(opening, limits=EngineLimits(max_clients=1))
    port = add(engine, target=TARGET)
    with ProxyClient(port) as first:
        assert first.take(4) == b"SSH-"
        assert is_reset(port)


def test_a_forward_to_itself_is_a_loop(start: Start) -> None:
    engine = start(office(1))
    engine.routes.direct.add("127.0.0.1")
    first = add(engine, target=TARGET)
    second = add(engine, target=Authority("127.0.0.1", first))
    assert is_reset(second)


def test_a_removed_listener_refuses_connections_and_keeps_tunnels(
    start_scripted: StartScripted,
) -> None:
    engine, _ = start_scripted(opening)
    port = add(engine, target=TARGET)
    with ProxyClient(port) as client:
        assert client.take(4) == b"SSH-"
        engine.call(lambda: engine.engine.listeners.remove(("127.0.0.1", port)))
        with pytest.raises(ConnectionRefusedError):
            ProxyClient(port)
        client.send(b"still open")
        client.finish()
        assert client.take_all().endswith(b"still open")


def test_connections_of_devices_that_are_no_longer_listed_are_closed(
    engine: Running, client: ProxyClient
) -> None:
    access = of_devices("127.0.0.0/8")
    use = ListenerUse(engine.routes, access)
    port = engine.call(lambda: engine.engine.listeners.add("127.0.0.1", 0, use)[1])
    with ProxyClient(port) as device:
        assert device.ask(get(URL)).status == 200
        engine.call(lambda: engine.engine.close_clients(use, access.keeps))
        assert device.ask(get(URL)).status == 200
        access.networks = ()
        engine.call(lambda: engine.engine.close_clients(use, access.keeps))
        assert device.take_all() == b""
    assert client.ask(get(URL)).status == 200


# --- a password ----------------------------------------------------------------------------------


def signed(octets: bytes, login: bytes, scheme: bytes = b"Basic") -> bytes:
    line = b"Proxy-Authorization: %b %b\r\n\r\n" % (scheme, b64encode(login))
    return octets.replace(b"\r\n\r\n", b"\r\n" + line, 1)


def test_each_request_of_a_device_needs_the_password(
    start: Start, recorder: Recorder, stack: ExitStack
) -> None:
    engine = start(
        office(recorder.port),
        FakeBroker(LOGIN, is_known=True),
        limits=EngineLimits(wrong_password_s=0.0),
    )
    client = stack.enter_context(engine.connect())
    # The fast path knows the request, but not the password.
    for _ in range(2):
        assert client.ask(get(URL)).status == 200
    recorder.forget()
    port = add(engine, verify=ClientPassword("lock"))
    with ProxyClient(port) as device:
        for octets in (get(URL), signed(get(URL), b"any:key"), signed(get(URL), b"a:lock", b"X")):
            reply = device.ask(octets)
            assert (reply.status, reply.is_forwarded) == (407, False)
            assert reply.values(b"proxy-authenticate") == [
                b'Basic realm="TrayProxy", charset="UTF-8"'
            ]
        assert not recorder.requests
        for _ in range(2):
            assert device.ask(signed(get(URL), b"any:lock")).status == 200
        assert device.ask(get(URL)).status == 407
        assert device.ask(connect(b"www.test:443"), b"CONNECT").status == 407
    assert len(recorder.requests) == 2
    # The password of TrayProxy never travels upstream, where the login of the user is expected.
    assert b64encode(b"any:lock") not in recorder.octets


def test_a_program_of_this_computer_needs_no_password(engine: Running) -> None:
    refused: list[str] = []
    access = NetworkAccess((), engine.engine.access_control, refused.append)
    port = add(engine, verify=ClientPassword("lock"), access_control=access)
    with ProxyClient(port) as client:
        assert client.ask(get(URL)).status == 200
    with ProxyClient(port) as client:
        client.send(b"\x05\x01\x00")
        assert client.take(2) == b"\x05\x00"


def test_the_answer_to_a_wrong_password_takes_a_moment(
    start: Start, recorder: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    engine = start(office(recorder.port), limits=EngineLimits(wrong_password_s=0.2))
    port = add(engine, verify=ClientPassword("lock"))
    with ProxyClient(port) as device:
        begin = monotonic()
        assert device.ask(signed(get(URL), b"any:key")).status == 407
        assert monotonic() - begin >= 0.2
    with ProxyClient(port) as device:
        begin = monotonic()
        device.send(b"\x05\x01\x02\x01\x01a\x03key")
        assert device.take_all() == b"\x05\x02\x01\x01"
        assert monotonic() - begin >= 0.2
    assert any("a device sent a wrong password (TP-116)" in line for line in lines(engine))
    assert any("its password is wrong (TP-112)" in line for line in lines(engine))


def lines(engine: Running) -> list[str]:
    return engine.complaints.lines


@pytest.mark.parametrize(
    "value", [b"", b"Basic", b"Basic !", b"Basic bG9jaw==", b"Basic 44G", b"Bearer bG9jazpsb2Nr"]
)
def test_malformed_credentials_are_none(start: Start, value: bytes) -> None:
    engine = start(office(1), limits=EngineLimits(wrong_password_s=0.0))
    with ProxyClient(add(engine, verify=ClientPassword("lock"))) as device:
        field = b"\r\nProxy-Authorization: " + value + b"\r\n\r\n"
        assert device.ask(get(URL).replace(b"\r\n\r\n", field, 1)).status == 407


def test_a_socks_client_of_a_device_needs_the_password(start_scripted: StartScripted) -> None:
    engine, _ = start_scripted(opening)
    port = add(engine, verify=ClientPassword("lock"))
    with ProxyClient(port) as device:
        device.send(b"\x05\x01\x00")
        assert device.take_all() == b"\x05\xff"
    with ProxyClient(port) as device:
        device.send(b"\x05\x01\x02\x01\x01a\x04lock\x05\x01\x00\x01\x01\x02\x03\x04\x00\x16")
        assert device.take(4) == b"\x05\x02\x01\x00"
        assert device.take(10) == b"\x05\x00\x00\x01" + bytes(6)


# --- other devices -------------------------------------------------------------------------------


class NobodyAdmitted:
    """An access control that admits no program of this computer."""

    inquiry: Inquiry | None = None
    refusal = ErrorPage(403, "No", "No.")

    def admits(self, connection: socket.SocketType, peer: Any, local: Any = None) -> bool:
        return False

    def is_held(self, connection: socket.SocketType) -> bool | None:
        return None

    def is_local(self, peer: Any) -> bool:
        return True


@pytest.mark.parametrize(("network", "status"), [("127.0.0.0/30", 200), ("192.0.2.0/24", 403)])
def test_the_address_of_a_device_decides(engine: Running, network: str, status: int) -> None:
    refused: list[str] = []
    access = of_devices(network, refused)
    with ProxyClient(add(engine, access_control=access)) as device:
        reply = device.ask(get(URL))
    assert reply.status == status
    assert refused == ([] if status == 200 else ["127.0.0.1"])
    assert (b"devices allow" in reply.body) is (status == 403)


def test_an_error_page_names_the_address_that_the_device_knows() -> None:
    page = write_page(BUSY, address="192.168.1.5:3128", host="", keep_alive=False, with_body=True)
    assert b"This page comes from TrayProxy at 192.168.1.5:3128." in page


def test_the_allow_list_admits_no_user_of_this_computer(engine: Running) -> None:
    refused: list[str] = []
    access = NetworkAccess((ip_network("0.0.0.0/0"),), NobodyAdmitted(), refused.append)
    with ProxyClient(add(engine, access_control=access)) as device:
        assert device.ask(get(URL)).status == 403
    assert not refused
