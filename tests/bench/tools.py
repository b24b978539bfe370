"""The two programs around a proxy: what loads it, and what is behind it.

They are C, compiled where they are needed: in Python they would take more of the machine than the
proxies that they measure.
"""

import json
import os
import shutil
import subprocess
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tests.bench.workloads import Workload
from tests.support.process_output import PATIENCE, LineReader
from tests.support.processes import Home, Process, running

SOURCES = Path(__file__).parent
USER, PASSWORD = "bench", "not-a-secret"
CREDENTIALS = b64encode(f"{USER}:{PASSWORD}".encode()).decode()
LIFE_S = 7200
"""After how many seconds an upstream ends by itself, should nobody be left to end it."""


def compiler() -> str | None:
    """Return where the C compiler is, None if there is none."""
    return shutil.which("cc")


@dataclass(frozen=True, slots=True)
class Result:
    """What a load came to.

    Attributes:
        seconds: How long was measured.
        done: Operations in that time.
        octets: Octets in that time, of bulk.
        all: Operations, those before and after included.
        all_octets: The same for octets.
        p50_us: What half of the operations took at most, in microseconds.
        p99_us: What 99 of 100 took at most.
        reopened: How often the proxy had closed a connection between two answers.
        cpu_s: Processor time of the load itself.
        failed: How many operations failed, by kind.
    """

    seconds: float
    done: int
    octets: int
    all: int
    all_octets: int
    p50_us: float
    p99_us: float
    reopened: int
    cpu_s: float
    failed: dict[str, int]

    @classmethod
    def read(cls, line: str) -> Self:
        """Read it from what ``load`` prints."""
        values: dict[str, Any] = json.loads(line)
        return cls(**values)

    @property
    def failures(self) -> int:
        """How many operations failed."""
        return sum(self.failed.values())


@dataclass(frozen=True, slots=True)
class Tools:
    """The compiled programs.

    Attributes:
        load: Plays programs that use a proxy.
        upstream: Plays the company's proxy and the sites behind it.
    """

    load: Path
    upstream: Path

    def run(
        self, workload: Workload, port: int, warm_up: float, seconds: float, *more: str
    ) -> Result:
        """Load the proxy on a port of 127.0.0.1."""
        words = (workload.mode, port, workload.connections, warm_up, seconds)
        done = subprocess.run(
            [self.load, *map(str, words), *more],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=True,
            encoding="utf-8",
            timeout=warm_up + seconds + 90,
        )
        return Result.read(done.stdout)

    @contextmanager
    def hold(self, port: int, tunnels: int, *more: str) -> Iterator["Held"]:
        """Hold idle tunnels for as long as the block lasts."""
        words = ("hold", port, tunnels, 0, 0)
        with subprocess.Popen(
            [self.load, *map(str, words), *more], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as process:
            try:
                yield Held(process)
            finally:
                process.kill()


class Held:
    """Tunnels that were opened and are idle.

    Attributes:
        opened: How their opening went.
    """

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        self._process = process
        self._lines = LineReader(process.stdout, "load")
        self.opened = Result.read(self._lines.wait_for(r"^\{.*", 150)[0])

    def release(self) -> Result:
        """Send an octet through each and back, which tells how many are alive, and close them."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        return Result.read(self._lines.wait_for_count(r"^\{.*", 2, 60)[1][0])


def build(directory: Path) -> Tools:
    """Compile the programs into a directory."""
    tools = Tools(directory / "load", directory / "upstream")
    for program in (tools.load, tools.upstream):
        source = SOURCES / f"{program.name}.c"
        subprocess.run([compiler() or "cc", "-O2", "-Wall", "-o", program, source], check=True)
    return tools


@contextmanager
def upstream(tools: Tools, place: Home) -> Iterator[tuple[Process, int]]:
    """Run an upstream; the block is given its process and its port."""
    argv: list[str | Path] = [tools.upstream, CREDENTIALS, str(LIFE_S)]
    with running(argv, env=dict(os.environ), cwd=place.root) as process:
        yield process, int(process.out.wait_for(r"^\d+$", PATIENCE)[0])
