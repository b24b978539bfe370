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

Say = Callable[[str], None]
"""Shows a line to the person."""

_INTERRUPTIBLE_S = 1.0
"""On Windows a wait without an end is deaf to Ctrl+C."""


@dataclass(frozen=True, slots=True)
class ServiceEnded:
    """The service has ended without a word."""


Happening = ProxyLogEntry | Event | ServiceEnded

Tell = Callable[[Happening], str]
"""Returns what happened as a line, empty if it is no news."""


def opening(network: CompanyNetwork, proxy_url: str, *, has_tray: bool) -> Iterator[str]:
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


def follow(client: Client, happenings: "SimpleQueue[Happening]", tell: Tell, say: Say) -> None:
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
    Thread(target=_listen, args=(client, happenings), daemon=True).start()
    told: set[tuple[int, PromptReason]] = set()
    while True:
        happening = _next(happenings)
        if isinstance(happening, Quitting):
            return
        if isinstance(happening, ServiceEnded):
            raise SurroundingsError("TrayProxy has ended unexpectedly")
        if isinstance(happening, PromptChanged):
            # A question changes with everyone who waits; only its reasons are news.
            fact = (happening.prompt.number, happening.prompt.reason)
            if fact in told:
                continue
            told.add(fact)
        if line := tell(happening):
            say(f"  {line}")


def tell_requests(happening: Happening) -> str:
    """Return what the proxies have seen as a line, empty for anything else."""
    match happening:
        case ProxyLogEntry(proxy, ProxyDecision.ASKED, request):
            return f"{proxy}: 407, wants a sign-in     {_plain(request)}"
        case ProxyLogEntry(proxy, ProxyDecision.REJECTED, request):
            return f"{proxy}: 407, wrong password      {_plain(request)}"
        case ProxyLogEntry(proxy, ProxyDecision.PASSED, request):
            return f"{proxy}: passed                   {_plain(request)}"
        case _:
            return ""


def tell_all(happening: Happening) -> str:
    """Return what happened as a line, empty if it is no news."""
    match happening:
        case PromptChanged(question) if question.reason is PromptReason.TYPED_REJECTED:
            return "TrayProxy: asks again, the proxy did not accept this password"
        case PromptChanged(question):
            return f"TrayProxy: asks you to sign in to “{question.profile}”"
        case PromptClosed(ending=Ending.ACCEPTED):
            return "TrayProxy: signed in"
        case PromptClosed():
            return "TrayProxy: the question is closed"
        case _:
            return tell_requests(happening)


def _plain(untrusted: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in untrusted[:100])


def _listen(client: Client, happenings: "SimpleQueue[Happening]") -> None:
    try:
        for event in client.events():
            happenings.put(event)
    except (OSError, *CONTROL_ERRORS):
        happenings.put(ServiceEnded())


def _next(happenings: "SimpleQueue[Happening]") -> Happening:
    while True:
        try:
            return happenings.get(timeout=_INTERRUPTIBLE_S)
        except Empty:
            continue
