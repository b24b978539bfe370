"""TrayProxy's own requests, by which it finds out what a next hop wants."""

from trayproxy.http.request import Request, parse_request
from trayproxy.http.target import Authority


def head_for(target: Authority) -> Request:
    """Return an own request that changes nothing at the target (RFC 9110, section 9.2.1).

    Raises:
        MessageError: The target is none.
    """
    head = (
        f"HEAD http://{target}/ HTTP/1.1\r\nHost: {target}\r\n"
        "User-Agent: TrayProxy\r\nContent-Length: 0\r\n\r\n"
    )
    return parse_request(head.encode("ascii"))
