"""Client programs, of this user or another user, with a connection to a port."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum, auto

import pytest

NOBODY = 65_534
"""The user id of ``nobody``: neither root nor the user of the tests."""

IS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0
needs_root = pytest.mark.skipif(not IS_ROOT, reason="only root may start another's program")


class AfterSending(StrEnum):
    """The action of a program after it has sent its octets."""

    STAYS = auto()
    HALF_CLOSES = auto()
    """Ends its sending and waits for a response."""
    CLOSES = auto()
    """Closes the connection and keeps running."""
    RESETS = auto()


# All imports precede the change of the user, who may be unable to read this Python.
_PROGRAM = """
import os, socket, struct, sys

host, port, user, then, octets, source, device = sys.argv[1:]
if int(user) != os.geteuid():
    os.setgroups([])
    os.setgid(int(user))
    os.setuid(int(user))
with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as connection:
    if device:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
    if int(source):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        connection.bind((host, int(source)))
    connection.settimeout(30)
    answer = b""
    try:
        connection.connect((host, int(port)))
        connection.sendall(bytes.fromhex(octets))
        if then == "half_closes":
            connection.shutdown(socket.SHUT_WR)
        if then == "resets":
            linger = struct.pack("ii", 1, 0)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        if then in ("closes", "resets"):
            connection.close()
        print("there", flush=True)
        if connection.fileno() >= 0:
            answer = connection.recv(65536)[:12] or b"end"
    except ConnectionError:
        # The server may have closed the connection before all octets were sent.
        print("there", flush=True)
        answer = b"reset"
    print(answer.decode("latin-1"), flush=True)
    sys.stdin.read()
"""


class ClientProgram:
    """A program that has connected and sent its octets."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.pid = process.pid
        self._process = process

    def answer(self) -> str:
        """Wait for the response; return its first octets, ``end`` or ``reset``."""
        assert self._process.stdout
        lines = (line.strip() for line in self._process.stdout)
        # The program writes this line again if its connection is reset at that moment.
        return next(line for line in lines if line != "there")


@contextmanager
def client_program(
    address: tuple[str, int],
    then: AfterSending = AfterSending.STAYS,
    *,
    user: int | None = None,
    octets: bytes = b"",
    source: int = 0,
    device: str = "",
) -> Iterator[ClientProgram]:
    """Run a program that connects; it has sent its octets and acted when the block begins.

    Args:
        address: An IP literal and a port.
        user: The user id of the program; None for the user of the tests.
        source: The local port, which other sockets may reuse at once; 0 for any.
        device: The network interface to which the socket is bound; empty for none.
    """
    who = str(os.geteuid() if user is None else user)
    arguments = [address[0], str(address[1]), who, str(then), octets.hex()]
    arguments += [str(source), device]
    with subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        line = process.stdout.readline()
        assert line == "there\n", line
        try:
            yield ClientProgram(process)
        finally:
            process.kill()


def has_ipv6() -> bool:
    """Return True if this computer has an IPv6 loopback address."""
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this computer has no IPv6")
