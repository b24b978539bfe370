"""Tests for trayproxy.desktop.process."""

import os
import select
import stat
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.support.processes import Home, RunPython
from trayproxy.control.client import Client, connect
from trayproxy.control.messages import Done, GetStatus, Quit, Status
from trayproxy.control.transport import NotRunningError
from trayproxy.desktop.process import (
    OUTPUT_FILE,
    command,
    environment,
    last_words,
    launch_service,
    start_service,
)
from trayproxy.paths import Paths, locate


def test_the_command_runs_this_installation() -> None:
    assert command("run") == [sys.executable, "-P", "-m", "trayproxy", "run"]


def test_proxy_variables_and_start_up_tokens_are_not_inherited() -> None:
    kept = environment(
        {
            "HTTP_PROXY": "http://u:p@h:1",
            "all_proxy": "x",
            "no_proxy": "x",
            "XDG_ACTIVATION_TOKEN": "t",
            "DISPLAY": ":0",
            "DBUS_SESSION_BUS_ADDRESS": "unix:path=/x",
        }
    )
    kept.pop("PYTHONPATH", None)
    assert kept == {"DISPLAY": ":0", "DBUS_SESSION_BUS_ADDRESS": "unix:path=/x"}


def test_a_relative_home_is_made_absolute_for_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/usr")
    assert environment({"TRAYPROXY_HOME": "here"})["TRAYPROXY_HOME"] == "/usr/here"


def test_this_installation_is_importable_from_any_folder() -> None:
    code = "import trayproxy; print(trayproxy.__file__)"
    found = subprocess.run(
        [sys.executable, "-P", "-c", code],
        cwd="/",
        env=environment(os.environ),
        capture_output=True,
        text=True,
        check=True,
    )
    import trayproxy

    assert found.stdout.strip() == trayproxy.__file__


def wait_for_end(pid: int) -> None:
    with suppress(psutil.NoSuchProcess):
        psutil.Process(pid).wait(30)


def test_the_service_has_its_own_session_output_and_descriptors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A shell script in place of TrayProxy prints how it was started.
    program = tmp_path / "program"
    program.write_text(
        "#!/bin/sh\n"
        'echo "$@ in $(pwd), stdin $(readlink /proc/self/fd/0)"\n'
        "ls /proc/self/fd | wc -l\n"
        "ps -o sid= -p $$\n"
    )
    program.chmod(0o755)
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    monkeypatch.setattr(sys, "executable", str(program))
    paths = locate({"TRAYPROXY_HOME": str(tmp_path / "home")})
    with open("/dev/null") as inherited:
        os.set_inheritable(inherited.fileno(), True)
        pid = start_service(paths, os.environ)
        wait_for_end(pid)
    output = paths.log / OUTPUT_FILE
    said, descriptors, session = output.read_text().splitlines()
    assert said == "run --quiet --stay in /, stdin /dev/null"
    # 0, 1, 2, and the descriptor of the listed folder.
    assert int(descriptors) == 4
    assert int(session) == pid
    assert stat.S_IMODE(output.stat().st_mode) == 0o600


def test_a_started_service_answers_and_quits(place: Home) -> None:
    paths = locate({"TRAYPROXY_HOME": str(place.root)})
    paths.config.mkdir(parents=True)
    paths.config_file.write_text("[listen]\nport = 0\n")
    pid = start_service(paths, place.environment(TRAYPROXY_HOME=str(place.root)))
    with attached(paths) as client:
        status = client.request(GetStatus())
        assert isinstance(status, Status)
        assert status.pid == pid
        assert os.getsid(pid) == pid
        assert client.request(Quit()) == Done()
    wait_for_end(pid)
    assert not psutil.pid_exists(pid)
    assert "listening on 127.0.0.1:" in paths.log_file.read_text()
    assert "INFO" not in (paths.log / OUTPUT_FILE).read_text()


LAUNCH = """
import os, sys
from trayproxy.control.client import connect
from trayproxy.desktop.process import launch_service
from trayproxy.paths import locate
paths = locate({"TRAYPROXY_HOME": sys.argv[1]})
launch_service(paths, lambda: False, 30, os.environ | {"TRAYPROXY_HOME": sys.argv[1]})
connect(paths).close()
try:
    os.wait()
except ChildProcessError:
    print(len(os.listdir("/proc/self/fd")))
"""


def test_a_launched_service_accepts_connections_and_is_no_child(
    place: Home, run_python: RunPython
) -> None:
    paths = locate({"TRAYPROXY_HOME": str(place.root)})
    paths.config.mkdir(parents=True)
    paths.config_file.write_text("[listen]\nport = 0\n")
    launched = run_python(LAUNCH, place.root)
    # 0, 1, 2, and the descriptor of the listed folder: the pipe is closed.
    assert (launched.stdout, launched.stderr) == ("4\n", "")
    with attached(paths) as client:
        status = client.request(GetStatus())
        assert isinstance(status, Status)
        pipes = [os.readlink(f"/proc/{status.pid}/fd/{n}") for n in range(3)]
        assert pipes == ["/dev/null", *[str(paths.log / OUTPUT_FILE)] * 2]
        assert client.request(Quit()) == Done()
    wait_for_end(status.pid)


def test_a_service_that_ends_at_once_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\nprintf 'Title\\nBody. (TP-105)\\n' >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    monkeypatch.setattr(sys, "executable", str(program))
    paths = locate({"TRAYPROXY_HOME": str(tmp_path / "home")})
    before = time.monotonic()
    launch_service(paths, lambda: False, 60, os.environ)
    assert time.monotonic() - before < 30
    assert last_words(paths) == "Title. Body. (TP-105)"


def test_a_program_that_cannot_be_launched_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "missing"))
    paths = locate({"TRAYPROXY_HOME": str(tmp_path / "home")})
    with pytest.raises(FileNotFoundError):
        launch_service(paths, lambda: False, 60, os.environ)


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("", ""),
        ("listening on 127.0.0.1:1\nTitle\nBody.\n\n", "Title. Body."),
        ("Traceback (most recent call last):\n  File x\nValueError: 3\n", "ValueError: 3"),
    ],
)
def test_the_last_words_of_a_service_give_the_reason_of_its_end(
    tmp_path: Path, output: str, words: str
) -> None:
    paths = locate({"TRAYPROXY_HOME": str(tmp_path)})
    assert last_words(paths) == ""
    paths.prepare()
    (paths.log / OUTPUT_FILE).write_text(output)
    assert last_words(paths) == words


def attached(paths: Paths) -> Client:
    """Connect as the tray does: try until the service accepts the connection."""
    deadline = time.monotonic() + 30
    while True:
        try:
            client = connect(paths)
        except NotRunningError:
            assert time.monotonic() < deadline
            select.select([], [], [], 0.05)
        else:
            client.hello("cli", can_prompt=False)
            return client
