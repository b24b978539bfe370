"""A fake service and a pseudo-terminal for tests of the command line."""

import asyncio
import os
import re
import select
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path

from msgspec.structs import replace

from trayproxy.control.messages import (
    CheckProfile,
    CheckResult,
    DeleteProfile,
    Done,
    Failed,
    ForgetLogin,
    GetStatus,
    KeptInMemory,
    ListenerState,
    PromptChanged,
    Quit,
    Reply,
    Request,
    SaveLogin,
    SaveProfile,
    ShowWindow,
    Status,
    Subscribe,
    UpstreamState,
    UseProfile,
)
from trayproxy.control.server import Session
from trayproxy.domain.problem import Problem
from trayproxy.domain.signin import KeyringState, KeyringStatus, Prompt, SignInState
from trayproxy.profiles.config import Config
from trayproxy.profiles.profile import Profile, Upstream

OFFICE = Profile("office", "Office", Upstream("proxy.example", 8080), user="CORP\\jdoe")
LAB = Profile("lab", "Lab", Upstream("lab.example", 3128))
ROOT = Path(__file__).parents[2]
LIMIT_S = 20.0


class FakeService:
    """A handler that answers requests like the real service, in memory."""

    def __init__(self) -> None:
        self.config = Config().with_profile(OFFICE).with_profile(LAB)
        self.status = Status("0.1.0", os.getpid(), ListenerState.UP, "127.0.0.1:4128")
        self.requests: list[Request] = []
        self.failure: Failed | None = None
        self.result = CheckResult(())
        self.kept_in_memory: KeptInMemory | None = None
        self.prompt: Prompt | None = None
        self.quit: Callable[[], None] = lambda: None
        self.ending: asyncio.Task[None] | None = None

    async def handle(self, session: Session, request: Request) -> Reply:
        if isinstance(request, GetStatus):
            return replace(self.status, profile=self.config.profile, profiles=self.config.profiles)
        self.requests.append(request)
        if self.failure:
            return self.failure
        match request:
            case CheckProfile():
                if self.prompt:
                    session.send_event(PromptChanged(self.prompt))
                return self.result
            case Subscribe():
                return self.status
            case SaveProfile(profile):
                self.config = self.config.with_profile(profile)
            case DeleteProfile(profile_id, _):
                self.config = self.config.without_profile(profile_id)
            case UseProfile(profile_id):
                self.config = self.config.with_active(profile_id)
            case SaveLogin() if self.kept_in_memory:
                return self.kept_in_memory
            case SaveLogin() | ForgetLogin() | ShowWindow():
                pass
            case Quit():
                self.quit()
        return Done()

    def attached(self, session: Session) -> None:
        pass

    def detached(self, session: Session) -> None:
        pass


def connected(status: Status) -> Status:
    return replace(
        status,
        sign_in=SignInState.OK,
        user="CORP\\jdoe",
        upstream=UpstreamState.OK,
        keyring=KeyringStatus(KeyringState.OK, "GNOME Keyring"),
        active=3,
    )


LOCKED = Failed(Problem("TP-401", "GNOME Keyring is locked", "Unlock it."), 6)


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
