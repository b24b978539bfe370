"""The control address on Windows: a loopback port, its file, and the lock of the instance."""

import json
import threading
from pathlib import Path

import pytest

from tests.support.process_output import PATIENCE
from tests.windows.conftest import WindowsService, trayproxy
from trayproxy.control.client import connect
from trayproxy.control.loopback import LoopbackAddress
from trayproxy.control.transport import NotRunningError
from trayproxy.paths import locate


def test_a_command_reaches_the_service(service: WindowsService, home: Path) -> None:
    code, output = trayproxy(home, "status", "--json")
    assert code == 0, output
    assert json.loads(output)["address"] == f"127.0.0.1:{service.port}"


def test_a_second_service_ends_by_itself(service: WindowsService, home: Path) -> None:
    code, output = trayproxy(home, "run", "--listen", "127.0.0.1:0")
    assert (code, "already running" in output) == (1, True), output
    with service.client():
        pass


def test_the_address_is_outside_the_folder_for_temporary_files() -> None:
    runtime = locate({}).runtime
    assert runtime.parts[-4:] == ("AppData", "Local", "trayproxy", "run")


def test_a_removed_address_is_written_again(service: WindowsService) -> None:
    service.paths.socket.unlink()
    with pytest.raises(NotRunningError):
        connect(service.paths)
    watched = threading.Event()
    deadline = threading.Timer(PATIENCE, watched.set)
    deadline.start()
    while not service.paths.socket.exists() and not watched.is_set():
        watched.wait(0.1)
    deadline.cancel()
    with service.client():
        pass


def test_the_port_of_an_ended_service_is_not_a_service(tmp_path: Path) -> None:
    at = LoopbackAddress(tmp_path / "ipc.sock")
    at.listen().close()
    with pytest.raises(NotRunningError):
        at.connect(5)
