"""A real Squid with a door for each scheme: one program, a port of its own for every offer.

=========== ================================== ====================================================
door        offers                             who decides, and where a wrong password is counted
=========== ================================== ====================================================
BASIC       Basic                              a helper of ours; the access log
DIGEST      Digest (MD5, auth)                 Squid itself; the access log, unless ``stale=true``
NTLM        NTLM                               Samba's ``ntlm_auth``, NTLMv2; its own verdicts
NEGOTIATE   Negotiate                          Samba, or the keys of a real KDC (`NegotiateHelper`)
ALL         all four, Basic first
OPEN        nothing; it serves everyone
SECURE      as ALL, inside TLS
=========== ================================== ====================================================

Each wrong log-on is counted where it happens: NTLM's by what Samba says about the last message, not
by the 407s that belong to every handshake.
"""

import shutil
from base64 import b64decode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from hashlib import md5
from pathlib import Path
from urllib.parse import unquote
from uuid import uuid4

from tests.support.example_site import ExampleSite, squid_rules
from tests.support.processes import Home, Process, home
from tests.support.squid import BASIC_HELPER, Log, encode, forget, give, start

REALM = "Doors"
DOMAIN = "TESTLAN"
"""What Samba calls its domain; it takes any, and any user name, with the right password."""


class SchemePort(Enum):
    """A port, by the schemes that are offered there, in Squid's order, with a blank between.

    The values are strings: Python 3.11.2 makes an ``object()`` of the value ``()``.
    """

    BASIC = "basic"
    DIGEST = "digest"
    NTLM = "ntlm"
    NEGOTIATE = "negotiate"
    ALL = "basic digest ntlm negotiate"
    OPEN = ""
    SECURE = "basic digest ntlm negotiate tls"


class NegotiateHelper(Enum):
    """What stands behind the scheme Negotiate."""

    KERBEROS = "kerberos"
    """Kerberos and nothing else."""
    WRAPPER = "wrapper"
    """Kerberos, or bare NTLM messages, as Squid's ``negotiate_wrapper_auth`` takes both."""
    SPNEGO_NTLM = "spnego-ntlm"
    """NTLM inside SPNEGO (RFC 4178), as a domain without Kerberos has it."""


class MessageKind(Enum):
    """What a request brought as ``Proxy-Authorization``."""

    NOTHING = "nothing"
    CREDENTIALS = "credentials"
    HELLO = "hello"
    """The first message of NTLM, which says nothing about the password."""


@dataclass(frozen=True, slots=True)
class SchemeLogEntry:
    """A line of the access log.

    Attributes:
        door: Where it came in.
        status: What the client was answered.
        method: The request's method.
        target: Its target: a URL, or ``host:port`` for CONNECT.
        scheme: What it signed in with, in lower case; empty without credentials.
        kind: What it brought.
        stale: Whether the answer says that the nonce was too old, and the login not looked at.
        size: How many octets the client sent.
    """

    door: SchemePort
    status: int
    method: str
    target: str
    scheme: str
    kind: MessageKind
    stale: bool
    size: int

    @property
    def refused(self) -> bool:
        """Whether it brought a login that was looked at and not accepted."""
        return self.kind is MessageKind.CREDENTIALS and self.status == 407 and not self.stale


@dataclass(frozen=True, slots=True)
class MultiSchemeSetup:
    """What makes one differ from another.

    Attributes:
        users: Passwords by user name, for Basic and Digest.
        password: What NTLM takes, from whomever.
        negotiate: What stands behind Negotiate.
        keytab: The keys of its services (`tests.support.kerberos.Kdc.keytab`) for Kerberos.
        environment: Where its helpers find the KDC.
        rules: Lines in front of those that demand a sign-in and allow everything to all who did.
        options: Further lines, such as ``auth_param digest nonce_max_count 3``.
        helpers: How many helpers of NTLM and Negotiate may run, each for one handshake at a time.
        pem: The certificate and key of the door SECURE, which is not there without.
        name: Its own host name.
        origins: Names that mean 127.0.0.1 to it.
    """

    users: Mapping[str, str] = field(default_factory=dict, repr=False)
    password: str = field(default="", repr=False)
    negotiate: NegotiateHelper = NegotiateHelper.SPNEGO_NTLM
    keytab: Path | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    rules: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    helpers: int = 20
    pem: Path | None = None
    name: str = "proxy.test.lan"
    origins: tuple[str, ...] = ("www.test.lan", "other.test.lan")


_CONFIGURATION = """\
{listeners}
visible_hostname {name}
pid_filename none
cache_log /dev/null
logformat test %>lp %>Hs %rm %ru %>st %{{Proxy-Authorization}}>h %{{Proxy-Authenticate}}<h
access_log stdio:{directory}/access.fifo logformat=test
coredump_dir {directory}
cache deny all
pinger_enable off
shutdown_lifetime 0 seconds
# Never ask the outside; an unknown name fails fast.
dns_nameservers 127.0.0.1
dns_timeout 2 seconds
hosts_file {directory}/hosts
auth_param negotiate program {directory}/negotiate
auth_param negotiate children {helpers} startup=1 idle=1 queue-size=1000
auth_param ntlm program {directory}/ntlm
auth_param ntlm children {helpers} startup=1 idle=1 queue-size=1000
auth_param digest program /usr/lib/squid/digest_file_auth -c {directory}/hashes
auth_param digest children 1 startup=1 idle=1 queue-size=10000
auth_param digest realm {realm}
auth_param basic program {directory}/basic {directory}/users
auth_param basic children 1 startup=1 idle=1 queue-size=10000
auth_param basic credentialsttl 1 second
auth_param basic realm {realm}
{offers}
{options}
acl authed proxy_auth REQUIRED
acl ours dstdomain -n localhost 127.0.0.1 {name} {origins}
{rules}
http_access allow open_door ours
http_access deny !authed
{world}
http_access allow ours
http_access deny all
"""

# It writes down what the helper says, and only then lets Squid know.
_OVERHEARD = """\
#!/bin/sh
{helper} | sed -u 'w {log}'
"""

_NTLM_AUTH = (
    "/usr/bin/ntlm_auth --configfile=/dev/null --helper-protocol={protocol}"
    " --username=anybody --domain={domain} --password={password}"
)


class MultiSchemeSquid:
    """A Squid that runs.

    Attributes:
        host: Where it listens.
        process: The program itself.
    """

    host = "127.0.0.1"

    def __init__(
        self, process: Process, ports: Mapping[SchemePort, int], logs: Mapping[str, Log]
    ) -> None:
        self.process = process
        self._ports = ports
        self._logs = logs

    def port(self, door: SchemePort) -> int:
        """Return the port of a door."""
        return self._ports[door]

    def url(self, door: SchemePort, host: str = host) -> str:
        """Return the URL of a door, as a person writes it into a profile."""
        return f"{'https' if door is SchemePort.SECURE else 'http'}://{host}:{self.port(door)}"

    def accesses(self) -> list[SchemeLogEntry]:
        """Return all requests that have been answered up to now, oldest first."""
        lines = self._logs["access"].written()
        found = (self._read(line) for line in lines)
        # A connection without a request is logged, too, with "-" for its method.
        return [access for access in found if access.method != "-"]

    def wait_for(self, status: int, target: str) -> None:
        """Wait until a request for this target has ended with this status."""
        self._logs["access"].lines.wait_for(rf"^\d+ {status} \S+ {target} ")

    def wait_for_answers(self, method: str, status: int, count: int) -> None:
        """Wait until that many requests with this method have ended with this status."""
        self._logs["access"].lines.wait_for_count(rf"^\d+ {status} {method} ", count)

    def failed_logons(self) -> int:
        """Return how many logins were looked at and not accepted, by whatever scheme."""
        looked_up = [access for access in self.accesses() if access.scheme in ("basic", "digest")]
        return sum(access.refused for access in looked_up) + sum(
            self.verdicts(scheme).count("no") for scheme in ("ntlm", "negotiate")
        )

    def handshakes(self, scheme: str) -> int:
        """Return how many connections were signed in with NTLM or Negotiate."""
        return self.verdicts(scheme).count("yes")

    def verdicts(self, scheme: str) -> list[str]:
        """Return what was said about the handshakes of a scheme that ended, oldest first.

        Each is ``yes``, ``no``, or what a helper says about messages that are none.
        """
        said = (line.partition(" ")[0] for line in self._logs[scheme].written())
        return [_VERDICTS.get(word, word) for word in said if word != "TT"]

    def tokens(self) -> list[str]:
        """Return what followed the scheme in each ``Proxy-Authorization``, as it was sent."""
        sent = (unquote(line.split(" ")[5]) for line in self._logs["access"].written())
        return [
            token for _, _, token in (credentials.partition(" ") for credentials in sent) if token
        ]

    def describe(self) -> str:
        """Return the access log and the verdicts for the report of a failed test."""
        verdicts = [f"{name}: {self.verdicts(name)}" for name in ("ntlm", "negotiate")]
        return "\n".join([*map(str, self.accesses()), *verdicts])

    def _read(self, line: str) -> SchemeLogEntry:
        port, status, method, target, size, credentials, challenge = line.split(" ")
        door = next(door for door, its in self._ports.items() if its == int(port))
        scheme, _, token = unquote(credentials).partition(" ")
        return SchemeLogEntry(
            door,
            int(status),
            method,
            target,
            "" if scheme == "-" else scheme.lower(),
            _kind(scheme.lower(), token),
            "stale=true" in unquote(challenge),
            int(size),
        )


_VERDICTS = {"AF": "yes", "OK": "yes", "NA": "no", "ERR": "no"}
"""Both protocols of Squid's helpers, the older one first."""


def _kind(scheme: str, token: str) -> MessageKind:
    if scheme == "-":
        return MessageKind.NOTHING
    if scheme in ("ntlm", "negotiate") and b"NTLMSSP\0\1" in b64decode(token):
        return MessageKind.HELLO
    return MessageKind.CREDENTIALS


@contextmanager
def multi_scheme_squid(setup: MultiSchemeSetup) -> Iterator[MultiSchemeSquid]:
    """Run a Squid with all its doors; it accepts connections when the block begins."""
    name = f"td{uuid4().hex[:16]}"
    found = [door for door in SchemePort if door is not SchemePort.SECURE or setup.pem]
    with home("doors-") as place, ExampleSite() as world:
        _prepare(place, setup)
        logs = {
            log: Log(place.root / f"{log}.fifo", f"{log} log of squid")
            for log in ("access", "ntlm", "negotiate")
        }
        process, ports = start(
            place,
            name,
            len(found),
            lambda ports: _configure(
                place.root, setup, dict(zip(found, ports, strict=True)), world.port
            ),
            **setup.environment,
        )
        try:
            yield MultiSchemeSquid(process, dict(zip(found, ports, strict=True)), logs)
        finally:
            process.end()
            for log in logs.values():
                log.close()
            forget(name)


def _prepare(place: Home, setup: MultiSchemeSetup) -> None:
    """Write all but the configuration, which needs the ports."""
    directory = place.root
    directory.chmod(0o755)
    names = " ".join(("localhost", setup.name, *setup.origins))
    (directory / "hosts").write_text(f"127.0.0.1 {names}\n")
    _write_helper(directory / "basic", BASIC_HELPER)
    for scheme, helper in (("ntlm", _ntlm(setup)), ("negotiate", _negotiate(directory, setup))):
        text = _OVERHEARD.format(helper=helper, log=directory / f"{scheme}.fifo")
        _write_helper(directory / scheme, text)
    users = (f"{encode(user)} {encode(password)}\n" for user, password in setup.users.items())
    _write(directory / "users", "".join(users))
    hashes = (f"{user}:{REALM}:{_ha1(user, word)}\n" for user, word in setup.users.items())
    _write(directory / "hashes", "".join(hashes))
    if setup.keytab:
        shutil.copyfile(setup.keytab, directory / "http.keytab")
        give(directory / "http.keytab", 0o400)
    if setup.pem:
        shutil.copyfile(setup.pem, directory / "server.pem")
        give(directory / "server.pem", 0o400)
    # Kerberos keeps there what it has seen already, against whoever sends it again.
    give(place.path("tmp"), 0o700)
    give(directory, 0o755)


def _write(path: Path, text: str) -> None:
    path.write_text(text)
    give(path, 0o400)


def _write_helper(path: Path, text: str) -> None:
    path.write_text(text)
    give(path, 0o500)


def _ha1(user: str, password: str) -> str:
    text = f"{user}:{REALM}:{password}".encode()
    return md5(text, usedforsecurity=False).hexdigest()


def _ntlm(setup: MultiSchemeSetup, protocol: str = "squid-2.5-ntlmssp") -> str:
    password = "'" + setup.password.replace("'", "'\\''") + "'"
    return _NTLM_AUTH.format(protocol=protocol, domain=DOMAIN, password=password)


def _negotiate(directory: Path, setup: MultiSchemeSetup) -> str:
    kerberos = f"/usr/lib/squid/negotiate_kerberos_auth -k {directory}/http.keytab -s GSS_C_NO_NAME"
    match setup.negotiate:
        case NegotiateHelper.KERBEROS:
            return kerberos
        case NegotiateHelper.WRAPPER:
            wrapper = "/usr/lib/squid/negotiate_wrapper_auth"
            return f"{wrapper} --ntlm {_ntlm(setup)} --kerberos {kerberos}"
        case NegotiateHelper.SPNEGO_NTLM:
            return _ntlm(setup, "gss-spnego")


def _configure(
    directory: Path, setup: MultiSchemeSetup, ports: Mapping[SchemePort, int], world: int
) -> str:
    return _CONFIGURATION.format(
        listeners="\n".join(_listener(directory, door, port) for door, port in ports.items()),
        offers="\n".join(_offers(ports)),
        directory=directory,
        realm=REALM,
        name=setup.name,
        helpers=setup.helpers,
        origins=" ".join(setup.origins),
        options="\n".join(setup.options),
        rules="\n".join(setup.rules),
        world=squid_rules(world),
    )


def _listener(directory: Path, door: SchemePort, port: int) -> str:
    if door is SchemePort.SECURE:
        return f"https_port 127.0.0.1:{port} tls-cert={directory}/server.pem"
    return f"http_port 127.0.0.1:{port}"


def _offers(ports: Mapping[SchemePort, int]) -> Sequence[str]:
    """Return the lines that say which schemes are offered at which port, and in which order."""
    lines = [f"acl {door.name.lower()}_door localport {port}" for door, port in ports.items()]
    for door in ports:
        if schemes := [scheme for scheme in door.value.split() if scheme != "tls"]:
            lines.append(f"auth_schemes {','.join(schemes)} {door.name.lower()}_door")
    return lines
