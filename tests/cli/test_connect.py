"""Tests for trayproxy.cli.tunnel and .stream_relay: a fake service, and a fake proxy."""

import argparse
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from hashlib import sha256
from threading import Event

import pytest
from msgspec.structs import replace

from tests.cli.conftest import Cli
from tests.cli.fake_service import ROOT, FakeServiceHandler
from tests.cli.terminal_screen import TerminalScreen
from tests.support.memory import MIB, memory_of
from tests.support.octets import digest, octets
from tests.support.process_output import PATIENCE
from tests.support.server import LoopbackServer, reset_on_close
from trayproxy.cli.tunnel import parse_target
from trayproxy.paths import Paths

OPEN = b"HTTP/1.1 200 Connection established\r\n\r\n"
EVERY_OCTET = bytes(range(256))
PAGE = """<!doctype html><title>x</title>
<h1>Sign-in was cancelled &amp; more</h1>
<p>Choose &quot;Sign in&quot;.</p>
<footer>This page comes from TrayProxy on this computer (127.0.0.1:1). TP-302</footer>
</html>"""

Serve = Callable[[socket.socket], None]
Start = Callable[[Serve], "subprocess.Popen[bytes]"]


def received_of(connection: socket.socket) -> bytes:
    """Read until the end of the stream."""
    return b"".join(iter(lambda: connection.recv(1 << 16), b""))


@pytest.fixture
def listen(service: FakeServiceHandler) -> Iterator[Callable[[Serve], None]]:
    """Make a function serve each tunnel at the address of the service, after the CONNECT."""
    with ExitStack() as stack:

        def make(serve: Serve) -> None:
            def serve_tunnel(connection: socket.socket) -> None:
                head = b""
                while not head.endswith(b"\r\n\r\n"):
                    head += connection.recv(1)
                expected = b"CONNECT git.example:22 HTTP/1.1\r\nHost: git.example:22\r\n\r\n"
                assert head == expected
                serve(connection)

            server = stack.enter_context(LoopbackServer(serve_tunnel))
            service.status = replace(service.status, address=f"127.0.0.1:{server.port}")

        yield make


def command(paths: Paths) -> tuple[list[str], dict[str, str]]:
    home = {"TRAYPROXY_HOME": str(paths.config.parent), "PYTHONPATH": str(ROOT)}
    return [sys.executable, "-m", "trayproxy", "connect", "git.example:22"], os.environ | home


@pytest.fixture
def start(paths: Paths, listen: Callable[[Serve], None]) -> Iterator[Start]:
    with ExitStack() as stack:

        def begin(serve: Serve) -> "subprocess.Popen[bytes]":
            listen(serve)
            argv, environ = command(paths)
            pipe = subprocess.PIPE
            process = stack.enter_context(
                subprocess.Popen(argv, env=environ, stdin=pipe, stdout=pipe, stderr=pipe)
            )
            stack.callback(process.kill)
            return process

        yield begin


def result(process: "subprocess.Popen[bytes]", given: bytes = b"") -> tuple[int, bytes, str]:
    out, err = process.communicate(given, PATIENCE)
    return process.returncode, out, err.decode()


def test_each_octet_is_copied_in_both_directions(start: Start) -> None:
    def echo(connection: socket.socket) -> None:
        connection.sendall(OPEN + b"first\r\n\0")
        connection.sendall(received_of(connection))

    assert result(start(echo), EVERY_OCTET * 300) == (0, b"first\r\n\0" + EVERY_OCTET * 300, "")


def test_the_end_of_the_input_is_passed_on_and_the_answer_still_arrives(start: Start) -> None:
    def answer_after_the_end(connection: socket.socket) -> None:
        connection.sendall(OPEN)
        connection.sendall(sha256(received_of(connection)).hexdigest().encode())

    hashed = sha256(EVERY_OCTET).hexdigest().encode()
    assert result(start(answer_after_the_end), EVERY_OCTET) == (0, hashed, "")


def test_the_end_of_the_output_is_passed_on_and_the_input_still_arrives(start: Start) -> None:
    found: list[bytes] = []

    def read_after_the_end(connection: socket.socket) -> None:
        connection.sendall(OPEN + b"bye")
        connection.shutdown(socket.SHUT_WR)
        found.append(received_of(connection))

    process = start(read_after_the_end)
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.read() == b"bye"
    process.stdin.write(EVERY_OCTET)
    process.stdin.close()
    assert process.wait(PATIENCE) == 0
    # The fake proxy has read the end of the stream before the command has ended its connection.
    assert found == [EVERY_OCTET]


def test_a_slow_reader_slows_the_writer_down(start: Start) -> None:
    opened, size = Event(), 64 * MIB

    def read_late(connection: socket.socket) -> None:
        connection.sendall(OPEN + b"!")
        opened.wait(PATIENCE)
        hashed = sha256()
        while piece := connection.recv(1 << 18):
            hashed.update(piece)
        connection.sendall(hashed.hexdigest().encode())

    process = start(read_late)
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.read(1) == b"!"

    def write(pipe: "subprocess.Popen[bytes]") -> int:
        assert pipe.stdin is not None
        for block in octets(size):
            pipe.stdin.write(block)
        peak = memory_of(pipe.pid).peak
        pipe.stdin.close()
        return peak

    with ThreadPoolExecutor(1) as pool:
        os.set_blocking(process.stdin.fileno(), False)
        full = 0
        try:
            for block in octets(size):
                full += os.write(process.stdin.fileno(), block)
        except BlockingIOError:
            pass
        assert full < size
        os.set_blocking(process.stdin.fileno(), True)
        peak = pool.submit(write, process)
        opened.set()
        assert peak.result(60) < 60 * MIB
    assert len(process.stdout.read()) == 64
    assert process.wait(PATIENCE) == 0


def test_many_octets_arrive_unchanged(start: Start) -> None:
    def echo(connection: socket.socket) -> None:
        connection.sendall(OPEN)
        while piece := connection.recv(1 << 16):
            connection.sendall(piece)

    code, out, err = result(start(echo), b"".join(octets(5_000_000)))
    assert (code, err) == (0, "")
    assert sha256(out).hexdigest() == digest(5_000_000)


def test_descriptors_that_do_not_block_are_used_like_others(
    paths: Paths, listen: Callable[[Serve], None]
) -> None:
    def echo(connection: socket.socket) -> None:
        connection.sendall(OPEN)
        while piece := connection.recv(1 << 16):
            connection.sendall(piece)

    listen(echo)
    argv, environ = command(paths)
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    end = theirs.fileno()
    with ours, subprocess.Popen(argv, env=environ, stdin=end, stdout=end) as process:
        theirs.close()
        with ThreadPoolExecutor(1) as pool:
            found = pool.submit(received_of, ours)
            ours.sendall(b"".join(octets(5_000_000)))
            ours.shutdown(socket.SHUT_WR)
            assert sha256(found.result(60)).hexdigest() == digest(5_000_000)
        assert process.wait(PATIENCE) == 0


def test_a_reset_connection_is_a_failure(start: Start) -> None:
    def reset(connection: socket.socket) -> None:
        connection.sendall(OPEN + b"x")
        connection.recv(1)
        reset_on_close(connection)

    process = start(reset)
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.read(1) == b"x"
    process.stdin.write(b"y")
    process.stdin.flush()
    code, _, err = result(process)
    assert code == 1
    assert err.startswith("The connection to git.example:22 was cut: ")


def test_a_reader_that_closes_the_output_is_no_failure(start: Start) -> None:
    closed = Event()

    def send(connection: socket.socket) -> None:
        connection.sendall(OPEN)
        closed.wait(PATIENCE)
        while True:
            connection.sendall(EVERY_OCTET)

    process = start(send)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    closed.set()
    assert process.wait(PATIENCE) == 0
    assert process.stderr.read() == b""


def test_the_end_of_the_connection_ends_the_command_at_a_terminal(
    screen: Callable[..., TerminalScreen], listen: Callable[[Serve], None]
) -> None:
    def greet(connection: socket.socket) -> None:
        connection.sendall(OPEN + b"hello\n")
        assert connection.recv(4) == b"bye\n"

    listen(greet)
    terminal = screen("trayproxy", "connect", "git.example:22")
    terminal.answer("hello\n", "bye\n")
    assert terminal.end() == 0


def test_ctrl_c_ends_the_command(
    screen: Callable[..., TerminalScreen], listen: Callable[[Serve], None]
) -> None:
    def greet(connection: socket.socket) -> None:
        connection.sendall(OPEN + b"hello\n")
        connection.recv(1)

    listen(greet)
    terminal = screen("trayproxy", "connect", "git.example:22")
    terminal.answer("hello\n", "\x03")
    assert terminal.end() == 130


def refusal(status: str, page: str, *fields: str) -> Serve:
    head = "\r\n".join([f"HTTP/1.1 {status}", *fields, f"Content-Length: {len(page)}", "", ""])

    def refuse(connection: socket.socket) -> None:
        connection.sendall((head + page).encode())

    return refuse


@pytest.mark.parametrize(
    ("serve", "code", "text"),
    [
        (
            refusal("503 Sign-in was cancelled (TP-302)", PAGE),
            4,
            'Sign-in was cancelled & more. Choose "Sign in". (TP-302)',
        ),
        (refusal("502 x (TP-201)", ""), 5, "502 x (TP-201)"),
        (refusal("403 Forbidden", "<h1>No</h1>\n<p>Never.</p></html>"), 1, "403 Forbidden"),
        (refusal("403 For\x1b[31mbidden\u202e", ""), 1, "403 For[31mbiddenâ®"),
    ],
    ids=["own page", "own page without a body", "page of the proxy", "control characters"],
)
def test_the_reason_of_a_refusal_is_reported(
    start: Start, serve: Serve, code: int, text: str
) -> None:
    expected = f"git.example:22 was not reached: {text}\n"
    assert result(start(serve)) == (code, b"", expected)


@pytest.mark.parametrize("octets", [b"", b"HTTP/1.1 200 OK\r\n", b"SSH-2.0-x\r\n\r\n"])
def test_a_malformed_response_is_a_failure(start: Start, octets: bytes) -> None:
    code, out, err = result(start(lambda connection: connection.sendall(octets)))
    assert (code, out) == (1, b"")
    assert re.match("(The connection to git.example:22 was cut|TrayProxy sent an unexpected)", err)


def test_a_dead_local_address_is_reported(paths: Paths, service: FakeServiceHandler) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{bound.getsockname()[1]}"
        service.status = replace(service.status, address=address)
        argv, environ = command(paths)
        run = subprocess.run(argv, env=environ, stdin=subprocess.DEVNULL, capture_output=True)
    assert (run.returncode, run.stdout) == (1, b"")
    assert run.stderr.startswith(f"TrayProxy cannot be reached at {address}: ".encode())


@pytest.mark.usefixtures("service")
def test_standard_streams_without_descriptors_are_refused(cli: Cli) -> None:
    expected = "Standard input and standard output are needed.\n"
    assert cli("connect", "git.example:22") == (1, "", expected)


@pytest.mark.parametrize(
    ("given", "target"),
    [
        ("git.example:22", "git.example:22"),
        ("GIT.example:022", "git.example:22"),
        ("[git.example]:22", "git.example:22"),
        ("10.0.0.1:443", "10.0.0.1:443"),
        ("[2001:DB8:0::1]:22", "[2001:db8::1]:22"),
        ("bücher.example:443", "xn--bcher-kva.example:443"),
    ],
)
def test_the_target_is_parsed(given: str, target: str) -> None:
    assert parse_target(given) == target


@pytest.mark.parametrize(
    "given",
    [
        *("", "git.example", ":22", "git.example:", "git.example:0", "git.example:65536"),
        *("2001:db8::1:22", "[2001:db8::1]", "[]:22", "a b:22", "http://a:80", "a:22\r\nX: y"),
        *("[a:22", "a]:22", "u@a:22", "a/b:22"),
    ],
)
def test_a_malformed_target_is_a_usage_error(cli: Cli, given: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=r"such as git\.example:22"):
        parse_target(given)
    code, out, _ = cli("connect", given)
    assert (code, out) == (2, "")
