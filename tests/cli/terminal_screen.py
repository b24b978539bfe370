"""A pseudo-terminal for tests of the command line."""

import os
import re
import select
import subprocess
import sys
import termios
import time

from tests.cli.fake_service import ROOT

LIMIT_S = 20.0


class TerminalScreen:
    """A pseudo-terminal with a running program; the test reads its output and types."""

    def __init__(self, *command: str, environ: dict[str, str]) -> None:
        self._master, slave = os.openpty()
        # A new session with this terminal as its controlling terminal (tty_ioctl(4)).
        take = (
            "import fcntl, runpy, sys, termios\n"
            "fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n"
            "sys.argv = sys.argv[1:]\n"
        )
        start = 'runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)\n'
        self.process = subprocess.Popen(
            [sys.executable, "-c", take + start, *command],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=environ,
            cwd=ROOT,
            start_new_session=True,
        )
        os.close(slave)
        self.shown = ""
        self._position = 0

    def wait_for(self, pattern: str) -> str:
        """Wait until text after the last match matches a pattern; return the match."""
        deadline = time.monotonic() + LIMIT_S
        while not (found := re.compile(pattern).search(self.shown, self._position)):
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._master], [], [], left)[0]:
                raise AssertionError(f"{pattern!r} did not appear in {self.shown!r}")
            try:
                more = os.read(self._master, 4096)
            except OSError:
                more = b""
            if not more:
                raise AssertionError(f"it ended without {pattern!r}: {self.shown!r}")
            self.shown += more.decode().replace("\r\n", "\n")
        self._position = found.end()
        return found.group()

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def has_echo(self) -> bool:
        local: int = termios.tcgetattr(self._master)[3]
        return bool(local & termios.ECHO)

    def end(self) -> int:
        """Wait for the end of the program; return its exit code."""
        code = self.process.wait(LIMIT_S)
        while select.select([self._master], [], [], 0)[0]:
            try:
                more = os.read(self._master, 4096)
            except OSError:
                break
            if not more:
                break
            self.shown += more.decode().replace("\r\n", "\n")
        return code

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._master)
