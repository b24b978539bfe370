"""The compared proxies, each configured for Basic to one upstream and without a log."""

import re
import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic

from tests.bench.tools import CREDENTIALS, PASSWORD, USER, Tools, upstream
from tests.support.dumpable_service import DUMPABLE
from tests.support.ports import free_port
from tests.support.processes import SOURCES, Home, Process, home, running, wait_until_accepting


@dataclass(frozen=True, slots=True)
class Contestant:
    """A proxy, or a direct connection.

    In `argv`, `files`, `environment` and `stdin` these words are replaced: ``@PORT@`` by the port
    of the proxy, ``@UPSTREAM@`` by the port of the upstream, ``@USER@``, ``@PASSWORD@`` and
    ``@CREDENTIALS@`` by the login, ``@DIRECTORY@`` by the directory of the proxy.

    Attributes:
        name: The row in the tables.
        argv: The program and its arguments; empty for a direct connection, with the login sent by
            the load.
        environment: Environment variables in addition to those of a home.
        ready: The line of standard output after which the proxy listens; empty to try connecting.
    """

    name: str
    argv: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    stdin: str = ""
    ready: str = ""

    @property
    def is_direct(self) -> bool:
        """True if there is no proxy."""
        return not self.argv

    @property
    def is_here(self) -> bool:
        """True if the program is installed."""
        return self.is_direct or shutil.which(self.argv[0]) is not None


DIRECT = Contestant("direct")
"""No local proxy: the limits of the load and the upstream."""

TRAYPROXY = Contestant(
    "trayproxy",
    (
        *(sys.executable, "-m", *DUMPABLE, "run", "--listen", "127.0.0.1:@PORT@"),
        *("--upstream", "http://127.0.0.1:@UPSTREAM@", "--user", "@USER@"),
        *("--password-stdin", "--no-prompt"),
    ),
    environment={"TRAYPROXY_HOME": "@DIRECTORY@/trayproxy", "PYTHONPATH": str(SOURCES)},
    stdin="@PASSWORD@\n",
    ready="^listening on ",
)


TRAYPROXY_PAC = Contestant(
    "trayproxy-pac",
    (
        *(sys.executable, "-m", *DUMPABLE, "run", "--listen", "127.0.0.1:@PORT@"),
        *("--upstream", "@DIRECTORY@/proxy.pac", "--user", "@USER@"),
        *("--password-stdin", "--no-prompt"),
    ),
    {"proxy.pac": "function FindProxyForURL() { return 'PROXY 127.0.0.1:@UPSTREAM@'; }"},
    TRAYPROXY.environment,
    TRAYPROXY.stdin,
    TRAYPROXY.ready,
)
"""TrayProxy with a PAC script that names the same upstream."""


def _relay(loop: str) -> Contestant:
    script = str(Path(__file__).with_name("relay.py"))
    argv = (sys.executable, script, "@PORT@", "@UPSTREAM@", loop)
    return Contestant(f"relay-{loop}", argv, stdin="@CREDENTIALS@\n")


HAPROXY = Contestant(
    "haproxy",
    ("haproxy", "-db", "-q", "-f", "@DIRECTORY@/haproxy.cfg"),
    {
        "haproxy.cfg": """\
global
    nbthread 1
    maxconn 9000
defaults
    mode http
    timeout connect 5s
    timeout client 1h
    timeout server 1h
    timeout tunnel 1h
    option http-keep-alive
    http-reuse always
frontend programs
    bind 127.0.0.1:@PORT@ backlog 4096
    default_backend company
backend company
    http-request set-header Proxy-Authorization "Basic @CREDENTIALS@"
    server upstream 127.0.0.1:@UPSTREAM@
"""
    },
)

SQUID = Contestant(
    "squid",
    ("squid", "-N", "-n", "bench@PORT@", "-f", "@DIRECTORY@/squid.conf"),
    {
        "squid.conf": """\
http_port 127.0.0.1:@PORT@
cache_peer 127.0.0.1 parent @UPSTREAM@ 0 no-query no-digest default login=@USER@:@PASSWORD@
http_access allow all
never_direct allow all
cache deny all
access_log none
cache_store_log none
cache_log /dev/null
pid_filename none
pinger_enable off
max_filedescriptors 16384
shutdown_lifetime 0 seconds
via off
forwarded_for delete
"""
    },
)

TINYPROXY = Contestant(
    "tinyproxy",
    ("tinyproxy", "-d", "-c", "@DIRECTORY@/tinyproxy.conf"),
    {
        "tinyproxy.conf": """\
Port @PORT@
Listen 127.0.0.1
Timeout 600
MaxClients 8000
LogFile "@DIRECTORY@/tinyproxy.log"
LogLevel Critical
PidFile "@DIRECTORY@/tinyproxy.pid"
Allow 127.0.0.0/8
DisableViaHeader Yes
Upstream http @USER@:@PASSWORD@@127.0.0.1:@UPSTREAM@
"""
    },
)

PX = Contestant(
    "px",
    (
        *("px", "--proxy=127.0.0.1:@UPSTREAM@", "--listen=127.0.0.1", "--port=@PORT@"),
        *("--auth=BASIC", "--username=@USER@", "--foreground", "--idle=3600"),
    ),
    environment={"PX_PASSWORD": "@PASSWORD@"},
)

PPROXY = Contestant(
    "pproxy",
    (
        *("pproxy", "-l", "http://127.0.0.1:@PORT@"),
        *("-r", "http://127.0.0.1:@UPSTREAM@#@USER@:@PASSWORD@"),
    ),
)

CONTESTANTS = (
    DIRECT,
    TRAYPROXY,
    TRAYPROXY_PAC,
    _relay("uvloop"),
    _relay("asyncio"),
    HAPROXY,
    SQUID,
    TINYPROXY,
    PX,
    PPROXY,
)


@dataclass(frozen=True, slots=True)
class Entrant:
    """A running contestant with its own upstream.

    Attributes:
        port: The port for the load.
        pid: The process id of the proxy; None without a proxy.
        upstream_pid: The process id of the upstream.
        started_s: Seconds from the start until the proxy listened.
    """

    contestant: Contestant
    port: int
    pid: int | None
    upstream_pid: int
    started_s: float

    @property
    def credentials(self) -> tuple[str, ...]:
        """The credentials for the load to send."""
        return (CREDENTIALS,) if self.contestant.is_direct else ()


@contextmanager
def entered(contestant: Contestant, tools: Tools) -> Iterator[Entrant]:
    """Run a contestant; it listens when the block begins."""
    with home("bench-") as place, upstream(tools, place) as (behind, upstream_port):
        if contestant.is_direct:
            yield Entrant(contestant, upstream_port, None, behind.pid, 0.0)
            return
        port = free_port()
        words = {
            "PORT": str(port),
            "UPSTREAM": str(upstream_port),
            "USER": USER,
            "PASSWORD": PASSWORD,
            "CREDENTIALS": CREDENTIALS,
            "DIRECTORY": str(place.root),
        }
        began = monotonic()
        with started(contestant, place, words) as process:
            _wait_until_listening(contestant, process, port)
            yield Entrant(contestant, port, process.pid, behind.pid, monotonic() - began)
        # A killed Squid leaves its shared memory.
        for segment in Path("/dev/shm").glob(f"bench{port}-*"):
            segment.unlink()


@contextmanager
def started(contestant: Contestant, place: Home, words: Mapping[str, str]) -> Iterator[Process]:
    """Run the program of a contestant, with the words replaced (see `Contestant`)."""

    def fill(text: str) -> str:
        return re.sub(r"@([A-Z]+)@", lambda found: words[found[1]], text)

    program = shutil.which(contestant.argv[0])
    assert program is not None
    argv = [program, *map(fill, contestant.argv[1:])]
    # Programs started as root read their files as another user.
    place.root.chmod(0o755)
    for name, text in contestant.files.items():
        (place.root / name).write_text(fill(text), encoding="utf-8")
    more = {name: fill(text) for name, text in contestant.environment.items()}
    environment = place.environment(**more)
    stdin = fill(contestant.stdin).encode()
    with running(argv, env=environment, cwd=place.root, stdin=stdin) as process:
        yield process


def _wait_until_listening(contestant: Contestant, process: Process, port: int) -> None:
    if contestant.ready:
        process.out.wait_for(contestant.ready)
    else:
        wait_until_accepting(process, port)
