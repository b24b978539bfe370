"""``trayproxy demo``: start the parts of the demonstration, and remove everything at the end."""

import contextlib
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from types import FrameType

from trayproxy.control.transport import ControlError
from trayproxy.demo import guide
from trayproxy.demo.company_network import company_network
from trayproxy.demo.guide import DemoEvent, PrintLine
from trayproxy.demo.script import DemoScript, StepError
from trayproxy.demo.surroundings import (
    SurroundingsError,
    save_profiles,
    service,
    temporary_home,
    tray,
)
from trayproxy.demo.system_settings import OwnSettings, changed_stores, own_settings, unchanged_text
from trayproxy.demo.upstream import ProxyLogEntry
from trayproxy.desktop.display import display_problem
from trayproxy.domain.problem import ExitCode


def main(print_line: PrintLine) -> int:
    """Run the demonstration, at a terminal with instructions, otherwise automatically.

    Returns:
        0; 1 if a step failed; 130 after Ctrl+C during the automatic run.
    """
    is_interactive = sys.stdin.isatty() and sys.stdout.isatty()
    try:
        with _exit_on_signals():
            if not is_interactive:
                return play(print_line)
            if problem := display_problem():
                print_line(
                    f"{problem} TrayProxy runs without a tray icon, and asks in this terminal."
                )
            return show(print_line, not problem)
    except KeyboardInterrupt:
        return ExitCode.DONE if is_interactive else ExitCode.INTERRUPTED


def play(print_line: PrintLine) -> int:
    """Run the use case automatically, step by step; return 0, or 1 if a step failed."""
    log: list[ProxyLogEntry] = []
    own = own_settings()
    print_line(
        "TrayProxy performs its main task automatically, in a temporary folder, on loopback."
    )
    try:
        with (
            temporary_home() as home,
            ThreadPoolExecutor(max_workers=2) as programs,
            company_network(log.append) as network,
            service(home, terminal=False) as running,
            home.attach(can_prompt=True) as client,
        ):
            script = DemoScript(network, log, home, running, client, programs, own)
            for sentence in script.play():
                print_line(f"  ok      {sentence}.")
    except (OSError, StepError, SurroundingsError, ControlError) as error:
        print_line(f"  FAILED  {error}")
        return ExitCode.FAILED
    print_line("All steps had the expected results.")
    return ExitCode.DONE


def show(print_line: PrintLine, display: bool) -> int:
    """Run the interactive demonstration, until *Quit* or Ctrl+C.

    Without a display, prompts are shown in this terminal instead of the tray.

    Returns:
        0, or 1 if a part did not start or ended unexpectedly.
    """
    events: SimpleQueue[DemoEvent] = SimpleQueue()
    own = own_settings()
    try:
        with (
            temporary_home() as home,
            company_network(events.put) as network,
            service(home, terminal=not display) as running,
            tray(home) if display else contextlib.nullcontext(),
            home.attach(can_prompt=False) as client,
        ):
            # This front end announces that it can show prompts, and disconnects. Requests then wait
            # until the tray connects, as during a restart of the tray; without any front end they
            # would be refused.
            with home.attach(can_prompt=True) as prompting:
                save_profiles(prompting, network)
            for line in guide.introduction(network, running.url, has_tray=display):
                print_line(line)
            # The terminal shows its prompts itself.
            describe = guide.describe_event if display else guide.describe_proxy_entry
            guide.follow(client, events, describe, print_line)
    except (OSError, SurroundingsError, ControlError) as error:
        print_line(f"The demonstration ends: {error}")
        return ExitCode.FAILED
    print_line("TrayProxy has ended, and so does the demonstration.")
    print_line(_own_settings_text(own))
    return ExitCode.DONE


def _own_settings_text(before: OwnSettings) -> str:
    """Read the user's system proxy again; return a sentence about it."""
    changed = changed_stores(before, own_settings())
    if changed:
        return f"Your own system proxy has changed meanwhile: {changed}."
    return f"{unchanged_text(before)}."


@contextlib.contextmanager
def _exit_on_signals() -> Iterator[None]:
    """Turn SIGTERM and SIGHUP into SystemExit, so that all context managers clean up."""

    def exit_by_signal(number: int, _: FrameType | None) -> None:
        raise SystemExit(128 + number)

    numbers = [getattr(signal, n) for n in ("SIGTERM", "SIGHUP") if hasattr(signal, n)]
    previous = {number: signal.signal(number, exit_by_signal) for number in numbers}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
