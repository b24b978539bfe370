"""A real SOCKS5 proxy with a password: Dante, or microsocks on a system that has no Dante.

Dante looks up passwords in the accounts of the system. The proxies therefore run in a mount
namespace in which files of the test replace ``/etc/passwd``, ``/etc/shadow`` and ``/etc/hosts``.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.support.ports import start_on_free_port
from tests.support.processes import Process, home

_DANTE = "/usr/sbin/danted"
_MICROSOCKS = "/usr/bin/microsocks"

_CONFIGURATION = """\
logoutput: stderr
internal: 127.0.0.1 port = {port}
external: lo
socksmethod: {method}
clientmethod: none
user.privileged: root
user.unprivileged: {unprivileged}
client pass {{ from: 127.0.0.0/8 to: 0.0.0.0/0 }}
socks pass {{ from: 127.0.0.0/8 to: 0.0.0.0/0 }}
"""

_IN_A_NAMESPACE = """\
set -e
for file in passwd shadow hosts; do
  [ ! -e "$file" ] || mount --bind "$file" "/etc/$file"
done
exec "$@"
"""


@contextmanager
def socks_proxy(users: Mapping[str, str], *names: str) -> Iterator[int]:
    """Run a SOCKS5 proxy; yield its port of 127.0.0.1, which accepts connections.

    It requires the login of the only user, or none, and resolves the names to 127.0.0.1.
    """
    with home("socks-") as place:
        (place.root / "hosts").write_text(f"127.0.0.1 {' '.join(('localhost', *names))}\n")
        process, port = _start(place.root, place.environment(), users)
        try:
            yield port
        finally:
            process.end()


def _start(
    directory: Path, environment: Mapping[str, str], users: Mapping[str, str]
) -> tuple[Process, int]:
    has_dante = shutil.which(_DANTE) is not None
    if has_dante:
        _make_accounts(directory, users)
    options = ["--mount"] if os.geteuid() == 0 else ["--mount", "--map-root-user"]
    alone = ["unshare", *options, "--propagation", "private", "sh", "-c", _IN_A_NAMESPACE, "sh"]

    def start(port: int) -> Process:
        command = _dante(directory, port, users) if has_dante else _microsocks(port, users)
        return Process([*alone, *command], env=environment, cwd=directory)

    return start_on_free_port(start)


def _dante(directory: Path, port: int, users: Mapping[str, str]) -> list[str]:
    # A namespace created by an ordinary user has one account only.
    text = _CONFIGURATION.format(
        port=port,
        method="username" if users else "none",
        unprivileged="nobody" if os.geteuid() == 0 else "root",
    )
    (directory / "danted.conf").write_text(text)
    return [_DANTE, "-f", "danted.conf"]


def _microsocks(port: int, users: Mapping[str, str]) -> list[str]:
    command = [_MICROSOCKS, "-i", "127.0.0.1", "-p", str(port)]
    for user, password in users.items():
        command += ["-u", user, "-P", password]
    return command


def _make_accounts(directory: Path, users: Mapping[str, str]) -> None:
    passwd, shadow = Path("/etc/passwd").read_text(), ""
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
