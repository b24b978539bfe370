"""Automatic profiles on a computer that moves: WPAD and PAC scripts with a real name server."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.end2end.scenario import AttachFrontEnd
from tests.support.front_end import FrontEnd
from tests.support.moving_computer import MovingComputer, NetworkSetup, moving_computer
from tests.support.namespaces import skip_without_namespaces
from tests.support.processes import Home, Process, running
from tests.support.reports import Reports
from tests.support.service import ServiceProcess, run_command
from trayproxy.control.messages import SaveProfile, Status
from trayproxy.paths import locate
from trayproxy.profiles.pac_address import parse_pac_source
from trayproxy.profiles.profile import Profile

SITE, INTRANET = "198.51.100.1", "10.1.2.3"
WEB = {"www.site.example": SITE}
OFFICE = NetworkSetup(
    "192.0.2",
    (8, 80),
    {
        **WEB,
        "wpad.corp.example": "192.0.2.80",
        "pac.corp.example": "192.0.2.80",
        "proxy.corp.example": "192.0.2.8",
        "intranet.corp.example": INTRANET,
    },
    search="office.corp.example",
)
HOME = NetworkSetup("192.168.50", names=WEB, search="lan.example")
HOTEL = NetworkSetup("10.99.0", (80,), others="10.99.0.80", search="hotel.example")
PORTAL_PAGE = "<!doctype html><title>Welcome</title><p>Please accept our terms.</p>"
PAC_URL = "http://pac.corp.example/proxy.pac"
SCRIPT = """\
function FindProxyForURL(url, host) {
  if (!isResolvable("proxy.corp.example")) return "DIRECT";
  if (isInNet(dnsResolve(host), "10.0.0.0", "255.0.0.0")) return "DIRECT";
  return "PROXY proxy.corp.example:3128";
}
"""
SQUID = """\
http_port 192.0.2.8:3128
visible_hostname proxy.corp.example
pid_filename none
cache_log /dev/null
access_log none
cache deny all
pinger_enable off
shutdown_lifetime 0 seconds
dns_nameservers 192.0.2.53
http_access allow all
"""
BY_PROXY = "by the proxy: the site"
DIRECTLY = "directly: the site"


class AutomaticLaptop:
    """A computer that moves between networks, with a running service."""

    def __init__(self, place: Home, moving: MovingComputer, service: ServiceProcess) -> None:
        self.place = place
        self.moving = moving
        self.service = service

    def move(self, network: NetworkSetup) -> None:
        """Move to another network, and wait until TrayProxy has noticed it."""
        text = "the network has changed"
        before = self.service.process.err.text.count(text)
        self.moving.move(network)
        self.service.process.err.wait_for_count(text, before + 1)

    def get(self, url: str) -> str:
        """Load a page through TrayProxy; return how it was reached, and its text."""
        curl = ("curl", "-sS", "-i", "--max-time", "20", "-x", self.service.url, url)
        head, _, text = self.moving.output(*curl).replace("\r", "").partition("\n\n")
        return f"{'by the proxy' if '(squid' in head else 'directly'}: {text or head}".strip()

    def visit(self) -> str:
        """Load the page of a site in the internet; see `get`."""
        return self.get("http://www.site.example/")

    def evaluate(self, url: str, *options: str) -> Any:
        """Return the answer of ``trayproxy pac eval``."""
        answer = run_command(self.place, "pac", "eval", url, "--json", *options)
        return json.loads(answer.stdout)


@pytest.fixture
def moving(place: Home) -> Iterator[MovingComputer]:
    skip_without_namespaces()
    with moving_computer(place) as made:
        yield made


@pytest.fixture
def web(moving: MovingComputer, reports: Reports) -> Iterator[Process]:
    """The web servers of all networks, and of the internet."""
    moving.ip(*(f"address add {address}/32 dev lo" for address in (SITE, INTRANET)))
    moving.publish(SITE, "index.html", "the site")
    moving.publish(INTRANET, "index.html", "the intranet")
    with moving.web_hosts() as process:
        reports["web"] = lambda: process.err.text
        yield process


@pytest.fixture
def office(
    moving: MovingComputer, web: Process, place: Home, reports: Reports
) -> Iterator[MovingComputer]:
    """A computer in an office, where a real Squid leads to the internet."""
    moving.move(OFFICE)
    with squid(place, moving) as process:
        reports["squid"] = lambda: process.err.text
        yield moving


@contextmanager
def squid(place: Home, moving: MovingComputer) -> Iterator[Process]:
    """Run a Squid for all clients. It refuses to run as root, also in a namespace."""
    configuration = place.root / "squid.conf"
    configuration.write_text(SQUID)
    name = f"tp{uuid4().hex[:16]}"
    user = ("unshare", "-U", "--map-user=1000", "--map-group=1000")
    argv = moving.inside(*user, "squid", "-N", "-d", "1", "-n", name, "-f", configuration)
    with running(argv, env=place.environment(), cwd=place.root) as process:
        process.err.wait_for("Accepting HTTP Socket connections")
        yield process
    for segment in Path("/dev/shm").glob(f"{name}-cf__*.shm"):
        segment.unlink()


Start = Callable[[str], tuple[AutomaticLaptop, FrontEnd]]


@pytest.fixture
def start(
    office: MovingComputer, place: Home, attach: AttachFrontEnd, reports: Reports
) -> Iterator[Start]:
    """Starts the service with a profile for a PAC address."""
    environment = place.trayproxy_environment()
    environment["DBUS_SYSTEM_BUS_ADDRESS"] = "unix:path=/nonexistent"
    run = (sys.executable, "-m", "trayproxy", "run", "--listen", "127.0.0.1:0", "--no-prompt")
    with ExitStack() as stack:

        def started(pac: str) -> tuple[AutomaticLaptop, FrontEnd]:
            cwd = place.path("cwd")
            process = stack.enter_context(running(office.inside(*run), env=environment, cwd=cwd))
            service = ServiceProcess(process, locate(environment))
            reports["service"] = service.log
            front_end = attach(service)
            front_end.request_done(
                SaveProfile(Profile("auto", "Auto", None, pac=parse_pac_source(pac)))
            )
            return AutomaticLaptop(place, office, service), front_end

        yield started


def is_told(status: Status) -> bool:
    return any(notice.id == "TP-501" for notice in status.notices)


def test_wpad_asks_only_for_names_of_the_company(office: MovingComputer, start: Start) -> None:
    office.publish("192.0.2.80", "wpad.dat", SCRIPT)
    laptop, _ = start("wpad")
    assert laptop.visit() == BY_PROXY
    assert office.asked("wpad") == {"wpad.office.corp.example", "wpad.corp.example"}


def test_wpad_waits_for_a_domain_that_is_known_later_than_the_first_address(
    office: MovingComputer, start: Start, web: Process
) -> None:
    office.publish("192.0.2.80", "wpad.dat", SCRIPT)
    office.use_name_server(replace(OFFICE, search=""))
    laptop, _ = start("wpad")
    assert laptop.visit() == DIRECTLY
    office.use_name_server(OFFICE)
    web.err.wait_for("GET /wpad.dat")
    source = laptop.evaluate(PAC_URL, "--reload")["source"]
    assert source == "http://wpad.corp.example/wpad.dat"
    assert laptop.visit() == BY_PROXY


def test_a_script_decides_by_names_that_only_the_office_knows(
    office: MovingComputer, start: Start
) -> None:
    office.publish("192.0.2.80", "proxy.pac", SCRIPT)
    laptop, _ = start(PAC_URL)
    proxy = {"name": "proxy.corp.example", "addresses": ["192.0.2.8"]}
    inside = laptop.evaluate("http://intranet.corp.example/")
    assert inside["names"] == [proxy, {"name": "intranet.corp.example", "addresses": [INTRANET]}]
    assert inside["used"] == "direct"
    assert laptop.get("http://intranet.corp.example/") == "directly: the intranet"
    outside = laptop.evaluate("https://www.site.example/")
    assert outside["names"] == [proxy, {"name": "www.site.example", "addresses": [SITE]}]
    assert outside["used"] == "http://proxy.corp.example:3128"
    assert laptop.visit() == BY_PROXY


def test_without_its_server_the_last_good_copy_of_a_script_is_in_use(
    office: MovingComputer, start: Start
) -> None:
    office.publish("192.0.2.80", "proxy.pac", SCRIPT)
    laptop, front_end = start(PAC_URL)
    assert laptop.visit() == BY_PROXY
    laptop.move(HOME)
    assert laptop.visit() == DIRECTLY
    assert laptop.evaluate(PAC_URL, "--reload")["is_stored"]
    front_end.wait_for_status(is_told)
    assert "there is no host pac.corp.example in this network. The last good copy" in (
        run_command(laptop.place, "status").stdout
    )
    office.publish("192.0.2.80", "proxy.pac", SCRIPT.replace("3128", "3128; DIRECT"))
    laptop.move(OFFICE)
    assert laptop.visit() == BY_PROXY
    front_end.wait_for_status(lambda status: not is_told(status))
    assert laptop.evaluate("http://www.site.example/")["proxies"][1:] == ["direct"]


def test_the_page_of_a_captive_portal_never_replaces_a_script(
    office: MovingComputer, start: Start
) -> None:
    office.publish("192.0.2.80", "proxy.pac", SCRIPT)
    laptop, front_end = start(PAC_URL)
    assert laptop.visit() == BY_PROXY
    for file in ("proxy.pac", "index.html"):
        office.publish("10.99.0.80", file, PORTAL_PAGE)
    laptop.move(HOTEL)
    assert laptop.evaluate(PAC_URL, "--reload")["is_stored"]
    front_end.wait_for_status(is_told)
    assert "it is a web page, not a script" in run_command(laptop.place, "status").stdout
    assert laptop.visit() == f"directly: {PORTAL_PAGE}"
    laptop.service.stop()
    laptop, front_end = start(PAC_URL)
    assert laptop.visit() == f"directly: {PORTAL_PAGE}"
    front_end.wait_for_status(is_told)
    laptop.move(OFFICE)
    assert laptop.visit() == BY_PROXY
    front_end.wait_for_status(lambda status: not is_told(status))
