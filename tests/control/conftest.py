import asyncio
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvloop

from tests.control.running import RunningServer
from trayproxy.control.loopback import LoopbackAddress
from trayproxy.control.unix_socket import UnixAddress
from trayproxy.paths import Paths, locate


@pytest.fixture
def home() -> Iterator[Path]:
    # Not tmp_path: the path of a Unix socket must be short.
    with tempfile.TemporaryDirectory(prefix="tp-") as folder:
        yield Path(folder)


@pytest.fixture
def paths(home: Path) -> Paths:
    paths = locate({"TRAYPROXY_HOME": str(home)})
    paths.prepare()
    return paths


@pytest.fixture(
    params=[
        (UnixAddress, asyncio.new_event_loop),
        (UnixAddress, uvloop.new_event_loop),
        (LoopbackAddress, asyncio.new_event_loop),
        (LoopbackAddress, uvloop.new_event_loop),
    ],
    ids=["unix-asyncio", "unix-uvloop", "loopback-asyncio", "loopback-uvloop"],
)
def running(paths: Paths, request: pytest.FixtureRequest) -> Iterator[RunningServer]:
    kind, new_loop = request.param
    running = RunningServer(kind(paths.socket), paths, new_loop)
    try:
        yield running
    finally:
        running.stop()
