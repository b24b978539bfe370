"""The system proxy of real desktops: set, used by real programs, and restored after every end."""

import fcntl
import json
import mmap
import os
import re
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any
from urllib.request import ProxyHandler, build_opener

import psutil
import pytest

from tests.pac.pac_server import PacServer, ok
from tests.support.browsers import Load, chromium, firefox, wait_for_page
from tests.support.clients import Clients
from tests.support.dconf_session import DconfSession, dconf_session
from tests.support.exchange import Exchange, Reader
from tests.support.forked_services import forked_services
from tests.support.front_end import FrontEnd
from tests.support.memory import memory_of
from tests.support.origin import Origin
from tests.support.process_output import PATIENCE
from tests.support.processes import Home, home, running
from tests.support.reports import Reports
from tests.support.server import LoopbackServer
from tests.support.service import ServiceProcess, run_command
from tests.support.squid import Squid, SquidSetup, squid
from tests.support.system_proxy_session import SystemProxySession
from tests.support.tray import ending
from trayproxy.control.messages import SystemProxyState, UsePort
from trayproxy.desktop.process import command
from trayproxy.desktop.process_lookup.names import program_name
from trayproxy.domain.problem import ExitCode
from trayproxy.profiles.config import SystemProxySettings
from trayproxy.profiles.pac_source import PacKind, PacSource
from trayproxy.profiles.profile import Profile, Upstream

GNOME = {"XDG_CURRENT_DESKTOP": "GNOME", "DESKTOP_SESSION": "gnome"}
KDE = {
    "XDG_CURRENT_DESKTOP": "KDE",
    "DESKTOP_SESSION": "plasma",
    "KDE_FULL_SESSION": "true",
    "KDE_SESSION_VERSION": "5",
}

COMPANY = {
    "/system/proxy/mode": "'manual'",
    "/system/proxy/ignore-hosts": "@as []",
    "/system/proxy/http/host": "'proxy.example'",
    "/system/proxy/http/port": "8080",
    "/system/proxy/http/use-authentication": "true",
    "/system/proxy/http/authentication-user": "'user'",
    "/org/gnome/desktop/interface/font-name": "'Sans 11'",
}
"""The settings of another company, some keys unset."""
AUTOCONFIG_URL = "/system/proxy/autoconfig-url"
IN_BROWSERS = pytest.mark.xdist_group("browsers of the system proxy")
"""For one worker, because the browsers need seconds to start."""

KIOSLAVERC = """\
[Proxy Settings]
ProxyType=1
httpProxy=http://proxy.example 8080
"""

STARTS = 30
NAME = "www.test.lan"
SITE = f"http://{NAME}/"
OLD_PAGE = "from the old proxy"
LOADED = '<p id="said">hello browser</p>'


@pytest.fixture(scope="module")
def dconf() -> Iterator[DconfSession]:
    with home() as place, dconf_session(place) as service:
        yield service


@pytest.fixture(scope="module")
def upstream() -> Iterator[Squid]:
    """A proxy without a sign-in."""
    with squid(SquidSetup(schemes=())) as service:
        yield service


@pytest.fixture
def make_session(
    dconf: DconfSession, place: Home, upstream: Squid, reports: Reports
) -> Iterator[Callable[[Mapping[str, str]], SystemProxySession]]:
    """Return a function that makes a session of a desktop, with a profile for the upstream."""
    reports["squid"] = upstream.describe
    made: list[SystemProxySession] = []

    def make(desktop: Mapping[str, str]) -> SystemProxySession:
        session = SystemProxySession(dconf, place, desktop)
        session.prepare(Profile("office", "Office", Upstream(upstream.host, upstream.port)))
        made.append(session)
        return session

    yield make
    for session in made:
        for pid in session.watchdogs():
            with ending(pid):
                os.kill(pid, signal.SIGKILL)
    dconf.output("dconf", "reset", "-f", "/")


@pytest.fixture
def gnome(make_session: Callable[[Mapping[str, str]], SystemProxySession]) -> SystemProxySession:
    return make_session(GNOME)


@pytest.fixture
def kde(make_session: Callable[[Mapping[str, str]], SystemProxySession]) -> SystemProxySession:
    return make_session(KDE)


@dataclass(frozen=True, slots=True)
class Browsers:
    """Chromium and Firefox, which run all the time.

    Attributes:
        loads: Loads a page, by browser.
        url: A page that contains the head of the request for it.
    """

    loads: Sequence[Load]
    url: str

    def use(self, is_expected: Callable[[str], bool]) -> None:
        """Wait until each browser gets the expected page."""
        for load in self.loads:
            wait_for_page(load, self.url, is_expected)

    def use_trayproxy(self) -> None:
        """Wait until each browser gets the page through TrayProxy and the upstream, a Squid."""
        self.use(lambda page: "(squid" in page)

    def use_old_proxy(self) -> None:
        """Wait until each browser gets the page of the proxy from before TrayProxy."""
        self.use(lambda page: OLD_PAGE in page)


@pytest.fixture(scope="module")
def browsers(dconf: DconfSession) -> Iterator[Browsers]:
    environment = {**dconf.environment, **GNOME}
    with (
        home() as place,
        Origin(NAME) as origin,
        chromium(place, environment, NAME) as first,
        firefox(place, environment, NAME) as second,
    ):
        yield Browsers((first, second), origin.url("/echo"))


@pytest.fixture
def old_proxy() -> Iterator[dict[str, str]]:
    """A proxy that answers every request with the same page, and the settings that name it."""

    def serve(connection: socket.socket) -> None:
        with Reader(connection) as reader:
            while head := reader.head():
                Exchange(connection, head, reader).respond(200, OLD_PAGE.encode("ascii"))

    with LoopbackServer(serve) as server:
        port = {"/system/proxy/http/port": f"{server.port}"}
        yield {**COMPANY, "/system/proxy/http/host": "'127.0.0.1'", **port}


# --- Programs use TrayProxy ----------------------------------------------------------------------


@IN_BROWSERS
def test_programs_of_gnome_use_trayproxy(gnome: SystemProxySession, browsers: Browsers) -> None:
    gnome.dconf.load(COMPANY)
    as_before = gnome.dconf.proxies([SITE], **GNOME)
    assert as_before == ["http://user:@proxy.example:8080"]
    with gnome.service() as service:
        assert gnome.command("on") == "On: GNOME\n"
        entries = gnome.dconf.output("dconf", "dump", "/system/proxy/").splitlines()
        assert {"mode='manual'", "host='127.0.0.1'", f"port={service.port}"} <= set(entries)
        assert gnome.dconf.proxies([SITE], **GNOME) == [service.url]
        browsers.use_trayproxy()
        assert gnome.command("off") == "Off\n"
        assert gnome.dconf.proxies([SITE], **GNOME) == as_before


@IN_BROWSERS
def test_programs_of_gnome_use_the_pac_file(gnome: SystemProxySession, browsers: Browsers) -> None:
    gnome.dconf.load(COMPANY)
    dump = gnome.dconf.dump()
    with gnome.service() as service:
        assert gnome.command("on", "--mode", "pac") == "On (PAC file): GNOME\n"
        proxy = "/system/proxy"
        assert gnome.dconf.output("dconf", "read", f"{proxy}/mode") == "'auto'\n"
        url = gnome.dconf.output("dconf", "read", f"{proxy}/autoconfig-url").strip("'\n")
        assert re.fullmatch(rf"{service.url}/[0-9a-f]{{32}}\.pac", url)
        with build_opener(ProxyHandler({})).open(url, timeout=PATIENCE) as response:
            assert response.headers["Content-Type"] == "application/x-ns-proxy-autoconfig"
            assert f"PROXY {service.address}; DIRECT" in response.read().decode("ascii")
        browsers.use_trayproxy()
        # From one mode to the other, with the original values kept.
        assert gnome.command("on", "--mode", "address") == "On: GNOME\n"
        assert gnome.dconf.proxies([SITE], **GNOME) == [service.url]
        assert gnome.command("on", "--mode", "pac") == "On (PAC file): GNOME\n"
        assert gnome.command("off") == "Off\n"
        assert gnome.dconf.dump() == dump


def test_programs_of_kde_use_trayproxy(
    kde: SystemProxySession, upstream: Squid, clients: Clients
) -> None:
    kde.dconf.load(COMPANY)
    dump = kde.dconf.dump()
    path = Path(kde.environment["XDG_CONFIG_HOME"], "kioslaverc")
    path.write_text(KIOSLAVERC, "utf-8")
    # Chromium looks only there, whatever the variable says.
    Path(kde.environment["HOME"], ".config").symlink_to(path.parent)
    as_before = kde.dconf.proxies([SITE], **KDE)
    assert as_before == ["http://proxy.example:8080"]
    with kde.service() as service, Origin() as origin:
        assert kde.command("on").startswith("On: KDE, GNOME\n")
        assert kde.dconf.proxies([SITE], **KDE) == [service.url]
        # Firefox and GTK programs read the settings of GNOME.
        assert kde.dconf.proxies([SITE], **GNOME) == [service.url]
        page = clients.chromium(origin.url("/page"), session=kde.environment).result()
        assert LOADED in page.out, page
        upstream.wait_for(200, origin.url("/page"))
        kill(kde, service)
        assert path.read_text("utf-8") == KIOSLAVERC
        assert kde.dconf.proxies([SITE], **KDE) == as_before
        assert kde.dconf.dump() == dump
    path.unlink()


# --- As before after every end -------------------------------------------------------------------


def turn_off(session: SystemProxySession, service: ServiceProcess) -> None:
    assert session.command("off") == "Off\n"
    assert service.process.running


def terminate(session: SystemProxySession, service: ServiceProcess) -> None:
    assert service.stop() == 0


def quit_trayproxy(session: SystemProxySession, service: ServiceProcess) -> None:
    assert run_command(session.place, "quit", environment=session.environment).returncode == 0
    assert service.process.wait() == 0


def kill(session: SystemProxySession, service: ServiceProcess) -> None:
    """Kill the service; the watchdog ends when it has restored the settings."""
    [watcher] = session.watchdogs()
    with ending(watcher):
        # The signals of a session or a terminal that ends.
        for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
            os.kill(watcher, number)
        os.killpg(service.pid, signal.SIGKILL)
    service.process.wait()


def kill_and_restore(session: SystemProxySession, service: ServiceProcess) -> None:
    kill_with_watchdog(session, service)
    assert session.command("restore") == "Off\n"


def kill_and_start(session: SystemProxySession, service: ServiceProcess) -> None:
    """Kill the service, and start a service that is not to set the system proxy."""
    kill_with_watchdog(session, service)
    session.configure(SystemProxySettings(use=False))
    with session.service():
        status = session.status()
        assert (status.state, status.was_repaired) == (SystemProxyState.OFF, True)


def kill_and_use_again(session: SystemProxySession, service: ServiceProcess) -> None:
    """Kill the service, and start a service that sets the system proxy again, at a new port."""
    kill_with_watchdog(session, service)
    with session.service() as again:
        assert session.status().state is SystemProxyState.ON
        assert session.dconf.proxies([SITE], **GNOME) == [again.url] != [service.url]
        assert again.stop() == 0


def kill_with_watchdog(session: SystemProxySession, service: ServiceProcess) -> None:
    """Kill the service and the watchdog, like a power cut."""
    [watcher] = session.watchdogs()
    dump = session.dconf.dump()
    with ending(watcher):
        os.kill(watcher, signal.SIGKILL)
    service.kill()
    assert session.dconf.dump() == dump
    assert session.has_journal


End = Callable[[SystemProxySession, ServiceProcess], None]

ENDS = pytest.mark.parametrize(
    "end",
    [
        turn_off,
        terminate,
        quit_trayproxy,
        kill,
        kill_and_restore,
        kill_and_start,
        kill_and_use_again,
    ],
)


@ENDS
@IN_BROWSERS
def test_programs_have_the_proxy_from_before(
    gnome: SystemProxySession,
    record_property: Callable[[str, object], None],
    browsers: Browsers,
    old_proxy: Mapping[str, str],
    end: End,
) -> None:
    gnome.dconf.load(old_proxy)
    as_before = gnome.dconf.proxies([SITE], **GNOME)
    browsers.use_old_proxy()
    check_end(gnome, record_property, end, browsers.use_trayproxy)
    browsers.use_old_proxy()
    assert gnome.dconf.proxies([SITE], **GNOME) == as_before


@ENDS
def test_unset_settings_are_unset_again(
    gnome: SystemProxySession, record_property: Callable[[str, object], None], end: End
) -> None:
    check_end(gnome, record_property, end)


def check_end(
    gnome: SystemProxySession,
    record_property: Callable[[str, object], None],
    end: End,
    check_use: Callable[[], None] = lambda: None,
) -> None:
    """Turn the system proxy on, end that, and check that the settings are as before.

    Args:
        gnome: The session.
        record_property: Records the seconds of the end.
        end: The end.
        check_use: Checks that programs use TrayProxy while the system proxy is on.
    """
    dump = gnome.dconf.dump()
    with gnome.service() as service:
        gnome.command("on")
        assert gnome.dconf.dump() != dump
        check_use()
        start = monotonic()
        end(gnome, service)
        seconds = monotonic() - start
        record_property("seconds", round(seconds, 2))
        # On an idle computer, 0.1 to 0.9 s.
        assert seconds < 10
        assert gnome.dconf.dump() == dump
        assert not gnome.has_journal
        assert gnome.watchdogs() == []


def test_restore_works_while_the_service_hangs(gnome: SystemProxySession) -> None:
    gnome.dconf.load(COMPANY)
    dump = gnome.dconf.dump()
    with gnome.service() as service:
        gnome.command("on")
        service.process.signal(signal.SIGSTOP)
        assert gnome.command("restore") == "Off\n"
        assert gnome.dconf.dump() == dump
        service.process.signal(signal.SIGCONT)
        assert gnome.command("status") == "Off\n"
        assert service.stop() == 0
    assert gnome.dconf.dump() == dump
    assert gnome.watchdogs() == []


def test_a_proxy_that_has_ended_comes_back_only_on_request(gnome: SystemProxySession) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        port = {"/system/proxy/http/port": address.rpartition(":")[2]}
        gnome.dconf.load(COMPANY | {"/system/proxy/http/host": "'127.0.0.1'"} | port)
        dump = gnome.dconf.dump()
        with gnome.service() as service:
            gnome.command("on")
            other.close()
            assert service.stop() == 0
    assert gnome.dconf.proxies([SITE], **GNOME) == ["direct://"]
    assert f"{address} was not put back" in gnome.command("status")
    assert gnome.command("restore", "--keep") == "Off\n"
    assert gnome.dconf.dump() == dump
    assert not gnome.has_journal


def test_a_start_without_a_port_restores_the_settings(gnome: SystemProxySession) -> None:
    gnome.dconf.load(COMPANY)
    dump = gnome.dconf.dump()
    with gnome.service() as service:
        gnome.command("on")
        kill_with_watchdog(gnome, service)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        arguments = ("run", "--listen", f"127.0.0.1:{taken.getsockname()[1]}")
        failed = run_command(gnome.place, *arguments, environment=gnome.environment)
    assert failed.returncode == ExitCode.PORT
    assert gnome.dconf.dump() == dump
    assert not gnome.has_journal


def test_while_the_port_is_taken_the_settings_are_as_before(gnome: SystemProxySession) -> None:
    gnome.dconf.load(COMPANY)
    dump = gnome.dconf.dump()
    with gnome.service() as killed:
        gnome.command("on")
        kill_with_watchdog(gnome, killed)
    environ = gnome.place.trayproxy_environment(gnome.environment)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        argv = [sys.executable, "-m", "trayproxy", "run", "--stay", "--listen", address]
        with running(argv, env=environ, cwd=gnome.place.path("cwd")) as process:
            process.err.wait_for("is taken")
            with FrontEnd(gnome.paths, can_prompt=False) as front_end:
                status = front_end.wait_for_status(lambda it: it.system_proxy.was_repaired)
                assert gnome.dconf.dump() == dump
                # The system proxy follows the port on which the service listens at last.
                front_end.request_done(UsePort(status.spare_port))
                front_end.wait_for_status(lambda it: it.system_proxy.state is SystemProxyState.ON)
                proxy = f"http://127.0.0.1:{status.spare_port}"
                assert gnome.dconf.proxies([SITE], **GNOME) == [proxy]
            process.signal(signal.SIGTERM)
            assert process.wait() == 0
    assert gnome.dconf.dump() == dump


# --- Changes by other programs -------------------------------------------------------------------


def test_a_change_by_another_program_is_shown_and_left(gnome: SystemProxySession) -> None:
    gnome.dconf.load(COMPANY)
    with gnome.service() as service, FrontEnd(gnome.paths, can_prompt=False) as front_end:
        gnome.command("on")
        front_end.wait_for_status(lambda it: it.system_proxy.state is SystemProxyState.ON)
        with socket.create_server(("127.0.0.1", 0)) as other:
            port = other.getsockname()[1]
            set_proxy(gnome, "127.0.0.1", port)
            front_end.wait_for_status(lambda it: it.system_proxy.value == f"127.0.0.1:{port}")
            # The program that listens there: this one.
            name = program_name(psutil.Process())
            shown = f"Changed by {name}: it is now 127.0.0.1:{port} (TP-603)\n"
            assert gnome.command("status") == shown
        set_proxy(gnome, "other.example", 81)
        status = front_end.wait_for_status(
            lambda it: it.system_proxy.value == "other.example:81"
        ).system_proxy
        assert status.state is SystemProxyState.CHANGED
        shown = "Changed by another program: it is now other.example:81 (TP-603)\n"
        assert gnome.command("status") == shown
        assert gnome.command("off") == "Off\n"
        assert gnome.dconf.proxies([SITE], **GNOME) == ["http://other.example:81"]
        assert gnome.dconf.output("dconf", "read", "/system/proxy/ignore-hosts") == "@as []\n"
        assert not gnome.has_journal
        assert gnome.watchdogs() == []
        assert service.process.running


def set_proxy(session: SystemProxySession, host: str, port: int) -> None:
    """Set the proxy of the desktop, like another program."""
    for key in ("http", "https"):
        schema = f"org.gnome.system.proxy.{key}"
        session.dconf.output("gsettings", "set", schema, "host", host)
        session.dconf.output("gsettings", "set", schema, "port", str(port))


# --- The watchdog --------------------------------------------------------------------------------


def test_a_profile_for_the_settings_of_the_desktop_uses_those_from_before(
    gnome: SystemProxySession, upstream: Squid
) -> None:
    """TrayProxy never uses its own PAC file, even if nothing tells what was set before."""
    script = f'function FindProxyForURL() {{ return "PROXY {upstream.address}"; }}'
    with PacServer(ok(script)) as server:
        company = f"http://127.0.0.1:{server.port}/company.pac"
        gnome.dconf.load({"/system/proxy/mode": "'auto'", AUTOCONFIG_URL: f"'{company}'"})
        before = gnome.dconf.dump()
        gnome.prepare(Profile("auto", "Auto", None, pac=PacSource(PacKind.SYSTEM)))

        def evaluate() -> dict[str, Any]:
            arguments = ("pac", "eval", SITE, "--json", "--reload")
            done = run_command(gnome.place, *arguments, environment=gnome.environment)
            answer: dict[str, Any] = json.loads(done.stdout)
            return answer

        with gnome.service() as service:
            gnome.command("on", "--mode", "pac")
            own = gnome.dconf.output("dconf", "read", AUTOCONFIG_URL).strip()
            assert service.address in own
            answer = evaluate()
            assert (answer["source"], answer["used"]) == (company, upstream.url)
            gnome.command("off")
            assert gnome.dconf.dump() == before
            gnome.dconf.load({AUTOCONFIG_URL: own})
            answer = evaluate()
            assert (answer["proxies"], answer["problem"]["id"]) == ([], "TP-501")
            assert "it is the address of TrayProxy itself" in answer["problem"]["body"]


def test_the_watchdog_is_small(
    gnome: SystemProxySession, record_property: Callable[[str, object], None]
) -> None:
    gnome.dconf.load(COMPANY)
    dump = gnome.dconf.dump()
    with gnome.service() as service:
        gnome.command("on")
        kill_with_watchdog(gnome, service)
    with watchdog(gnome, service.pid) as (process, alive):
        memory = memory_of(process.pid)
        for name in ("peak", "proportional"):
            record_property(f"{name} MB", round(getattr(memory, name) / 1e6, 1))
        assert memory.peak < 15_000_000
        assert gnome.dconf.dump() != dump
        os.close(alive)
        assert process.wait(PATIENCE) == 0
    assert gnome.dconf.dump() == dump
    assert not gnome.has_journal


@contextmanager
def watchdog(
    session: SystemProxySession, service: int
) -> Iterator[tuple["subprocess.Popen[bytes]", int]]:
    """Run a watchdog like that of a service.

    Args:
        session: The session of the service.
        service: The process id of the service.

    Yields:
        The process, which waits for the end of the service, and the end of the pipe that the
        service has; the block closes it.
    """
    files = (str(session.paths.system_proxy_file), str(session.paths.system_proxy_lock))
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as stdin:
        # A full pipe of one page becomes writable when the watchdog reads: it has started then.
        fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, mmap.PAGESIZE)
        os.write(writer, bytes(mmap.PAGESIZE))
        process = subprocess.Popen(
            command("--watchdog", str(service), *files),
            stdin=stdin,
            env=session.place.trayproxy_environment(session.environment),
        )
    try:
        _, writable, _ = select.select([], [writer], [], PATIENCE)
        assert writable, "the watchdog does not read its standard input"
        yield process, writer
    finally:
        process.kill()
        process.wait()


def test_there_is_one_watchdog_while_the_system_proxy_is_on(gnome: SystemProxySession) -> None:
    with gnome.service() as service:
        assert gnome.watchdogs() == []
        gnome.command("on")
        [first] = gnome.watchdogs()
        gnome.command("on", "--mode", "pac")
        assert gnome.watchdogs() == [first]
        assert os.getsid(first) == first != service.pid
        gnome.command("off")
        assert gnome.watchdogs() == []
        gnome.command("on")
        [second] = gnome.watchdogs()
        # Without a watchdog, the service still restores the settings itself.
        with ending(second):
            os.kill(second, signal.SIGKILL)
        assert service.stop() == 0
    assert gnome.dconf.dump() == ""


def test_starts_and_stops_leave_nothing(gnome: SystemProxySession) -> None:
    gnome.dconf.load(COMPANY)
    gnome.configure(SystemProxySettings(use=True))
    dump = gnome.dconf.dump()
    with forked_services(gnome) as services:
        for number in range(STARTS):
            pid = services.start()
            # Every second service is ended while it sets the system proxy.
            if number % 2:
                assert gnome.status().state is SystemProxyState.ON
            assert services.stop(pid) == 0
            assert gnome.dconf.dump() == dump
            assert not gnome.has_journal
            assert gnome.watchdogs() == []
