"""Access control, secrets in memory, the port, and the end of the service (security.md)."""

import json
import re
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from urllib.parse import quote

import psutil
import pytest

from tests.end2end.scenario import AttachFrontEnd, StartService
from tests.support.client_programs import (
    NOBODY,
    AfterSending,
    client_program,
    needs_ipv6,
    needs_root,
)
from tests.support.clients import Clients
from tests.support.origin import Origin
from tests.support.process_output import PATIENCE
from tests.support.processes import Home
from tests.support.scripted_upstream import (
    ESTABLISHED,
    OK,
    ScriptedConnection,
    ScriptedUpstream,
    answering,
)
from tests.support.searchable_secret import SearchableSecret, files_below, text
from tests.support.service import ServiceProcess, run_command, service
from tests.support.squid import SquidSetup, squid
from tests.support.values import OFFICE
from trayproxy.control.messages import Failed, SaveProfile, Status
from trayproxy.domain.signin import SignInState, Snooze

GET = b"GET http://origin.test/ HTTP/1.1\r\nHost: origin.test\r\n\r\n"
SERVED, REFUSED = "HTTP/1.1 200", "HTTP/1.1 403"


@pytest.fixture
def upstream() -> Iterator[ScriptedUpstream]:
    """An upstream without a login."""
    with ScriptedUpstream(answering(OK)) as upstream:
        yield upstream


@pytest.fixture
def running(run: StartService, upstream: ScriptedUpstream) -> ServiceProcess:
    """A service for the upstream, without prompts."""
    return run("--upstream", upstream.url, "--no-prompt")


def at(service: ServiceProcess) -> tuple[str, int]:
    return "127.0.0.1", service.port


def response(address: tuple[str, int], user: int | None = None) -> str:
    """Return the beginning of the response to a GET of a program of this user."""
    with client_program(address, user=user, octets=GET) as program:
        return program.answer()


@pytest.fixture
def settings(place: Home) -> Path:
    """The path of the settings of the service; its folder exists."""
    path = place.path("trayproxy") / "config" / "config.toml"
    path.parent.mkdir()
    return path


# --- who may connect: T1 -------------------------------------------------------------------------


@needs_root
def test_a_program_of_another_user_is_refused_with_the_reason(
    running: ServiceProcess, upstream: ScriptedUpstream, place: Home
) -> None:
    for _ in range(3):
        assert response(at(running), NOBODY) == REFUSED
    assert response(at(running)) == SERVED
    assert len(upstream.peers) == 1
    running.process.err.wait_for("refused a connection of user nobody, program python")
    told = running.status().refused_clients
    assert (told.count, told.user) == (3, "nobody")
    assert told.program.startswith("python")
    shown = run_command(place, "status").stdout
    assert "Refused:        3 connections, the last one of user nobody (python" in shown
    assert json.loads(run_command(place, "status", "--json").stdout)["strangers"]["count"] == 3
    assert running.stop() == 0
    assert running.process.err.text.count("refused a connection") == 1


@needs_root
def test_curl_of_another_user_shows_the_setting_for_permission(
    running: ServiceProcess, upstream: ScriptedUpstream
) -> None:
    curl = ["curl", "-sS", "-x", running.url, "--max-time", "20"]
    plain = as_nobody([*curl, "http://origin.test/"])
    assert "allow_users = [&quot;name&quot;] below [listen]" in plain.stdout, plain
    # The response arrives although the content of the request exceeds the socket buffers.
    upload = as_nobody([*curl, "-T", "-", "http://origin.test/"], content="\0" * (1 << 24))
    assert "allow_users" in upload.stdout, upload
    tunnel = as_nobody([*curl, "-v", "https://origin.test/"])
    assert "403 TrayProxy serves only its own user; allow_users adds others" in tunnel.stderr
    assert len(upstream.peers) == 0
    assert running.status().refused_clients.count == 3


@needs_root
def test_apt_shows_the_setting_for_permission(
    running: ServiceProcess, upstream: ScriptedUpstream, open_folder: Path
) -> None:
    """Its downloads run as the user _apt, if that user may enter the folders."""
    sources = open_folder / "sources.list"
    sources.write_text("deb [trusted=yes] http://origin.test/debian stable main\n")
    for folder in ("lists/partial", "cache/archives/partial"):
        (open_folder / folder).mkdir(parents=True)
    options = {
        "Acquire::http::Proxy": running.url,
        "Acquire::Retries": "0",
        "Dir::Etc::SourceList": str(sources),
        "Dir::Etc::SourceParts": "/dev/null",
        "Dir::State::Lists": str(open_folder / "lists"),
        "Dir::Cache": str(open_folder / "cache"),
        "APT::Sandbox::User": "_apt",
    }
    arguments = [f"-o{name}={value}" for name, value in options.items()]
    result = subprocess.run(
        ["apt-get", *arguments, "update"], capture_output=True, text=True, timeout=60
    )
    said = result.stdout + result.stderr
    assert "403  TrayProxy serves only its own user; allow_users adds others (TP-109)" in said
    assert running.status().refused_clients.user == "_apt"
    assert len(upstream.peers) == 0


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder with access for every user; other users cannot enter the folders of pytest."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


def as_nobody(command: Sequence[str], content: str = "") -> "subprocess.CompletedProcess[str]":
    """Run a program as another user, to its end."""
    become = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    return subprocess.run(
        [*become, *command], input=content, capture_output=True, text=True, timeout=60, cwd="/"
    )


@needs_root
def test_a_user_added_to_the_settings_is_served(
    run: StartService, upstream: ScriptedUpstream, settings: Path
) -> None:
    settings.write_text("[listen]\nallow_users = ['no-such-user']\n")
    running = run("--upstream", upstream.url, "--no-prompt")
    assert running.paths.config_file == settings
    assert [notice.id for notice in running.status().notices] == ["TP-107"]
    assert response(at(running), NOBODY) == REFUSED
    settings.write_text(f"[listen]\nallow_users = [{NOBODY}]\n")
    running.process.signal(signal.SIGHUP)
    wait_for_status(running, lambda status: not status.notices)
    assert response(at(running), NOBODY) == SERVED


@needs_root
def test_the_status_reports_a_setting_open_to_every_user(
    run: StartService, upstream: ScriptedUpstream, place: Home, settings: Path
) -> None:
    settings.write_text("[listen]\nallow_users = ['*']\n")
    running = run("--upstream", upstream.url, "--no-prompt")
    assert response(at(running), NOBODY) == SERVED
    assert "Every user of this computer may connect" in run_command(place, "status").stdout


@needs_root
def test_a_request_of_another_user_is_not_forwarded_after_its_program_has_gone(
    running: ServiceProcess, upstream: ScriptedUpstream
) -> None:
    # Stopped, it comes to accept the connection only after its maker has gone.
    running.process.signal(signal.SIGSTOP)
    with client_program(at(running), AfterSending.CLOSES, user=NOBODY, octets=GET):
        running.process.signal(signal.SIGCONT)
        wait_for_status(running, lambda status: status.refused_clients.count == 1)
    assert len(upstream.peers) == 0
    assert running.status().refused_clients.user == ""


def wait_for_status(running: ServiceProcess, holds: Callable[[Status], bool]) -> Status:
    """Ask for the status until it is so."""
    deadline = monotonic() + PATIENCE
    while not holds(status := running.status()):
        assert monotonic() < deadline, status
    return status


# --- leaks: T15, T16 -----------------------------------------------------------------------------


def test_a_crash_leaves_no_core_and_no_password(
    run: StartService, account: SearchableSecret, upstream: ScriptedUpstream, place: Home
) -> None:
    running = run("--upstream", upstream.url, "--no-prompt", login=account.login)
    limits = Path(f"/proc/{running.pid}/limits").read_text()
    assert "Max core file size        0                    0 " in limits
    running.process.signal(signal.SIGSEGV)
    assert running.process.wait() == -signal.SIGSEGV
    # Each in a write of its own: a line of another thread may come between.
    running.process.err.wait_for("Fatal Python error")
    running.process.err.wait_for("Segmentation fault")
    running.process.end()
    assert not list(place.root.rglob("core*"))
    account.assert_absent([*files_below(place.root), text("log", running.log())])


def test_the_service_raises_its_limit_of_descriptors(running: ServiceProcess) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    soft, _ = psutil.Process(running.pid).rlimit(psutil.RLIMIT_NOFILE)
    assert soft == (65_536 if hard == resource.RLIM_INFINITY else min(hard, 65_536))


def test_the_debug_log_has_no_value_of_a_request(
    upstream: ScriptedUpstream, account: SearchableSecret, place: Home
) -> None:
    secret = quote(account.password, safe="").encode()
    host = b"Host: origin.test\r\n"
    requests = [
        b"GET http://origin.test/?token=%b HTTP/1.1\r\n%b\r\n" % (secret, host),
        b"GET http://u:%b@origin.test/ HTTP/1.1\r\n%b\r\n" % (secret, host),
        b"GET http://origin.test/ HTTP/1.1\r\n%bX-Api-Key: %b\r\n\r\n" % (host, secret),
        # Each of these is refused for a reason of its own.
        b"GET http://origin.test/ HTTP/1.1\r\n%bX-Api-Key : %b\r\n\r\n" % (host, secret),
        b"GET http://origin.test/ HTTP/1.1\r\n%b %b\r\n\r\n" % (host, secret),
        b"GET http://origin.test/ HTTP/1.1\r\nHost: %b\r\n\r\n" % secret,
        b"POST http://origin.test/ HTTP/1.1\r\n%bContent-Length: %b\r\n\r\n" % (host, secret),
        b"%b http://origin.test/ HTTP/1.1\r\n%b\r\n" % (secret, host),
        b"GET /%b HTTP/1.1\r\n%b\r\n" % (secret, host),
        b"CONNECT u:%b@origin.test:443 HTTP/1.1\r\n%b\r\n" % (secret, host),
        b"GET http://origin.test/ HTTP/1.1\r\n%bAuthorization: Bearer %b\r\n" % (host, secret),
    ]
    environment = place.environment(TRAYPROXY_LOG_LEVEL="DEBUG")
    arguments = ("--upstream", upstream.url, "--no-prompt")
    with service(place, *arguments, environment=environment) as running:
        for octets in requests:
            with socket.create_connection(at(running), timeout=PATIENCE) as client:
                client.sendall(octets)
                client.shutdown(socket.SHUT_WR)
                assert client.recv(65536).startswith(b"HTTP/1.1 "), octets
        assert running.stop() == 0
        account.assert_absent([*files_below(place.root), text("log", running.log())])


# --- the owner of the port: F19 ------------------------------------------------------------------


def test_the_program_with_the_port_is_named(place: Home) -> None:
    with squid(SquidSetup(users={"u": "p"})) as taken:
        result = run_command(place, "run", "--listen", taken.address)
        assert result.returncode == 7
        owner = f"squid (PID {taken.process.pid}) already uses {taken.address}"
        assert f"Port {taken.port} is taken" in result.stderr
        assert owner in result.stderr
        offered = re.search(r"such as --listen 127\.0\.0\.1:(\d+)\.", result.stderr)
        assert offered is not None
        with socket.create_server(("127.0.0.1", int(offered[1]))):
            pass  # It is free.
    # Squid was not disturbed, and TrayProxy raised no exception.
    assert "Traceback" not in result.stderr


def test_a_port_taken_only_on_the_other_loopback_address_is_used(
    upstream: ScriptedUpstream, place: Home, run: StartService
) -> None:
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as taken:
        port = taken.getsockname()[1]
        running = run("--upstream", upstream.url, "--no-prompt", "--listen", f"127.0.0.1:{port}")
        assert running.port == port
        assert response(at(running)) == SERVED


@needs_root
@needs_ipv6
def test_the_program_on_the_other_loopback_address_is_named_until_it_ends(
    upstream: ScriptedUpstream, place: Home, run: StartService
) -> None:
    with listener_of(NOBODY) as (port, thief):
        running = run("--upstream", upstream.url, "--no-prompt", "--listen", f"127.0.0.1:{port}")
        status = wait_for_status(running, lambda status: bool(status.notices))
        [notice] = status.notices
        assert notice.id == "TP-110"
        assert re.fullmatch(
            rf"python[0-9.]* of user nobody listens on \[::1\]:{port}", notice.title
        )
        assert str(thief.pid) in notice.body
        shown = run_command(place, "status").stdout
        assert f"of user nobody listens on [::1]:{port}" in shown
        told = json.loads(run_command(place, "status", "--json").stdout)["notices"]
        assert [problem["id"] for problem in told] == ["TP-110"]
    wait_for_status(running, lambda status: not status.notices)
    assert response(("::1", port)) == SERVED


LISTEN = """
import os, socket, sys
os.setgroups([])
os.setgid(int(sys.argv[1]))
os.setuid(int(sys.argv[1]))
with socket.create_server(("::1", 0), family=socket.AF_INET6) as listener:
    print(listener.getsockname()[1], flush=True)
    sys.stdin.read()
"""


@contextmanager
def listener_of(user: int) -> Iterator[tuple[int, "subprocess.Popen[str]"]]:
    """Have a program of another user listen on ``::1``; the port, and its process."""
    with subprocess.Popen(
        [sys.executable, "-c", LISTEN, str(user)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        yield int(process.stdout.readline()), process
        process.kill()


# --- settings that fail: F16 to F18 --------------------------------------------------------------


@pytest.mark.parametrize("broken", [b"[[profiles]\n", b"\x00\xff" * 500, b"schema = 99\n"])
def test_unreadable_settings_are_reported_and_not_changed(
    run: StartService, upstream: ScriptedUpstream, settings: Path, broken: bytes
) -> None:
    settings.write_bytes(broken)
    running = run()
    assert running.status().notices[0].id in ("TP-801", "TP-803")
    # Not silently direct: without a profile it says so.
    assert response(at(running)) == "HTTP/1.1 503"
    assert settings.read_bytes() == broken


def test_a_failure_to_save_settings_is_reported_and_the_service_continues(
    run: StartService, attach: AttachFrontEnd, upstream: ScriptedUpstream, place: Home
) -> None:
    running = run("--upstream", upstream.url)
    front_end = attach(running)
    # Even root cannot write a file where there is a folder.
    blocked = running.paths.config / ".config.toml.trayproxy-new"
    blocked.mkdir(parents=True)
    reply = front_end.request(SaveProfile(OFFICE))
    assert isinstance(reply, Failed)
    assert reply.problem.id == "TP-802"
    assert response(at(running)) == SERVED
    blocked.rmdir()
    front_end.request_done(SaveProfile(OFFICE))


def test_an_unwritable_log_costs_no_request(running: ServiceProcess) -> None:
    for path in running.paths.log.iterdir():
        path.unlink()
    running.paths.log.rmdir()
    running.paths.log.write_text("in the way")
    running.process.signal(signal.SIGHUP)  # Something to log about.
    assert response(at(running)) == SERVED
    assert running.stop() == 0


# --- its end: F29, SIGKILL -----------------------------------------------------------------------


def hold_tunnel(peer: ScriptedConnection) -> None:
    """Open a tunnel, and read until the client closes it."""
    peer.read_head()
    peer.send(ESTABLISHED)
    peer.read_all()


CONNECT = b"CONNECT origin.test:443 HTTP/1.1\r\nHost: origin.test:443\r\n\r\n"


def tunnels(stack: ExitStack, service: ServiceProcess, count: int) -> list[socket.socket]:
    """Open this number of tunnels."""
    made = []
    for _ in range(count):
        connection = stack.enter_context(socket.create_connection(at(service), timeout=PATIENCE))
        connection.sendall(CONNECT)
        made.append(connection)
    for connection in made:
        assert connection.recv(4096).startswith(b"HTTP/1.1 200")
    return made


def test_a_service_with_a_thousand_tunnels_ends_in_time_with_its_children(
    run: StartService,
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with ExitStack() as stack:
        if soft < 4000:
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(4000, hard), hard))
            stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        upstream = stack.enter_context(ScriptedUpstream(hold_tunnel))
        running = run("--upstream", upstream.url, "--no-prompt")
        open_tunnels = tunnels(stack, running, 1000)
        children = psutil.Process(running.pid).children(recursive=True)
        begin = monotonic()
        assert running.stop() == 0
        assert monotonic() - begin <= 7
        assert not [child for child in children if child.is_running()]
        # Each program notices the end: no tunnel stays open without a service.
        for connection in open_tunnels:
            with suppress(ConnectionResetError):
                assert connection.recv(1) == b""
    assert "Traceback" not in running.log()


def test_a_killed_service_starts_again_on_the_same_port(
    run: StartService, upstream: ScriptedUpstream
) -> None:
    first = run("--upstream", upstream.url, "--no-prompt")
    with ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(client_program(at(first), octets=b"GET"))
        first.kill()
        # Its clients' connections still linger.
        address = f"127.0.0.1:{first.port}"
        second = run("--upstream", upstream.url, "--no-prompt", "--listen", address)
        assert second.port == first.port
        assert response(at(second)) == SERVED
    assert second.status().pid == second.pid


# --- a clock that jumps: F30 ---------------------------------------------------------------------

DAY = 86_400


@pytest.mark.parametrize("jump", [DAY, -DAY], ids=["on by a day", "back by a day"])
def test_a_jump_of_the_clock_ends_no_wait_and_no_snooze(
    attach: AttachFrontEnd,
    clients: Clients,
    origin: Origin,
    account: SearchableSecret,
    place: Home,
    jump: int,
) -> None:
    wrong = place.root / "wrong"
    wrong.write_text("0")
    with (
        squid(SquidSetup(users={account.user: account.password})) as proxy,
        service(
            place,
            "--upstream",
            proxy.url,
            program=("tests.support.wrong_clock_service", str(wrong)),
        ) as running,
    ):
        front_end = attach(running)
        told = ("-x", running.url, "-m", "30", "-o", "/dev/null", "-w", "%{http_code}")
        job = clients.curl(*told, origin.url("/hello"))
        question = front_end.wait_for_prompt(lambda question: question.waiting == 1)
        wrong.write_text(str(jump))
        # More than the second after which everything that has waited too long is ended.
        assert not job.process.ended_within(2.5)
        front_end.decline(question, Snooze.A_MINUTE)
        assert job.result().out == "503"
        front_end.wait_for_status(lambda status: status.sign_in is SignInState.SNOOZED)
        wrong.write_text(str(-jump))
        # The snooze has not ended: there is no new prompt.
        assert clients.curl(*told, origin.url("/hello")).result().out == "503"
        assert running.status().sign_in is SignInState.SNOOZED
        assert {asked.number for asked in front_end.prompts} == {question.number}
        assert running.stop() == 0
