"""Programs of other users that connect to a port: a process each, ended with the block."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum, auto

import pytest

NOBODY = 65_534
"""A user who is neither root nor us, on every Linux."""

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may start another's program")


class AfterSending(StrEnum):
    """What a program does after it has sent what it has to say."""

    STAYS = auto()
    HALF_CLOSES = auto()
    """Ends its sending and waits for an answer."""
    CLOSES = auto()
    """Does not wait for an answer, and runs on."""
    RESETS = auto()


# It connects only when all is imported: another user may not be able to read our Python.
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
        # It may have been cut off before all was sent.
        print("there", flush=True)
        answer = b"reset"
    print(answer.decode("latin-1"), flush=True)
    sys.stdin.read()
"""


class ClientProgram:
    """A program that has connected and sent something.

    Attributes:
        pid: Its process id.
    """

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.pid = process.pid
        self._process = process

    def answer(self) -> str:
        """Wait for what it is told: the begin of an answer, ``end`` or ``reset``."""
        assert self._process.stdout
        lines = (line.strip() for line in self._process.stdout)
        # It says that it is there once more if it is cut off just then.
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
    """Run a program that connects; it has done all it does by itself when the block begins.

    Args:
        address: Where to, an IP literal and a port.
        then: What it does in the end.
        user: Whose it is; None for ours.
        octets: What it sends.
        source: The port that it connects from, which others may use again at once; 0: any.
        device: The network interface that its socket is bound to; empty: none.
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
    """Whether this computer has an IPv6 loopback address."""
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this computer has no IPv6")
