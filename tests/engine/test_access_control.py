"""Tests for access control (security.md, T1) and for the listening addresses (M4)."""

import os
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from types import SimpleNamespace
from typing import Any

import pytest

from tests.engine.conftest import Start
from tests.engine.fakes import LOGIN, FakeBroker, RefusalRecorder, office
from tests.engine.recorder import Recorder
from tests.engine.running import NewLoop, Running
from tests.engine.wire import get
from tests.support.client_programs import (
    NOBODY,
    AfterSending,
    client_program,
    needs_ipv6,
    needs_root,
)
from tests.support.ports import free_port
from tests.support.process_output import PATIENCE
from trayproxy.desktop.socket_owner.base import Endpoint, OwnerLookup, SocketOwner
from trayproxy.desktop.socket_owner.factory import open_owner_lookup
from trayproxy.desktop.socket_owner.linux import ProcNetLookup, SockDiagLookup
from trayproxy.desktop.users import User, own_user
from trayproxy.engine.net.socket_stream import RESET_ON_CLOSE
from trayproxy.engine.server.access_control import AccessControl, admits

GET = get(b"http://origin.test/")
OWN, OTHER, ROOT, SID = 1000, 1001, 0, "S-1-5-21-1"


@pytest.mark.parametrize(
    ("owner", "own", "allowed", "served"),
    [
        (SocketOwner(OWN, is_open=True), OWN, set(), True),
        (SocketOwner(OTHER, is_open=True), OWN, set(), False),
        (SocketOwner(OTHER, is_open=True), OWN, {OTHER}, True),
        (SocketOwner(ROOT, is_open=True), OWN, set(), False),
        (SocketOwner(ROOT, is_open=True), OWN, {ROOT}, True),
        (SocketOwner(ROOT, is_open=True), ROOT, set(), True),
        (SocketOwner(OWN, is_open=True), ROOT, set(), False),
        (SocketOwner(SID, is_open=True), SID, set(), True),
        (SocketOwner("", is_open=True), SID, set(), False),
        # A socket without a process is never admitted, whatever user the system reports.
        (SocketOwner(ROOT, is_open=False), ROOT, set(), False),
        (SocketOwner(ROOT, is_open=False), OWN, {ROOT}, False),
        (SocketOwner(OWN, is_open=False), OWN, set(), False),
        (None, OWN, {ROOT, OTHER}, False),
    ],
)
def test_only_the_own_user_and_allowed_users_are_served(
    owner: SocketOwner | None, own: User, allowed: set[User], served: bool
) -> None:
    assert admits(owner, own, frozenset(allowed)) is served


class FixedOwnerLookup:
    """An owner look-up with a fixed result: an owner, None or an error."""

    def __init__(self, owner: SocketOwner | OSError | None) -> None:
        self.owner = owner
        self.closed = False

    def owner_of(self, local: Endpoint, peer: Endpoint, family: int) -> SocketOwner | None:
        if isinstance(self.owner, OSError):
            raise self.owner
        return self.owner

    def close(self) -> None:
        self.closed = True


Admit = Callable[..., tuple[bool, list[User | None]]]


@pytest.fixture
def admit() -> Admit:
    """Return whether access control admits a connection, and the users that were refused."""

    def admit(
        owner: SocketOwner | OSError | None, octets: bytes = b""
    ) -> tuple[bool, list[User | None]]:
        refusals = RefusalRecorder()
        access_control = AccessControl(FixedOwnerLookup(owner), OWN, on_refused=refusals)
        with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as client:
            client.connect(listener.getsockname())
            client.sendall(octets)
            accepted, _ = listener.accept()
            with accepted:
                accepted.setblocking(False)
                let_in = access_control.admits(accepted, accepted.getpeername())
                # In every case the octets of the connection stay unread.
                assert not octets or accepted.recv(9) == octets
        return let_in, refusals.users

    return admit


def test_an_admitted_connection_is_not_reported(admit: Admit) -> None:
    assert admit(SocketOwner(OWN, is_open=True), b"GET") == (True, [])


def test_a_refused_connection_is_reported(admit: Admit) -> None:
    assert admit(SocketOwner(OTHER, is_open=True)) == (False, [OTHER])


def test_a_closed_connection_is_reported_without_a_user(admit: Admit) -> None:
    assert admit(SocketOwner(ROOT, is_open=False), b"GET") == (False, [None])
    assert admit(None, b"GET") == (False, [None])


def test_a_port_probe_is_not_reported(admit: Admit) -> None:
    assert admit(None) == (False, [])


def test_without_an_owner_look_up_no_connection_is_admitted(admit: Admit) -> None:
    assert admit(PermissionError(), b"GET") == (False, [None])


def test_open_to_all_needs_no_look_up() -> None:
    access_control = AccessControl(FixedOwnerLookup(OSError()), OWN, open_to_all=True)
    with socket.socket() as connection:
        assert access_control.admits(connection, ("127.0.0.1", 1))


def test_closing_the_engine_closes_its_access_control(start: Start) -> None:
    says = FixedOwnerLookup(SocketOwner(OWN, is_open=True))
    engine = start(office(1), access_control=AccessControl(says, OWN))
    engine.close()
    assert says.closed


# --- connections whose client left before they were accepted --------------------------------------


@pytest.fixture(params=[SockDiagLookup, ProcNetLookup])
def owners(request: pytest.FixtureRequest) -> Iterator[OwnerLookup]:
    made: OwnerLookup = request.param()
    yield made
    made.close()


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


def leave_by_reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    connection.close()


def test_a_reset_connection_is_not_mistaken_for_the_next_from_its_port(
    owners: OwnerLookup, listener: socket.socket
) -> None:
    """The look-up finds the client of the second connection, a client of the own user; the client
    of the first connection may have been any user."""
    with socket.socket() as gone, socket.socket() as ours:
        # A port outside the range from which the system chooses ports for other programs.
        source = "127.0.0.1", free_port()
        gone.bind(source)
        gone.connect(listener.getsockname())
        gone.sendall(GET)
        leave_by_reset(gone)
        ours.bind(source)
        ours.connect(listener.getsockname())
        first, peer = listener.accept()
        second, next_peer = listener.accept()
        with first, second:
            assert peer == next_peer == source
            named = owners.owner_of(first.getsockname(), peer, socket.AF_INET)
            assert named == SocketOwner(own_user(), is_open=True)
            refusals = RefusalRecorder()
            access_control = AccessControl(owners, own_user(), on_refused=refusals)
            assert not access_control.admits(first, peer)
            assert access_control.is_held(first) is False
            assert refusals.users == [None]
            assert first.recv(len(GET)) == GET, "it could have been served"
            assert access_control.admits(second, next_peer)
            assert access_control.is_held(second)


@pytest.mark.parametrize(
    ("peer", "family"),
    [(("127.0.0.1", 50_000), socket.AF_INET), (("::1", 50_000, 0, 0), socket.AF_INET6)],
)
def test_the_owner_of_a_client_is_looked_up_by_its_host_and_port(
    peer: tuple[Any, ...], family: int
) -> None:
    asked: list[tuple[object, ...]] = []
    owners: Any = SimpleNamespace(owner_of=lambda *endpoints: asked.append(endpoints))
    near, far = socket.socketpair()
    near.setblocking(False)
    with near, far:
        assert not AccessControl(owners, OWN).admits(near, peer, ("127.0.0.1", 3128))
    assert asked == [(("127.0.0.1", 3128), peer[:2], family)]


@pytest.mark.parametrize("is_new", [True, False])
def test_a_client_reset_during_its_look_up_is_not_served(
    listener: socket.socket, is_new: bool
) -> None:
    with socket.socket() as client:
        client.connect(listener.getsockname())
        accepted, peer = listener.accept()

        class SlowOwnerLookup(FixedOwnerLookup):
            def owner_of(self, local: Endpoint, peer: Endpoint, family: int) -> SocketOwner | None:
                leave_by_reset(client)
                return super().owner_of(local, peer, family)

        access_control = AccessControl(SlowOwnerLookup(SocketOwner(OWN, is_open=True)), OWN)
        with accepted:
            accepted.setblocking(False)
            if is_new:
                assert not access_control.admits(accepted, peer)
            else:
                assert access_control.is_held(accepted) is False


def test_a_reset_is_detected_by_reading_on_windows(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On Windows, `getpeername` succeeds after a reset."""

    class ResetSocket(socket.socket):
        def recv(self, length: int, flags: int = 0) -> bytes:
            assert (length, flags) == (1, socket.MSG_PEEK)
            raise ConnectionResetError(10_054, "WSAECONNRESET")

    with socket.create_connection(listener.getsockname()):
        accepted, peer = listener.accept()
        with ResetSocket(fileno=accepted.detach()) as ours:
            access_control = AccessControl(FixedOwnerLookup(SocketOwner(OWN, is_open=True)), OWN)
            assert access_control.admits(ours, peer)
            monkeypatch.setattr(sys, "platform", "win32")
            assert not access_control.admits(ours, peer)


def test_an_own_program_bound_to_the_loopback_interface_is_admitted(
    owners: OwnerLookup, listener: socket.socket
) -> None:
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo")
        client.connect(listener.getsockname())
        accepted, peer = listener.accept()
        with accepted:
            assert AccessControl(owners, own_user()).admits(accepted, peer)


@needs_root
def test_a_socket_of_another_user_bound_to_the_loopback_interface_is_not_mistaken_for_an_own_socket(
    owners: OwnerLookup, listener: socket.socket
) -> None:
    source = free_port()
    stranger = client_program(
        listener.getsockname(), user=NOBODY, octets=GET, source=source, device="lo"
    )
    with stranger, socket.socket() as ours:
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        ours.bind(("127.0.0.1", source))
        ours.setblocking(False)
        with pytest.raises(BlockingIOError):
            ours.connect(listener.getsockname())
        accepted, peer = listener.accept()
        with accepted:
            assert peer == ("127.0.0.1", source)
            accepted.setblocking(False)
            assert not AccessControl(owners, own_user()).admits(accepted, peer)


# --- with real programs --------------------------------------------------------------------------


@pytest.fixture
def engines_loop(new_loop: NewLoop) -> NewLoop:
    """Run the engine on each kind of loop."""
    return new_loop


def address_of(engine: Running) -> tuple[str, int]:
    return engine.host, engine.port


def test_a_program_of_the_own_user_is_served(engine: Running) -> None:
    with client_program(address_of(engine), octets=GET) as ours:
        assert ours.answer() == "HTTP/1.1 200"


def test_a_half_closed_connection_of_the_own_user_is_served(engine: Running) -> None:
    with client_program(address_of(engine), AfterSending.HALF_CLOSES, octets=GET) as ours:
        assert ours.answer() == "HTTP/1.1 200"


@needs_root
def test_a_program_of_another_user_gets_403_and_nothing_is_forwarded(
    recorder: Recorder, start: Start
) -> None:
    refusals = RefusalRecorder()
    engine = start(
        office(recorder.port),
        FakeBroker(LOGIN, is_known=True),
        access_control=AccessControl(open_owner_lookup(), own_user(), on_refused=refusals),
    )
    with client_program(address_of(engine), user=NOBODY, octets=GET) as stranger:
        assert stranger.answer() == "HTTP/1.1 403"
    assert engine.call(lambda: len(refusals.users)) == 1
    assert engine.holdings().connections == 0
    with engine.connect() as client:
        assert client.ask(GET).status == 200
    assert len(recorder.requests) == 1


@needs_root
@pytest.mark.parametrize("then", [AfterSending.CLOSES, AfterSending.RESETS])
@pytest.mark.parametrize("user", [NOBODY, None], ids=["another's", "ours"])
def test_a_request_of_an_exited_program_is_not_forwarded(
    recorder: Recorder, start: Start, then: AfterSending, user: int | None
) -> None:
    """The user of the connection is unknown: the kernel reports 0 (root), the user of this test."""
    engine = start(office(recorder.port), FakeBroker(LOGIN, is_known=True))

    def connect_and_exit() -> None:
        # Runs in the loop, so accept follows after the client has disconnected.
        with client_program(address_of(engine), then, user=user, octets=GET):
            pass

    engine.call(connect_and_exit)
    with engine.connect() as client:
        assert client.ask(GET).status == 200
    assert len(recorder.requests) == 1
    assert engine.holdings().connections <= 1


@pytest.mark.parametrize("version", [4, 6])
def test_a_reset_request_is_not_attributed_to_the_next_client(
    recorder: Recorder, start: Start, version: int
) -> None:
    engine = start(office(recorder.port), FakeBroker(LOGIN, is_known=True))
    host = "::1" if version == 6 else "127.0.0.1"
    family = socket.AF_INET6 if version == 6 else socket.AF_INET
    attack = get(b"http://origin.test/attack")
    with socket.socket(family) as ours:
        ours.settimeout(PATIENCE)

        def connect_and_exit() -> None:
            # Runs in the loop, so both connections are pending at the next accept.
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            source = free_port()
            ours.bind((host, source))
            user = NOBODY if os.geteuid() == 0 else None
            address = (host, engine.port)
            with client_program(
                address, AfterSending.RESETS, user=user, octets=attack, source=source
            ):
                ours.connect(address)

        engine.call(connect_and_exit)
        ours.sendall(get(b"http://origin.test/ours"))
        assert ours.recv(1024).startswith(b"HTTP/1.1 200")
    assert [request.target for request in recorder.requests] == [b"http://origin.test/ours"]


@needs_root
def test_an_allowed_user_is_served(recorder: Recorder, start: Start) -> None:
    engine = start(office(recorder.port), FakeBroker(LOGIN, is_known=True))
    engine.call(lambda: setattr(engine.engine.access_control, "allowed", frozenset({NOBODY})))
    with client_program(address_of(engine), user=NOBODY, octets=GET) as other:
        assert other.answer() == "HTTP/1.1 200"


@needs_root
def test_many_refused_clients_do_not_affect_other_clients(start: Start, recorder: Recorder) -> None:
    refusals = RefusalRecorder()
    engine = start(
        office(recorder.port),
        FakeBroker(LOGIN, is_known=True),
        access_control=AccessControl(open_owner_lookup(), own_user(), on_refused=refusals),
    )
    with ExitStack() as stack:
        for _ in range(10):
            stranger = client_program(
                address_of(engine), AfterSending.STAYS, user=NOBODY, octets=GET
            )
            assert stack.enter_context(stranger).answer() == "HTTP/1.1 403"
        with engine.connect() as client:
            assert client.ask(GET).status == 200
    assert engine.call(lambda: len(refusals.users)) == 10


# --- where we listen (M4) ------------------------------------------------------------------------


def listening(port: int) -> set[str]:
    """Return the addresses of all listening sockets with this port."""
    found = set()
    for table in ("tcp", "tcp6"):
        with open(f"/proc/net/{table}") as lines:
            for line in list(lines)[1:]:
                address, state = line.split()[1], line.split()[3]
                if state == "0A" and int(address.rpartition(":")[2], 16) == port:
                    found.add(address.rpartition(":")[0])
    return found


LOOPBACK = {"0100007F", "00000000000000000000000001000000"}


@needs_ipv6
def test_the_engine_listens_on_both_loopback_addresses_only(engine: Running) -> None:
    assert listening(engine.port) == LOOPBACK
    assert engine.engine.address == f"127.0.0.1:{engine.port}"
    with client_program(("::1", engine.port), octets=GET) as ours:
        assert ours.answer() == "HTTP/1.1 200"
    engine.close()
    assert listening(engine.port) == set()


@needs_ipv6
@needs_root
def test_other_users_are_refused_on_both_addresses(engine: Running) -> None:
    with client_program(("::1", engine.port), user=NOBODY, octets=GET) as stranger:
        assert stranger.answer() == "HTTP/1.1 403"


@needs_ipv6
@pytest.mark.parametrize(("host", "beside"), [("127.0.0.1", "::1"), ("::1", "127.0.0.1")])
def test_the_engine_listens_on_the_other_address_once_it_is_free(
    start: Start, recorder: Recorder, host: str, beside: str
) -> None:
    family = socket.AF_INET6 if beside == "::1" else socket.AF_INET
    with socket.create_server((beside, 0), family=family) as taken:
        port = taken.getsockname()[1]
        desk = FakeBroker(LOGIN, is_known=True)
        engine = start(office(recorder.port), desk, host=host, port=port)
        written = f"[::1]:{port}" if beside == "::1" else f"127.0.0.1:{port}"
        assert engine.call(engine.engine.listen_on_other_loopback) == written
    assert engine.call(engine.engine.listen_on_other_loopback) == ""
    assert engine.call(engine.engine.listen_on_other_loopback) == "", "it is ours"
    with client_program((beside, port), octets=GET) as ours:
        assert ours.answer() == "HTTP/1.1 200"
    assert listening(port) == LOOPBACK


@needs_ipv6
def test_from_an_ipv6_address_the_engine_listens_on_ipv4_too(start: Start) -> None:
    engine = start(office(1), host="::1")
    assert engine.engine.address == f"[::1]:{engine.port}"
    assert listening(engine.port) == LOOPBACK
