import tempfile
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest

from tests.control.running import RunningServer
from tests.engine.running import LOOPS
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
    params=list(product((UnixAddress, LoopbackAddress), LOOPS.values())),
    ids=["-".join(names) for names in product(("unix", "loopback"), LOOPS)],
)
def running(paths: Paths, request: pytest.FixtureRequest) -> Iterator[RunningServer]:
    kind, new_loop = request.param
    with RunningServer(kind(paths.socket), paths, new_loop) as running:
        yield running
