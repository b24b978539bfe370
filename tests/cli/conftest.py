import asyncio
import io
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.cli.fake_service import ROOT, FakeServiceHandler
from tests.control.running import RunningServer
from trayproxy.cli.main import main
from trayproxy.control.unix_socket import UnixAddress
from trayproxy.paths import Paths, locate

if TYPE_CHECKING:
    from tests.cli.terminal_screen import TerminalScreen

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def paths(monkeypatch: pytest.MonkeyPatch) -> Iterator[Paths]:
    # Not tmp_path: the path of a Unix socket must be short.
    with tempfile.TemporaryDirectory(prefix="tp-") as folder:
        monkeypatch.setenv("TRAYPROXY_HOME", folder)
        monkeypatch.setenv("XDG_STATE_HOME", folder)
        yield locate({"TRAYPROXY_HOME": folder})


@pytest.fixture(autouse=True)
def unhardened(monkeypatch: pytest.MonkeyPatch) -> None:
    """Disable hardening in this process: it cannot be undone, and child processes inherit its
    limits."""
    for module in ("devices", "import_command", "login", "run"):
        monkeypatch.setattr(f"trayproxy.cli.{module}.harden", lambda: None)


@pytest.fixture
def cli(paths: Paths, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Run the command line; return the exit code, standard output and standard error."""

    def call(*arguments: str, stdin: bytes = b"") -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        try:
            code = main(arguments)
        except SystemExit as end:
            code = int(end.code or 0)
        out, err = capsys.readouterr()
        return int(code), out, err

    return call


@pytest.fixture
def service(paths: Paths) -> Iterator[FakeServiceHandler]:
    paths.prepare()
    service = FakeServiceHandler()
    address = UnixAddress(paths.socket)
    with RunningServer(address, paths, asyncio.new_event_loop, service) as running:

        def end() -> None:
            service.ending = running.loop.create_task(running.server.close())

        service.quit = end
        yield service


@pytest.fixture
def screen(paths: Paths) -> Iterator["Callable[..., TerminalScreen]"]:
    # Here, because Windows has no pseudo-terminals.
    from tests.cli.terminal_screen import TerminalScreen

    environ = {**os.environ, "TRAYPROXY_HOME": str(paths.config.parent), "PYTHONPATH": str(ROOT)}
    with ExitStack() as stack:

        def make(*command: str) -> TerminalScreen:
            made = TerminalScreen(*command, environ=environ)
            stack.callback(made.close)
            return made

        yield make


@pytest.fixture
def config(paths: Paths) -> Path:
    return paths.config_file
