"""Fixed forwards, and a program behind them, through Squid with a sign-in."""

import os
import signal
import socket
from contextlib import closing

import pytest

from tests.end2end.scenario import Scenario
from tests.support.ports import free_port
from tests.support.scripted_upstream import ScriptedConnection, ScriptedUpstream
from tests.support.service import run_command

BANNER = b"SSH-2.0-server\r\n"


def greeting(peer: ScriptedConnection) -> None:
    """Speak first, like an SSH server, and send back what the client has sent."""
    peer.send(BANNER)
    peer.send(peer.read(5))


def converse(port: int) -> bytes:
    """Return the octets that a client of a forward receives."""
    with closing(socket.create_connection(("127.0.0.1", port), 20)) as client:
        client.sendall(b"hello")
        received = b""
        while data := client.recv(4096):
            received += data
            if received.endswith(b"hello"):
                break
        return received


def add_forward(scenario: Scenario, port: int, to: str) -> None:
    run = run_command(
        scenario.run.place,
        "forward",
        "add",
        str(port),
        to,
        environment=scenario.keyring.environment,
    )
    assert run.returncode == 0, run.stderr


def test_a_forward_is_a_tunnel_through_the_upstream(scenario: Scenario) -> None:
    user = scenario.start(scenario.login)
    port = free_port()
    with ScriptedUpstream(greeting) as server:
        add_forward(scenario, port, f"127.0.0.1:{server.port}")
        # The connection waits while the user signs in.
        assert converse(port) == BANNER + b"hello"
    assert len(user.front_end.prompts) == 1
    assert scenario.proxy.failed_logons() == 0
    (access,) = [one for one in scenario.proxy.accesses() if one.status == 200]
    assert access.target == f"127.0.0.1:{server.port}"


def test_a_taken_port_is_reported_and_the_other_forwards_work(scenario: Scenario) -> None:
    user = scenario.start(scenario.login)
    taken, port = free_port(), free_port()
    with ScriptedUpstream(greeting) as server, socket.create_server(("127.0.0.1", taken)):
        add_forward(scenario, taken, f"127.0.0.1:{server.port}")
        add_forward(scenario, port, f"127.0.0.1:{server.port}")
        assert converse(port) == BANNER + b"hello"
        status = user.service.status()
        assert [one.problem.id if one.problem else "" for one in status.listeners] == ["TP-113", ""]
        (notice,) = [one for one in status.notices if one.id == "TP-113"]
        assert f"already uses 127.0.0.1:{taken}" in notice.body


def test_forwards_follow_the_file_and_a_mistake_changes_nothing(scenario: Scenario) -> None:
    user = scenario.start(scenario.login)
    port = free_port()
    with ScriptedUpstream(greeting) as server:
        file = user.service.paths.config_file
        before = file.read_text()
        forward = f'[[forward]]\nlisten = "{port}"\nto = "127.0.0.1:{server.port}"\n'
        file.write_text(before + forward)
        os.kill(user.service.pid, signal.SIGHUP)
        user.front_end.wait_for_status(lambda status: len(status.listeners) == 1)
        assert converse(port) == BANNER + b"hello"
        file.write_text(before + forward + '[[forward]]\nlisten = "x"\nto = "a:1"\n')
        os.kill(user.service.pid, signal.SIGHUP)
        user.front_end.wait_for_status(lambda status: bool(status.notices))
        (notice,) = user.service.status().notices
        assert notice.id == "TP-801"
        line = len((before + forward).splitlines()) + 2
        assert f"line {line}: Write an address and a port" in notice.body
        assert converse(port) == BANNER + b"hello"


@pytest.mark.parametrize("way", ["forward", "SOCKS5"])
def test_ssh_reaches_its_server(scenario: Scenario, way: str) -> None:
    user = scenario.start(scenario.login)
    port = free_port()

    def refuse(peer: ScriptedConnection) -> None:
        peer.send(BANNER)
        peer.read(8)

    with ScriptedUpstream(refuse) as server:
        options = ["-F", "none", "-o", "BatchMode=yes"]
        if way == "forward":
            add_forward(scenario, port, f"127.0.0.1:{server.port}")
            target = ["-p", str(port), "127.0.0.1"]
        else:
            # Like netcat: curl joins standard input and output to a host.
            netcat = f"curl -sN --socks5-hostname {user.service.address} telnet://%h:%p"
            target = ["-o", f"ProxyCommand={netcat}", "-p", str(server.port), "127.0.0.1"]
        ssh = scenario.clients.start("ssh", *options, *target)
        assert server.peer(1).wait_for(b"SSH-2.0-OpenSSH")
        ssh.process.end()
    assert len(user.front_end.prompts) == 1
