"""Tests for trayproxy.control.server with hostile, slow and additional clients."""

import asyncio
import contextlib
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.control.running import STATUS, RecordingHandler, RunningServer
from trayproxy.control import server as server_module
from trayproxy.control.client import Client, DisconnectedError, ServiceRefusedError
from trayproxy.control.codec import MAX_LINE
from trayproxy.control.lock import AlreadyRunningError, InstanceLock
from trayproxy.control.messages import GetStatus, Hello, StatusChanged, Subscribe
from trayproxy.control.server import MAX_SESSIONS, Server
from trayproxy.control.transport import NotRunningError
from trayproxy.control.unix_socket import UnixAddress
from trayproxy.paths import Paths

HELLO = b'{"type":"Hello","number":1,"message":{"front_end":"cli","can_prompt":false}}\n'
SECRET = b"canary-4f1c"

HOLD = """
import sys, time
from pathlib import Path
from trayproxy.control.transport import NotRunningError
from trayproxy.control.unix_socket import UnixAddress
from trayproxy.control.lock import InstanceLock
lock = InstanceLock(Path(sys.argv[1]))
lock.acquire()
listener = UnixAddress(Path(sys.argv[2])).listen()
print("held", flush=True)
sys.stdin.read()
"""


def exchange(running: RunningServer, octets: bytes) -> bytes:
    """Send octets and return all octets until the server closes the connection."""
    with running.address.connect(5) as connection:
        received = b""
        try:
            connection.sendall(octets)
            while more := connection.recv(65536):
                received += more
        except (ConnectionResetError, BrokenPipeError):
            pass
        return received


@pytest.mark.parametrize(
    "octets",
    [
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        b"\n",
        b"\0" * 100 + b"\n",
        b"x" * (MAX_LINE + 1),
        b'{"type":"GetStatus","number":1,"message":{}}\n',
        b'{"type":"Hello","number":0,"message":{"front_end":"","can_prompt":false}}\n',
        HELLO + HELLO,
        HELLO + b'{"type":"GetStatus","number":0,"message":{}}\n',
        HELLO + b'{"type":"GetStatus","number":-1,"message":{}}\n',
        HELLO + b'{"type":"Done","number":2,"message":{}}\n',
        HELLO + b'{"type":"SaveLogin","number":2,"message":{"password":"' + SECRET + b'"}}\n',
        HELLO + b"[" * 200_000 + b"\n",
    ],
    ids=range(12),
)
def test_a_violation_of_the_protocol_closes_the_connection(
    running: RunningServer, octets: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        assert SECRET not in exchange(running, octets)
    assert SECRET.decode() not in caplog.text
    assert running.handler.requests == []
    with running.client() as client:
        assert client.request(GetStatus()) == STATUS


def test_a_front_end_of_another_version_receives_failed(running: RunningServer) -> None:
    with Client(running.address.connect(5)) as client:
        reply = client.request(Hello("tray", True, schema=999))
    assert type(reply).__name__ == "Failed"
    with pytest.raises(ServiceRefusedError, match="another"):
        Client(running.address.connect(5)).hello("", can_prompt=True)


def test_a_connection_without_hello_is_closed(
    running: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "HELLO_TIMEOUT_S", 0.05)
    assert exchange(running, b"") == b""


def test_a_front_end_with_unread_events_is_disconnected(running: RunningServer) -> None:
    with running.client("tray") as client:
        client.request(Subscribe())

        def flood() -> int:
            event, count = StatusChanged(STATUS), 0
            while running.handler.sessions and count < 100_000:
                running.handler.broadcast(event)
                count += 1
                if count % 1000 == 0:
                    # The abort takes effect in the next iteration of the loop.
                    return count
            return 0

        for _ in range(200):
            if not running.call(flood):
                break
        assert running.handler.front_end_detached.wait(5)
        with pytest.raises(DisconnectedError):
            for _ in client.events(5):
                pass


def test_too_many_front_ends_are_refused(running: RunningServer) -> None:
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(running.client()) for _ in range(MAX_SESSIONS)]
        with pytest.raises((DisconnectedError, NotRunningError)):
            stack.enter_context(running.client())
        clients.pop().close()
        assert running.handler.front_end_detached.wait(5)
        stack.enter_context(running.client())


def test_a_flood_of_requests_is_processed(running: RunningServer) -> None:
    line = b'{"type":"GetStatus","number":2,"message":{}}\n'
    with running.address.connect(5) as connection:
        connection.sendall(HELLO + line * 1000)
        received = b""
        while received.count(b"\n") < 1001:
            received += connection.recv(65536)
    assert len(running.handler.requests) == 1000


def test_a_second_service_is_refused_without_effect_on_the_first(running: RunningServer) -> None:
    async def second() -> None:
        await Server(running.paths, RecordingHandler(), running.address).start()

    with pytest.raises(AlreadyRunningError) as caught:
        asyncio.run(second())
    assert caught.value.pid == os.getpid()
    with running.client() as client:
        assert client.request(GetStatus()) == STATUS


def test_the_socket_of_a_killed_service_is_replaced(paths: Paths) -> None:
    command = [sys.executable, "-c", HOLD, str(paths.lock), str(paths.socket)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"held\n"
        with pytest.raises(AlreadyRunningError) as caught:
            InstanceLock(paths.lock).acquire()
        assert caught.value.pid == child.pid
        child.send_signal(signal.SIGKILL)
    assert paths.socket.exists()
    address = UnixAddress(paths.socket)
    with RunningServer(address, paths, asyncio.new_event_loop) as again, again.client() as client:
        assert client.request(GetStatus()) == STATUS


def test_the_lock_can_be_acquired_after_a_release_and_with_a_stale_pid(paths: Paths) -> None:
    paths.lock.write_text(f"{os.getpid()}\n")
    first, second = InstanceLock(paths.lock), InstanceLock(paths.lock)
    first.acquire()
    with pytest.raises(AlreadyRunningError):
        second.acquire()
    first.release()
    first.release()
    second.acquire()
    second.release()
