"""The watchdog process restores what its service has left, and nothing of another service.

The target is the file in ``environment.d``, which needs no desktop.
"""

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.process_output import PATIENCE
from tests.support.processes import Home, home
from trayproxy.desktop.system_proxy.base import ProxySetting
from trayproxy.desktop.system_proxy.environment_d import EnvironmentTarget, environment_file
from trayproxy.paths import Paths
from trayproxy.service.system_proxy.watchdog_process import WatchdogProcess
from trayproxy.system_settings.apply import TargetChange, apply
from trayproxy.system_settings.journal import Journal, JournalFile

pytestmark = pytest.mark.unix

SETTING = ProxySetting("127.0.0.1", 3128, "http://127.0.0.1:3128/4f1c.pac")


@pytest.fixture
def place() -> Iterator[Home]:
    with home() as place:
        yield place


@pytest.fixture
def environ(place: Home) -> dict[str, str]:
    return place.trayproxy_environment()


@pytest.fixture
def paths(place: Home) -> Paths:
    paths = place.trayproxy_paths()
    paths.prepare()
    return paths


def turn_on(paths: Paths, environ: dict[str, str], pid: int) -> Path:
    """Write the file as the service with this process id does; return its path."""
    path = environment_file(environ)
    target = EnvironmentTarget(path)
    change = TargetChange(target, target.read(), target.wanted(SETTING, {}).values)
    file = JournalFile(paths.system_proxy_file)
    apply(file, [change], lambda records: Journal(pid, "", 0.0, records))
    assert path.exists()
    return path


@pytest.fixture
def watchdog(paths: Paths, environ: dict[str, str]) -> Iterator[WatchdogProcess]:
    watchdog = WatchdogProcess(paths, environ)
    watchdog.start()
    yield watchdog
    watchdog.stop()


def test_the_end_of_the_service_restores_the_settings(
    paths: Paths, environ: dict[str, str], watchdog: WatchdogProcess
) -> None:
    path = turn_on(paths, environ, os.getpid())
    watchdog.stop()
    assert not path.exists()
    assert not paths.system_proxy_file.exists()


def test_settings_that_are_to_stay_are_kept(
    paths: Paths, environ: dict[str, str], watchdog: WatchdogProcess
) -> None:
    path = turn_on(paths, environ, os.getpid())
    watchdog.stop(keep=True)
    assert path.exists()
    assert paths.system_proxy_file.exists()


def test_settings_that_another_service_has_taken_over_stay(
    paths: Paths, environ: dict[str, str], watchdog: WatchdogProcess
) -> None:
    path = turn_on(paths, environ, os.getpid() + 1)
    watchdog.stop()
    assert path.exists()


def test_signals_of_a_session_that_ends_do_not_end_the_watchdog(
    paths: Paths, environ: dict[str, str], watchdog: WatchdogProcess
) -> None:
    path = turn_on(paths, environ, os.getpid())
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        os.kill(watchdog.pid, number)
    watchdog.stop()
    assert not path.exists()


def test_a_watchdog_is_started_once(watchdog: WatchdogProcess) -> None:
    pid = watchdog.pid
    watchdog.start()
    assert watchdog.pid == pid != 0
    watchdog.stop()
    assert watchdog.pid == 0


SERVICE = """
import sys, time
from trayproxy.paths import locate
from trayproxy.service.system_proxy.watchdog_process import WatchdogProcess
from tests.service.test_watchdog import turn_on
import os
paths = locate()
watchdog = WatchdogProcess(paths)
watchdog.start()
turn_on(paths, dict(os.environ), os.getpid())
print(watchdog.pid, flush=True)
sys.stdin.read()
"""


def test_a_killed_service_is_noticed(paths: Paths, environ: dict[str, str]) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SERVICE],
        env=environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as service:
        assert service.stdout is not None
        watchdog = int(service.stdout.readline())
        path = environment_file(environ)
        assert path.exists()
        # The pid of a process that is not a child: its end is noticed through a descriptor.
        descriptor = os.pidfd_open(watchdog)
        service.kill()
        ready, _, _ = select.select([descriptor], [], [], PATIENCE)
        os.close(descriptor)
        assert ready
    assert not path.exists()
    assert not paths.system_proxy_file.exists()
