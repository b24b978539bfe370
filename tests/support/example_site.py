"""A web server that stands for ``http://example.com/`` behind the proxies of the tests.

TrayProxy asks a proxy for that page when it has to find out by itself whether a login is right
(`trayproxy.service.own_requests.trial`), and only a page that loads proves it. The proxies of the
tests reach nothing outside this computer, so they are told to fetch the page from here.
"""

import socket

from tests.support.server import Server

NAME = "example.com"
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
_HEAD_MOST = 65536


class ExampleSite(Server):
    """Answers each request with an empty page, and closes."""

    def __init__(self) -> None:
        super().__init__(_serve)


def _serve(connection: socket.socket) -> None:
    head = b""
    while b"\r\n\r\n" not in head and len(head) < _HEAD_MOST:
        octets = connection.recv(_HEAD_MOST)
        if not octets:
            return
        head += octets
    connection.sendall(_ANSWER)


def squid_rules(port: int) -> str:
    """Return the lines with which a Squid fetches the page from here.

    To be put behind the line that demands a sign-in.

    Args:
        port: Of the `ExampleSite`.
    """
    return (
        f"cache_peer 127.0.0.1 parent {port} 0 originserver no-query no-digest name=world\n"
        f"acl world dstdomain -n {NAME}\n"
        "cache_peer_access world allow world\n"
        "cache_peer_access world deny all\n"
        "never_direct allow world\n"
        "http_access allow world"
    )
