"""A real Squid that requires a sign-in, and counts failed log-ons.

========= ============================ ==========================================================
scheme    checker of the password      record of a rejected login
========= ============================ ==========================================================
basic     a helper of the tests        the access log
digest    Squid itself (MD5, auth)     the access log, unless the response says ``stale=true``
ntlm      Samba's ``ntlm_auth``        the helper's verdict on the last message of a handshake
negotiate `NegotiateHelper`            the helper's verdict
========= ============================ ==========================================================

The logs are FIFOs, so that a test can wait for a line. Each request with a rejected login is
counted, even if Squid merges equal checks that run at the same time: the user directory behind
another proxy would count each check.
"""

import os
import select
import shlex
import shutil
import ssl
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from enum import Enum
from hashlib import md5
from http import HTTPStatus
from http.client import HTTPConnection, HTTPSConnection
from itertools import count
from pathlib import Path
from urllib.parse import unquote
from uuid import uuid4

from tests.support.example_site import ExampleSite, squid_rules
from tests.support.ports import start_on_free_port
from tests.support.process_output import PATIENCE, LineReader
from tests.support.processes import Home, Process, home, wait_until_accepting

_USER = "proxy"
"""Debian's user for Squid; Squid changes to this user when root starts it."""

# Squid percent-encodes these octets for its helper: rfc1738_do_escape, RFC1738_ESCAPE_UNSAFE.
_ENCODED = frozenset(b"<>\"#%{}|\\^~[]`' ") | frozenset(range(0x20)) | frozenset(range(0x7F, 0x100))


class NegotiateHelper(Enum):
    """The mechanisms inside the scheme Negotiate."""

    KERBEROS = "kerberos"
    """Kerberos only, with the keys of a real KDC."""
    SPNEGO_NTLM = "spnego-ntlm"
    """NTLM inside SPNEGO (RFC 4178), as in a domain without Kerberos; Samba checks it."""


ALL_SCHEMES = ("basic", "digest", "ntlm", "negotiate")


@dataclass(frozen=True, slots=True)
class SquidSetup:
    """The settings of a Squid.

    Attributes:
        users: Passwords by user name. NTLM accepts the first password, with any user name and
            domain.
        schemes: The schemes in the order in which Squid offers them; empty to serve every client.
        realm: The realm of Basic and Digest. Squid sends it verbatim, including quotes.
        name: The host name of the proxy.
        origins: Host names that the proxy resolves to 127.0.0.1.
        rules: Configuration lines before the lines that require a sign-in.
        options: Further lines, such as ``auth_param digest nonce_max_count 3``.
        pem: The certificate and key for TLS to clients; None for plain HTTP.
        negotiate: The mechanisms of Negotiate.
        keytab: The keys of the proxy's services (`tests.support.kerberos.Kdc.keytab`).
        environment: Variables by which the helpers find the KDC.
        helpers: The maximum number of helpers for NTLM and for Negotiate; each runs one handshake
            at a time.
    """

    users: Mapping[str, str] = field(default_factory=dict, repr=False)
    schemes: tuple[str, ...] = ("basic",)
    realm: str = "Corporate Internet"
    name: str = "proxy.test.lan"
    origins: tuple[str, ...] = ("www.test.lan", "other.test.lan")
    rules: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    pem: Path | None = None
    negotiate: NegotiateHelper = NegotiateHelper.SPNEGO_NTLM
    keytab: Path | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    helpers: int = 20


_CONFIGURATION = """\
{listener}
visible_hostname {name}
pid_filename none
cache_log /dev/null
logformat test %>Hs %rm %ru %[un %>st %{{Proxy-Authorization}}>h %{{Proxy-Authenticate}}<h
access_log stdio:{directory}/access.fifo logformat=test
coredump_dir {directory}
cache deny all
pinger_enable off
shutdown_lifetime 0 seconds
# Send no queries outside; an unknown name fails fast.
dns_nameservers 127.0.0.1
dns_timeout 2 seconds
hosts_file {directory}/hosts
{schemes}
{options}
acl authed proxy_auth REQUIRED
acl ours dstdomain -n localhost 127.0.0.1 {name} {origins}
{rules}
http_access deny !authed
{example_site}
http_access allow ours
# Requests for other sites, which browsers send by themselves, are refused at once after sign-in.
http_access deny all
"""

_HANDSHAKE_HELPER = """\
auth_param {scheme} program {{directory}}/{scheme}
auth_param {scheme} children {{helpers}} startup=1 idle=1 queue-size=1000"""

_SCHEMES = {
    "basic": """\
auth_param basic program {directory}/basic {directory}/users
auth_param basic children 1 startup=1 idle=1 queue-size=10000
auth_param basic credentialsttl 1 second
auth_param basic realm {realm}""",
    "digest": """\
auth_param digest program /usr/lib/squid/digest_file_auth -c {directory}/hashes
auth_param digest children 1 startup=1 idle=1 queue-size=10000
auth_param digest realm {realm}""",
    "ntlm": _HANDSHAKE_HELPER.format(scheme="ntlm"),
    "negotiate": _HANDSHAKE_HELPER.format(scheme="negotiate"),
}

_BASIC_HELPER = """\
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

# Each line of the helper is logged before Squid receives it.
_LOGGED_HELPER = """\
#!/bin/sh
{helper} | sed -u 'w {log}'
"""

_NTLM_AUTH = (
    "/usr/bin/ntlm_auth --configfile=/dev/null --helper-protocol={protocol}"
    " --username=anybody --domain=TESTLAN --password={password}"
)


class MessageKind(Enum):
    """The kind of ``Proxy-Authorization`` in a request."""

    NOTHING = "nothing"
    CREDENTIALS = "credentials"
    HELLO = "hello"
    """The first message of NTLM, which does not depend on the password."""


@dataclass(frozen=True, slots=True)
class AccessLogEntry:
    """A line of the access log.

    Attributes:
        target: The target of the request: a URL, or ``host:port`` for CONNECT.
        user: The user name in the request, accepted or not; empty without credentials.
        scheme: The scheme of the credentials, in lower case; empty without credentials.
        stale: True if the response reports an old nonce: the login was not checked.
        size: The number of octets sent by the client.
    """

    status: int
    method: str
    target: str
    user: str
    scheme: str
    kind: MessageKind
    stale: bool
    size: int

    @classmethod
    def read(cls, line: str) -> "AccessLogEntry":
        """Return the entry in a line of the format of the configuration."""
        status, method, target, user, size, credentials, challenge = line.split(" ")
        scheme, _, token = unquote(credentials).partition(" ")
        return cls(
            int(status),
            method,
            target,
            "" if user == "-" else user,
            "" if scheme == "-" else scheme.lower(),
            _kind(scheme.lower(), token),
            "stale=true" in unquote(challenge),
            int(size),
        )

    @property
    def refused(self) -> bool:
        """True if the request carried a rejected login."""
        return self.kind is MessageKind.CREDENTIALS and self.status == 407 and not self.stale


def _kind(scheme: str, token: str) -> MessageKind:
    if scheme == "-":
        return MessageKind.NOTHING
    if scheme in ("ntlm", "negotiate") and b"NTLMSSP\0\1" in b64decode(token):
        return MessageKind.HELLO
    return MessageKind.CREDENTIALS


class _Log:
    """A FIFO to which a Squid or its helper writes."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        path.chmod(0o666)
        reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        # A FIFO without a writer reads as ended: this writer keeps it open until Squid has ended.
        self._keeper = os.open(path, os.O_WRONLY)
        os.set_blocking(reader, True)
        self.lines = LineReader(os.fdopen(reader, "rb"), f"{path.stem} log of squid")
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


_VERDICTS = {"AF": "yes", "OK": "yes", "NA": "no", "ERR": "no"}
"""The words of both protocols of Squid's helpers, the older protocol first."""


class Squid:
    """A running Squid, which listens on `host` and `port`."""

    host = "127.0.0.1"

    def __init__(
        self,
        setup: SquidSetup,
        directory: Path,
        process: Process,
        port: int,
        logs: Mapping[str, _Log],
    ) -> None:
        self.port = port
        self.process = process
        self._setup = setup
        self._users = dict(setup.users)
        self._directory = directory
        self._logs = logs
        self._log = logs["access"].lines
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
        """Change a password of Basic, and return when the old password is no longer accepted.

        Squid caches the verdict of its helper for `credentialsttl`.
        """
        old = self._users.get(user)
        self._users[user] = password
        _write_users(self._directory, self._users)
        while old not in (None, password) and self._accepts(f"{user}:{old}"):
            select.select([], [], [], 0.05)

    def accesses(self) -> list[AccessLogEntry]:
        """Return all finished requests, oldest first."""
        mark = self._mark()
        # Squid writes its log in order: all earlier requests precede this request.
        self._request(mark)
        self._log.wait_for(f"{mark} ")
        return self._read()

    def failed_logons(self) -> int:
        """Return the number of rejected logins, with any scheme."""
        looked_up = [access for access in self.accesses() if access.scheme in ("basic", "digest")]
        verdicts = [*self.verdicts("ntlm"), *self.verdicts("negotiate")]
        return sum(access.refused for access in looked_up) + verdicts.count("no")

    def verdicts(self, scheme: str) -> list[str]:
        """Return the verdicts on the finished handshakes of NTLM or Negotiate, oldest first.

        Each is ``yes``, ``no``, or the helper's word for a malformed message.
        """
        lines = self._logs[scheme].written() if scheme in self._logs else []
        said = (line.partition(" ")[0] for line in lines)
        return [_VERDICTS.get(word, word) for word in said if word != "TT"]

    def tokens(self) -> list[str]:
        """Return the text after the scheme in each ``Proxy-Authorization``."""
        self.accesses()
        sent = (unquote(line.split(" ")[5]).partition(" ")[2] for line in self._log.lines)
        return [token for token in sent if token]

    def wait_for(self, status: int, target: str) -> None:
        """Wait until a request for this target has ended with this status."""
        self._log.wait_for(rf"^{status} \S+ {target} ")

    def wait_for_answers(self, method: str, status: int, count: int) -> None:
        """Wait until this number of requests with this method have ended with this status."""
        self._log.wait_for_count(rf"^{status} {method} ", count)

    def describe(self) -> str:
        """Return the access log, without credentials, for the report of a failed test."""
        verdicts = [f"{name}: {self.verdicts(name)}" for name in ("ntlm", "negotiate")]
        return "\n".join([*map(str, self._read()), *verdicts])

    def _read(self) -> list[AccessLogEntry]:
        found = map(AccessLogEntry.read, self._log.lines)
        # A connection without a request is logged too, with the method "-".
        return [at for at in found if at.method != "-" and "/mark-" not in at.target]

    def _mark(self) -> str:
        """Return a new path; `accesses` leaves out the requests for such paths."""
        return f"/mark-{next(self._numbers)}"

    def _accepts(self, login: str) -> bool:
        return self._request(self._mark(), login) != HTTPStatus.PROXY_AUTHENTICATION_REQUIRED

    def _request(self, path: str, login: str = "") -> int:
        """Send a request; return the status, 407 unless the login is right."""
        coded = b64encode(login.encode()).decode()
        fields = {"Proxy-Authorization": f"Basic {coded}"} if login else {}
        with closing(self._connection()) as connection:
            connection.request("GET", f"http://{self._setup.name}{path}", headers=fields)
            return connection.getresponse().status

    def _connection(self) -> HTTPConnection:
        if self._setup.pem is None:
            return HTTPConnection(self.host, self.port, timeout=PATIENCE)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return HTTPSConnection(self.host, self.port, timeout=PATIENCE, context=context)


@contextmanager
def squid(setup: SquidSetup) -> Iterator[Squid]:
    """Run a Squid; it accepts connections when the block begins."""
    # Names the shared memory of this Squid on this computer.
    name = f"tp{uuid4().hex[:16]}"
    with home("squid-") as place, ExampleSite() as site:
        _prepare(place, setup)
        helpers = [scheme for scheme in setup.schemes if scheme in ("ntlm", "negotiate")]
        logs = {log: _Log(place.root / f"{log}.fifo") for log in ("access", *helpers)}

        def start(port: int) -> Process:
            configuration = place.root / "squid.conf"
            configuration.write_text(_configuration(place.root, setup, port, site.port))
            return Process(
                ["/usr/sbin/squid", "-N", "-d", "1", "-n", name, "-f", configuration],
                env=place.environment(**setup.environment),
                cwd=place.root,
            )

        process, port = start_on_free_port(start, _wait_until_listening)
        try:
            yield Squid(setup, place.root, process, port, logs)
        finally:
            process.end()
            for log in logs.values():
                log.close()
            # A killed Squid leaves its shared memory; a regular shutdown would take 1.7 s.
            for segment in Path("/dev/shm").glob(f"{name}-cf__*.shm"):
                segment.unlink()


def _wait_until_listening(process: Process, port: int) -> None:
    # Squid writes this line after it has bound the port, and listens a moment later.
    process.err.wait_for(rf"Accepting .*HTTPS? Socket connections at .*:{port} ")
    wait_until_accepting(process, port)


def _prepare(place: Home, setup: SquidSetup) -> None:
    """Write all files except the configuration, which needs the port."""
    directory = place.root
    names = " ".join(("localhost", setup.name, *setup.origins))
    (directory / "hosts").write_text(f"127.0.0.1 {names}\n")
    _write(directory / "basic", _BASIC_HELPER, 0o500)
    for scheme, helper in (("ntlm", _ntlm(setup)), ("negotiate", _negotiate(directory, setup))):
        text = _LOGGED_HELPER.format(helper=helper, log=directory / f"{scheme}.fifo")
        _write(directory / scheme, text, 0o500)
    _write_users(directory, setup.users)
    hashes = (_hash_line(user, password, setup.realm) for user, password in setup.users.items())
    _write(directory / "hashes", "".join(hashes), 0o400)
    for source, name in ((setup.keytab, "http.keytab"), (setup.pem, "server.pem")):
        if source:
            shutil.copyfile(source, directory / name)
            _give(directory / name, 0o400)
    # Kerberos keeps its replay cache there.
    _give(place.path("tmp"), 0o700)
    _give(directory, 0o755)


def _write_users(directory: Path, users: Mapping[str, str]) -> None:
    """Replace the file of passwords atomically: the helper may be reading it."""
    new = directory / "users.new"
    lines = (f"{_encode(user)} {_encode(password)}\n" for user, password in users.items())
    _write(new, "".join(lines), 0o400)
    new.rename(directory / "users")


def _write(path: Path, text: str, mode: int) -> None:
    path.write_text(text)
    _give(path, mode)


def _give(path: Path, mode: int) -> None:
    """Make a file accessible for the user of Squid only."""
    path.chmod(mode)
    if os.geteuid() == 0:
        shutil.chown(path, _USER)


def _encode(text: str) -> str:
    """Return a word in the encoding of Squid's lines to its helper."""
    return "".join(f"%{o:02X}" if o in _ENCODED else chr(o) for o in text.encode())


def _hash_line(user: str, password: str, realm: str) -> str:
    ha1 = md5(f"{user}:{realm}:{password}".encode(), usedforsecurity=False)
    return f"{user}:{realm}:{ha1.hexdigest()}\n"


def _ntlm(setup: SquidSetup, protocol: str = "squid-2.5-ntlmssp") -> str:
    password = shlex.quote(next(iter(setup.users.values()), ""))
    return _NTLM_AUTH.format(protocol=protocol, password=password)


def _negotiate(directory: Path, setup: SquidSetup) -> str:
    if setup.negotiate is NegotiateHelper.SPNEGO_NTLM:
        return _ntlm(setup, "gss-spnego")
    return f"/usr/lib/squid/negotiate_kerberos_auth -k {directory}/http.keytab -s GSS_C_NO_NAME"


def _configuration(directory: Path, setup: SquidSetup, port: int, site: int) -> str:
    listener = f"http_port 127.0.0.1:{port}"
    if setup.pem:
        listener = f"https_port 127.0.0.1:{port} tls-cert={directory}/server.pem"
    # Squid refuses a configuration without any scheme.
    schemes = "\n".join(_SCHEMES[scheme] for scheme in setup.schemes or ("basic",))
    open_to_all = () if setup.schemes else ("http_access allow ours",)
    return _CONFIGURATION.format(
        listener=listener,
        name=setup.name,
        directory=directory,
        schemes=schemes.format(directory=directory, realm=setup.realm, helpers=setup.helpers),
        origins=" ".join(setup.origins),
        options="\n".join(setup.options),
        rules="\n".join((*setup.rules, *open_to_all)),
        example_site=squid_rules(site),
    )
