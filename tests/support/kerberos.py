"""A real MIT KDC, the Kerberos part of a company's directory.

It counts log-ons like a directory: each pre-authentication with a wrong password (RFC 4120, section
3.1.3) is a failed log-on.
"""

import re
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from tests.support.ports import start_on_free_port
from tests.support.processes import Home, Process, home, wait_until_accepting

REALM = "TEST.LAN"

# Names are neither looked up nor canonicalized.
_CLIENTS = """\
[libdefaults]
 default_realm = {realm}
 dns_lookup_kdc = false
 dns_lookup_realm = false
 dns_canonicalize_hostname = false
 rdns = false
 clockskew = {skew_s}
 default_ccache_name = FILE:{directory}/nobody
[realms]
 {realm} = {{
  kdc = 127.0.0.1:{port}
 }}
[domain_realm]
 .test.lan = {realm}
 localhost = {realm}
"""

_SERVER = """\
[kdcdefaults]
 kdc_listen = 127.0.0.1:{port} 127.0.0.2:{port}
 kdc_tcp_listen = 127.0.0.1:{port} 127.0.0.2:{port}
[realms]
 {realm} = {{
  database_name = {directory}/principal
  key_stash_file = {directory}/stash
  acl_file = {directory}/kadm5.acl
  max_life = 1h
  default_principal_flags = +preauth
 }}
[logging]
 kdc = STDERR
"""


class Kdc:
    """A running KDC; `configuration` is the value of ``KRB5_CONFIG`` for its clients."""

    def __init__(self, place: Home, process: Process) -> None:
        self.process = process
        self.configuration = place.root / "krb5.conf"
        self._place = place
        self._numbers = count(1)
        self._before: list[Process] = []

    @property
    def environment(self) -> dict[str, str]:
        """Variables by which a program finds the KDC, without a ticket."""
        return {"KRB5_CONFIG": str(self.configuration)}

    def elsewhere(self, port: int = 9) -> dict[str, str]:
        """Return variables with which a program does not reach the KDC, as outside the company.

        The default port is that of "discard", which is closed.
        """
        path = self._place.root / f"elsewhere-{port}.conf"
        text = re.sub(r"kdc = \S+", f"kdc = 127.0.0.1:{port}", self.configuration.read_text())
        path.write_text(text)
        return {"KRB5_CONFIG": str(path)}

    def as_replica(self) -> dict[str, str]:
        """Return variables with which a program takes the KDC for a replica, at 127.0.0.2, of the
        primary KDC at 127.0.0.1."""
        path = self._place.root / "replica.conf"
        text = self.configuration.read_text()
        servers = r"kdc = 127.0.0.2:\1\n  primary_kdc = 127.0.0.1:\1"
        path.write_text(re.sub(r"kdc = 127.0.0.1:(\d+)", servers, text))
        return {"KRB5_CONFIG": str(path)}

    def stop(self) -> None:
        """End the KDC; its port is closed."""
        self.process.end()
        self._before.append(self.process)

    def start_again(self) -> None:
        """Start the KDC again on the same port."""
        port = re.search(r"kdc = 127.0.0.1:(\d+)", self.configuration.read_text())
        assert port is not None
        self.process = _run_kdc(self._place)
        wait_until_accepting(self.process, int(port[1]))

    def add_user(self, name: str, password: str, *options: str) -> None:
        """Add a user by the name without the realm.

        Args:
            password: The password, without double quotes.
            options: For kadmin's ``addprinc``: ``-pwexpire "1 hour ago"``, ``-policy strict``.
        """
        self._administer(f'addprinc {" ".join(options)} -pw "{password}" {name}')

    def set_password(self, name: str, password: str) -> None:
        """Change the password of a user."""
        self._administer(f'change_password -pw "{password}" {name}')

    def expire(self, name: str) -> None:
        """Make the password of a user expired."""
        self._administer(f'modify_principal -pwexpire "1 hour ago" {name}')

    def limit_tickets(self, name: str, lifetime: str) -> None:
        """Limit the lifetime of the tickets of a user, such as ``3 seconds``."""
        self._administer(f'modify_principal -maxlife "{lifetime}" {name}')

    def disable(self, name: str) -> None:
        """Disable the account of a user."""
        self._administer(f"modify_principal -allow_tix {name}")

    def keytab(self, *hosts: str) -> Path:
        """Return a file with the keys of the proxies with these host names, readable by helpers."""
        path = self._place.root / f"http-{next(self._numbers)}.keytab"
        services = [f"HTTP/{host}" for host in hosts]
        for service in services:
            self._administer(f"addprinc -randkey {service}", may_exist=True)
        self._administer(f"ktadd -norandkey -k {path} {' '.join(services)}")
        path.chmod(0o644)
        return path

    def ticket(self, name: str, password: str, cache: Path, *options: str) -> dict[str, str]:
        """Get a ticket for a user, like the log-on to a desktop; return the environment with it.

        The options are for ``kinit``: ``-l 2s`` for a ticket that expires soon.
        """
        environment = {**self.environment, "KRB5CCNAME": f"FILE:{cache}"}
        done = _run(self._place, ["kinit", *options, name], f"{password}\n", **environment)
        assert done.returncode == 0, done.stderr
        return environment

    def is_valid(self, cache: Path) -> bool:
        """Return True if the file has a valid ticket."""
        environment = {**self.environment, "KRB5CCNAME": f"FILE:{cache}"}
        return _run(self._place, ["klist", "-s"], **environment).returncode == 0

    def failed_logons(self, name: str) -> int:
        """Return the number of failed log-ons of a user so far."""
        return self._count(rf"PREAUTH_FAILED: {name}@")

    def logons(self, name: str) -> int:
        """Return the number of initial tickets issued to a user so far."""
        return self._count(rf"AS_REQ .*ISSUE: .*\b{name}@")

    def _count(self, pattern: str) -> int:
        mark = f"mark-{next(self._numbers)}"
        # The KDC serves requests in order, and logs each before the response: after the line about
        # this unknown name, all earlier lines are there.
        _run(self._place, ["kinit", mark], "\n", **self.environment)
        self.process.err.wait_for(f"CLIENT_NOT_FOUND: {mark}@")
        lines = [line for process in (*self._before, self.process) for line in process.err.lines]
        return sum(bool(re.search(pattern, line)) for line in lines)

    def _administer(self, command: str, *, may_exist: bool = False) -> None:
        done = _run(self._place, ["kadmin.local", "-q", command])
        # The exit code is 0 even after an error.
        failed = [line for line in done.stderr.splitlines() if " while " in line]
        assert not failed or (may_exist and "already exists" in failed[0]), (command, failed)


@contextmanager
def kdc(*, skew_s: int = 300) -> Iterator[Kdc]:
    """Run a KDC for `REALM`; it answers when the block begins.

    An expired ticket is accepted for the clock skew.
    """
    with home("kdc-") as place:
        # The helpers of a proxy, which run as another user, read the configuration and their keys.
        place.root.chmod(0o755)
        process = _start(place, skew_s)
        running = Kdc(place, process)
        try:
            yield running
        finally:
            running.process.end()


def _start(place: Home, skew_s: int) -> Process:
    def start(port: int) -> Process:
        _configure(place, port, skew_s)
        if not (place.root / "principal").exists():
            created = ["kdb5_util", "create", "-s", "-r", REALM, "-P", "master"]
            done = _run(place, created)
            assert done.returncode == 0, done.stderr
        return _run_kdc(place)

    return start_on_free_port(start)[0]


def _run_kdc(place: Home) -> Process:
    return Process(
        ["/usr/sbin/krb5kdc", "-n", "-P", place.root / "kdc.pid"],
        env=_environment(place),
        cwd=place.root,
    )


def _configure(place: Home, port: int, skew_s: int) -> None:
    for name, text in (("krb5.conf", _CLIENTS), ("kdc.conf", _SERVER)):
        path = place.root / name
        values = {"realm": REALM, "directory": place.root, "port": port, "skew_s": skew_s}
        path.write_text(text.format(**values))
        path.chmod(0o644)


def _environment(place: Home) -> dict[str, str]:
    return place.environment(
        KRB5_CONFIG=str(place.root / "krb5.conf"), KRB5_KDC_PROFILE=str(place.root / "kdc.conf")
    )


def _run(
    place: Home, argv: Sequence[str], stdin: str = "", **more: str
) -> "subprocess.CompletedProcess[str]":
    """Run a Kerberos program to its end."""
    environment = {**_environment(place), **more}
    return subprocess.run(
        argv, env=environment, cwd=place.root, input=stdin, capture_output=True, text=True
    )
