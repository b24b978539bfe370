"""The behaviour of ``trayproxy run`` for scripts and servers."""

import os
import re
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.end2end.scenario import AttachFrontEnd, Scenario, StartService
from tests.support.clients import Clients
from tests.support.concurrent_connects import ConcurrentConnects
from tests.support.front_end import FrontEnd
from tests.support.origin import Origin
from tests.support.processes import Home, Process, running
from tests.support.searchable_secret import SearchableSecret
from tests.support.service import ServiceProcess
from tests.support.squid import Squid
from trayproxy.auth.login import Login
from trayproxy.control.messages import Failed, ListenerState, Quit, UsePort
from trayproxy.paths import locate


def codes(clients: Clients, service: ServiceProcess, url: str, *options: str) -> str:
    """Return the status codes of a request and of its tunnel, 000 for none."""
    written = ("-o", "/dev/null", "-w", "%{http_code} %{http_connect}")
    return clients.curl("-x", service.url, "-m", "10", *written, *options, url).result().out


def test_a_service_prints_only_its_address(run: StartService, proxy: Squid) -> None:
    service = run("--upstream", proxy.url)
    assert re.fullmatch(r"listening on 127\.0\.0\.1:[1-9]\d*", service.process.out.text)


@pytest.mark.parametrize("arguments", [("--no-prompt",), ()])
def test_a_request_is_refused_at_once_without_a_front_end(
    run: StartService, proxy: Squid, clients: Clients, origin: Origin, arguments: tuple[str, ...]
) -> None:
    service = run("--upstream", proxy.url, *arguments)
    assert codes(clients, service, origin.url("/hello")) == "503 000"
    assert codes(clients, service, origin.url("/hello"), "--proxytunnel") == "000 503"


def test_no_prompt_prevents_prompts_in_an_attached_front_end(
    run: StartService, attach: AttachFrontEnd, proxy: Squid, clients: Clients, origin: Origin
) -> None:
    service = run("--upstream", proxy.url, "--no-prompt")
    front_end = attach(service)
    assert codes(clients, service, origin.url("/hello")) == "503 000"
    assert front_end.prompts == []


def test_a_password_from_standard_input_needs_no_prompt(
    run: StartService,
    attach: AttachFrontEnd,
    proxy: Squid,
    account: SearchableSecret,
    clients: Clients,
    origin: Origin,
) -> None:
    service = run("--upstream", proxy.url, login=account.login)
    front_end = attach(service)
    assert clients.curl("-x", service.url, origin.url("/hello")).result().out == "hello"
    assert front_end.prompts == []


def test_a_wrong_password_from_standard_input_costs_one_failed_log_on(
    run: StartService, proxy: Squid, account: SearchableSecret, origin: Origin
) -> None:
    service = run("--upstream", proxy.url, "--no-prompt", login=Login(account.user, "wrong"))
    with ConcurrentConnects(service.address, origin.authority, 20) as connects:
        assert connects.statuses() == [503] * 20
    assert proxy.failed_logons() == 1


def test_an_upstream_for_one_run_is_not_saved(run: StartService, proxy: Squid, place: Home) -> None:
    run("--upstream", proxy.url).stop()
    written = [path for path in place.root.rglob("*.toml") if path.is_file()]
    assert not [path for path in written if str(proxy.port) in path.read_text()]


@pytest.mark.parametrize(
    ("number", "codes"), [(signal.SIGTERM, {0}), (signal.SIGINT, {0, 130})], ids=["TERM", "INT"]
)
def test_a_signal_stops_the_service_cleanly(
    run: StartService, proxy: Squid, number: signal.Signals, codes: set[int]
) -> None:
    service = run("--upstream", proxy.url)
    assert service.stop(number) in codes
    assert "Traceback" not in service.log()
    assert not service.paths.socket.exists()


def test_a_service_with_waiting_programs_stops(scenario: Scenario) -> None:
    user = scenario.begin(scenario.run())
    with ConcurrentConnects(user.service.address, scenario.origin.authority, 20) as connects:
        user.front_end.wait_for_prompt(lambda question: question.waiting == 20)
        assert user.service.stop() == 0
        assert set(connects.statuses()) <= {0, 503}


def test_a_front_end_can_stop_the_service(
    run: StartService, attach: AttachFrontEnd, proxy: Squid
) -> None:
    service = run("--upstream", proxy.url)
    attach(service).request_done(Quit())
    assert service.process.wait() == 0


def test_the_port_is_free_as_soon_as_the_service_has_stopped(
    run: StartService, proxy: Squid
) -> None:
    service = run("--upstream", proxy.url)
    port = service.port
    service.stop()
    with socket.create_server(("127.0.0.1", port)):
        pass


def test_a_second_service_in_the_same_home_is_refused(run: StartService, proxy: Squid) -> None:
    run("--upstream", proxy.url)
    with pytest.raises(AssertionError, match="ended"):
        run("--upstream", proxy.url)


def test_an_unreachable_upstream_is_reported(
    run: StartService, clients: Clients, origin: Origin
) -> None:
    with socket.socket() as taken:
        # Bound and not listening: connections are refused, and no other program gets the port.
        taken.bind(("127.0.0.1", 0))
        service = run("--upstream", f"http://127.0.0.1:{taken.getsockname()[1]}")
        assert codes(clients, service, origin.url("/hello")) == "502 000"
        assert codes(clients, service, origin.url("/hello"), "--proxytunnel") == "000 502"


@contextmanager
def without_port(place: Home, *arguments: str) -> Iterator[tuple[Process, FrontEnd]]:
    """Run the service of a tray, with a front end, on a port of another program."""
    environ = place.trayproxy_environment()
    argv = [sys.executable, "-m", "trayproxy", "run", "--stay", *arguments]
    with running(argv, env=environ, cwd=place.path("cwd")) as process:
        process.err.wait_for("is taken")
        with FrontEnd(locate(environ), can_prompt=False) as front_end:
            yield process, front_end


def test_a_service_of_a_tray_names_the_program_on_its_port_and_listens_when_the_port_is_free(
    place: Home,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with without_port(place, "--listen", address) as (process, front_end):
            status = front_end.wait_for_status(lambda told: told.problem is not None)
            assert status.listener is ListenerState.FAILED
            assert status.problem is not None
            assert status.problem.id == "TP-101"
            assert f"PID {os.getpid()}" in status.problem.body
            assert status.spare_port > taken.getsockname()[1]
            taken.close()
            assert process.out.wait_for("^listening on (.+)$")[1] == address
            up = front_end.wait_for_status(lambda told: told.listener is ListenerState.UP)
            assert up.spare_port == 0
            reply = front_end.request(UsePort(status.spare_port))
            assert isinstance(reply, Failed)
            assert reply.problem.id == "TP-103"


def test_a_service_of_a_tray_uses_another_port_for_one_run_and_can_return(place: Home) -> None:
    paths = locate(place.trayproxy_environment())
    paths.prepare()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        wanted = taken.getsockname()[1]
        paths.config_file.write_text(settings := f"[listen]\nport = {wanted}\n")
        with without_port(place) as (process, front_end):
            port = front_end.wait_for_status(lambda told: told.spare_port > 0).spare_port
            front_end.request_done(UsePort(port))
            assert process.out.wait_for("^listening on (.+)$")[1] == f"127.0.0.1:{port}"
            up = front_end.wait_for_status(lambda told: told.listener is ListenerState.UP)
            assert (up.address, up.wanted_port) == (f"127.0.0.1:{port}", wanted)
            (notice,) = (notice for notice in up.notices if notice.id == "TP-111")
            assert f"set to 127.0.0.1:{wanted} do not reach TrayProxy" in notice.body
            assert f"Set them to 127.0.0.1:{port}" in notice.body
            # While another program is there nothing changes.
            reply = front_end.request(UsePort(0))
            assert isinstance(reply, Failed)
            assert (reply.problem.id, reply.exit_code) == ("TP-101", 7)
            assert f"TrayProxy stays at 127.0.0.1:{port}." in reply.problem.body
            socket.create_connection(("127.0.0.1", port)).close()
            taken.close()
            front_end.request_done(UsePort(0))
            back = front_end.wait_for_status(lambda told: told.wanted_port == 0)
            assert back.address == f"127.0.0.1:{wanted}"
            assert "TP-111" not in [notice.id for notice in back.notices]
            socket.create_connection(("127.0.0.1", wanted)).close()
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection(("127.0.0.1", port))
    assert paths.config_file.read_text() == settings
