"""A computer that moves between networks: namespaces(7) with an own network and resolver.

In each network, dnsmasq is the name server, and its log shows the names that were asked for. All
hosts of a network are addresses of the computer itself; `tests.support.web_hosts` answers there.
"""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.namespaces import ALONE
from tests.support.process_output import PATIENCE, LineReader
from tests.support.processes import SOURCES, Home, Process, running

_SET_UP = """\
set -e
mount --bind "$1" /etc/resolv.conf
ip link set lo up
ip link add far type veth peer near
ip link set far up
ip link set near up
echo ready
exec sleep infinity
"""
_LEAVE = ("address flush dev far scope global", "address flush dev near scope global")


@dataclass(frozen=True, slots=True)
class NetworkSetup:
    """A network.

    Attributes:
        prefix: The first three octets of its addresses: ``192.0.2``. The computer is host 7, the
            name server host 53, and the gateway, which does not exist, host 254.
        hosts: The last octets of the addresses of further hosts.
        names: The addresses of names.
        others: The address of all other names; empty if they do not exist.
        search: The search list of the resolver.
    """

    prefix: str
    hosts: tuple[int, ...] = ()
    names: Mapping[str, str] = field(default_factory=dict)
    others: str = ""
    search: str = ""

    def address(self, host: int) -> str:
        """Return the address of a host."""
        return f"{self.prefix}.{host}"


class MovingComputer:
    """A computer without a network, at first."""

    def __init__(self, place: Home, holder: Process, resolv_conf: Path) -> None:
        self._place = place
        self._holder = holder
        self._resolv_conf = resolv_conf
        self._name_servers = ExitStack()
        self._queries: LineReader | None = None
        self._files = 0

    def inside(self, *argv: str | Path) -> list[str | Path]:
        """Return the command that runs a program on this computer."""
        namespaces = ("-U", "-n", "-m", "--preserve-credentials")
        return ["nsenter", "-t", str(self._holder.pid), *namespaces, "--", *argv]

    def output(self, *argv: str | Path) -> str:
        """Run a program to its end; return its output and its errors."""
        done = subprocess.run(
            self.inside(*argv),
            env=self._place.environment(),
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        return done.stdout + done.stderr

    def ip(self, *commands: str) -> None:
        """Change the network with commands of ip(8)."""
        lines = "".join(f"{command}\n" for command in commands).encode()
        argv = self.inside("ip", "-batch", "-")
        subprocess.run(argv, input=lines, check=True, timeout=PATIENCE)

    def move(self, network: NetworkSetup) -> None:
        """Move to a network: its name server is known before its addresses are used."""
        self._run_name_server(network)
        self.use_name_server(network)
        self._use_addresses(network)

    def asked(self, part: str) -> set[str]:
        """Return the names with this part that the present name server was asked for."""
        assert self._queries is not None
        queries = (line.partition(": query[")[2].split() for line in self._queries.lines)
        return {words[1] for words in queries if words and part in words[1]}

    def _use_addresses(self, network: NetworkSetup) -> None:
        near = (*network.hosts, 53)
        self.ip(
            *_LEAVE,
            *(f"address add {network.address(host)}/24 dev near" for host in near),
            f"address add {network.address(7)}/24 dev far",
            f"route replace default via {network.address(254)} dev far",
        )

    def use_name_server(self, network: NetworkSetup) -> None:
        """Use the name server and the search list of a network."""
        # In place, because the file is mounted.
        self._resolv_conf.write_text(
            f"nameserver {network.address(53)}\nsearch {network.search or '.'}\n"
        )

    def _run_name_server(self, network: NetworkSetup) -> None:
        self.close()
        names = (f"--host-record={name},{at}" for name, at in network.names.items())
        options = ("--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--log-queries")
        # It neither changes its user, nor logs to the system.
        argv = self.inside(
            "dnsmasq", "--no-daemon", *options, *names, f"--address=/#/{network.others}"
        )
        process = running(argv, env=self._place.environment(), cwd=self._place.root)
        self._queries = self._name_servers.enter_context(process).err
        self._queries.wait_for("started, version")

    @contextmanager
    def web_hosts(self) -> Iterator[Process]:
        """Run the web servers of all hosts, on port 80; see `publish`."""
        argv = self.inside(sys.executable, "-m", "tests.support.web_hosts", self._place.path("web"))
        with running(argv, env=self._place.environment(), cwd=SOURCES) as process:
            process.out.wait_for("ready")
            yield process

    def publish(self, address: str, file: str, text: str) -> None:
        """Publish a file on the web server at an address; it is newer than all others."""
        path = self._place.path(f"web/{address}") / file
        path.write_text(text)
        self._files += 1000
        os.utime(path, (self._files, self._files))

    def close(self) -> None:
        """End the name server."""
        self._name_servers.close()


@contextmanager
def moving_computer(place: Home) -> Iterator[MovingComputer]:
    """Run a computer without a network."""
    resolv_conf = place.root / "resolv.conf"
    resolv_conf.write_text("")
    argv: list[str | Path] = [*ALONE, "sh", "-c", _SET_UP, "sh", resolv_conf]
    with running(argv, env=place.environment(), cwd=place.root) as holder:
        holder.out.wait_for("ready")
        made = MovingComputer(place, holder, resolv_conf)
        try:
            yield made
        finally:
            made.close()
