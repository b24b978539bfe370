"""A real Squid that requires Basic authentication, and counts failed log-ons.

Its access log is a FIFO, so that a test can wait for a line. A request with credentials that is
answered with 407 is a failed log-on. Each such request is counted, even if Squid merges equal
checks that run at the same time: the user directory behind another proxy would count each check.
"""

import os
import select
import shutil
import socket
import ssl
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from itertools import count
from pathlib import Path
from uuid import uuid4

from tests.support.example_site import ExampleSite, squid_rules
from tests.support.ports import free_ports
from tests.support.process_output import PATIENCE, LineReader
from tests.support.processes import Home, Process, home, wait_until_accepting

SQUID_USER = "proxy"
"""Debian's user for Squid; Squid changes to this user when root starts it."""

# Squid percent-encodes these octets for its helper: rfc1738_do_escape, RFC1738_ESCAPE_UNSAFE.
_ENCODED = frozenset(b"<>\"#%{}|\\^~[]`' ") | frozenset(range(0x20)) | frozenset(range(0x7F, 0x100))

BASIC_HELPER = """\
#!/bin/sh
# Compares each "user password" line, percent-encoded by Squid, with the lines of a file.
while IFS= read -r line; do
  verdict=ERR
  while IFS= read -r known; do
    if [ "$line" = "$known" ]; then verdict=OK; fi
  done < "$1"
  echo "$verdict"
done
"""

_CONFIGURATION = """\
{listener}
visible_hostname {name}
pid_filename none
cache_log /dev/null
logformat test %>Hs %rm %ru %[un %{{Proxy-Authorization}}>h
access_log stdio:{directory}/access.fifo logformat=test
coredump_dir {directory}
cache deny all
pinger_enable off
shutdown_lifetime 0 seconds
# Send no queries outside; an unknown name fails fast.
dns_nameservers 127.0.0.1
dns_timeout 2 seconds
hosts_file {directory}/hosts
auth_param basic program {directory}/helper {directory}/users
auth_param basic children 1 startup=1 idle=1 queue-size=10000
auth_param basic credentialsttl 1 second
auth_param basic realm {realm}
acl authed proxy_auth REQUIRED
acl ours dstdomain -n localhost 127.0.0.1 {name} {origins}
{rules}
http_access deny !authed
{example_site}
http_access allow ours
# Requests for other sites, which browsers send by themselves, are refused at once after sign-in.
http_access deny all
"""


@dataclass(frozen=True, slots=True)
class AccessLogEntry:
    """A line of the access log.

    Attributes:
        status: The status of the response.
        method: The method of the request.
        target: The target of the request: a URL, or ``host:port`` for CONNECT.
        user: The user name in the request, accepted or not; empty without credentials.
        has_credentials: True if the request carried credentials.
    """

    status: int
    method: str
    target: str
    user: str
    has_credentials: bool

    @property
    def failed_logon(self) -> bool:
        """True if the request carried credentials that were rejected."""
        return self.has_credentials and self.status == 407


@dataclass(frozen=True, slots=True)
class SquidSetup:
    """The settings of a Squid.

    Attributes:
        users: Passwords by user name.
        realm: The realm. Squid sends it verbatim, including quotes.
        name: The host name of the proxy.
        origins: Host names that the proxy resolves to 127.0.0.1.
        rules: Configuration lines before the lines that require a sign-in.
        pem: The certificate and key for TLS to clients; None for plain HTTP.
    """

    users: Mapping[str, str] = field(default_factory=dict)
    realm: str = "Corporate Internet"
    name: str = "proxy.test.lan"
    origins: tuple[str, ...] = ("www.test.lan", "other.test.lan")
    rules: tuple[str, ...] = ()
    pem: Path | None = None


class Log:
    """A FIFO to which a Squid or its helper writes."""

    def __init__(self, path: Path, name: str = "access log of squid") -> None:
        os.mkfifo(path)
        path.chmod(0o666)
        reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        # A FIFO without a writer reads as ended: this writer keeps it open until Squid has ended.
        self._keeper = os.open(path, os.O_WRONLY)
        os.set_blocking(reader, True)
        self.lines = LineReader(os.fdopen(reader, "rb"), name)
        self._marks = (f"mark-{number}" for number in count(1))

    def written(self) -> list[str]:
        """Return all lines written so far."""
        mark = next(self._marks)
        # The mark follows all octets that are in the pipe.
        os.write(self._keeper, f"{mark}\n".encode())
        self.lines.wait_for(f"^{mark}$")
        return [line for line in self.lines.lines if not line.startswith("mark-")]

    def close(self) -> None:
        """End the reading, after the end of Squid."""
        os.close(self._keeper)
        self.lines.join()


class Squid:
    """A running Squid.

    Attributes:
        host: The address at which it listens.
        port: The port.
        process: The process.
    """

    host = "127.0.0.1"

    def __init__(
        self, setup: SquidSetup, directory: Path, process: Process, port: int, log: LineReader
    ) -> None:
        self.port = port
        self.process = process
        self._setup = setup
        self._users = dict(setup.users)
        self._directory = directory
        self._log = log
        self._numbers = count(1)

    @property
    def address(self) -> str:
        """The address with the port, ``127.0.0.1:3128``."""
        return f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """The URL of the proxy, as entered in a profile."""
        return f"{'https' if self._setup.pem else 'http'}://{self.address}"

    def set_password(self, user: str, password: str) -> None:
        """Change a password, and return when the old password is no longer accepted.

        Squid caches the verdict of its helper for `credentialsttl`.
        """
        old = self._users.get(user)
        self._users[user] = password
        _write_users(self._directory, self._users)
        while old not in (None, password) and self._accepts(f"{user}:{old}"):
            select.select([], [], [], 0.05)

    def accesses(self) -> list[AccessLogEntry]:
        """Return all requests that have ended so far, oldest first."""
        mark = self._mark()
        # Squid writes its log in order: all earlier requests precede this request.
        self._request(mark)
        self._log.wait_for(f"{mark} ")
        return self._read()

    def failed_logons(self) -> int:
        """Return the number of requests with rejected credentials."""
        return sum(access.failed_logon for access in self.accesses())

    def wait_for(self, status: int, target: str) -> None:
        """Wait until a request for this target has ended with this status."""
        self._log.wait_for(rf"^{status} \S+ {target} ")

    def describe(self) -> str:
        """Return the access log, without credentials, for the report of a failed test."""
        return "\n".join(map(str, self._read()))

    def _read(self) -> list[AccessLogEntry]:
        found = (_read_access(line) for line in self._log.lines)
        # A connection without a request is logged too, with the method "-".
        return [at for at in found if at.method != "-" and "/mark-" not in at.target]

    def _mark(self) -> str:
        """Return a new path; `accesses` leaves out the requests for such paths."""
        return f"/mark-{next(self._numbers)}"

    def _accepts(self, login: str) -> bool:
        return self._request(self._mark(), login) != HTTPStatus.PROXY_AUTHENTICATION_REQUIRED

    def _request(self, path: str, login: str = "") -> int:
        """Send a request; return the status, 407 unless the login is right."""
        request = f"GET http://{self._setup.name}{path} HTTP/1.0\r\n"
        if login:
            request += f"Proxy-Authorization: Basic {b64encode(login.encode()).decode()}\r\n"
        raw = socket.create_connection((self.host, self.port), timeout=PATIENCE)
        with self._encrypted(raw) as connection:
            connection.sendall(f"{request}\r\n".encode("ascii"))
            answer = b""
            while octets := connection.recv(65536):
                answer += octets
        return int(answer.split(b" ", 2)[1])

    def _encrypted(self, raw: socket.socket) -> socket.socket:
        if self._setup.pem is None:
            return raw
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context.wrap_socket(raw)


@contextmanager
def squid(setup: SquidSetup) -> Iterator[Squid]:
    """Run a Squid; it accepts connections when the block begins."""
    name = f"tp{uuid4().hex[:16]}"
    with home("squid-") as place, ExampleSite() as site:
        _prepare(place.root, setup)
        log = Log(place.root / "access.fifo")
        process, (port,) = start(
            place, name, 1, lambda ports: _configure(place.root, setup, ports[0], site.port)
        )
        try:
            yield Squid(setup, place.root, process, port, log.lines)
        finally:
            process.end()
            log.close()
            forget(name)


def _prepare(directory: Path, setup: SquidSetup) -> None:
    """Write all files except the configuration, which needs the port."""
    directory.chmod(0o755)
    helper = directory / "helper"
    helper.write_text(BASIC_HELPER)
    helper.chmod(0o755)
    hosts = " ".join(("localhost", setup.name, *setup.origins))
    (directory / "hosts").write_text(f"127.0.0.1 {hosts}\n")
    if setup.pem:
        shutil.copyfile(setup.pem, directory / "server.pem")
        give(directory / "server.pem", 0o400)
    _write_users(directory, setup.users)
    if os.geteuid() == 0:
        shutil.chown(directory, SQUID_USER)


def _write_users(directory: Path, users: Mapping[str, str]) -> None:
    """Replace the file of passwords atomically: the helper may be reading it."""
    new = directory / "users.new"
    new.write_text("".join(f"{encode(u)} {encode(p)}\n" for u, p in users.items()))
    give(new, 0o400)
    new.rename(directory / "users")


def give(path: Path, mode: int) -> None:
    """Make a file accessible for the user of Squid only."""
    path.chmod(mode)
    if os.geteuid() == 0:
        shutil.chown(path, SQUID_USER)


def encode(text: str) -> str:
    """Return a word in the encoding of Squid's lines to its helper."""
    return "".join(f"%{o:02X}" if o in _ENCODED else chr(o) for o in text.encode())


def start(
    place: Home, name: str, ports: int, configure: Callable[[Sequence[int]], str], **more: str
) -> tuple[Process, list[int]]:
    """Start a Squid; it accepts connections when this function returns.

    Args:
        place: The home of the process; Squid's user may enter it.
        name: The name of Squid's shared memory on this computer.
        ports: The number of ports.
        configure: Returns the configuration for these ports of 127.0.0.1.
        more: Further environment variables, which the helpers inherit.
    """
    for _ in range(5):
        found = free_ports(ports)
        configuration = place.root / "squid.conf"
        configuration.write_text(configure(found))
        process = Process(
            ["/usr/sbin/squid", "-N", "-d", "1", "-n", name, "-f", configuration],
            env=place.environment(**more),
            cwd=place.root,
        )
        try:
            for port in found:
                # Squid writes this line after it has bound the port, and listens a moment later.
                process.err.wait_for(rf"Accepting .*HTTPS? Socket connections at .*:{port} ")
                wait_until_accepting(process, port)
        except AssertionError:
            process.end()
            if "in use" not in process.err.text:
                raise
        else:
            return process, found
    raise AssertionError("squid found no free ports in five tries")


def forget(name: str) -> None:
    """Remove the shared memory of a killed Squid. A regular shutdown would take 1.7 s."""
    for segment in Path("/dev/shm").glob(f"{name}-cf__*.shm"):
        segment.unlink()


def _configure(directory: Path, setup: SquidSetup, port: int, site: int) -> str:
    listener = f"http_port 127.0.0.1:{port}"
    if setup.pem:
        listener = f"https_port 127.0.0.1:{port} tls-cert={directory}/server.pem"
    return _CONFIGURATION.format(
        listener=listener,
        name=setup.name,
        directory=directory,
        realm=setup.realm,
        origins=" ".join(setup.origins),
        rules="\n".join(setup.rules),
        example_site=squid_rules(site),
    )


def _read_access(line: str) -> AccessLogEntry:
    status, method, target, user, credentials = line.split(" ")
    return AccessLogEntry(
        int(status), method, target, "" if user == "-" else user, credentials != "-"
    )
