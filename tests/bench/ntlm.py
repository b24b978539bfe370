"""``python -m tests.bench.ntlm``: NTLM tunnels through TrayProxy and through cntlm, side by side.

Each sample opens a tunnel, sends an octet through it and back, and closes the tunnel. Tunnels
follow back to back or with pauses. Both proxies run at once and take turns, so that changes of the
load of the machine affect both. The output is Markdown.
"""

import shutil
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from time import perf_counter, sleep

from tests.bench.contestants import TRAYPROXY, Contestant, started
from tests.bench.tools import PASSWORD, USER
from tests.support.ports import free_port
from tests.support.processes import home, running, wait_until_accepting

DOMAIN = "CORP"
CNTLM = Contestant(
    "cntlm",
    ("cntlm", "-f", "-c", "@DIRECTORY@/cntlm.conf"),
    {
        "cntlm.conf": """\
Username @USER@
Domain CORP
Password @PASSWORD@
Proxy 127.0.0.1:@UPSTREAM@
Listen 127.0.0.1:@PORT@
Auth NTLMv2
"""
    },
)
WITH_DOMAIN = replace(
    TRAYPROXY, argv=tuple(rf"{DOMAIN}\@USER@" if one == "@USER@" else one for one in TRAYPROXY.argv)
)
PAUSES_S = (0.0, 0.1, 0.3)
CONNECT = b"CONNECT site.test:443 HTTP/1.1\r\nHost: site.test:443\r\n\r\n"


@dataclass(slots=True)
class Figures:
    """The measurement of one proxy with one pause.

    Attributes:
        opened_ms: The time from CONNECT to 200 for each tunnel, in milliseconds.
        messages: The number of heads received by the upstream.
    """

    opened_ms: list[float] = field(default_factory=list)
    messages: int = 0


@dataclass(frozen=True, slots=True)
class Runner:
    """A running proxy with its own upstream."""

    port: int
    upstream_port: int

    def tunnels(self, count: int, pause_s: float, figures: Figures) -> None:
        """Open this number of tunnels one after the other."""
        before = self._messages()
        for _ in range(count):
            with socket.create_connection(("127.0.0.1", self.port)) as client:
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                client.settimeout(10)
                began = perf_counter()
                client.sendall(CONNECT)
                head = b""
                while b"\r\n\r\n" not in head:
                    head += client.recv(4096)
                figures.opened_ms.append((perf_counter() - began) * 1000)
                assert b" 200 " in head[:16], head
                client.sendall(b"x")
                assert client.recv(1) == b"x"
            if pause_s:
                sleep(pause_s)
        sleep(0.3)  # Includes the messages of preconnects.
        figures.messages += self._messages() - before

    def _messages(self) -> int:
        with socket.create_connection(("127.0.0.1", self.upstream_port)) as client:
            client.sendall(b"GET http://count/ HTTP/1.1\r\n\r\n")
            return int(client.recv(4096).rpartition(b"\r\n")[2])


@contextmanager
def ran(contestant: Contestant) -> Iterator[Runner]:
    """Run a proxy and its upstream."""
    with home("bench-") as place:
        port, upstream_port = free_port(), free_port()
        script = str(Path(__file__).with_name("ntlm_upstream.py"))
        behind = running(
            [sys.executable, script, str(upstream_port)], env=place.environment(), cwd=place.root
        )
        words = {
            "PORT": str(port),
            "UPSTREAM": str(upstream_port),
            "USER": USER,
            "PASSWORD": PASSWORD,
            "DIRECTORY": str(place.root),
        }
        with behind as upstream:
            wait_until_accepting(upstream, upstream_port)
            with started(contestant, place, words) as process:
                wait_until_accepting(process, port)
                yield Runner(port, upstream_port)


def measure(
    contestants: tuple[Contestant, ...], rounds: int, count: int, pauses_s: tuple[float, ...]
) -> dict[tuple[str, float], Figures]:
    """Return the measurements by the name of the proxy and the pause."""
    found = {(one.name, pause): Figures() for one in contestants for pause in pauses_s}
    with ExitStack() as stack:
        runners = [(one, stack.enter_context(ran(one))) for one in contestants]
        for _, runner in runners:
            runner.tunnels(
                3, 0.0, Figures()
            )  # Without the first tunnel, which discovers the scheme.
        for _ in range(rounds):
            for pause in pauses_s:
                for contestant, runner in runners:
                    runner.tunnels(count, pause, found[contestant.name, pause])
    return found


def render(found: dict[tuple[str, float], Figures]) -> str:
    """Return the table."""
    lines = [
        "| pause (s) | proxy | median (ms) | 90 % (ms) | messages a tunnel |",
        "|---|---|---|---|---|",
    ]
    for (name, pause), figures in sorted(found.items(), key=lambda one: (one[0][1], one[0][0])):
        times = sorted(figures.opened_ms)
        most = times[int(len(times) * 0.9)]
        each = figures.messages / len(times)
        lines.append(f"| {pause} | {name} | {median(times):.2f} | {most:.2f} | {each:.2f} |")
    return "\n".join(lines)


def main() -> int:
    """Measure the installed proxies, and print the table."""
    contestants = tuple(one for one in (WITH_DOMAIN, CNTLM) if shutil.which(one.argv[0]))
    print(render(measure(contestants, rounds=5, count=30, pauses_s=PAUSES_S)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
