"""Tests for trayproxy.desktop.process."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from trayproxy.desktop.process import WORDS, command, environment, start_service
from trayproxy.paths import locate


def test_the_command_runs_this_trayproxy() -> None:
    assert command("run") == [sys.executable, "-P", "-m", "trayproxy", "run"]


def test_what_may_hold_a_password_is_not_inherited() -> None:
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


def test_a_relative_home_is_the_same_home_for_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/usr")
    assert environment({"TRAYPROXY_HOME": "here"})["TRAYPROXY_HOME"] == "/usr/here"


def test_this_trayproxy_is_found_from_anywhere() -> None:
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


def test_the_service_is_apart_from_its_starter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Any program will do for the way that it is started.
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
        process = start_service(paths, os.environ)
        assert process.wait(30) == 0
    words = paths.log / WORDS
    said, descriptors, session = words.read_text().splitlines()
    assert said == "run --quiet in /, stdin /dev/null"
    # 0, 1, 2, and the one that lists.
    assert int(descriptors) == 4
    assert int(session) == process.pid
    assert stat.S_IMODE(words.stat().st_mode) == 0o600
