"""The part of a URL that a PAC script may see."""

from dataclasses import dataclass
from functools import lru_cache

_DEFAULT_PORTS = {"http": "80", "https": "443", "ws": "80", "wss": "443"}
_ENCRYPTED = frozenset(("https", "wss"))


@dataclass(frozen=True, slots=True)
class VisibleUrl:
    """The arguments of ``FindProxyForURL``.

    Attributes:
        url: The URL in lower case up to the host, without the default port.
        host: The host, without the port, and without the brackets of an IPv6 address.
    """

    url: str
    host: str


# Called for each request.
@lru_cache(maxsize=256)
def visible_url(url: str) -> VisibleUrl:
    """Return the part of a URL that a script may see, as in Chromium and Firefox.

    A script never sees the user name, the password and the fragment. Of an ``https`` URL, a script
    sees only scheme, host and port: the path is encrypted on the way, and a script could disclose
    it through name look-ups. For a tunnel (CONNECT), pass ``https://host:port``.

    Raises:
        ValueError: The URL has no scheme or no host.
    """
    scheme, mark, rest = url.partition("://")
    scheme = scheme.lower()
    end = min((at for at in map(rest.find, "/?#") if at >= 0), default=len(rest))
    authority = rest[:end].rpartition("@")[2].lower()
    if authority.startswith("["):
        host, bracket, port = authority[1:].partition("]")
        port = port.removeprefix(":")
        authority = f"[{host}]" if bracket else ""
    else:
        host, _, port = authority.partition(":")
        authority = host
    if not (mark and scheme and host and authority):
        raise ValueError("the URL has no host")
    if port and port != _DEFAULT_PORTS.get(scheme):
        authority = f"{authority}:{port}"
    path = "/" if scheme in _ENCRYPTED else rest[end:].partition("#")[0]
    if not path.startswith("/"):
        path = f"/{path}"
    return VisibleUrl(f"{scheme}://{authority}{path}", host)
