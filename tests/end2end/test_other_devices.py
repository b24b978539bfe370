"""Containers and other devices use the real service, in network namespaces."""

import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from tests.support.keyring_session import KeyringSession
from tests.support.namespaces import ALONE, skip_without_namespaces
from tests.support.process_output import PATIENCE
from tests.support.processes import Home, Process, running
from tests.support.service import ServiceProcess, run_command
from trayproxy.paths import locate

SETTINGS = """\
schema = 1
active = "office"
[listen]
port = {port}
{listen}
[[profiles]]
id = "office"
name = "Office"
upstream = "http://127.0.0.1:8123"
sign_in = "none"
bypass = ["127.0.0.1", "192.0.2.1", "localhost"]
"""
PORT = 3128
COMPUTER = """\
mount -t sysfs none /sys
ip link set lo up
{network}
python3 -c '
import http.server
class Proxy(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_CONNECT(self):
        self.send_response(200)
        self.end_headers()
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"hello")
http.server.ThreadingHTTPServer(("", 8123), Proxy).serve_forever()
' &
exec "$@"
"""
"""The company's proxy answers for each site itself. It is also a service of this computer."""
SITE = "http://site.test/"


@dataclass(frozen=True, slots=True)
class NetworkedComputer:
    """A computer with a network of its own, on which TrayProxy runs.

    Attributes:
        service: The service.
        device: A process in the network of a container or another device.
    """

    service: ServiceProcess
    device: Process

    def run(self, *argv: str) -> str:
        """Run a program on the computer, and return its output."""
        return self._run(self.service.pid, argv)

    def ip(self, *commands: str) -> None:
        """Change the network of the computer."""
        for command in commands:
            self.run("ip", *command.split())

    def device_ip(self, *commands: str) -> None:
        """Change the network of the device."""
        for command in commands:
            self._run(self.device.pid, ("ip", *command.split()))

    def curl(self, *arguments: str) -> str:
        """Run curl on the device; return its output and the status."""
        return self._run(self.device.pid, ("curl", "-sS", "-w", " %{http_code}", *arguments))

    def status_of_connect(self, *arguments: str) -> str:
        """Run curl on the device; return the status of its CONNECT."""
        words = ("curl", "-s", "-w", "%{http_connect}", *arguments)
        return self._run(self.device.pid, ("sh", "-c", '"$@" || true', "sh", *words))

    def _run(self, pid: int, argv: tuple[str, ...]) -> str:
        inside = ("nsenter", "-t", str(pid), "-U", "-n", "-m", "--preserve-credentials", *argv)
        done = subprocess.run(inside, capture_output=True, text=True, timeout=PATIENCE, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout


@dataclass(frozen=True, slots=True)
class StartComputer:
    """Starts a computer, with lines of the table ``[listen]`` and further lines."""

    place: Home
    stack: ExitStack

    def __call__(
        self, listen: str, network: str = "", session: Mapping[str, str] | None = None
    ) -> NetworkedComputer:
        environment = self.place.trayproxy_environment(session)
        paths = locate(environment)
        paths.config_file.parent.mkdir(parents=True, exist_ok=True)
        paths.config_file.write_text(SETTINGS.format(port=PORT, listen=listen))
        run = (sys.executable, "-m", "trayproxy", "run", "--no-prompt")
        computer = (*ALONE, "sh", "-ec", COMPUTER.format(network=network), "sh", *run)
        service = ServiceProcess(self._start(computer, environment), paths)
        inside = ("nsenter", "-t", str(service.pid), "-U", "-n", "-m", "--preserve-credentials")
        wait = ("sh", "-c", "echo ready && exec sleep 600")
        device = self._start((*inside, "unshare", "-n", *wait), environment)
        device.out.wait_for("ready")
        return NetworkedComputer(service, device)

    def _start(self, argv: Sequence[str], environment: Mapping[str, str]) -> Process:
        return self.stack.enter_context(running(argv, env=environment, cwd=self.place.path("cwd")))


@pytest.fixture
def start_computer(place: Home) -> Iterator[StartComputer]:
    skip_without_namespaces()
    with ExitStack() as stack:
        yield StartComputer(place, stack)


def plug_in(computer: NetworkedComputer, *device: str) -> None:
    """Connect the device with the bridge ``docker0``, and set its network up."""
    computer.ip(
        f"link add veth0 type veth peer name eth0 netns {computer.device.pid}",
        "link set veth0 master docker0",
        "link set veth0 up",
    )
    computer.device_ip("link set eth0 up", *device)


def test_a_container_uses_trayproxy_at_the_address_of_its_bridge(
    start_computer: StartComputer,
) -> None:
    computer = start_computer("containers = true")
    # The container engine starts later than TrayProxy.
    computer.ip(
        "link add docker0 type bridge",
        "address add 172.17.0.1/16 dev docker0",
        "link set docker0 up",
        "route add 10.9.9.0/24 dev docker0",
    )
    wait_for_listener(computer, "172.17.0.1:3128")
    plug_in(computer, "address add 172.17.0.2/16 dev eth0", "address add 10.9.9.2/24 dev eth0")
    proxy = "http://172.17.0.1:3128"
    assert computer.curl("-x", proxy, SITE) == "hello 200"
    assert computer.curl("--socks5-hostname", "172.17.0.1:3128", SITE) == "hello 200"
    # A packet of another network may reach the bridge, too.
    refused = computer.curl("--interface", "10.9.9.2", "-x", proxy, SITE)
    assert refused.endswith(" 403")
    assert "trayproxy devices allow" in refused
    status = computer.service.status()
    assert (status.refused_devices.count, status.refused_devices.address) == (1, "10.9.9.2")
    # The engine is set up with another network.
    computer.ip("address add 172.18.0.1/16 dev docker0", "address del 172.17.0.1/16 dev docker0")
    wait_for_listener(computer, "172.18.0.1:3128")
    computer.device_ip("address add 172.18.0.2/16 dev eth0")
    assert computer.curl("-x", "http://172.18.0.1:3128", SITE) == "hello 200"


def test_only_allowed_devices_connect(start_computer: StartComputer) -> None:
    network = (
        "ip link add docker0 type bridge; ip address add 192.0.2.1/24 dev docker0; "
        "ip link set docker0 up"
    )
    computer = start_computer('devices = ["192.0.2.7"]', network)
    wait_for_listener(computer, "192.0.2.1:3128")
    plug_in(computer, "address add 192.0.2.7/24 dev eth0", "address add 192.0.2.8/24 dev eth0")
    proxy = "http://192.0.2.1:3128"
    assert computer.curl("--interface", "192.0.2.7", "-x", proxy, SITE) == "hello 200"
    assert computer.curl("--interface", "192.0.2.8", "-x", proxy, SITE).endswith(" 403")
    # Programs of this computer are served at this address, too.
    assert computer.run("curl", "-sS", "-x", proxy, SITE) == "hello"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "192.0.2.1"])
def test_a_device_does_not_reach_the_services_of_this_computer(
    start_computer: StartComputer, host: str
) -> None:
    """Such services often trust every program of the computer."""
    network = (
        "ip link add docker0 type bridge; ip address add 192.0.2.1/24 dev docker0; "
        "ip link set docker0 up"
    )
    computer = start_computer('devices = ["192.0.2.7"]', network)
    wait_for_listener(computer, "192.0.2.1:3128")
    plug_in(computer, "address add 192.0.2.7/24 dev eth0")
    proxy, service = "http://192.0.2.1:3128", f"http://{host}:8123/"
    refused = computer.curl("-x", proxy, "--noproxy", "", service)
    assert "TP-117" in refused
    assert refused.endswith(" 403")
    through = ("-x", proxy, "--proxytunnel", "--noproxy", "", "-o", "/dev/null")
    assert computer.status_of_connect(*through, service) == "403"
    assert computer.run("curl", "-sS", "-x", proxy, "--noproxy", "", service) == "hello"


def wait_for_listener(computer: NetworkedComputer, address: str) -> None:
    """Wait until the service listens at an address."""
    computer.service.process.err.wait_for(f"listening on {address}")


def test_a_device_sends_the_password_that_the_user_has_set(
    start_computer: StartComputer, keyring: KeyringSession
) -> None:
    network = (
        "ip link add docker0 type bridge; ip address add 192.0.2.1/24 dev docker0; "
        "ip link set docker0 up"
    )
    computer = start_computer('devices = ["192.0.2.7"]', network, keyring.environment)
    wait_for_listener(computer, "192.0.2.1:3128")
    plug_in(computer, "address add 192.0.2.7/24 dev eth0")
    command = run_command(
        start_computer.place,
        *("devices", "password", "--stdin"),
        stdin="horse battery\n",
        environment=keyring.environment,
    )
    assert command.returncode == 0, command.stderr
    proxy = "http://192.0.2.1:3128"
    assert computer.curl("-x", proxy, SITE).endswith(" 407")
    assert computer.curl("-x", proxy, "-U", "any:wrong", SITE).endswith(" 407")
    assert computer.curl("-x", proxy, "-U", "any:horse battery", SITE) == "hello 200"
    # A program of this computer needs no password.
    assert computer.run("curl", "-sS", "-x", proxy, SITE) == "hello"
    files = [path for path in start_computer.place.root.rglob("*") if path.is_file()]
    assert not [path for path in files if b"horse battery" in path.read_bytes()]
