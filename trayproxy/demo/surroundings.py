"""The processes of the demonstration: the real service and the real tray, in a temporary home.

Both are started with the usual commands, in an environment without access to the user's settings,
keyring and proxy variables.
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

from trayproxy.control.client import Client, connect
from trayproxy.control.messages import Failed, Quit, Reply, Request, SaveProfile, UseProfile
from trayproxy.control.transport import ControlError
from trayproxy.demo.company_network import LAB, OFFICE, CompanyNetwork
from trayproxy.demo.system_settings import desktop_folder
from trayproxy.demo.wire import LOOPBACK
from trayproxy.desktop import process
from trayproxy.desktop.system_proxy.private_store import private_store
from trayproxy.paths import HOME_VARIABLE, Paths, locate
from trayproxy.profiles.profile import Profile, SignIn, Upstream

NO_KEYRING = "keyring.backends.fail.Keyring"
"""The keyring backend that stores no passwords; TrayProxy then keeps passwords in memory only."""

START_TIMEOUT_S = 30.0
_END_TIMEOUT_S = 10.0
_READY_PREFIX = "listening on "
_OUTPUT_TAIL_LENGTH = 2000


class SurroundingsError(Exception):
    """A process did not start or a request failed; the text contains the reason."""


@dataclass(frozen=True, slots=True)
class TemporaryHome:
    """A temporary home of TrayProxy."""

    folder: Path

    @property
    def paths(self) -> Paths:
        """The paths of the service's files in the home."""
        return locate({HOME_VARIABLE: str(self.folder)})

    def environment(self) -> dict[str, str]:
        """Return the environment of the demonstration's processes."""
        isolated = isolated_environment(process.environment(os.environ), self.folder)
        return isolated | private_store(desktop_folder(self.folder))

    def attach(self, *, can_prompt: bool) -> Client:
        """Return a connection to the service, after `Hello`."""
        client = connect(self.paths)
        client.hello("terminal" if can_prompt else "cli", can_prompt=can_prompt)
        return client


@contextlib.contextmanager
def temporary_home() -> Iterator[TemporaryHome]:
    """Create a home; at the end, quit the service that runs in it and remove the home."""
    with tempfile.TemporaryDirectory(prefix="trayproxy-demo-") as folder:
        home = TemporaryHome(Path(folder))
        try:
            yield home
        finally:
            # The tray may have started another service than the demonstration.
            with contextlib.suppress(ControlError), home.attach(can_prompt=False) as client:
                client.request(Quit())


def isolated_environment(inherited: Mapping[str, str], home: Path) -> dict[str, str]:
    """Return an environment without access to the user's settings and keyring.

    The inherited environment provides the display, the language and the path.
    """
    return {**inherited, HOME_VARIABLE: str(home), "PYTHON_KEYRING_BACKEND": NO_KEYRING}


@dataclass(frozen=True, slots=True)
class RunningService:
    """The process of the running service, and its port on `LOOPBACK`."""

    process: subprocess.Popen[str]
    port: int

    @property
    def url(self) -> str:
        """The URL of the service as a program's proxy."""
        return f"http://{LOOPBACK}:{self.port}"


@contextlib.contextmanager
def service(home: TemporaryHome, *, terminal: bool) -> Iterator[RunningService]:
    """Run ``trayproxy run`` until the block ends; with the terminal, it shows prompts there.

    Raises:
        SurroundingsError: The service does not start.
    """
    error_file = home.folder / "service.err"
    with contextlib.ExitStack() as opened:
        errors = None if terminal else opened.enter_context(error_file.open("w", encoding="utf-8"))
        running = subprocess.Popen(
            process.command("run", "--listen", f"{LOOPBACK}:0"),
            # The settings of a desktop can also be changed through its bus.
            env=home.environment() | {"DBUS_SESSION_BUS_ADDRESS": f"unix:path={home.folder}/bus"},
            stdin=None if terminal else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            encoding="utf-8",
            # The demonstration handles Ctrl+C itself; a service with the terminal must stay in the
            # terminal's session.
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
        process.command(), env=home.environment(), stdin=subprocess.DEVNULL, start_new_session=True
    )
    try:
        yield running
    finally:
        terminate(running)


def terminate(running: subprocess.Popen[str] | subprocess.Popen[bytes]) -> None:
    """End a process with SIGTERM, after a timeout with SIGKILL."""
    running.terminate()
    try:
        running.wait(_END_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        running.kill()
        running.wait()


def _port(running: subprocess.Popen[str], error_file: Path) -> int:
    assert running.stdout is not None
    port: Future[int] = Future()
    # The thread reads until the end: a full pipe would block the service.
    Thread(target=_read, args=(running.stdout, port), daemon=True).start()
    try:
        return port.result(START_TIMEOUT_S)
    except FutureTimeoutError:
        text = f"TrayProxy does not listen after {START_TIMEOUT_S:.0f} s"
        raise SurroundingsError(text) from None
    except EOFError:
        # The error file is complete after the end of the process.
        terminate(running)
        output = error_file.read_text("utf-8") if error_file.exists() else ""
        text = f"TrayProxy ended with code {running.returncode}."
        raise SurroundingsError(f"{text} {output[-_OUTPUT_TAIL_LENGTH:].strip()}") from None


def _read(output: IO[str], port: Future[int]) -> None:
    with output:
        for line in output:
            if line.startswith(_READY_PREFIX) and not port.done():
                port.set_result(int(line.rpartition(":")[2]))
    if not port.done():
        port.set_exception(EOFError())


def profiles(network: CompanyNetwork) -> tuple[Profile, Profile]:
    """Return the profiles of the two proxies, “Office” first."""
    ports, user = network.ports, network.login.user
    return (
        Profile("office", OFFICE, Upstream(LOOPBACK, ports.office), user=user),
        Profile("lab", LAB, Upstream(LOOPBACK, ports.lab), SignIn.NONE),
    )


def save_profiles(client: Client, network: CompanyNetwork) -> None:
    """Save the two profiles in the service and activate “Office”."""
    office, lab = profiles(network)
    for message in (SaveProfile(office), SaveProfile(lab), UseProfile(office.id)):
        request(client, message)


def request(client: Client, request: Request) -> Reply:
    """Send a request and return its reply; raise `SurroundingsError` if the request failed."""
    reply = client.request(request)
    if isinstance(reply, Failed):
        raise SurroundingsError(f"{reply.problem.title} ({reply.problem.id}). {reply.problem.body}")
    return reply
