"""``trayproxy demo``: puts the pieces together, and takes everything away again."""

import contextlib
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from types import FrameType

from trayproxy.demo.company_network import company_network
from trayproxy.demo.guide import Happening, Say, follow, opening, tell_all, tell_requests
from trayproxy.demo.script import DemoScript, StepError
from trayproxy.demo.surroundings import (
    CONTROL_ERRORS,
    SurroundingsError,
    service,
    set_up,
    temporary_home,
    tray,
)
from trayproxy.demo.upstream import ProxyLogEntry
from trayproxy.desktop.display import display_problem
from trayproxy.exit_codes import ExitCode


def main(say: Say) -> int:
    """Run the demonstration.

    A person at a terminal is told what to do; without one it plays by itself.

    Args:
        say: Shows a line.

    Returns:
        0; 1 if something did not come out as promised; 130 after Ctrl+C while it played by itself.
    """
    attended = sys.stdin.isatty() and sys.stdout.isatty()
    try:
        with _ended_by_signals():
            if not attended:
                return play(say)
            if problem := display_problem():
                say(f"{problem} TrayProxy does without a tray icon, and asks in this terminal.")
            return show(say, not problem)
    except KeyboardInterrupt:
        return ExitCode.DONE if attended else ExitCode.INTERRUPTED


def play(say: Say) -> int:
    """Play the main job by itself, step by step.

    Args:
        say: Shows a line.

    Returns:
        0, or 1 if a step failed.
    """
    log: list[ProxyLogEntry] = []
    say("TrayProxy plays its main job by itself, in a temporary folder, on loopback.")
    try:
        with (
            temporary_home() as made,
            ThreadPoolExecutor(max_workers=2) as programs,
            company_network(log.append) as network,
            service(made, terminal=False) as running,
            made.attach(asks=True) as client,
        ):
            for sentence in DemoScript(network, log, made, running, client, programs).play():
                say(f"  ok      {sentence}.")
    except (OSError, StepError, SurroundingsError, *CONTROL_ERRORS) as error:
        say(f"  FAILED  {error}")
        return ExitCode.FAILED
    say("All steps came out as promised.")
    return ExitCode.DONE


def show(say: Say, display: bool) -> int:
    """Let the person do the main job; ends with *Quit* or Ctrl+C.

    Args:
        say: Shows a line.
        display: Show the tray; else the service asks in this terminal.

    Returns:
        0, or 1 if something did not start or ended unexpectedly.
    """
    happenings: SimpleQueue[Happening] = SimpleQueue()
    try:
        with (
            temporary_home() as made,
            company_network(happenings.put) as network,
            service(made, terminal=not display) as running,
            tray(made) if display else contextlib.nullcontext(),
            made.attach(asks=False) as client,
        ):
            # This face says that it can ask, and leaves. Until the tray is there, requests wait for
            # its return, as they do while a tray restarts; without any face they would be refused.
            with made.attach(asks=True) as first:
                set_up(first, network)
            for line in opening(network, running.url, has_tray=display):
                say(line)
            # The terminal tells of its questions itself.
            follow(client, happenings, tell_all if display else tell_requests, say)
    except (OSError, SurroundingsError, *CONTROL_ERRORS) as error:
        say(f"The demonstration ends: {error}")
        return ExitCode.FAILED
    say("TrayProxy has ended, and so does the demonstration.")
    return ExitCode.DONE


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Let a signal that ends a program unwind it first, so that nothing is left running."""

    def leave(number: int, _: FrameType | None) -> None:
        raise SystemExit(128 + number)

    names = (name for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
    before = {
        number: signal.signal(number, leave) for number in (getattr(signal, n) for n in names)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
