"""Parsing of request heads, and serialization of the heads sent to the upstream.

Some fields are not forwarded as received (RFC 9110, section 7.6): Host, framing, Via, Max-Forwards,
Expect and Upgrade are written by TrayProxy, and hop-by-hop fields are removed. TE is removed too:
TrayProxy requests no transfer coding except chunked, and forwards trailers in any case (section
10.1.4).
"""

import re
from dataclasses import dataclass

from trayproxy.http.errors import MessageError
from trayproxy.http.fields import Fields, field_line, is_field_value, parse_fields, write_fields
from trayproxy.http.framing import Framing, Length, NoBody, framing_line, request_framing
from trayproxy.http.heads import REQUEST_LINE, split_head
from trayproxy.http.hop_by_hop import connection_options, end_to_end, upgrade_protocols, via_line
from trayproxy.http.target import (
    HTTP,
    Form,
    Target,
    absolute_form,
    host_field,
    is_host_field,
    is_host_of,
    parse_target,
    raw_authority,
)

_HOPS = re.compile(rb"[0-9]{1,9}")
_REPLACED_FIELDS = frozenset({b"host", b"expect"})
_MAX_FORWARDS = frozenset({b"max-forwards"})
_KEEP_ALIVE_LINE = b"Proxy-Connection: keep-alive\r\n"


@dataclass(frozen=True, slots=True)
class Request:
    """The head of a request, parsed and checked.

    Attributes:
        method: The method as received; methods are case-sensitive.
        target: The request-target.
        minor: The minor version received.
        fields: The fields as received, including hop-by-hop fields.
        framing: The framing of the content; never `UntilClose`.
        keep_alive: True if another request may follow on the client's connection. Always False for
            HTTP/1.0: a proxy cannot rely on keep-alive there (RFC 9112, section 9.3).
        expects_continue: True if the client waits for a 100 before sending the content.
        upgrade: The protocols of Upgrade.
        max_forwards: The number of further proxies that may forward an OPTIONS or TRACE; None:
            unlimited.
    """

    method: bytes
    target: Target
    minor: int
    fields: Fields
    framing: Framing
    keep_alive: bool
    expects_continue: bool = False
    upgrade: tuple[bytes, ...] = ()
    max_forwards: int | None = None

    @property
    def has_max_forwards_zero(self) -> bool:
        """True if the request must be answered here, not forwarded (RFC 9110, section 7.6.2)."""
        return self.max_forwards == 0

    @property
    def can_be_sent_directly(self) -> bool:
        """True if the target can be reached without an upstream: CONNECT, or an http URL."""
        return self.target.scheme == HTTP


def parse_request(head: bytes) -> Request:
    """Parse the head of a request, delimited by `heads.find_head`.

    Raises:
        MessageError: 400 malformed, ambiguous or not for a proxy; 414, 431 too long; 417 an unknown
            expectation; 501 an unknown transfer coding; 505 another major version.
    """
    first, *lines = split_head(head)
    method, raw_target, minor = _parse_request_line(first)
    target = parse_target(method, raw_target)
    fields = parse_fields(lines)
    _check_host(fields, minor, target)
    framing = request_framing(method, minor, fields)
    is_connect = method == b"CONNECT"
    return Request(
        method,
        target,
        minor,
        fields,
        framing,
        keep_alive=minor > 0 and b"close" not in connection_options(fields),
        expects_continue=_expects_continue(fields, minor, framing),
        upgrade=() if is_connect else upgrade_protocols(fields, minor),
        max_forwards=_max_forwards(method, fields),
    )


def request_target(request: Request, *, direct: bool = False) -> bytes:
    """Return the request-target sent by `write_request`, which Digest includes in its hash.

    Raises:
        ValueError: The request cannot be forwarded.
    """
    target = request.target
    if target.form is Form.AUTHORITY and target.authority and not direct:
        return raw_authority(target.authority)
    if target.form is not Form.ABSOLUTE:
        raise ValueError("only absolute-form and CONNECT to a proxy are forwarded")
    if direct and not request.can_be_sent_directly:
        raise ValueError("only a proxy can fetch a URL of another scheme than http")
    # OPTIONS without a path is about the entire server, and the last proxy sends an asterisk (RFC
    # 9112, section 3.2.4). For other methods, an empty path is the same as "/".
    if request.method == b"OPTIONS" and not target.path:
        return b"*" if direct else absolute_form(target, b"")
    is_whole = target.path.startswith(b"/") or target.scheme not in (HTTP, b"https")
    path = target.path if is_whole else b"/" + target.path
    return path if direct else absolute_form(target, path)


def write_request(
    request: Request,
    *,
    via: bytes,
    credentials: bytes | None,
    direct: bool = False,
    request_keep_alive: bool = False,
) -> bytes:
    """Return the head sent to the upstream.

    Args:
        request: The request of the client. Its content must follow with the framing
            `Request.framing`.
        via: The pseudonym of this proxy in Via, a token.
        credentials: The value of Proxy-Authorization. Omitted for TRACE, which may be reflected
            (RFC 9110, section 9.3.8), and for requests sent to the origin itself.
        direct: True if the request is sent to the origin itself, in origin-form.
        request_keep_alive: True to ask the proxy to keep the connection open, which HTTP/1.0
            proxies do only on request. They know the older name of the field (RFC 9112, appendix
            C.2.2).

    Raises:
        ValueError: The request cannot be forwarded, or the credentials are not a valid field value.
    """
    if request.has_max_forwards_zero:
        raise ValueError("Max-Forwards is used up")
    line = b"%b %b HTTP/1.1\r\n" % (request.method, request_target(request, direct=direct))
    is_counted = request.max_forwards is not None
    replaced = _REPLACED_FIELDS | _MAX_FORWARDS if is_counted else _REPLACED_FIELDS
    return b"".join(
        (
            line,
            field_line(b"Host", host_field(request.target)),
            write_fields(end_to_end(request.fields, replaced)),
            write_fields(_added_lines(request, via)),
            _KEEP_ALIVE_LINE if request_keep_alive and not direct else b"",
            b"" if direct else _credentials_line(request, credentials),
            b"\r\n",
        )
    )


def _parse_request_line(line: bytes) -> tuple[bytes, bytes, int]:
    match = REQUEST_LINE.fullmatch(line)
    if match is None:
        raise MessageError(400, "the request line is malformed")
    method, target, major, minor = match.groups()
    if major != b"1":
        raise MessageError(505, "the HTTP version is not 1.0 or 1.1")
    # A higher minor version is processed as 1.1 (RFC 9110, section 2.5).
    return method, target, int(minor)


def _check_host(fields: Fields, minor: int, target: Target) -> None:
    """Check Host, although its value is not used (RFC 9112, section 3.2)."""
    hosts = fields.get_all(b"host")
    if len(hosts) > 1:
        raise MessageError(400, "the message has several Host lines")
    if not hosts and minor > 0:
        raise MessageError(400, "the message has no Host")
    if hosts and not (is_host_field(hosts[0]) or is_host_of(hosts[0], target)):
        raise MessageError(400, "Host is invalid")


def _expects_continue(fields: Fields, minor: int, framing: Framing) -> bool:
    """Parse Expect (RFC 9110, section 10.1.1), which requires HTTP/1.1 and content."""
    expectations = fields.tokens(b"expect")
    if minor < 1 or not expectations:
        return False
    if set(expectations) != {b"100-continue"}:
        raise MessageError(417, "the expectation is unknown")
    return framing not in (NoBody(), Length(0))


def _max_forwards(method: bytes, fields: Fields) -> int | None:
    """Parse Max-Forwards, which applies only to OPTIONS and TRACE (RFC 9110, section 7.6.2)."""
    values = fields.get_all(b"max-forwards")
    if method not in (b"OPTIONS", b"TRACE") or not values:
        return None
    if len(values) > 1 or _HOPS.fullmatch(values[0]) is None:
        raise MessageError(400, "Max-Forwards is invalid")
    return int(values[0])


def _added_lines(request: Request, via: bytes) -> list[tuple[bytes, bytes]]:
    lines = [via_line(request.minor, via), *framing_line(request.framing)]
    if request.max_forwards is not None:
        lines.append((b"Max-Forwards", b"%d" % (request.max_forwards - 1)))
    if request.expects_continue:
        lines.append((b"Expect", b"100-continue"))
    if request.upgrade:
        lines += [(b"Connection", b"upgrade"), (b"Upgrade", b", ".join(request.upgrade))]
    return lines


def _credentials_line(request: Request, credentials: bytes | None) -> bytes:
    if credentials is None or request.method == b"TRACE":
        return b""
    if not credentials or not is_field_value(credentials):
        raise ValueError("the credentials cannot be sent as a field value")
    return field_line(b"Proxy-Authorization", credentials)
