"""A real MIT KDC: the company's directory, as far as Kerberos goes.

It counts log-ons as a directory does: a password that does not open the client's pre-authentication
is a failed one (RFC 4120, section 3.1.3), whoever asked.
"""

import re
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from tests.support.ports import free_port
from tests.support.processes import Home, Process, home, wait_until_accepting

REALM = "TEST.LAN"

# No name is looked up anywhere, and none is made canonical: a service is who we say it is.
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
 kdc_listen = 127.0.0.1:{port}
 kdc_tcp_listen = 127.0.0.1:{port}
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
    """A KDC that runs.

    Attributes:
        process: The program itself.
        configuration: What clients of it need as ``KRB5_CONFIG``.
    """

    def __init__(self, place: Home, process: Process) -> None:
        self.process = process
        self.configuration = place.root / "krb5.conf"
        self._place = place
        self._numbers = count(1)
        self._before: list[Process] = []

    @property
    def environment(self) -> dict[str, str]:
        """Return what lets a program find it; there is no ticket yet."""
        return {"KRB5_CONFIG": str(self.configuration)}

    def elsewhere(self, port: int = 9) -> dict[str, str]:
        """Return what makes a program look for it where it is not, as away from the office.

        Args:
            port: Where it is looked for; nobody listens on that of "discard".
        """
        path = self._place.root / f"elsewhere-{port}.conf"
        text = re.sub(r"kdc = \S+", f"kdc = 127.0.0.1:{port}", self.configuration.read_text())
        path.write_text(text)
        return {"KRB5_CONFIG": str(path)}

    def stop(self) -> None:
        """End the program; who looks for it finds nobody there."""
        self.process.end()
        self._before.append(self.process)

    def start_again(self) -> None:
        """Run it again, where it was."""
        port = re.search(r"kdc = 127.0.0.1:(\d+)", self.configuration.read_text())
        assert port is not None
        self.process = _run_kdc(self._place)
        wait_until_accepting(self.process, int(port[1]))

    def add_user(self, name: str, password: str, *options: str) -> None:
        """Add somebody.

        Args:
            name: Without the realm.
            password: It must not hold a double quote.
            options: Of kadmin's ``addprinc``: ``-pwexpire "1 hour ago"``, ``-policy strict``.
        """
        self._administer(f'addprinc {" ".join(options)} -pw "{password}" {name}')

    def set_password(self, name: str, password: str) -> None:
        """Change somebody's password."""
        self._administer(f'change_password -pw "{password}" {name}')

    def expire(self, name: str) -> None:
        """Let somebody's password have expired."""
        self._administer(f'modify_principal -pwexpire "1 hour ago" {name}')

    def disable(self, name: str) -> None:
        """Let nobody log on as somebody any more."""
        self._administer(f"modify_principal -allow_tix {name}")

    def lock_after(self, policy: str, failures: int) -> None:
        """Make a policy that locks an account after so many failed log-ons."""
        self._administer(f"addpol -maxfailure {failures} {policy}")

    def keytab(self, *hosts: str) -> Path:
        """Return the keys of the web proxies of these names, for their helpers to read."""
        path = self._place.root / f"http-{next(self._numbers)}.keytab"
        services = [f"HTTP/{host}" for host in hosts]
        for service in services:
            self._administer(f"addprinc -randkey {service}", may_exist=True)
        self._administer(f"ktadd -norandkey -k {path} {' '.join(services)}")
        path.chmod(0o644)
        return path

    def ticket(self, name: str, password: str, cache: Path, *options: str) -> dict[str, str]:
        """Log somebody on to the computer, as the desktop does; return the environment for it.

        Args:
            name: Of the person.
            password: The right one.
            cache: Where the ticket goes.
            options: Of ``kinit``: ``-l 2s`` for a ticket that soon ends.
        """
        environment = {**self.environment, "KRB5CCNAME": f"FILE:{cache}"}
        done = self._run(["kinit", *options, name], f"{password}\n", **environment)
        assert done.returncode == 0, done.stderr
        return environment

    def is_valid(self, cache: Path) -> bool:
        """Return whether there is a ticket that has not ended."""
        environment = {**self.environment, "KRB5CCNAME": f"FILE:{cache}"}
        return self._run(["klist", "-s"], **environment).returncode == 0

    def failed_logons(self, name: str) -> int:
        """Return how many wrong passwords of somebody it has seen up to now."""
        return self._count(rf"PREAUTH_FAILED: {name}@")

    def logons(self, name: str) -> int:
        """Return how many first tickets it has given to somebody up to now."""
        return self._count(rf"AS_REQ .*ISSUE: .*\b{name}@")

    def _count(self, pattern: str) -> int:
        mark = f"mark-{next(self._numbers)}"
        # It answers one after the other, and writes before it answers: when it has told about
        # nobody of this name, it has told about all before.
        self._run(["kinit", mark], "\n", **self.environment)
        self.process.err.wait_for(f"CLIENT_NOT_FOUND: {mark}@")
        lines = [line for one in (*self._before, self.process) for line in one.err.lines]
        return sum(bool(re.search(pattern, line)) for line in lines)

    def _administer(self, command: str, *, may_exist: bool = False) -> None:
        done = self._run(["kadmin.local", "-q", command])
        # It exits with 0 whatever happened.
        failed = [line for line in done.stderr.splitlines() if " while " in line]
        assert not failed or (may_exist and "already exists" in failed[0]), (command, failed)

    def _run(
        self, argv: Sequence[str], stdin: str = "", **more: str
    ) -> "subprocess.CompletedProcess[str]":
        return _run(self._place, argv, stdin, **more)


@contextmanager
def kdc(*, skew_s: int = 300) -> Iterator[Kdc]:
    """Run a KDC for `REALM`; it answers when the block begins.

    Args:
        skew_s: How much clocks may differ: so long a ticket that has ended is still taken.
    """
    with home("kdc-") as place:
        # The helpers of a proxy read its configuration and their keys, as a user of their own.
        place.root.chmod(0o755)
        process = _start(place, skew_s)
        running = Kdc(place, process)
        try:
            yield running
        finally:
            running.process.end()


def _start(place: Home, skew_s: int) -> Process:
    for _ in range(5):
        port = free_port()
        _configure(place, port, skew_s)
        if not (place.root / "principal").exists():
            created = ["kdb5_util", "create", "-s", "-r", REALM, "-P", "master"]
            done = _run(place, created)
            assert done.returncode == 0, done.stderr
        process = _run_kdc(place)
        try:
            wait_until_accepting(process, port)
        except AssertionError:
            process.end()
            if "in use" not in process.err.text:
                raise
        else:
            return process
    raise AssertionError("the KDC found no free port in five tries")


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
    """Run a program of Kerberos to its end."""
    environment = {**_environment(place), **more}
    return subprocess.run(
        argv, env=environment, cwd=place.root, input=stdin, capture_output=True, text=True
    )
