"""A web server in place of ``http://example.com/`` for the proxies of the tests.

TrayProxy requests that page through a proxy to verify a login by itself
(`trayproxy.service.own_requests.trial`); only a response of the site proves the login. The proxies
of the tests reach no other computer, so they are configured to fetch the page from this server.
"""

import socket

from tests.support.exchange import Exchange, Reader
from tests.support.server import LoopbackServer

NAME = "example.com"


class ExampleSite(LoopbackServer):
    """Answers each request with an empty page and closes the connection."""

    def __init__(self) -> None:
        super().__init__(_serve)


def _serve(connection: socket.socket) -> None:
    with Reader(connection) as reader:
        if head := reader.head():
            Exchange(connection, head, reader).respond(200, fields=[("Connection", "close")])


def squid_rules(port: int) -> str:
    """Return the configuration lines with which a Squid fetches the page from an `ExampleSite`.

    The lines belong after the line that requires a sign-in.
    """
    return (
        f"cache_peer 127.0.0.1 parent {port} 0 originserver no-query no-digest name=example_site\n"
        f"acl example_site dstdomain -n {NAME}\n"
        "cache_peer_access example_site allow example_site\n"
        "cache_peer_access example_site deny all\n"
        "never_direct allow example_site\n"
        "http_access allow example_site"
    )
