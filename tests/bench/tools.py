"""The two programs around a proxy: the load generator and the upstream.

Both are written in C and compiled when needed: in Python they would use more processor time than
the measured proxies.
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
"""Seconds after which an upstream ends by itself, in case its parent process was killed."""


def compiler() -> str | None:
    """Return the path of the C compiler; None if there is none."""
    return shutil.which("cc")


@dataclass(frozen=True, slots=True)
class Result:
    """The result of a load.

    Attributes:
        seconds: The measured time.
        done: The operations in the measured time.
        octets: The octets of bulk transfers in the measured time.
        all: All operations, including those before and after the measured time.
        all_octets: All octets.
        p50_us: The median duration of an operation in microseconds.
        p99_us: The 99th percentile of the duration.
        reopened: The number of connections closed by the proxy between two responses.
        cpu_s: The processor time of the load generator.
        failed: The number of failed operations by kind.
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
        """Return the result in the output of ``load``."""
        values: dict[str, Any] = json.loads(line)
        return cls(**values)

    @property
    def failures(self) -> int:
        """The number of failed operations."""
        return sum(self.failed.values())


@dataclass(frozen=True, slots=True)
class Tools:
    """The compiled programs.

    `load` simulates programs with a proxy, `upstream` the company's proxy and its sites.
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
    def hold(self, port: int, tunnels: int, *more: str) -> Iterator["IdleTunnels"]:
        """Hold idle tunnels until the end of the block."""
        words = ("hold", port, tunnels, 0, 0)
        with subprocess.Popen(
            [self.load, *map(str, words), *more], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as process:
            try:
                yield IdleTunnels(process)
            finally:
                process.kill()


class IdleTunnels:
    """Idle tunnels; `opened` is the result of opening them."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        self._process = process
        self._lines = LineReader(process.stdout, "load")
        self.opened = Result.read(self._lines.wait_for(r"^\{.*", 150)[0])

    def release(self) -> Result:
        """Send an octet through each tunnel and back to count working tunnels; close all."""
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
    """Run an upstream; yield its process and its port."""
    argv: list[str | Path] = [tools.upstream, CREDENTIALS, str(LIFE_S)]
    with running(argv, env=dict(os.environ), cwd=place.root) as process:
        yield process, int(process.out.wait_for(r"^\d+$", PATIENCE)[0])
