"""Request-targets (RFC 9112, section 3.2) and authorities (RFC 3986, section 3.2).

Stricter than the grammar where leniency has been an attack and no honest client needs it: host
names are made of letters, digits and ``-._~``, without percent-escapes; addresses in brackets are
IPv6 addresses without a zone; user information is refused in http and https (RFC 9110, section
4.2.4). Path and query are never touched, and may have any visible ASCII character but ``#``, and
any octet above that: browsers send ``|`` and ``{`` as they are, other programs UTF-8 and Latin-1.

Absolute-form may have any scheme that has an authority (RFC 9112, section 3.2.2): proxies fetch
``ftp://`` and ``https://`` for their clients. What goes on has the scheme that came, always: a
request that was meant to be encrypted never becomes one of ``http``.
"""

import enum
import re
from dataclasses import dataclass, field
from ipaddress import AddressValueError, IPv6Address

from trayproxy.http.errors import MessageError

HTTP = b"http"
"""The scheme that is spoken here."""

_DEFAULT_PORTS = {b"http": 80, b"https": 443, b"ws": 80, b"wss": 443, b"ftp": 21, b"gopher": 70}
"""By scheme (RFC 9110, section 4.2; RFC 6455, section 3; RFC 1738, sections 3.2 and 3.4)."""
_UNKNOWN_PORT = 0
# RFC 9110, section 4.2.4, and section 3 of RFC 6455, which takes http's authority over.
_WITHOUT_USER = frozenset({b"http", b"https", b"ws", b"wss"})
_MAX_HOST_LENGTH = 255
_MAX_PORT = 65_535

_SCHEME = re.compile(rb"([A-Za-z][0-9A-Za-z+.-]{0,31})://")
# RFC 3986, section 3.2.1. A backslash would be a slash to some readers, and end the authority.
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
    """Whom to connect to.

    Attributes:
        host: A name in lower case, otherwise as received; an IPv6 address without its brackets.
        port: 1 to 65535; 0 if none was given and the scheme's own is not known here.
    """

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}" if self.port != _UNKNOWN_PORT else host


@dataclass(frozen=True, slots=True)
class Target:
    """What a request is about. `repr` hides path and query: they may hold secrets.

    Attributes:
        form: As received.
        authority: None in origin-form and asterisk-form.
        path: Path and query, as received; empty where there is neither.
        raw: All of it, as received.
        scheme: Of absolute-form, in lower case.
        user: The user information of absolute-form as received, with its ``@``; usually empty.
    """

    form: Form
    authority: Authority | None
    path: bytes = field(default=b"", repr=False)
    raw: bytes = field(default=b"", repr=False)
    scheme: bytes = HTTP
    user: bytes = field(default=b"", repr=False)


def parse_target(method: bytes, raw: bytes) -> Target:
    """Read a request-target.

    Args:
        method: CONNECT has a form of its own; only OPTIONS may have an asterisk.
        raw: Visible ASCII and octets above it, as `heads.REQUEST_LINE` matches it.

    Raises:
        MessageError: 400 it has none of the forms that a proxy is sent, or the authority is invalid
            (RFC 9110, sections 4.2.1 and 9.3.6).
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
    """Tell whether this is a valid Host: a host, perhaps empty, and perhaps a port.

    RFC 9110, section 7.2.
    """
    try:
        _split_authority(value)
    except MessageError:
        return False
    return True


def is_host_of(value: bytes, target: Target) -> bool:
    """Tell whether this Host repeats the target's authority with its user information.

    Programs that may have user information in a URL, of FTP, may copy it to Host.
    """
    return bool(target.user) and target.raw.partition(b"://")[2] == value + target.path


def host_field(target: Target) -> bytes:
    """Return the Host that goes with this target (RFC 9112, section 3.2.2).

    Args:
        target: In absolute-form or authority-form.
    """
    assert target.authority
    if target.form is Form.AUTHORITY:
        return raw_authority(target.authority)
    return _authority_in_url(target)


def raw_authority(authority: Authority) -> bytes:
    """Return the authority with its port, as CONNECT has it (RFC 9112, section 3.2.3)."""
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
    # An empty port is the default one (RFC 3986, section 6.2.3).
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
    """Split an authority into host, perhaps empty, and port, None where there are no digits."""
    match = _HOST_AND_PORT.fullmatch(authority)
    if match is None:
        # Says the same of user information, percent-escapes, zones, two ports and backslashes.
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
