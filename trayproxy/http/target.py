"""Request-targets (RFC 9112, section 3.2) and authorities (RFC 3986, section 3.2).

Stricter than the grammar where leniency has been an attack and no honest client needs it: host
names are made of letters, digits and ``-._~``, without percent-escapes; addresses in brackets are
IPv6 addresses without a zone; user information is refused (RFC 9110, section 4.2.4). Path and query
are never touched, and may have any visible ASCII character but ``#``: browsers send ``|`` and ``{``
as they are.
"""

import enum
import re
from dataclasses import dataclass, field
from ipaddress import AddressValueError, IPv6Address

from trayproxy.http.errors import MessageError

_HTTP = b"http://"
_HTTP_PORT = 80
_LONGEST_HOST = 255
_LARGEST_PORT = 65_535

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
        port: 1 to 65535.
    """

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Target:
    """What a request is about. `repr` hides path and query: they may hold secrets.

    Attributes:
        form: As received.
        authority: None in origin-form and asterisk-form.
        path: Path and query, as received; empty where there is neither.
        raw: All of it, as received.
    """

    form: Form
    authority: Authority | None
    path: bytes = field(default=b"", repr=False)
    raw: bytes = field(default=b"", repr=False)


def parse_target(method: bytes, raw: bytes) -> Target:
    """Read a request-target.

    Args:
        method: CONNECT has a form of its own; only OPTIONS may have an asterisk.
        raw: Visible ASCII, as `heads.REQUEST_LINE` matches it.

    Raises:
        MessageError: 400 it has none of the forms that a proxy is sent, or the authority is invalid
            (RFC 9110, sections 4.2.1 and 9.3.6). ``https://`` is refused too: we would have to do
            TLS for the client, and sending it as http would expose what it meant to hide.
    """
    if method == b"CONNECT":
        return Target(Form.AUTHORITY, _connect_authority(raw), raw=raw)
    if b"#" in raw:
        raise MessageError(400, "the request-target has a fragment")
    if raw.startswith(b"/"):
        return Target(Form.ORIGIN, None, raw, raw)
    if raw == b"*" and method == b"OPTIONS":
        return Target(Form.ASTERISK, None, raw=raw)
    scheme = raw[: len(_HTTP)].lower()
    if scheme == b"https:/":
        raise MessageError(400, "an https target needs CONNECT")
    if scheme != _HTTP:
        raise MessageError(400, "the request-target is not an http URL")
    return _absolute(raw)


def is_host_field(value: bytes) -> bool:
    """Tell whether this is a valid Host: a host, perhaps empty, and perhaps a port.

    RFC 9110, section 7.2.
    """
    try:
        _split(value)
    except MessageError:
        return False
    return True


def host_field(target: Target) -> bytes:
    """Return the Host that goes with this target (RFC 9112, section 3.2.2).

    Args:
        target: In absolute-form or authority-form.
    """
    assert target.authority
    if target.form is Form.AUTHORITY:
        return raw_authority(target.authority)
    return _http_authority(target.authority)


def raw_authority(authority: Authority) -> bytes:
    """Return the authority with its port, as CONNECT has it (RFC 9112, section 3.2.3)."""
    return str(authority).encode("ascii")


def absolute_form(target: Target, path: bytes) -> bytes:
    """Return an http URL with this path and query."""
    assert target.authority
    return _HTTP + _http_authority(target.authority) + path


def _absolute(raw: bytes) -> Target:
    end = _AUTHORITY_END.search(raw, len(_HTTP))
    assert end
    host, port = _split(raw[len(_HTTP) : end.start()])
    if not host:
        raise MessageError(400, "the request-target has no host")
    # An empty port is the default one (RFC 3986, section 6.2.3).
    authority = Authority(host, _HTTP_PORT if port is None else port)
    return Target(Form.ABSOLUTE, authority, raw[end.start() :], raw)


def _connect_authority(raw: bytes) -> Authority:
    host, port = _split(raw)
    if not host or port is None:
        raise MessageError(400, "CONNECT needs a host and a port")
    return Authority(host, port)


def _split(authority: bytes) -> tuple[str, int | None]:
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
    if not 1 <= port <= _LARGEST_PORT:
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
    if len(name) > _LONGEST_HOST or name.startswith(b".") or b".." in name:
        raise MessageError(400, "the host or its port is invalid")
    return name.decode("ascii").lower()


def _http_authority(authority: Authority) -> bytes:
    text = raw_authority(authority)
    return text.removesuffix(b":80") if authority.port == _HTTP_PORT else text
