"""A real Dante SOCKS server, which asks the system's own accounts for the password.

It sees accounts that exist nowhere else: in a mount namespace of its own, copies stand in the place
of ``/etc/passwd`` and ``/etc/shadow``.
"""

import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.support.ports import free_port
from tests.support.processes import Process, home, wait_until_accepting

_CONFIGURATION = """\
logoutput: stderr
internal: 127.0.0.1 port = {port}
external: lo
socksmethod: {method}
clientmethod: none
user.privileged: root
user.unprivileged: nobody
client pass {{ from: 127.0.0.0/8 to: 0.0.0.0/0 }}
socks pass {{ from: 127.0.0.0/8 to: 0.0.0.0/0 }}
"""

_IN_A_NAMESPACE = """\
set -e
mount --bind passwd /etc/passwd
mount --bind shadow /etc/shadow
mount --bind hosts /etc/hosts
exec /usr/sbin/danted -f danted.conf
"""


@contextmanager
def danted(users: Mapping[str, str], *names: str) -> Iterator[int]:
    """Run a Dante; it accepts connections on the port of 127.0.0.1 that the block is given.

    Args:
        users: Passwords by user name; empty: it wants no login.
        names: What means 127.0.0.1 to it.
    """
    with home("danted-") as place:
        _make_accounts(place.root, users)
        (place.root / "hosts").write_text(f"127.0.0.1 {' '.join(('localhost', *names))}\n")
        process, port = _start(place.root, place.environment(), "username" if users else "none")
        try:
            yield port
        finally:
            process.end()


def _make_accounts(directory: Path, users: Mapping[str, str]) -> None:
    passwd, shadow = Path("/etc/passwd").read_text(), Path("/etc/shadow").read_text()
    for number, (user, password) in enumerate(users.items(), 40000):
        hashed = subprocess.run(
            ["openssl", "passwd", "-6", "-stdin"],
            input=password.encode(),
            capture_output=True,
            check=True,
        ).stdout.decode("ascii")
        passwd += f"{user}:x:{number}:65534::/nonexistent:/usr/sbin/nologin\n"
        shadow += f"{user}:{hashed.strip()}:19000:0:99999:7:::\n"
    (directory / "passwd").write_text(passwd)
    (directory / "shadow").write_text(shadow)
    (directory / "shadow").chmod(0o600)


def _start(directory: Path, environment: Mapping[str, str], method: str) -> tuple[Process, int]:
    for _ in range(5):
        port = free_port()
        text = _CONFIGURATION.format(port=port, method=method)
        (directory / "danted.conf").write_text(text)
        whose = ["--mount"] if os.geteuid() == 0 else ["--mount", "--map-root-user"]
        process = Process(
            ["unshare", *whose, "--propagation", "private", "sh", "-c", _IN_A_NAMESPACE],
            env=environment,
            cwd=directory,
        )
        try:
            wait_until_accepting(process, port)
        except AssertionError:
            process.end()
            if "in use" not in process.err.text:
                raise
        else:
            return process, port
    raise AssertionError("danted found no free port in five tries")
