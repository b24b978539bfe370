"""Starts many services one after the other, each as the fork of a process that has imported it.

The imports take most of the time of a start.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.support.process_output import PATIENCE, LineReader
from tests.support.system_proxy_session import SystemProxySession

_PROGRAM = """\
import os, sys
import trayproxy.service.main
import trayproxy.service.system_proxy.factory
from trayproxy.cli.main import main
from trayproxy.desktop.system_proxy.factory import import_targets

import_targets()
for _ in iter(sys.stdin.readline, ""):
    pid = os.fork()
    if not pid:
        os.setsid()
        sys.exit(main(["run", "--listen", "127.0.0.1:0"]))
    print("started", pid, flush=True)
    print("ended", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


@dataclass(slots=True)
class ForkedServices:
    """The process that starts services, and the number of services so far."""

    process: "subprocess.Popen[bytes]"
    output: LineReader
    count: int = 0

    def start(self) -> int:
        """Start a service, and wait until it accepts connections; return its process id."""
        assert self.process.stdin
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()
        self.count += 1
        self.output.wait_for_count("^listening on ", self.count)
        return int(self.output.wait_for_count(r"^started (\d+)", self.count)[-1][1])

    def stop(self, pid: int) -> int:
        """End a service like the system at log-out; return its exit code."""
        os.kill(pid, signal.SIGTERM)
        return int(self.output.wait_for_count(r"^ended (-?\d+)", self.count)[-1][1])


@contextmanager
def forked_services(session: SystemProxySession) -> Iterator[ForkedServices]:
    """Run the process that starts services in a session, until the end of the block."""
    with subprocess.Popen(
        [sys.executable, "-c", _PROGRAM],
        env=session.place.trayproxy_environment(session.environment),
        cwd=session.place.root,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdin
        assert process.stdout
        yield ForkedServices(process, LineReader(process.stdout, "forked services"))
        process.stdin.close()
        assert process.wait(PATIENCE) == 0
