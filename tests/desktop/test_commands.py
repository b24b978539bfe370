"""Commands of a process that is killed while it changes settings."""

import os
import select
import signal
import sys
from pathlib import Path

import pytest

from tests.support.process_output import PATIENCE
from tests.support.processes import SOURCES, Home, running
from trayproxy.control.lock import AlreadyRunningError, InstanceLock
from trayproxy.system_settings.lock import changing_settings

_CHANGE = """\
import os, sys
from pathlib import Path
from trayproxy.desktop.commands import command_runner
from trayproxy.system_settings.lock import changing_settings

with changing_settings(Path(sys.argv[1]), 1):
    command_runner(os.environ, 60)(["sh", "-c", "echo begun > $0; read end < $1", *sys.argv[2:]])
"""


def test_a_command_keeps_the_lock_when_its_process_is_killed(place: Home) -> None:
    lock, begun, end = (place.root / name for name in ("lock", "begun", "end"))
    os.mkfifo(begun)
    os.mkfifo(end)
    argv: list[str | Path] = [sys.executable, "-c", _CHANGE, lock, begun, end]
    environ = place.environment(PYTHONPATH=str(SOURCES))
    has_begun = os.open(begun, os.O_RDONLY | os.O_NONBLOCK)
    # Open for reading as well: this does not wait for the command.
    may_end = os.open(end, os.O_RDWR)
    with running(argv, env=environ, cwd=place.root) as process:
        readable, _, _ = select.select([has_begun], [], [], PATIENCE)
        assert readable, process.err.text
        process.signal(signal.SIGKILL)
        process.wait()
        with pytest.raises(AlreadyRunningError):
            InstanceLock(lock).acquire()
        os.write(may_end, b"\n")
        with changing_settings(lock, PATIENCE):
            pass
    os.close(has_begun)
    os.close(may_end)
