"""Reads the answer of a PAC script: the proxies for a URL, in the order in which to try them.

The answer of ``FindProxyForURL`` is a text such as ``PROXY proxy.example:8080; DIRECT`` (Netscape,
*Navigator Proxy Auto-Config File Format*, 1996; Firefox and Chromium added the types after PROXY
and SOCKS):

=====================  ==========================================  ============
entry                  meaning                                     default port
=====================  ==========================================  ============
``DIRECT``             no proxy
``PROXY host:port``    an HTTP proxy; ``HTTP`` means the same      80
``HTTPS host:port``    an HTTP proxy over TLS                      443
``SOCKS5 host:port``   a SOCKS5 proxy; ``SOCKS`` means the same    1080
``SOCKS4 host:port``   skipped: TrayProxy does not use SOCKS4
=====================  ==========================================  ============

Browsers use SOCKS4 for ``SOCKS``. TrayProxy uses SOCKS5, which SOCKS servers support as well.
"""

import re
from dataclasses import dataclass

from trayproxy.domain.problem import single_line
from trayproxy.profiles.profile import ProfileError, ProxyScheme, Upstream
from trayproxy.profiles.validate import parse_upstream

MAX_ANSWER_LENGTH = 4096
"""The maximum length of an answer, in characters; the rest is skipped."""
MAX_HOPS = 16
"""The maximum number of proxies of an answer; further proxies are skipped."""
MAX_SKIPPED = 16
"""The maximum number of skipped entries that are reported."""

_SCHEMES = {
    "PROXY": (ProxyScheme.HTTP, 80),
    "HTTP": (ProxyScheme.HTTP, 80),
    "HTTPS": (ProxyScheme.HTTPS, 443),
    "SOCKS": (ProxyScheme.SOCKS5, 1080),
    "SOCKS5": (ProxyScheme.SOCKS5, 1080),
}
_HAS_PORT = re.compile(r"(?:\[[^\]]*\]|[^:]*):[^:]*")
_USER_INFO = re.compile(r"[^\s;]*@")
_MAX_QUOTED = 200


@dataclass(frozen=True, slots=True)
class Direct:
    """A connection without a proxy."""


Hop = Upstream | Direct
"""One way to reach a site."""


@dataclass(frozen=True, slots=True)
class SkippedEntry:
    """An entry of an answer that is not used.

    Attributes:
        text: The entry, on one line and without a login.
        reason: A sentence for the user.
    """

    text: str
    reason: str


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer of a script.

    Attributes:
        text: The answer as returned, on one line, without logins, at most 200 characters.
        hops: The usable entries in the order of the script, without repetitions.
        skipped: The entries that are not used, at most `MAX_SKIPPED`.
    """

    text: str
    hops: tuple[Hop, ...] = ()
    skipped: tuple[SkippedEntry, ...] = ()


def parse_answer(text: str) -> Answer:
    """Return the entries of an answer; an entry that cannot be read is skipped.

    `Answer.hops` is empty if no entry is usable: a connection without a proxy is made only if the
    script says so. Blank entries are ignored, and an answer without any other entry means
    ``DIRECT``, as in Netscape's definition and in browsers.
    """
    # A part of an entry could be read as another host.
    kept, cut, _ = text, "", ""
    if len(text) > MAX_ANSWER_LENGTH:
        kept, _, cut = text[:MAX_ANSWER_LENGTH].rpartition(";")
    hops: dict[Hop, None] = {}
    skipped: list[SkippedEntry] = []
    entries = [entry for entry in map(str.strip, kept.split(";")) if entry]
    for entry in entries:
        try:
            if len(hops) >= MAX_HOPS:
                raise ProfileError(f"TrayProxy uses the first {MAX_HOPS} proxies of an answer.")
            hops.setdefault(_parse_entry(entry))
        except ProfileError as error:
            skipped.append(SkippedEntry(_quote(entry), str(error)))
    if cut:
        reason = f"TrayProxy reads the first {MAX_ANSWER_LENGTH} characters of an answer."
        skipped.append(SkippedEntry(_quote(cut), reason))
    if not entries and not cut:
        hops[Direct()] = None
    return Answer(_quote(text), tuple(hops), tuple(skipped[:MAX_SKIPPED]))


def _parse_entry(entry: str) -> Hop:
    """Return the hop of an entry, or raise `ProfileError`, whose text gives the reason."""
    word, *rest = entry.split(maxsplit=1)
    kind = word.upper()
    if kind == "DIRECT":
        if rest:
            raise ProfileError("DIRECT stands alone; entries are separated by semicolons.")
        return Direct()
    if kind == "SOCKS4":
        raise ProfileError("TrayProxy does not use SOCKS4, which has no safe sign-in.")
    if kind not in _SCHEMES:
        raise ProfileError("An entry begins with DIRECT, PROXY, HTTP, HTTPS, SOCKS or SOCKS5.")
    if not rest:
        raise ProfileError(f"The address of the proxy is missing after {kind}.")
    scheme, port = _SCHEMES[kind]
    address = rest[0]
    if "/" in address:
        raise ProfileError(f"After {kind} comes only the host and the port of a proxy.")
    if re.search(r"[\s,]", address):
        raise ProfileError("An address has no blank and no comma; semicolons separate entries.")
    if single_line(address) != address:
        raise ProfileError("The name of the proxy contains invisible characters.")
    # The port is there, but empty, in `proxy.example:`.
    has_port = _HAS_PORT.fullmatch(address) is not None
    return parse_upstream(f"{scheme}://{address}" + ("" if has_port else f":{port}"))


def _quote(text: str) -> str:
    """Return an untrusted text on one line, shortened, without logins."""
    line = _USER_INFO.sub("…@", single_line(text[: 2 * _MAX_QUOTED]))
    return line if len(line) <= _MAX_QUOTED else f"{line[: _MAX_QUOTED - 1]}…"
