"""The addresses of proxies and of PAC files, as other programs write them."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.parse import unquote

from trayproxy.profiles.consistency import MAX_FALLBACKS
from trayproxy.profiles.pac_address import parse_pac_source
from trayproxy.profiles.pac_source import PacSource
from trayproxy.profiles.profile import ProfileError, Upstream
from trayproxy.profiles.validate import check_user, parse_upstream

_SCHEME = re.compile(r"(?:([A-Za-z][A-Za-z0-9+.-]*)://)?")
_PORT = re.compile(r":[0-9]+$")
_LOOPBACK = re.compile(r"(?:localhost|127(?:\.[0-9]{1,3}){3}|::1)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ProxyAddress:
    """A proxy with the login in its URL.

    Attributes:
        upstream: The proxy.
        user: The user name; empty if there is none.
        password: The password; empty if there is none.
    """

    upstream: Upstream
    user: str = ""
    password: str = field(default="", repr=False)


def parse_proxy(text: str, default_port: int | None = None) -> ProxyAddress:
    """Return the proxy of ``proxy.example:8080`` or ``http://user:password@proxy.example:8080/``.

    The user name and the password are percent-encoded (RFC 3986, section 3.2.1).

    Args:
        text: The address.
        default_port: The port for an address without a port; None if a port is needed.

    Raises:
        ProfileError: The text is no address; the error does not quote it.
    """
    text = text.strip().removesuffix("/")
    scheme = _SCHEME.match(text)
    assert scheme  # The pattern matches the empty text.
    # People write passwords with an @ or a slash without encoding them.
    login, _, host = text[scheme.end() :].rpartition("@")
    if default_port is not None and not _PORT.search(host):
        host = f"{host}:{default_port}"
    upstream = parse_upstream(f"{scheme[0]}{host}")
    user, _, password = login.partition(":")
    return ProxyAddress(upstream, check_user(unquote(user)), unquote(password))


@dataclass(frozen=True, slots=True)
class ProxyList:
    """Proxies in order of preference.

    Attributes:
        upstreams: The proxies, each once.
        notes: Sentences about addresses that are left out.
    """

    upstreams: tuple[Upstream, ...]
    notes: tuple[str, ...] = ()


def proxy_list(texts: Iterable[str], default_port: int | None = None) -> ProxyList:
    """Return the proxies of a list of addresses, at most as many as a profile may have."""
    found: dict[Upstream, None] = {}
    notes: list[str] = []
    for number, text in enumerate(texts, 1):
        try:
            found[parse_proxy(text, default_port).upstream] = None
        except ProfileError as error:
            notes.append(f"Proxy {number} of its list was left out: {error}")
    upstreams = tuple(found)[: 1 + MAX_FALLBACKS]
    if len(upstreams) < len(found):
        notes.append(f"Only the first {len(upstreams)} of its {len(found)} proxies are used.")
    return ProxyList(upstreams, tuple(notes))


@dataclass(frozen=True, slots=True)
class FoundPac:
    """The source of a PAC script.

    Attributes:
        source: The source, None if there is none or if it cannot be used.
        notes: A sentence that says why it cannot be used; empty otherwise.
    """

    source: PacSource | None = None
    notes: tuple[str, ...] = ()


def pac_source(text: str) -> FoundPac:
    """Return the source of a PAC script for the text of a setting; the text may be empty.

    The notes do not quote the text, which may contain a login.
    """
    if not text:
        return FoundPac()
    try:
        return FoundPac(parse_pac_source(text))
    except ProfileError as error:
        return FoundPac(notes=(f"The address of its PAC script was left out: {error}",))


def is_loopback(host: str) -> bool:
    """Return whether a host is this computer, by its name."""
    return _LOOPBACK.fullmatch(host) is not None


def port_number(text: str) -> int | None:
    """Return the port of ``3128`` or ``127.0.0.1:3128``; None if there is none."""
    digits = text.strip().rpartition(":")[2]
    is_port = digits.isascii() and digits.isdigit() and len(digits) <= 5 and 0 < int(digits) < 65536
    return int(digits) if is_port else None
