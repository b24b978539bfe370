"""The main job, done by the person: what to type, and what happens meanwhile."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import Thread

from trayproxy.control.client import Client
from trayproxy.control.messages import (
    Ending,
    Event,
    PromptChanged,
    PromptClosed,
    PromptReason,
    Quitting,
    Subscribe,
)
from trayproxy.demo.company_network import LAB, OFFICE, URL, CompanyNetwork
from trayproxy.demo.surroundings import CONTROL_ERRORS, SurroundingsError
from trayproxy.demo.upstream import ProxyDecision, ProxyLogEntry

PrintLine = Callable[[str], None]
"""Shows a line to the person."""

_POLL_INTERVAL_S = 1.0
"""On Windows a wait without an end is deaf to Ctrl+C."""


@dataclass(frozen=True, slots=True)
class ServiceEnded:
    """The service has ended without a word."""


DemoEvent = ProxyLogEntry | Event | ServiceEnded

DescribeEvent = Callable[[DemoEvent], str]
"""Returns what happened as a line, empty if it is no news."""


def introduction(network: CompanyNetwork, proxy_url: str, *, has_tray: bool) -> Iterator[str]:
    """Yield the lines that say what runs and what to try.

    Args:
        network: The company's network.
        proxy_url: TrayProxy, as a program's proxy.
        has_tray: Whether questions come as a dialog; else in this terminal.
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
    yield "TrayProxy asks for the sign-in; after it, the page arrives. Do it again: nobody asks."
    if has_tray:
        yield f"Then choose the profile “{LAB}” in the tray menu: its proxy wants no sign-in."
    yield "Ctrl+C ends the demonstration."
    yield ""


def command(proxy_url: str, curl: str | None) -> str:
    """Return a command line that fetches the page through TrayProxy with what is installed.

    Args:
        proxy_url: TrayProxy, as a program's proxy.
        curl: Where curl is, None if it is not installed.
    """
    if curl:
        return f"curl -x {proxy_url} {URL}"
    script = f"from urllib.request import urlopen; print(urlopen('{URL}').read().decode())"
    return f'http_proxy={proxy_url} python3 -c "{script}"'


def follow(
    client: Client, events: "SimpleQueue[DemoEvent]", describe: DescribeEvent, print_line: PrintLine
) -> None:
    """Tell what happens until TrayProxy is told to quit.

    Args:
        client: A face of the service.
        happenings: Where the proxies put their log; the service's events join them.
        tell: Puts it into words.
        say: Shows a line.

    Raises:
        StageError: The service ended without being told to.
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
            # A question changes with everyone who waits; only its reasons are news.
            key = (event.prompt.number, event.prompt.reason)
            if key in seen:
                continue
            seen.add(key)
        if line := describe(event):
            print_line(f"  {line}")


def describe_proxy_entry(event: DemoEvent) -> str:
    """Return what the proxies have seen as a line, empty for anything else."""
    match event:
        case ProxyLogEntry(proxy, ProxyDecision.CHALLENGED, request):
            return f"{proxy}: 407, wants a sign-in     {_printable(request)}"
        case ProxyLogEntry(proxy, ProxyDecision.REJECTED, request):
            return f"{proxy}: 407, wrong password      {_printable(request)}"
        case ProxyLogEntry(proxy, ProxyDecision.PASSED, request):
            return f"{proxy}: passed                   {_printable(request)}"
        case _:
            return ""


def describe_event(event: DemoEvent) -> str:
    """Return what happened as a line, empty if it is no news."""
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


def _printable(untrusted: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in untrusted[:100])


def _listen(client: Client, events: "SimpleQueue[DemoEvent]") -> None:
    try:
        for event in client.events():
            events.put(event)
    except (OSError, *CONTROL_ERRORS):
        events.put(ServiceEnded())


def _next(events: "SimpleQueue[DemoEvent]") -> DemoEvent:
    while True:
        try:
            return events.get(timeout=_POLL_INTERVAL_S)
        except Empty:
            continue
