"""One program through TrayProxy: ``trayproxy exec`` and ``trayproxy connect`` with a real Squid.

The commands start the service themselves, unless a test says otherwise.
"""

import json
import os
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from http.client import HTTPConnection

import psutil
import pytest

from tests.end2end.scenario import HELLO, Scenario
from tests.support.octets import digest, octets
from tests.support.origin import Origin
from tests.support.process_output import PATIENCE
from tests.support.processes import Home
from tests.support.reports import Reports
from tests.support.searchable_secret import SearchableSecret
from tests.support.server import LoopbackServer
from tests.support.service import run_command, status_of
from tests.support.squid import Squid, SquidSetup, squid
from tests.support.tls import CertificateAuthority
from trayproxy.control.transport import NotRunningError
from trayproxy.paths import locate

SIZE = 5_000_000
SETTINGS = """\
schema = 1
active = "{active}"
[listen]
port = 0
[[profiles]]
id = "office"
name = "Office"
upstream = "{upstream}"
sign_in = "{sign_in}"
"""


@pytest.fixture
def open_proxy(reports: Reports) -> Iterator[Squid]:
    """An upstream that serves every client, and refuses one site."""
    rules = ("acl forbidden dstdomain -n forbidden.test", "http_access deny forbidden")
    with squid(SquidSetup(users={}, schemes=(), rules=rules)) as running:
        reports["squid"] = running.describe
        yield running


Settle = Callable[..., None]


@pytest.fixture
def settle(place: Home, reports: Reports) -> Iterator[Settle]:
    """Write the settings; afterwards, end the service that a command has started."""
    paths = locate(place.trayproxy_environment())

    def write(upstream: str, active: str = "office", sign_in: str = "none", more: str = "") -> None:
        paths.prepare()
        text = SETTINGS.format(upstream=upstream, active=active, sign_in=sign_in)
        paths.config_file.write_text(text + more)

    def log() -> str:
        return paths.log_file.read_text() if paths.log_file.exists() else ""

    reports["service"] = log
    yield write
    try:
        pid = status_of(paths).pid
    except NotRunningError:
        return
    service = psutil.Process(pid)
    service.terminate()
    service.wait(PATIENCE)


@pytest.fixture
def office(settle: Settle, open_proxy: Squid) -> Squid:
    """The upstream of the settings."""
    settle(open_proxy.url)
    return open_proxy


def connected(place: Home, target: str) -> "tuple[socket.socket, subprocess.Popen[bytes]]":
    """Start ``trayproxy connect`` like ssh: with a socket as standard input and output."""
    ours, theirs = socket.socketpair()
    ours.settimeout(60)
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-m", "trayproxy", "connect", target],
            env=place.trayproxy_environment(),
            cwd=place.root,
            stdin=theirs.fileno(),
            stdout=theirs.fileno(),
            stderr=subprocess.PIPE,
        )
    return ours, process


def is_running(place: Home) -> bool:
    try:
        status_of(locate(place.trayproxy_environment()))
    except NotRunningError:
        return False
    return True


# --- exec ----------------------------------------------------------------------------------------


def test_curl_goes_through_the_proxy_and_the_started_service_stays(
    place: Home, office: Squid, origin: Origin
) -> None:
    assert not is_running(place)
    # Only the proxy knows the name of the site.
    fetched = run_command(place, "exec", "--", "curl", "-sS", origin.url("/hello"))
    assert (fetched.returncode, fetched.stdout, fetched.stderr) == (0, "hello\n", "")
    assert [access.target for access in office.accesses()] == [origin.url("/hello")]
    assert is_running(place)
    other = run_command(place, "exec", "--", "curl", "-sS", origin.url("/hello"))
    assert other.stdout == "hello\n"


def test_python_goes_through_the_proxy_with_tls(
    place: Home, office: Squid, secure_origin: Origin, authority: CertificateAuthority
) -> None:
    program = (
        "import sys, requests; print(requests.get(sys.argv[1], verify=sys.argv[2]).text, end='')"
    )
    words = (sys.executable, "-c", program, secure_origin.url("/hello"), str(authority.pem))
    fetched = run_command(place, "exec", "--profile", "Office", "--", *words)
    assert (fetched.returncode, fetched.stdout) == (0, "hello\n"), fetched.stderr
    assert [access.method for access in office.accesses()] == ["CONNECT"]


def test_a_profile_is_used_for_one_program_alone(
    place: Home, open_proxy: Squid, origin: Origin, settle: Settle
) -> None:
    """The active profile has no proxy that answers; the other profile has."""
    lab = SETTINGS.partition("[[profiles]]")[2].format(upstream=open_proxy.url, sign_in="none")
    lab = lab.replace("office", "lab").replace("Office", "Lab")
    settle("http://127.0.0.1:9", more=f"[[profiles]]{lab}")
    words = ("-sS", "--max-time", "20", "-w", "%{http_code}", "-o", "/dev/null")
    for _ in range(2):
        fetch = ("--", "curl", *words, origin.url("/hello"))
        assert run_command(place, "exec", "--profile", "Lab", *fetch).stdout == "200"
        assert run_command(place, "exec", *fetch).stdout == "502"
    assert len(open_proxy.accesses()) == 2


def test_rules_decide_about_programs_and_hosts(
    place: Home, open_proxy: Squid, origin: Origin, settle: Settle
) -> None:
    rules = 'rules = ["blocked.test -> block", "program:curl 127.0.0.1 -> direct"]'
    settle(open_proxy.url, more=rules)
    curl = ("exec", "--", "curl", "-sS", "--noproxy", "")
    blocked = run_command(place, *curl, "http://blocked.test/")
    assert "The rule “blocked.test -&gt; block” of the profile “Office” blocks it" in blocked.stdout
    direct = run_command(place, *curl, f"http://127.0.0.1:{origin.port}/hello")
    assert direct.stdout == "hello\n"
    assert open_proxy.accesses() == []
    found = run_command(place, "route", "http://127.0.0.1/", "--program", "curl")
    assert found.stdout.endswith("the rule “program:curl 127.0.0.1 -> direct” of “Office”\n")
    other = run_command(place, "route", "http://127.0.0.1/")
    assert other.stdout.startswith(f"127.0.0.1:80: {open_proxy.url}\n")


@pytest.mark.usefixtures("office")
def test_this_computer_is_reached_without_the_proxy(place: Home, origin: Origin) -> None:
    url = f"http://127.0.0.1:{origin.port}/echo"
    fetched = run_command(place, "exec", "--", "curl", "-sS", url)
    assert "via" not in dict(json.loads(fetched.stdout)["fields"])


@pytest.mark.usefixtures("office")
def test_the_started_service_is_not_a_child_of_the_program(place: Home) -> None:
    waits = "import os\ntry: os.wait()\nexcept ChildProcessError: print('none')"
    ran = run_command(place, "exec", "--", sys.executable, "-c", waits)
    assert (ran.returncode, ran.stdout) == (0, "none\n")
    pid = status_of(locate(place.trayproxy_environment())).pid
    assert os.getsid(pid) == pid
    assert psutil.Process(pid).terminal() is None


@pytest.mark.usefixtures("office")
def test_commands_that_start_at_the_same_time_use_one_service(place: Home, origin: Origin) -> None:
    words = ("exec", "--", "curl", "-sS", origin.url("/hello"))
    with ThreadPoolExecutor(4) as pool:
        runs = [pool.submit(run_command, place, *words) for _ in range(4)]
        assert [(run.result().returncode, run.result().stderr) for run in runs] == [(0, "")] * 4
    assert is_running(place)


def test_a_running_service_is_used_with_its_sign_in(scenario: Scenario) -> None:
    user = scenario.start(scenario.login)
    assert user.fetch() == HELLO
    url = user.origin.url("/hello")
    fetched = run_command(scenario.run.place, "exec", "--", "curl", "-sS", url)
    assert fetched.stdout == "hello\n"
    assert len(user.front_end.prompts) == 1


# --- connect -------------------------------------------------------------------------------------


def test_tls_passes_through_connect_with_many_octets_in_both_directions(
    place: Home, office: Squid, secure_origin: Origin, authority: CertificateAuthority
) -> None:
    ours, process = connected(place, secure_origin.authority)
    context = ssl.create_default_context(cafile=str(authority.pem))
    with process, context.wrap_socket(ours, server_hostname="www.test.lan") as secure:
        client = HTTPConnection("www.test.lan")
        client.sock = secure
        client.request("POST", "/sha256", b"".join(octets(SIZE)))
        assert client.getresponse().read() == f"{SIZE} {digest(SIZE)}\n".encode()
        client.request("GET", f"/bytes/{SIZE}")
        assert sha256(client.getresponse().read()).hexdigest() == digest(SIZE)
        client.close()
        assert process.stderr is not None
        secure.close()
        assert process.wait(PATIENCE) == 0
        assert process.stderr.read() == b""
    (access,) = office.accesses()
    assert (access.method, access.target) == ("CONNECT", secure_origin.authority)
    assert is_running(place)


@pytest.mark.usefixtures("office")
def test_both_directions_of_connect_carry_many_octets_at_the_same_time(place: Home) -> None:
    def echo(connection: socket.socket) -> None:
        while piece := connection.recv(1 << 16):
            connection.sendall(piece)

    with LoopbackServer(echo) as server, ThreadPoolExecutor(1) as pool:
        ours, process = connected(place, f"www.test.lan:{server.port}")
        with process, ours:
            sent = pool.submit(ours.sendall, b"".join(octets(SIZE)))
            hashed, left = sha256(), SIZE
            while left:
                piece = ours.recv(1 << 16)
                assert piece, process.stderr and process.stderr.read()
                hashed.update(piece)
                left -= len(piece)
            sent.result(PATIENCE)
            assert hashed.hexdigest() == digest(SIZE)
            ours.shutdown(socket.SHUT_RDWR)
            assert process.wait(PATIENCE) == 0


def test_the_end_of_one_direction_of_connect_leaves_the_other_open(
    place: Home, settle: Settle
) -> None:
    # Directly: Squid itself closes both directions when one of them ends.
    settle("http://127.0.0.1:1", active="direct")
    found: list[bytes] = []

    def read_all(connection: socket.socket) -> bytes:
        return b"".join(iter(lambda: connection.recv(1 << 16), b""))

    def answer_after_the_end(connection: socket.socket) -> None:
        connection.sendall(sha256(read_all(connection)).hexdigest().encode())

    def read_after_the_end(connection: socket.socket) -> None:
        connection.sendall(b"bye")
        connection.shutdown(socket.SHUT_WR)
        found.append(read_all(connection))

    content = b"".join(octets(SIZE))
    with LoopbackServer(answer_after_the_end) as server:
        ours, process = connected(place, f"127.0.0.1:{server.port}")
        with process, ours:
            ours.sendall(content)
            ours.shutdown(socket.SHUT_WR)
            assert read_all(ours) == digest(SIZE).encode()
            assert process.wait(PATIENCE) == 0
    with LoopbackServer(read_after_the_end) as server:
        ours, process = connected(place, f"127.0.0.1:{server.port}")
        with process, ours:
            assert ours.recv(3) == b"bye"
            ours.sendall(content)
            ours.shutdown(socket.SHUT_WR)
            assert process.wait(PATIENCE) == 0
    assert [sha256(octets_).hexdigest() for octets_ in found] == [digest(SIZE)]


def test_connect_reports_the_reason_of_a_refusal(
    place: Home, settle: Settle, proxy: Squid, account: SearchableSecret
) -> None:
    settle(proxy.url, sign_in="password")
    refused = run_command(place, "connect", "www.test.lan:22")
    assert (refused.returncode, refused.stdout) == (4, "")
    assert refused.stderr.startswith("www.test.lan:22 was not reached: ")
    assert "(TP-3" in refused.stderr
    assert account.password not in refused.stderr


def test_connect_reports_an_unreachable_proxy(place: Home, settle: Settle) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        settle(f"http://127.0.0.1:{bound.getsockname()[1]}")
        refused = run_command(place, "connect", "www.test.lan:22")
    assert (refused.returncode, refused.stdout) == (5, "")
    assert "127.0.0.1 refused the connection" in refused.stderr
    assert "(TP-202)" in refused.stderr


def test_connect_reports_a_refusal_of_the_proxy(place: Home, office: Squid) -> None:
    refused = run_command(place, "connect", "forbidden.test:22")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr == "forbidden.test:22 was not reached: 403 Forbidden\n"
    assert [access.status for access in office.accesses()] == [403]


# --- direct, resume ------------------------------------------------------------------------------


def test_programs_connect_directly_until_resume(place: Home, office: Squid, origin: Origin) -> None:
    paths = locate(place.trayproxy_environment())
    by_name = ("exec", "--", "curl", "-sS", "--noproxy", "", origin.url("/hello"))
    by_address = (*by_name[:-1], f"http://127.0.0.1:{origin.port}/hello")
    assert run_command(place, *by_name).stdout == "hello\n"
    count = len(office.accesses())
    for command in (("direct", "--for", "10m"), ("direct",)):
        before = paths.config_file.read_bytes()
        assert run_command(place, *command).returncode == 0
        status = status_of(paths)
        assert status.direct
        assert (status.direct_until is None) == (len(command) == 1)
        assert run_command(place, *by_address).stdout == "hello\n"
        assert len(office.accesses()) == count
        resumed = run_command(place, "resume")
        assert (resumed.returncode, resumed.stderr) == (0, "“Office” is in use again.\n")
        assert status_of(paths).profile is not None
        if len(command) > 1:
            assert paths.config_file.read_bytes() == before
        assert run_command(place, *by_name).stdout == "hello\n"
        count += 1
        assert len(office.accesses()) == count


def test_the_earlier_profile_is_known_to_the_next_service(
    place: Home, office: Squid, origin: Origin
) -> None:
    fetch = ("exec", "--", "curl", "-sS", origin.url("/hello"))
    assert run_command(place, *fetch).stdout == "hello\n"
    pid = status_of(locate(place.trayproxy_environment())).pid
    assert run_command(place, "direct").returncode == 0
    service = psutil.Process(pid)
    assert run_command(place, "quit").returncode == 0
    service.wait(PATIENCE)
    assert run_command(place, "exec", "--", "true").returncode == 0
    assert status_of(locate(place.trayproxy_environment())).direct
    assert run_command(place, "resume").stderr == "“Office” is in use again.\n"
    assert run_command(place, *fetch).stdout == "hello\n"
    assert len(office.accesses()) == 2
