"""The interactive demonstration: print instructions, and report events."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import Thread

from trayproxy.control.client import Client
from trayproxy.control.messages import Event, PromptChanged, PromptClosed, Quitting, Subscribe
from trayproxy.control.transport import ControlError
from trayproxy.demo.company_network import LAB, OFFICE, URL, CompanyNetwork
from trayproxy.demo.surroundings import SurroundingsError
from trayproxy.demo.upstream import ProxyDecision, ProxyLogEntry
from trayproxy.desktop.system_proxy.private_store import HAS_PRIVATE_STORE
from trayproxy.domain.problem import single_line
from trayproxy.domain.signin import Ending, PromptReason

PrintLine = Callable[[str], None]
"""Prints a line for the user."""

_REQUEST_LENGTH = 100
_DECISION_TEXTS = {
    ProxyDecision.CHALLENGED: "407, wants a sign-in",
    ProxyDecision.REJECTED: "407, wrong password",
    ProxyDecision.PASSED: "passed",
}
_POLL_INTERVAL_S = 1.0
"""The longest wait for an event, in seconds: on Windows, Ctrl+C does not interrupt a wait without a
timeout."""


@dataclass(frozen=True, slots=True)
class ServiceEnded:
    """The connection to the service closed without `Quitting`."""


DemoEvent = ProxyLogEntry | Event | ServiceEnded

DescribeEvent = Callable[[DemoEvent], str]
"""Returns a line that describes an event, empty if the event is not reported."""


def introduction(network: CompanyNetwork, proxy_url: str, *, has_tray: bool) -> Iterator[str]:
    """Yield the lines of the instructions; without a tray, this terminal shows the prompts.

    `proxy_url` is the URL of TrayProxy as a program's proxy.
    """
    where = "its icon is in your tray" if has_tray else "it asks in this terminal"
    yield "A demonstration of TrayProxy. Everything runs on this computer, in a temporary folder;"
    yield "your settings and your keyring are not touched."
    yield ""
    yield f"  The company proxy “{OFFICE}”     {network.url}"
    yield f"      user name                {network.login.user}"
    yield f"      password                 {network.login.password}"
    yield f"  A web site behind it         {URL}"
    yield f"  TrayProxy                    {proxy_url}, {where}"
    yield ""
    yield "Use it from another terminal:"
    yield ""
    yield f"  {command(proxy_url, shutil.which('curl'))}"
    yield ""
    yield (
        "TrayProxy asks for the sign-in; then the page arrives. Repeat it: there is no question."
    )
    if has_tray:
        yield f"Then choose the profile “{LAB}” in the tray menu: its proxy wants no sign-in."
        yield f"“Use as system proxy” changes {_system_proxy_of(HAS_PRIVATE_STORE)}."
    yield "Ctrl+C ends the demonstration."
    yield ""


def _system_proxy_of(has_private_store: bool) -> str:
    if has_private_store:
        return "only a settings file in the temporary folder"
    return "your own settings until you turn it off or the demonstration ends"


def command(proxy_url: str, curl: str | None) -> str:
    """Return a command line that fetches the page through TrayProxy, with curl if installed."""
    if curl:
        return f"curl -x {proxy_url} {URL}"
    script = f"from urllib.request import urlopen; print(urlopen('{URL}').read().decode())"
    return f'http_proxy={proxy_url} python3 -c "{script}"'


def follow(
    client: Client, events: "SimpleQueue[DemoEvent]", describe: DescribeEvent, print_line: PrintLine
) -> None:
    """Print the events in a queue and those of the service until TrayProxy quits.

    Raises:
        SurroundingsError: The service ended unexpectedly.
    """
    client.request(Subscribe())
    Thread(target=_listen, args=(client, events), daemon=True).start()
    seen: set[tuple[int, PromptReason]] = set()
    while True:
        event = _next(events)
        if isinstance(event, Quitting):
            return
        if isinstance(event, ServiceEnded):
            raise SurroundingsError("TrayProxy has ended unexpectedly")
        if isinstance(event, PromptChanged):
            # A prompt also changes with each waiting request; report it once for each reason.
            key = (event.prompt.number, event.prompt.reason)
            if key in seen:
                continue
            seen.add(key)
        if line := describe(event):
            print_line(f"  {line}")


def describe_proxy_entry(event: DemoEvent) -> str:
    """Return the line for a proxy's log entry, empty for any other event."""
    if not isinstance(event, ProxyLogEntry):
        return ""
    decision = _DECISION_TEXTS[event.decision]
    return f"{event.proxy}: {decision:<24} {single_line(event.request[:_REQUEST_LENGTH])}"


def describe_event(event: DemoEvent) -> str:
    """Return the line for an event, empty if the event is not reported."""
    match event:
        case PromptChanged(question) if question.reason is PromptReason.TYPED_REJECTED:
            return "TrayProxy: asks again, the proxy did not accept this password"
        case PromptChanged(question):
            return f"TrayProxy: asks you to sign in to “{question.profile}”"
        case PromptClosed(ending=Ending.ACCEPTED):
            return "TrayProxy: signed in"
        case PromptClosed():
            return "TrayProxy: the question is closed"
        case _:
            return describe_proxy_entry(event)


def _listen(client: Client, events: "SimpleQueue[DemoEvent]") -> None:
    try:
        for event in client.events():
            events.put(event)
    except (OSError, ControlError):
        events.put(ServiceEnded())


def _next(events: "SimpleQueue[DemoEvent]") -> DemoEvent:
    while True:
        try:
            return events.get(timeout=_POLL_INTERVAL_S)
        except Empty:
            continue
