"""Where the demonstration plays: a temporary home, the real service in it, and the real tray.

Everything is started as a person would start it, with an environment in which nothing of the
person's own can be reached: not their settings, not their keyring, not their proxy variables.
"""

import contextlib
import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import IO

from trayproxy.control.client import (
    Client,
    DisconnectedError,
    NoReplyError,
    ServiceRefusedError,
    connect,
)
from trayproxy.control.codec import ProtocolError
from trayproxy.control.messages import Failed, Quit, Reply, Request, SaveProfile, UseProfile
from trayproxy.control.transport import NotRunningError, UntrustedPeerError
from trayproxy.demo.company_network import LAB, OFFICE, CompanyNetwork
from trayproxy.demo.wire import LOOPBACK
from trayproxy.desktop import process
from trayproxy.paths import HOME_VARIABLE, Paths, locate
from trayproxy.profiles.profile import Profile, SignIn, Upstream

NO_KEYRING = "keyring.backends.fail.Keyring"
"""keyring's backend that stores nothing; TrayProxy then keeps passwords in memory only."""

START_TIMEOUT_S = 30.0
_END_TIMEOUT_S = 10.0
_LISTENING = "listening on "
_LAST_WORDS = 2000

CONTROL_ERRORS = (
    NotRunningError,
    UntrustedPeerError,
    DisconnectedError,
    NoReplyError,
    ServiceRefusedError,
    ProtocolError,
)
"""What a conversation with the service may end in."""


class SurroundingsError(Exception):
    """Something did not start or did not do as asked; the text says what and why."""


@dataclass(frozen=True, slots=True)
class TemporaryHome:
    """A temporary home.

    Attributes:
        folder: The folder.
    """

    folder: Path

    @property
    def paths(self) -> Paths:
        """Where the service's files lie below the home."""
        return locate({HOME_VARIABLE: str(self.folder)})

    def environment(self) -> dict[str, str]:
        """Return the environment of the demonstration's processes."""
        return isolated_environment(process.environment(os.environ), self.folder)

    def attach(self, *, can_prompt: bool) -> Client:
        """Return a connection to the service, with the introductions made.

        Args:
            asks: Whether this face answers questions.
        """
        client = connect(self.paths)
        client.hello("terminal" if can_prompt else "cli", can_prompt=can_prompt)
        return client


@contextlib.contextmanager
def temporary_home() -> Iterator[TemporaryHome]:
    """Make a home, and remove it at the end with whatever still runs in it."""
    with tempfile.TemporaryDirectory(prefix="trayproxy-demo-") as folder:
        home = TemporaryHome(Path(folder))
        try:
            yield home
        finally:
            _quit(home)


def _quit(home: TemporaryHome) -> None:
    # Not only the service that we started: the tray may have started another.
    with contextlib.suppress(*CONTROL_ERRORS), home.attach(can_prompt=False) as client:
        client.request(Quit())


def isolated_environment(inherited: Mapping[str, str], home: Path) -> dict[str, str]:
    """Return an environment that leads to no settings and no keyring of the person's own.

    Args:
        inherited: The environment to begin with: display, language, where programs are.
        folder: What `HOME_VARIABLE` is set to.
    """
    return {**inherited, HOME_VARIABLE: str(home), "PYTHON_KEYRING_BACKEND": NO_KEYRING}


@dataclass(frozen=True, slots=True)
class RunningService:
    """The service, running.

    Attributes:
        process: Its process.
        port: Where it listens on `LOOPBACK`.
    """

    process: subprocess.Popen[str]
    port: int

    @property
    def url(self) -> str:
        """What a program takes for its proxy."""
        return f"http://{LOOPBACK}:{self.port}"


@contextlib.contextmanager
def service(home: TemporaryHome, *, terminal: bool) -> Iterator[RunningService]:
    """Run ``trayproxy run`` until the block ends.

    Args:
        made: The home it runs in.
        terminal: Leave it the terminal, so that it asks its questions there.

    Raises:
        StageError: It does not start.
    """
    error_file = home.folder / "service.err"
    with contextlib.ExitStack() as opened:
        errors = None if terminal else opened.enter_context(error_file.open("w", encoding="utf-8"))
        running = subprocess.Popen(
            process.command("run", "--listen", f"{LOOPBACK}:0"),
            env=home.environment(),
            stdin=None if terminal else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            encoding="utf-8",
            # Ctrl+C is ours to handle, but who asks at the terminal must belong to its session.
            start_new_session=not terminal,
        )
    try:
        yield RunningService(running, _port(running, error_file))
    finally:
        terminate(running)


@contextlib.contextmanager
def tray(home: TemporaryHome) -> Iterator[subprocess.Popen[bytes]]:
    """Run ``trayproxy``, the tray, until the block ends."""
    running = subprocess.Popen(
        process.command(),
        env=home.environment(),
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield running
    finally:
        terminate(running)


def terminate(running: subprocess.Popen[str] | subprocess.Popen[bytes]) -> None:
    """End a process, kindly at first."""
    running.terminate()
    try:
        running.wait(_END_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        running.kill()
        running.wait()


def _port(running: subprocess.Popen[str], error_file: Path) -> int:
    assert running.stdout is not None
    port: Future[int] = Future()
    # The thread reads on to the end: a full pipe would stop the service.
    Thread(target=_read, args=(running.stdout, port), daemon=True).start()
    try:
        return port.result(START_TIMEOUT_S)
    except FutureTimeoutError:
        raise SurroundingsError(
            f"TrayProxy does not listen after {START_TIMEOUT_S:.0f} s"
        ) from None
    except EOFError:
        # All its words are there once it has ended.
        terminate(running)
        output = error_file.read_text("utf-8")[-_LAST_WORDS:].strip() if error_file.exists() else ""
        raise SurroundingsError(
            f"TrayProxy ended with code {running.returncode}. {output}"
        ) from None


def _read(output: IO[str], port: Future[int]) -> None:
    with output:
        for line in output:
            if line.startswith(_LISTENING) and not port.done():
                port.set_result(int(line.rpartition(":")[2]))
    if not port.done():
        port.set_exception(EOFError())


def profiles(network: CompanyNetwork) -> tuple[Profile, Profile]:
    """Return the profiles of the two proxies, “Office” first."""
    return (
        Profile(
            "office", OFFICE, Upstream(LOOPBACK, network.ports.office), user=network.login.user
        ),
        Profile("lab", LAB, Upstream(LOOPBACK, network.ports.lab), SignIn.NONE),
    )


def save_profiles(client: Client, network: CompanyNetwork) -> None:
    """Give the service the two profiles and make “Office” the active one.

    Raises:
        StageError: The service refuses one.
    """
    demo_profiles = profiles(network)
    for profile in demo_profiles:
        request(client, SaveProfile(profile))
    request(client, UseProfile(demo_profiles[0].id))


def request(client: Client, request: Request) -> Reply:
    """Send a request and return its reply.

    Raises:
        StageError: The service could not do it.
    """
    reply = client.request(request)
    if isinstance(reply, Failed):
        raise SurroundingsError(f"{reply.problem.title} ({reply.problem.id}). {reply.problem.body}")
    return reply
