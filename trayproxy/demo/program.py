"""A program without support for proxy authentication: it fetches the page through a proxy.

Without an HTTP response, the functions raise OSError, or `http.client.HTTPException`.
"""

import http.client
from dataclasses import dataclass

from trayproxy.demo.company_network import SITE, URL
from trayproxy.demo.wire import LOOPBACK

_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class FetchedPage:
    """The response to the program's request."""

    status: int
    text: str


def fetch(proxy_port: int) -> FetchedPage:
    """Fetch the page with a request in absolute form (RFC 9112, section 3.2.2)."""
    connection = http.client.HTTPConnection(LOOPBACK, proxy_port, _TIMEOUT_S)
    return _get(connection, URL)


def fetch_through_tunnel(proxy_port: int) -> FetchedPage:
    """Fetch the page through a tunnel (CONNECT), as for https.

    If the tunnel is refused, the text of the OSError contains the status.
    """
    connection = http.client.HTTPConnection(LOOPBACK, proxy_port, _TIMEOUT_S)
    connection.set_tunnel(*SITE)
    return _get(connection, "/")


def _get(connection: http.client.HTTPConnection, target: str) -> FetchedPage:
    try:
        connection.request("GET", target)
        response = connection.getresponse()
        return FetchedPage(response.status, response.read().decode(errors="replace"))
    finally:
        connection.close()
