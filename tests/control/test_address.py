"""Tests for trayproxy.control.address, .unix_socket and .loopback: the check of the peer."""

import asyncio
import contextlib
import os
import queue
import secrets
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from tests.control.running import STATUS, RunningServer
from tests.support.process_output import PATIENCE
from trayproxy.control import loopback
from trayproxy.control.address import control_address
from trayproxy.control.client import connect
from trayproxy.control.loopback import LoopbackAddress
from trayproxy.control.messages import GetStatus
from trayproxy.control.transport import NotRunningError, UntrustedPeerError
from trayproxy.control.unix_socket import SOCKET_PATH_LIMIT, UnixAddress, peer_uid, require_own_uid
from trayproxy.paths import Paths, locate

OTHER_UID = 65534

CONNECT_AS = """
import os, socket, sys
where = socket.socket(socket.AF_UNIX)
os.setgid(int(sys.argv[2])), os.setuid(int(sys.argv[2]))
where.connect(sys.argv[1])
where.settimeout(10)
try:
    where.sendall(b'{"type":"Hello","number":1,"message":{"front_end":"cli","can_prompt":false}}\\n')
    print(len(where.recv(100)))
except (BrokenPipeError, ConnectionResetError):
    print(0)
"""


@pytest.mark.parametrize("uid", [None, os.geteuid() + 1, OTHER_UID])
def test_only_the_own_uid_is_accepted(uid: int | None) -> None:
    require_own_uid(os.geteuid())
    with pytest.raises(UntrustedPeerError):
        require_own_uid(uid)


def test_peer_uid_returns_the_uid_of_the_peer() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with ours, theirs:
        assert peer_uid(ours) == os.geteuid()


def test_a_removed_address_is_restored(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    # Like Storage Sense on Windows; there, the open lock file prevents the removal of the folder.
    monkeypatch.setattr(loopback, "CHECK_INTERVAL_S", 0.01)
    kept: queue.Queue[bool] = queue.Queue()

    class ObservedAddress(LoopbackAddress):
        def maintain(self) -> float:
            was_there = paths.socket.exists()
            pause_s = super().maintain()
            kept.put(was_there)
            return pause_s

    with RunningServer(ObservedAddress(paths.socket), paths, asyncio.new_event_loop) as running:
        shutil.rmtree(paths.runtime)
        while kept.get(timeout=PATIENCE):
            pass
        with running.client() as client:
            assert client.request(GetStatus()) == STATUS
        assert mode_of(paths.runtime) == 0o700
        assert mode_of(paths.socket) == 0o600


def test_connecting_to_the_port_of_a_dead_service_has_a_short_timeout(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Windows retries a closed port for two seconds.
    limits: list[float] = []

    def create_connection(to: tuple[str, int], timeout_s: float) -> socket.socket:
        limits.append(timeout_s)
        raise TimeoutError("timed out")

    address = LoopbackAddress(home / "file")
    address.listen().close()
    monkeypatch.setattr(socket, "create_connection", create_connection)
    with pytest.raises(NotRunningError):
        address.connect(5)
    assert limits[0] <= 0.5


def test_an_open_address_file_is_written_later(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    address = LoopbackAddress(home / "file")

    def held(self: Path, target: Path) -> Path:
        raise PermissionError(13, "Access is denied", str(self), 5)

    with monkeypatch.context() as changed:
        changed.setattr(Path, "replace", held)
        listener = address.listen()
        assert address.maintain() < 1
        address.remove()
    with listener:
        assert not (home / "file").exists()
        assert address.maintain() > 1
        assert (home / "file").read_text().split()[0] == str(listener.getsockname()[1])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_process_of_another_user_receives_no_octets(running: RunningServer) -> None:
    if not isinstance(running.address, UnixAddress):
        return
    # With folders and a socket that all users can open, the check of the peer must still work.
    for path in (running.paths.socket, running.paths.runtime, running.paths.runtime.parent):
        path.chmod(0o777)
    command = [sys.executable, "-c", CONNECT_AS, str(running.paths.socket), str(OTHER_UID)]
    child = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    assert child.stdout == "0\n"
    assert running.handler.attached_front_ends == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_service_of_another_user_receives_no_octets(home: Path) -> None:
    path = home / "theirs.sock"
    home.chmod(0o777)
    script = (
        "import os, socket, sys\n"
        "os.setuid(65534)\n"
        "listener = socket.socket(socket.AF_UNIX)\n"
        "listener.bind(sys.argv[1])\n"
        "listener.listen()\n"
        "print('up', flush=True)\n"
        "print(len(listener.accept()[0].recv(100)))\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE, text=True
    )
    with child:
        assert child.stdout is not None
        assert child.stdout.readline() == "up\n"
        with pytest.raises(UntrustedPeerError):
            UnixAddress(path).connect(5)
        assert child.stdout.readline() == "0\n"


def test_the_socket_and_its_folder_are_private(running: RunningServer) -> None:
    assert mode_of(running.paths.socket) == 0o600
    assert mode_of(running.paths.runtime) == 0o700


@pytest.fixture
def long_paths(home: Path, monkeypatch: pytest.MonkeyPatch) -> Paths:
    """Paths whose socket path is longer than a Unix socket's; temporary files are in ``tmp``."""
    (home / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(home / "tmp"))
    paths = locate({"TRAYPROXY_HOME": str(home / ("x" * SOCKET_PATH_LIMIT))})
    paths.prepare()
    return paths


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def run_and_request_status(paths: Paths) -> None:
    with RunningServer(UnixAddress(paths.socket), paths, asyncio.new_event_loop):
        assert paths.socket.is_symlink()
        assert mode_of(paths.socket) == 0o600
        assert mode_of(paths.socket.readlink().parent) == 0o700
        with connect(paths) as client:
            client.hello("cli", can_prompt=False)
            assert client.request(GetStatus()) == STATUS


def test_a_socket_with_a_long_path_is_behind_a_link(home: Path, long_paths: Paths) -> None:
    run_and_request_status(long_paths)
    assert not long_paths.socket.is_symlink()
    assert list((home / "tmp").iterdir()) == []


def test_the_link_of_a_dead_service_is_replaced(home: Path, long_paths: Paths) -> None:
    UnixAddress(long_paths.socket).listen().close()
    dead = long_paths.socket.readlink()
    with pytest.raises(NotRunningError):
        UnixAddress(long_paths.socket).connect(5)
    run_and_request_status(long_paths)
    assert not dead.parent.exists()


def test_a_removed_folder_of_a_link_does_not_prevent_the_start(
    home: Path, long_paths: Paths
) -> None:
    # Like a cleaner of the folder for temporary files, or a folder that another user has created
    # in its place.
    UnixAddress(long_paths.socket).listen().close()
    shutil.rmtree(long_paths.socket.readlink().parent)
    with pytest.raises(NotRunningError):
        UnixAddress(long_paths.socket).connect(5)
    run_and_request_status(long_paths)
    long_paths.socket.symlink_to(home / "tmp" / "trayproxy-run-theirs" / "ipc.sock")
    (home / "tmp" / "trayproxy-run-theirs" / "ipc.sock").mkdir(parents=True)
    run_and_request_status(long_paths)


def test_two_starts_with_a_long_path_use_different_folders(long_paths: Paths) -> None:
    used = set()
    for _ in range(2):
        UnixAddress(long_paths.socket).listen().close()
        used.add(long_paths.socket.readlink())
        UnixAddress(long_paths.socket).remove()
    assert len(used) == 2


def test_a_folder_for_temporary_files_with_a_long_path_is_not_used(
    home: Path, long_paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    long_folder = home / ("y" * SOCKET_PATH_LIMIT)
    long_folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long_folder))
    run_and_request_status(long_paths)
    assert list(long_folder.iterdir()) == []


@pytest.mark.parametrize("kind", [UnixAddress, LoopbackAddress])
def test_the_address_of_no_service_or_a_dead_service_means_not_running(
    home: Path, kind: type[UnixAddress] | type[LoopbackAddress]
) -> None:
    address = kind(home / "address")
    with pytest.raises(NotRunningError):
        address.connect(5)
    address.listen().close()
    with pytest.raises(NotRunningError):
        address.connect(5)


@pytest.mark.parametrize("text", ["", "x y", "99999999 00", "1 2 3", "\xff", "80 zz"])
def test_a_malformed_address_file_means_not_running(home: Path, text: str) -> None:
    (home / "file").write_text(text, "latin-1")
    with pytest.raises(NotRunningError):
        LoopbackAddress(home / "file").connect(5)


def test_unix_sockets_are_used_if_available(paths: Paths) -> None:
    assert isinstance(control_address(paths), UnixAddress)


def test_a_process_without_the_key_receives_no_messages(home: Path, running: RunningServer) -> None:
    if not isinstance(running.address, LoopbackAddress):
        return
    port = int(running.paths.socket.read_text().split()[0])
    (home / "guess").write_text(f"{port} {secrets.token_hex(32)}\n")
    with pytest.raises(UntrustedPeerError):
        LoopbackAddress(home / "guess").connect(5)
    with socket.create_connection(("127.0.0.1", port), 5) as connection:
        connection.sendall(b"\0" * 48 + b'{"type":"GetStatus","number":1,"message":{}}\n')
        received = b""
        with contextlib.suppress(ConnectionResetError):
            while more := connection.recv(100):
                received += more
    # At most the nonce and the proof of the service.
    assert len(received) in (0, 48)
    assert running.handler.attached_front_ends == []


def test_the_proof_may_arrive_in_several_reads(home: Path) -> None:
    address = LoopbackAddress(home / "file")
    with address.listen() as listener:
        thread = threading.Thread(target=lambda: address.connect(5).close())
        thread.start()
        connection, _ = listener.accept()
        with connection:
            check = address.check_peer(connection)
            rest = None
            while rest is None:
                reply, rest = check.receive(connection.recv(1))
                connection.sendall(reply)
        thread.join(5)
    assert rest == b""


def test_a_process_at_the_port_of_a_dead_service_is_rejected(home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as impostor:
        (home / "file").write_text(f"{impostor.getsockname()[1]} {secrets.token_hex(32)}\n")
        received = bytearray()

        def steal() -> None:
            connection, _ = impostor.accept()
            with connection:
                received.extend(connection.recv(100))
                connection.sendall(b"\0" * 48)
                received.extend(connection.recv(100))

        thread = threading.Thread(target=steal)
        thread.start()
        with pytest.raises(UntrustedPeerError):
            LoopbackAddress(home / "file").connect(5)
        thread.join(5)
    assert len(received) == 16


def test_a_client_connects_to_the_service_of_its_home(running: RunningServer) -> None:
    if isinstance(running.address, UnixAddress):
        with connect(running.paths) as client:
            client.hello("cli", can_prompt=False)
            assert client.request(GetStatus()) == STATUS
