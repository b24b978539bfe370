"""The real service on a computer with a change of the network (security.md, F12)."""

import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.support.namespaces import ALONE, skip_without_namespaces
from tests.support.process_output import PATIENCE
from tests.support.processes import Home, running
from tests.support.service import ServiceProcess
from trayproxy.paths import locate

CABLE = "ip link set lo up && ip link add far type veth peer near && ip link set far up"


@pytest.fixture
def service(place: Home) -> Iterator[ServiceProcess]:
    skip_without_namespaces()
    environment = place.trayproxy_environment()
    run = ("run", "--listen", "127.0.0.1:0", "--upstream", "http://192.0.2.1:8080")
    shell = (*ALONE, "sh", "-c", f'{CABLE} && exec "$@"', "sh")
    argv = [*shell, sys.executable, "-m", "trayproxy", *run]
    with running(argv, env=environment, cwd=place.path("cwd")) as process:
        yield ServiceProcess(process, locate(environment))


def test_the_service_notices_another_network(service: ServiceProcess) -> None:
    inside = ["nsenter", "-t", str(service.pid), "-U", "-n", "--preserve-credentials"]
    address = ["ip", "address", "add", "192.0.2.7/24", "dev", "far"]
    subprocess.run([*inside, *address], check=True, timeout=PATIENCE)
    service.process.err.wait_for("the network has changed")
