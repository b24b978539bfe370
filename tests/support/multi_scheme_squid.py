"""A real Squid with one port for each authentication scheme.

=========== ================================== ====================================================
port        schemes offered                    checker of the password, and log of rejections
=========== ================================== ====================================================
BASIC       Basic                              a helper of the tests; the access log
DIGEST      Digest (MD5, auth)                 Squid itself; the access log, unless ``stale=true``
NTLM        NTLM                               Samba's ``ntlm_auth``, NTLMv2; its own verdicts
NEGOTIATE   Negotiate                          Samba, or the keys of a real KDC (`NegotiateHelper`)
ALL         all four, Basic first
OPEN        none; every client is served
SECURE      all four, inside TLS
=========== ================================== ====================================================

Each failed log-on is counted by its checker: with NTLM by Samba's verdict on the last message, not
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
"""The name of Samba's domain. Samba accepts any domain and user name with the right password."""


class SchemePort(Enum):
    """A port; its value lists the schemes that Squid offers there, in order, separated by blanks.

    The values are strings: Python 3.11.2 turns the value ``()`` into an ``object()``.
    """

    BASIC = "basic"
    DIGEST = "digest"
    NTLM = "ntlm"
    NEGOTIATE = "negotiate"
    ALL = "basic digest ntlm negotiate"
    OPEN = ""
    SECURE = "basic digest ntlm negotiate tls"


class NegotiateHelper(Enum):
    """The mechanisms inside the scheme Negotiate."""

    KERBEROS = "kerberos"
    """Kerberos only."""
    WRAPPER = "wrapper"
    """Kerberos, or bare NTLM messages: Squid's ``negotiate_wrapper_auth`` accepts both."""
    SPNEGO_NTLM = "spnego-ntlm"
    """NTLM inside SPNEGO (RFC 4178), as in a domain without Kerberos."""


class MessageKind(Enum):
    """The kind of ``Proxy-Authorization`` in a request."""

    NOTHING = "nothing"
    CREDENTIALS = "credentials"
    HELLO = "hello"
    """The first message of NTLM, which does not depend on the password."""


@dataclass(frozen=True, slots=True)
class SchemeLogEntry:
    """A line of the access log.

    Attributes:
        port: The port on which the request arrived.
        status: The status of the response.
        method: The method of the request.
        target: The target of the request: a URL, or ``host:port`` for CONNECT.
        scheme: The scheme of the credentials, in lower case; empty without credentials.
        kind: The kind of credentials.
        stale: True if the response says that the nonce was too old and the login was not checked.
        size: The number of octets that the client sent.
    """

    port: SchemePort
    status: int
    method: str
    target: str
    scheme: str
    kind: MessageKind
    stale: bool
    size: int

    @property
    def refused(self) -> bool:
        """True if the request carried a login that was checked and rejected."""
        return self.kind is MessageKind.CREDENTIALS and self.status == 407 and not self.stale


@dataclass(frozen=True, slots=True)
class MultiSchemeSetup:
    """The settings of a Squid.

    Attributes:
        users: Passwords by user name, for Basic and Digest.
        password: The password that NTLM accepts, for any user name.
        negotiate: The mechanisms of Negotiate.
        keytab: The keys of the proxy's services (`tests.support.kerberos.Kdc.keytab`).
        environment: Variables by which the helpers find the KDC.
        rules: Configuration lines before the lines that require a sign-in.
        options: Further lines, such as ``auth_param digest nonce_max_count 3``.
        helpers: The maximum number of helpers for NTLM and for Negotiate; each runs one handshake
            at a time.
        pem: The certificate and key of the port SECURE; without them there is no such port.
        name: The host name of the proxy.
        origins: Host names that the proxy resolves to 127.0.0.1.
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
# Send no queries outside; an unknown name fails fast.
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
http_access allow open_port ours
http_access deny !authed
{example_site}
http_access allow ours
http_access deny all
"""

# Each line of the helper is logged before Squid receives it.
_LOGGED_HELPER = """\
#!/bin/sh
{helper} | sed -u 'w {log}'
"""

_NTLM_AUTH = (
    "/usr/bin/ntlm_auth --configfile=/dev/null --helper-protocol={protocol}"
    " --username=anybody --domain={domain} --password={password}"
)


class MultiSchemeSquid:
    """A running Squid.

    Attributes:
        host: The address at which it listens.
        process: The process.
    """

    host = "127.0.0.1"

    def __init__(
        self, process: Process, ports: Mapping[SchemePort, int], logs: Mapping[str, Log]
    ) -> None:
        self.process = process
        self._ports = ports
        self._logs = logs

    def port(self, port: SchemePort) -> int:
        """Return the number of a port."""
        return self._ports[port]

    def url(self, port: SchemePort, host: str = host) -> str:
        """Return the URL of a port, as entered in a profile."""
        return f"{'https' if port is SchemePort.SECURE else 'http'}://{host}:{self.port(port)}"

    def accesses(self) -> list[SchemeLogEntry]:
        """Return all requests answered so far, oldest first."""
        lines = self._logs["access"].written()
        found = (self._read(line) for line in lines)
        # A connection without a request is logged too, with the method "-".
        return [access for access in found if access.method != "-"]

    def wait_for(self, status: int, target: str) -> None:
        """Wait until a request for this target has ended with this status."""
        self._logs["access"].lines.wait_for(rf"^\d+ {status} \S+ {target} ")

    def wait_for_answers(self, method: str, status: int, count: int) -> None:
        """Wait until that many requests with this method have ended with this status."""
        self._logs["access"].lines.wait_for_count(rf"^\d+ {status} {method} ", count)

    def failed_logons(self) -> int:
        """Return the number of logins that were checked and rejected, with any scheme."""
        looked_up = [access for access in self.accesses() if access.scheme in ("basic", "digest")]
        return sum(access.refused for access in looked_up) + sum(
            self.verdicts(scheme).count("no") for scheme in ("ntlm", "negotiate")
        )

    def handshakes(self, scheme: str) -> int:
        """Return the number of connections authenticated with NTLM or Negotiate."""
        return self.verdicts(scheme).count("yes")

    def verdicts(self, scheme: str) -> list[str]:
        """Return the verdicts on the finished handshakes of a scheme, oldest first.

        Each is ``yes``, ``no``, or the helper's word for a malformed message.
        """
        said = (line.partition(" ")[0] for line in self._logs[scheme].written())
        return [_VERDICTS.get(word, word) for word in said if word != "TT"]

    def tokens(self) -> list[str]:
        """Return the text after the scheme in each ``Proxy-Authorization``."""
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
        scheme_port = next(name for name, number in self._ports.items() if number == int(port))
        scheme, _, token = unquote(credentials).partition(" ")
        return SchemeLogEntry(
            scheme_port,
            int(status),
            method,
            target,
            "" if scheme == "-" else scheme.lower(),
            _kind(scheme.lower(), token),
            "stale=true" in unquote(challenge),
            int(size),
        )


_VERDICTS = {"AF": "yes", "OK": "yes", "NA": "no", "ERR": "no"}
"""The words of both protocols of Squid's helpers, the older protocol first."""


def _kind(scheme: str, token: str) -> MessageKind:
    if scheme == "-":
        return MessageKind.NOTHING
    if scheme in ("ntlm", "negotiate") and b"NTLMSSP\0\1" in b64decode(token):
        return MessageKind.HELLO
    return MessageKind.CREDENTIALS


@contextmanager
def multi_scheme_squid(setup: MultiSchemeSetup) -> Iterator[MultiSchemeSquid]:
    """Run a Squid; it accepts connections when the block begins."""
    name = f"td{uuid4().hex[:16]}"
    found = [port for port in SchemePort if port is not SchemePort.SECURE or setup.pem]
    with home("squid-") as place, ExampleSite() as site:
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
                place.root, setup, dict(zip(found, ports, strict=True)), site.port
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
    """Write all files except the configuration, which needs the ports."""
    directory = place.root
    directory.chmod(0o755)
    names = " ".join(("localhost", setup.name, *setup.origins))
    (directory / "hosts").write_text(f"127.0.0.1 {names}\n")
    _write_helper(directory / "basic", BASIC_HELPER)
    for scheme, helper in (("ntlm", _ntlm(setup)), ("negotiate", _negotiate(directory, setup))):
        text = _LOGGED_HELPER.format(helper=helper, log=directory / f"{scheme}.fifo")
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
    # Kerberos keeps its replay cache there.
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
    directory: Path, setup: MultiSchemeSetup, ports: Mapping[SchemePort, int], site: int
) -> str:
    return _CONFIGURATION.format(
        listeners="\n".join(_listener(directory, name, port) for name, port in ports.items()),
        offers="\n".join(_offers(ports)),
        directory=directory,
        realm=REALM,
        name=setup.name,
        helpers=setup.helpers,
        origins=" ".join(setup.origins),
        options="\n".join(setup.options),
        rules="\n".join(setup.rules),
        example_site=squid_rules(site),
    )


def _listener(directory: Path, name: SchemePort, port: int) -> str:
    if name is SchemePort.SECURE:
        return f"https_port 127.0.0.1:{port} tls-cert={directory}/server.pem"
    return f"http_port 127.0.0.1:{port}"


def _offers(ports: Mapping[SchemePort, int]) -> Sequence[str]:
    """Return the lines with the schemes of each port, in the order in which they are offered."""
    lines = [f"acl {port.name.lower()}_port localport {number}" for port, number in ports.items()]
    for port in ports:
        if schemes := [scheme for scheme in port.value.split() if scheme != "tls"]:
            lines.append(f"auth_schemes {','.join(schemes)} {port.name.lower()}_port")
    return lines
