"""Tests for output that cannot be written, or not in the stream's encoding (ux §7.1)."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from msgspec.structs import replace

from tests.cli.fake_service import ROOT, FakeServiceHandler, connected
from trayproxy.control.messages import CheckResult, Step, StepState
from trayproxy.paths import Paths
from trayproxy.profiles.profile import Profile, Upstream

NAME = "Büro 日本 “😀”"
FULL = Path("/dev/full")

COMMANDS: dict[str, int] = {
    "status": 0,
    "status --json": 0,
    "profiles list": 0,
    "profiles show": 0,
    "test": 0,
    "env --shell bash": 0,
    "--debug-info": 0,
    "--version": 0,
    "--help": 0,
    "run --help": 0,
}
"""Commands that write to standard output, with their exit codes."""

REFUSED: dict[str, int] = {
    "stauts": 2,
    "profiles use nix“日本”": 1,
    "profiles add Büro proxy.test:8080": 0,
    "exec -- nix“日本”": 127,
    "connect [::1": 2,
    "direct --for 5m": 0,
    "resume": 0,
    "run --listen 127.0.0.1:0 --no-prompt": 1,
    "login --stdin": 1,
}
"""Commands that write to standard error only, with their exit codes."""


def run(
    paths: Paths, command: str, out: int = subprocess.PIPE, err: int = subprocess.PIPE, **more: str
) -> "subprocess.CompletedProcess[bytes]":
    home = {"TRAYPROXY_HOME": str(paths.config.parent), "PYTHONPATH": str(ROOT)}
    argv = [sys.executable, "-m", "trayproxy", *command.split()]
    environ = {**os.environ, **home, **more}
    return subprocess.run(
        argv, env=environ, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=out, stderr=err, timeout=60
    )


@pytest.fixture
def known(service: FakeServiceHandler) -> FakeServiceHandler:
    """A service whose texts all contain characters that code pages lack."""
    profile = Profile("office", NAME, Upstream("proxy.example", 8080), user="jörg日")
    service.config = service.config.with_profile(profile)
    service.status = connected(service.status)
    service.status = replace(service.status, user="jörg日")
    service.result = CheckResult((Step("find", StepState.OK, "日本", 1.0),))
    return service


@pytest.mark.usefixtures("known")
@pytest.mark.parametrize("encoding", ["cp1252", "cp850"])
@pytest.mark.parametrize("command", [*COMMANDS, *REFUSED])
def test_every_text_can_be_written_in_every_encoding(
    paths: Paths, command: str, encoding: str
) -> None:
    result = run(paths, command, PYTHONIOENCODING=encoding, PYTHONUTF8="0")
    assert result.returncode == {**COMMANDS, **REFUSED}[command], result.stderr
    assert b"Traceback" not in result.stderr
    assert (result.stdout + result.stderr).decode(encoding)


@pytest.mark.usefixtures("known")
def test_unencodable_characters_are_replaced(paths: Paths) -> None:
    out = run(paths, "profiles list", PYTHONIOENCODING="cp850", PYTHONUTF8="0").stdout
    assert out.decode("cp850").startswith('* Büro \\u65e5\\u672c "\\U0001f600"')
    out = run(paths, "test", PYTHONIOENCODING="cp1252", PYTHONUTF8="0").stdout
    assert "  + Find proxy.example" in out.decode("cp1252")


@pytest.mark.usefixtures("known")
@pytest.mark.parametrize("command", COMMANDS)
def test_a_full_disk_is_reported_as_a_failure(paths: Paths, command: str) -> None:
    with FULL.open("wb") as full:
        result = run(paths, command, out=full.fileno())
    assert result.returncode == 1
    assert result.stderr == b"The output cannot be written: No space left on device.\n"


@pytest.mark.usefixtures("known")
@pytest.mark.parametrize("command", REFUSED)
def test_a_failed_message_does_not_change_the_exit_code(paths: Paths, command: str) -> None:
    with FULL.open("wb") as full:
        result = run(paths, command, err=full.fileno())
    assert result.returncode == REFUSED[command]


@pytest.mark.parametrize("command", ["--help", "env --shell bash"])
def test_a_pipe_closed_by_its_reader_is_not_a_failure(paths: Paths, command: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    result = run(paths, command, out=writing)
    os.close(writing)
    assert (result.returncode, result.stderr) == (0, b"")
