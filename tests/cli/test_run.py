"""Tests for trayproxy.cli.run: the real service with a pseudo-terminal."""

import base64
import re
import socket
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from tests.cli.terminal_screen import TerminalScreen
from tests.support.scripted_upstream import OK, ScriptedConnection, ScriptedUpstream, challenge
from trayproxy.paths import Paths

SECRET = "canary-8d2f"
CREDENTIALS = base64.b64encode(f"jdoe:{SECRET}".encode())
REQUEST = b"GET http://origin.example/ HTTP/1.1\r\nHost: origin.example\r\n\r\n"


def require_sign_in(peer: ScriptedConnection) -> None:
    while True:
        head = peer.read_head()
        accepted = b"Proxy-Authorization: Basic " + CREDENTIALS in head
        peer.send(OK if accepted else challenge('Basic realm="Corp"'))


def fetch(port: str) -> bytes:
    with socket.create_connection(("127.0.0.1", int(port)), 30) as connection:
        connection.sendall(REQUEST)
        return connection.recv(4096)


def start(
    screen: Callable[..., TerminalScreen], upstream: ScriptedUpstream, *more: str
) -> tuple[TerminalScreen, str]:
    terminal = screen(
        *("trayproxy", "run", "--listen", "127.0.0.1:0"),
        *("--upstream", f"127.0.0.1:{upstream.port}", "--user", "jdoe", *more),
    )
    return terminal, terminal.wait_for(r"listening on 127\.0\.0\.1:\d+\n").strip().rpartition(":")[
        2
    ]


def sign_in(terminal: TerminalScreen, password: str) -> None:
    terminal.answer(r"User name \[jdoe\]: ", "\n")
    terminal.answer("Password", f"{password}\n")
    terminal.wait_for("This run keeps no passwords")


def test_a_login_typed_at_the_terminal_lets_the_request_pass(
    screen: Callable[..., TerminalScreen], paths: Paths
) -> None:
    with ScriptedUpstream(require_sign_in) as upstream, ThreadPoolExecutor(1) as pool:
        terminal, port = start(screen, upstream)
        answer: Future[bytes] = pool.submit(fetch, port)
        terminal.wait_for(re.escape(f"Proxy:      http://127.0.0.1:{upstream.port}"))
        terminal.wait_for("It says:    “Corp”")
        sign_in(terminal, "wrong")
        terminal.wait_for("did not accept this password")
        sign_in(terminal, SECRET)
        terminal.wait_for("Signed in.")
        assert answer.result(30).startswith(b"HTTP/1.1 200 ")
        terminal.type("\x03")
        assert terminal.end() == 0
    assert terminal.has_echo()
    assert "canary" not in terminal.shown
    assert "INFO" not in terminal.shown


def test_without_prompts_the_terminal_shows_no_prompt(
    screen: Callable[..., TerminalScreen],
) -> None:
    with ScriptedUpstream(require_sign_in) as upstream:
        terminal, port = start(screen, upstream, "--no-prompt")
        assert fetch(port).startswith(b"HTTP/1.1 503 ")
        terminal.type("\x03")
        assert terminal.end() == 0
    assert "User name" not in terminal.shown


@pytest.mark.parametrize(
    ("options", "is_shown"),
    [
        ([], False),
        (["--quiet"], False),
        (["--no-prompt"], True),
        (["--no-prompt", "--quiet"], False),
    ],
)
def test_the_log_is_printed_only_if_the_terminal_shows_no_prompts(
    screen: Callable[..., TerminalScreen], paths: Paths, options: list[str], is_shown: bool
) -> None:
    with ScriptedUpstream(require_sign_in) as upstream:
        terminal, port = start(screen, upstream, *options)
        terminal.type("\x03")
        assert terminal.end() == 0
    assert f"listening on 127.0.0.1:{port}\n" in paths.log_file.read_text()
    assert ("INFO" in terminal.shown) is is_shown
