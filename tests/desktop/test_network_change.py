"""Tests for trayproxy.desktop.network_change with the changes of a real network."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from tests.desktop import network_program
from tests.support.namespaces import ALONE, skip_without_namespaces
from trayproxy.desktop.network_change import linux
from trayproxy.desktop.network_change.factory import watch_network

SOURCES = Path(__file__).parents[2]


def test_this_system_has_a_watch(loop: asyncio.AbstractEventLoop) -> None:
    watch = watch_network(loop, lambda: None)
    assert isinstance(watch, linux.LinuxNetworkWatch)
    watch.close()


def test_a_closed_watch_leaves_no_descriptor_open(loop: asyncio.AbstractEventLoop) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        watch_network(loop, lambda: None).close()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.fixture(scope="module")
def output() -> list[str]:
    """The output of `network_program`, which ran in a network namespace of its own."""
    skip_without_namespaces()
    # /sys must be mounted again to show the interfaces of the namespace.
    namespace = [*ALONE, "sh", "-c", 'mount -t sysfs none /sys && exec "$@"', "sh"]
    program = [sys.executable, "-m", "tests.desktop.network_program"]
    run = subprocess.run([*namespace, *program], cwd=SOURCES, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return run.stdout.splitlines()


@pytest.mark.parametrize(
    "command",
    [command for command in network_program.RELEVANT if command != network_program.UNREPORTED_STEP],
)
def test_a_change_of_the_network_is_reported(output: list[str], command: str) -> None:
    assert f"reported: {command}" in output


@pytest.mark.parametrize("command", network_program.IRRELEVANT)
def test_changes_of_loopback_link_local_and_container_addresses_are_ignored(
    output: list[str], command: str
) -> None:
    assert f"unchanged: {command}" in output
