"""Request-targets (RFC 9112, section 3.2) and authorities (RFC 3986, section 3.2).

The parser is stricter than the grammar where lenient parsing has enabled attacks and no legitimate
client needs it: host names consist of letters, digits and ``-._~``, without percent-escapes;
addresses in brackets are IPv6 addresses without a zone; user information is refused in http and
https (RFC 9110, section 4.2.4). Path and query are never changed. They may contain any visible
ASCII character except ``#``, and any octet above ASCII: browsers send ``|`` and ``{`` unescaped,
and other programs send UTF-8 and Latin-1.

Absolute-form may have any scheme with an authority (RFC 9112, section 3.2.2): proxies fetch
``ftp://`` and ``https://`` URLs for their clients. The scheme is forwarded unchanged: an https
request never becomes an http request.
"""

import enum
import re
from dataclasses import dataclass, field
from ipaddress import AddressValueError, IPv6Address

from trayproxy.http.errors import MessageError

HTTP = b"http"
"""The scheme implemented by TrayProxy itself."""

_DEFAULT_PORTS = {b"http": 80, b"https": 443, b"ws": 80, b"wss": 443, b"ftp": 21, b"gopher": 70}
"""The default port of each scheme (RFC 9110, section 4.2; RFC 6455, section 3; RFC 1738, sections
3.2 and 3.4)."""
_UNKNOWN_PORT = 0
# RFC 9110, section 4.2.4; RFC 6455, section 3 adopts the authority of http.
_WITHOUT_USER = frozenset({b"http", b"https", b"ws", b"wss"})
_MAX_HOST_LENGTH = 255
_MAX_PORT = 65_535

_SCHEME = re.compile(rb"([A-Za-z][0-9A-Za-z+.-]{0,31})://")
# RFC 3986, section 3.2.1. Some parsers treat a backslash as a slash, which ends the authority.
_USER = re.compile(rb"(?:[0-9A-Za-z._~!$&'()*+,;=:-]|%[0-9A-Fa-f]{2})*@")
_AUTHORITY_END = re.compile(rb"[/?#]|\Z")
_HOST_AND_PORT = re.compile(rb"(?:\[([0-9A-Fa-f:.]+)\]|([0-9A-Za-z._~-]*))(?::([0-9]{0,5}))?")


class Form(enum.Enum):
    """The four forms of a request-target (RFC 9112, section 3.2)."""

    ORIGIN = "origin-form"
    ABSOLUTE = "absolute-form"
    AUTHORITY = "authority-form"
    ASTERISK = "asterisk-form"


@dataclass(frozen=True, slots=True)
class Authority:
    """The host and port of a connection.

    Attributes:
        host: A name in lower case, otherwise as received; an IPv6 address without its brackets.
        port: 1 to 65535; 0 if no port was given and the scheme has no known default port.
    """

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}" if self.port != _UNKNOWN_PORT else host


@dataclass(frozen=True, slots=True)
class Target:
    """A request-target. `repr` hides path and query, which may contain secrets.

    Attributes:
        form: The form as received.
        authority: The authority; None in origin-form and asterisk-form.
        path: Path and query as received; empty if there is neither.
        raw: The entire request-target as received.
        scheme: The scheme of absolute-form, in lower case.
        user: The user information of absolute-form as received, with its ``@``; usually empty.
    """

    form: Form
    authority: Authority | None
    path: bytes = field(default=b"", repr=False)
    raw: bytes = field(default=b"", repr=False)
    scheme: bytes = HTTP
    user: bytes = field(default=b"", repr=False)


def parse_target(method: bytes, raw: bytes) -> Target:
    """Parse a request-target.

    Args:
        method: The method. CONNECT has its own form, and only OPTIONS may have an asterisk.
        raw: Visible ASCII and octets above it, as matched by `heads.REQUEST_LINE`.

    Raises:
        MessageError: 400 the form is not valid for a proxy, or the authority is invalid (RFC 9110,
            sections 4.2.1 and 9.3.6).
    """
    if method == b"CONNECT":
        return Target(Form.AUTHORITY, _connect_authority(raw), raw=raw)
    if b"#" in raw:
        raise MessageError(400, "the request-target has a fragment")
    if raw.startswith(b"/"):
        return Target(Form.ORIGIN, None, raw, raw)
    if raw == b"*" and method == b"OPTIONS":
        return Target(Form.ASTERISK, None, raw=raw)
    scheme = _SCHEME.match(raw)
    if scheme is None:
        raise MessageError(400, "the request-target is not a URL with a host")
    return _absolute(raw, scheme[1].lower(), scheme.end())


def is_host_field(value: bytes) -> bool:
    """Return whether a value of Host is a host, possibly empty, and an optional port (RFC 9110,
    section 7.2)."""
    try:
        _split_authority(value)
    except MessageError:
        return False
    return True


def is_host_of(value: bytes, target: Target) -> bool:
    """Return whether this value of Host repeats the target's authority with its user information.

    Programs may copy the user information of an FTP URL to Host.
    """
    return bool(target.user) and target.raw.partition(b"://")[2] == value + target.path


def host_field(target: Target) -> bytes:
    """Return the value of Host for a target with an authority (RFC 9112, section 3.2.2)."""
    assert target.authority
    if target.form is Form.AUTHORITY:
        return raw_authority(target.authority)
    return _authority_in_url(target)


def raw_authority(authority: Authority) -> bytes:
    """Return the authority with its port, as in CONNECT (RFC 9112, section 3.2.3)."""
    return str(authority).encode("ascii")


def absolute_form(target: Target, path: bytes) -> bytes:
    """Return the target's URL with this path and query."""
    return b"%b://%b%b%b" % (target.scheme, target.user, _authority_in_url(target), path)


def _absolute(raw: bytes, scheme: bytes, begin: int) -> Target:
    end = _AUTHORITY_END.search(raw, begin)
    assert end
    user = b""
    if scheme not in _WITHOUT_USER and (match := _USER.match(raw, begin, end.start())):
        user, begin = match[0], match.end()
    host, port = _split_authority(raw[begin : end.start()])
    if not host:
        raise MessageError(400, "the request-target has no host")
    # An empty port is the default port (RFC 3986, section 6.2.3).
    authority = Authority(host, _default_port(scheme) if port is None else port)
    return Target(Form.ABSOLUTE, authority, raw[end.start() :], raw, scheme, user)


def _default_port(scheme: bytes) -> int:
    return _DEFAULT_PORTS.get(scheme, _UNKNOWN_PORT)


def _connect_authority(raw: bytes) -> Authority:
    host, port = _split_authority(raw)
    if not host or port is None:
        raise MessageError(400, "CONNECT needs a host and a port")
    return Authority(host, port)


def _split_authority(authority: bytes) -> tuple[str, int | None]:
    """Return the host, possibly empty, and the port, None without digits."""
    match = _HOST_AND_PORT.fullmatch(authority)
    if match is None:
        # The same text for user information, percent-escapes, zones, two ports and backslashes.
        raise MessageError(400, "the host or its port is invalid")
    address, name, digits = match.groups()
    host = _checked_address(address) if address else _checked_name(name)
    if not digits:
        return host, None
    port = int(digits)
    if not 1 <= port <= _MAX_PORT:
        raise MessageError(400, "the port is out of range")
    return host, port


def _checked_address(address: bytes) -> str:
    text = address.decode("ascii").lower()
    try:
        IPv6Address(text)
    except AddressValueError:
        raise MessageError(400, "the address in brackets is not an IPv6 address") from None
    return text


def _checked_name(name: bytes) -> str:
    if len(name) > _MAX_HOST_LENGTH or name.startswith(b".") or b".." in name:
        raise MessageError(400, "the host or its port is invalid")
    return name.decode("ascii").lower()


def _authority_in_url(target: Target) -> bytes:
    assert target.authority
    text, port = raw_authority(target.authority), target.authority.port
    return text.removesuffix(b":%d" % port) if port == _default_port(target.scheme) else text
