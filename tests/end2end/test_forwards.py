"""Fixed forwards, and a program behind them, through Squid with a sign-in."""

import os
import signal
import socket
from contextlib import closing

import pytest

from tests.end2end.scenario import Scenario, UserSession
from tests.support.ports import free_port
from tests.support.scripted_upstream import ScriptedConnection, ScriptedUpstream
from tests.support.service import run_command
from trayproxy.control.messages import Status


def greeting(peer: ScriptedConnection) -> None:
    """Speak first, like an SSH server, and send back what the client has sent."""
    peer.send(b"SSH-2.0-server\r\n")
    peer.send(peer.read_all())


def converse(port: int) -> bytes:
    """Return what the server behind a forward has sent to a client that sends one line."""
    with closing(socket.create_connection(("127.0.0.1", port), 20)) as client:
        client.sendall(b"SSH-2.0-client\r\n")
        client.shutdown(socket.SHUT_WR)
        received = b""
        while data := client.recv(4096):
            received += data
        return received
