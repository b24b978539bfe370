"""The company network of the demonstration, on its own thread: a web site behind two proxies.

The proxy “Office” requires a sign-in, “Lab” does not. Only the proxies resolve the site's invented
name, so a page that arrives has passed through a proxy.
"""

import asyncio
import contextlib
import secrets
import string
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from threading import Thread

from trayproxy.auth.login import Login
from trayproxy.demo.origin import serve_page
from trayproxy.demo.upstream import DemoProxy, ProxyLogEntry
from trayproxy.demo.wire import LOOPBACK, listening

SITE = ("www.demo.example", 80)
"""The web site's host and port; the ``example`` domain is reserved (RFC 2606, section 3)."""

URL = f"http://{SITE[0]}/"

OFFICE = "Office"
LAB = "Lab"

_USER = "demo"
_PASSWORD_LENGTH = 8


@dataclass(frozen=True, slots=True)
class Ports:
    """The ports of the proxies on `LOOPBACK`."""

    office: int
    lab: int


@dataclass(frozen=True, slots=True)
class CompanyNetwork:
    """The running network, with the login that the proxy “Office” accepts."""

    login: Login
    ports: Ports

    @property
    def url(self) -> str:
        """The URL of the proxy “Office”."""
        return f"http://{LOOPBACK}:{self.ports.office}"


def new_login() -> Login:
    """Return a new login with a random password that is easy to type."""
    letters = (secrets.choice(string.ascii_lowercase) for _ in range(_PASSWORD_LENGTH))
    return Login(_USER, "".join(letters))


@contextlib.contextmanager
def company_network(log: Callable[[ProxyLogEntry], None]) -> Iterator[CompanyNetwork]:
    """Run the network until the block ends; its thread logs every request to a proxy."""
    login = new_login()
    started: Future[tuple[Ports, Callable[[], object]]] = Future()
    thread = Thread(target=asyncio.run, args=(_serve(login, log, started),), name="office")
    thread.start()
    ports, stop = started.result()
    try:
        yield CompanyNetwork(login, ports)
    finally:
        stop()
        thread.join()


async def _serve(
    login: Login,
    log: Callable[[ProxyLogEntry], None],
    started: Future[tuple[Ports, Callable[[], object]]],
) -> None:
    loop = asyncio.get_running_loop()
    ending = asyncio.Event()
    async with contextlib.AsyncExitStack() as running:
        try:
            hosts = {SITE: await running.enter_async_context(listening(serve_page))}
            proxies = [DemoProxy(OFFICE, login, hosts, log), DemoProxy(LAB, None, hosts, log)]
            ports = [await running.enter_async_context(listening(p.serve)) for p in proxies]
        except OSError as error:
            started.set_exception(error)
            return
        started.set_result((Ports(*ports), partial(loop.call_soon_threadsafe, ending.set)))
        await ending.wait()
