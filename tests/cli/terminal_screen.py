"""A pseudo-terminal for tests of the command line."""

import os
import re
import select
import subprocess
import sys
import termios
import time

from tests.cli.fake_service import ROOT


class TerminalScreen:
    """A pseudo-terminal with a running program; the test reads its output and types."""

    def __init__(self, *command: str, environ: dict[str, str], limit_s: float = 20.0) -> None:
        self._limit_s = limit_s
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
        deadline = time.monotonic() + self._limit_s
        while not (found := re.compile(pattern).search(self.shown, self._position)):
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._master], [], [], left)[0]:
                raise AssertionError(f"{pattern!r} did not appear in {self.shown!r}")
            if not self._read():
                raise AssertionError(f"it ended without {pattern!r}: {self.shown!r}")
        self._position = found.end()
        return found.group()

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def answer(self, pattern: str, text: str) -> None:
        """Wait until the output matches a pattern, then type a text."""
        self.wait_for(pattern)
        self.type(text)

    def has_echo(self) -> bool:
        local: int = termios.tcgetattr(self._master)[3]
        return bool(local & termios.ECHO)

    def wait_for_echo(self) -> None:
        """Wait until the program has restored the mode of the terminal, which causes no output."""
        deadline = time.monotonic() + self._limit_s
        while not self.has_echo():
            assert time.monotonic() < deadline, "the terminal has no echo"

    def end(self) -> int:
        """Wait for the end of the program; return its exit code."""
        code = self.process.wait(self._limit_s)
        while select.select([self._master], [], [], 0)[0] and self._read():
            pass
        return code

    def _read(self) -> bool:
        """Read output; return False at the end of the program's output."""
        try:
            octets = os.read(self._master, 4096)
        except OSError:
            return False
        self.shown += octets.decode().replace("\r\n", "\n")
        return bool(octets)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._master)
