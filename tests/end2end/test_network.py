"""The real service on a computer that moves between networks (security.md F12, peers.md W6)."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from time import time

import pytest

from tests.end2end import two_networks
from tests.end2end.scenario import AttachFrontEnd
from tests.support.bus import session_bus
from tests.support.namespaces import ALONE, skip_without_namespaces
from tests.support.network_manager import BEHIND_PORTAL, NetworkManager
from tests.support.process_output import PATIENCE
from tests.support.processes import SOURCES, Home, running
from tests.support.service import ServiceProcess, run_command
from trayproxy.control.messages import (
    SaveProfile,
    Status,
    SwitchCause,
    UndoNetworkSwitch,
    UseProfile,
)
from trayproxy.paths import locate
from trayproxy.profiles.profile import DIRECT_ID, Profile, SignIn, Upstream

OFFICE_PROXY, VPN_PROXY, SITE = "192.0.2.8", "10.8.0.1", "198.51.100.1"
CABLE = (
    "link set lo up",
    f"address add {SITE}/32 dev lo",
    "link add far type veth peer near",
    "link set far up",
    "link set near up",
)
OFFICE = (
    f"address add {OFFICE_PROXY}/24 dev near",
    "address add 192.0.2.7/24 dev far",
    "route add default via 192.0.2.1",
)
HOME = ("address add 192.168.50.7/24 dev far", "route add default via 192.168.50.1")
LEAVE = ("address flush dev far scope global", "address flush dev near scope global")
VPN_UP = (
    "link add tun0 type veth peer company",
    "link set tun0 up",
    "link set company up",
    f"address add {VPN_PROXY}/32 dev company",
    "address add 10.8.0.7/24 dev tun0",
)
VPN_DOWN = ("link delete tun0",)
DECIDED_S = 2.0
"""Seconds within which a change of the network leads to a decision."""
MARGIN_S = 1.5
"""Seconds that a busy computer may add."""


class Laptop:
    """A computer in a network namespace of its own, with a running service."""

    def __init__(self, place: Home, service: ServiceProcess, sleep_clock: Path) -> None:
        """Set the home and the service, and the file of `tests.support.suspended_service`."""
        self.place = place
        self.service = service
        self._sleep_clock = sleep_clock

    def inside(self, *argv: str) -> list[str]:
        """Return the command that runs a program in the namespace."""
        enter = ("nsenter", "-t", str(self.service.pid), "-U", "-n", "--preserve-credentials")
        return [*enter, *argv]

    def ip(self, *commands: str) -> None:
        """Change the network."""
        lines = "".join(f"{command}\n" for command in commands).encode()
        argv = self.inside("ip", "-batch", "-")
        subprocess.run(argv, input=lines, check=True, timeout=PATIENCE)

    @contextmanager
    def suspended(self) -> Iterator[None]:
        """Suspend the computer for an hour."""
        self.service.process.signal(signal.SIGSTOP)
        yield
        self._sleep_clock.write_text("3600")
        self.service.process.signal(signal.SIGCONT)

    def fetch(self) -> str:
        """Fetch the site once with a program through TrayProxy; return who has answered."""
        url = f"http://{SITE}:{two_networks.SITE_PORT}/"
        curl = ("curl", "-sS", "--max-time", "20", "-x", self.service.url, url)
        run = subprocess.run(self.inside(*curl), capture_output=True, text=True, timeout=PATIENCE)
        return run.stdout + run.stderr


@pytest.fixture
def network_manager(place: Home) -> Iterator[NetworkManager]:
    with session_bus(place) as bus, NetworkManager(bus) as manager:
        yield manager


@pytest.fixture
def laptop(place: Home, network_manager: NetworkManager) -> Iterator[Laptop]:
    """A laptop at the office, with NetworkManager, a proxy and a site."""
    skip_without_namespaces()
    environment = place.trayproxy_environment()
    environment["DBUS_SYSTEM_BUS_ADDRESS"] = network_manager.bus
    sleep_clock = place.root / "slept"
    sleep_clock.write_text("0")
    set_up = " && ".join(f"ip {command}" for command in (*CABLE, *OFFICE))
    shell = (*ALONE, "sh", "-c", f'{set_up} && exec "$@"', "sh")
    program = ("-m", "tests.support.suspended_service", str(sleep_clock))
    run = (*program, "run", "--listen", "127.0.0.1:0", "--no-prompt")
    with ExitStack() as stack:
        argv = [*shell, sys.executable, *run]
        cwd = place.path("cwd")
        process = stack.enter_context(running(argv, env=environment, cwd=cwd))
        service = ServiceProcess(process, locate(environment))
        laptop = Laptop(place, service, sleep_clock)
        servers = laptop.inside(sys.executable, "-m", "tests.end2end.two_networks")
        started = stack.enter_context(running(servers, env=environment, cwd=SOURCES))
        started.out.wait_for("ready")
        yield laptop


def profile(name: str, host: str, *use_on: str, else_direct: bool = False) -> Profile:
    upstream = Upstream(host, two_networks.PROXY_PORT)
    return Profile(
        name.lower(), name, upstream, SignIn.NONE, use_on=use_on, else_direct=else_direct
    )


def cause(status: Status) -> SwitchCause | None:
    return status.network_switch.cause if status.network_switch else None


def test_at_home_requests_go_directly_and_at_the_office_by_the_proxy(
    laptop: Laptop, attach: AttachFrontEnd
) -> None:
    front_end = attach(laptop.service)
    office = profile("Office", OFFICE_PROXY, "gateway:192.0.2.1", else_direct=True)
    front_end.request_done(SaveProfile(office))
    assert laptop.fetch() == "by the proxy"
    before = time()
    laptop.ip(*LEAVE, *HOME)
    at_home = front_end.wait_for_status(lambda status: status.direct)
    assert at_home.network_switch is not None
    assert at_home.network_switch.at - before < DECIDED_S + MARGIN_S
    assert (cause(at_home), at_home.network_switch.fact) == (SwitchCause.ELSEWHERE, "Office")
    assert laptop.fetch() == "by the site"
    shown = run_command(laptop.place, "status").stdout
    assert (
        "Because “Office” is not for this network. To go back: trayproxy profiles use Office"
        in (shown)
    )
    # The choice of the person is kept for the next start.
    assert 'active = "office"' in laptop.service.paths.config_file.read_text()
    laptop.ip(*LEAVE, *OFFICE)
    at_office = front_end.wait_for_status(lambda status: status.profile is not None)
    assert cause(at_office) is SwitchCause.GATEWAY
    assert laptop.fetch() == "by the proxy"


def test_undo_holds_until_the_network_changes(laptop: Laptop, attach: AttachFrontEnd) -> None:
    front_end = attach(laptop.service)
    front_end.request_done(SaveProfile(profile("Lab", SITE)))
    front_end.request_done(SaveProfile(profile("Office", OFFICE_PROXY, "answers")))
    front_end.wait_for_status(lambda status: cause(status) is SwitchCause.ANSWERS)
    front_end.request_done(UndoNetworkSwitch())
    status = front_end.wait_for_status(lambda status: status.network_switch is None)
    assert status.profile is not None
    assert status.profile.name == "Lab"
    laptop.ip("route replace default via 192.0.2.2")
    again = front_end.wait_for_status(lambda status: cause(status) is SwitchCause.ANSWERS)
    assert again.profile is not None
    assert again.profile.name == "Office"
    front_end.request_done(UseProfile("lab"))
    assert front_end.wait_for_status(lambda status: cause(status) is None).profile is not None


def test_the_first_request_after_a_change_of_the_network_works(
    laptop: Laptop, attach: AttachFrontEnd
) -> None:
    """The kept connections of the old network are dead without an error."""
    attach(laptop.service).request_done(SaveProfile(profile("Office", OFFICE_PROXY)))
    assert laptop.fetch() == "by the proxy"
    laptop.ip(
        "address flush dev far scope global",
        "address add 192.0.2.77/24 dev far",
        "route replace default via 192.0.2.1",
    )
    assert laptop.fetch() == "by the proxy"
    laptop.service.process.err.wait_for("the network has changed")
    assert laptop.fetch() == "by the proxy"


def test_the_first_request_after_a_suspend_works_on_another_network(
    laptop: Laptop, attach: AttachFrontEnd
) -> None:
    attach(laptop.service).request_done(SaveProfile(profile("Office", OFFICE_PROXY)))
    assert laptop.fetch() == "by the proxy"
    with laptop.suspended():
        laptop.ip("address flush dev far scope global", "address add 192.0.2.78/24 dev far")
    assert laptop.fetch() == "by the proxy"


def test_a_captive_portal_is_told_and_left_to_the_person(
    laptop: Laptop, network_manager: NetworkManager, attach: AttachFrontEnd
) -> None:
    front_end = attach(laptop.service)
    front_end.request_done(SaveProfile(profile("Office", OFFICE_PROXY)))
    network_manager.move(ssid=b"Hotel", connectivity=BEHIND_PORTAL, check_uri="http://check.test/")
    laptop.ip(*LEAVE, *HOME)

    def pages(status: Status) -> list[str]:
        return [notice.url for notice in status.notices if notice.id == "TP-310"]

    told = front_end.wait_for_status(lambda status: bool(pages(status)))
    assert pages(told) == ["http://check.test/"]
    assert (told.direct, told.profile is not None) == (False, True)
    front_end.request_done(UseProfile(DIRECT_ID, 300))
    assert laptop.fetch() == "by the site"
    assert pages(front_end.status)
    network_manager.move(ssid=b"Hotel")  # The person has signed in.
    front_end.wait_for_status(lambda status: not pages(status))


def test_the_first_request_after_the_start_of_a_vpn_works(
    laptop: Laptop, attach: AttachFrontEnd
) -> None:
    front_end = attach(laptop.service)
    front_end.request_done(SaveProfile(profile("Company", VPN_PROXY, "answers", else_direct=True)))
    front_end.wait_for_status(lambda status: status.direct)
    assert laptop.fetch() == "by the site"
    laptop.ip(*VPN_UP)
    front_end.wait_for_status(lambda status: cause(status) is SwitchCause.ANSWERS)
    assert laptop.fetch() == "by the proxy"
    laptop.ip(*VPN_DOWN)
    front_end.wait_for_status(lambda status: status.direct)
    assert laptop.fetch() == "by the site"
