"""A profile: one way to the internet, by its name in the tray menu."""

from dataclasses import dataclass, replace
from enum import StrEnum, auto


class ProfileError(ValueError):
    """A profile, or a part of one, that cannot be used; the text says why and what to write."""


DIRECT_ID = "direct"
"""Stands where the id of a profile may, and means *Connect directly*: no upstream and no login."""
DIRECT_NAME = "Connect directly"
"""What people call that. No profile has this id or this name."""


class ProxyScheme(StrEnum):
    """How TrayProxy talks to an upstream proxy."""

    HTTP = auto()
    HTTPS = auto()
    """HTTP inside TLS: nobody on the way reads what is sent, passwords among it."""
    SOCKS5 = auto()
    """RFC 1928, with or without a user name and a password (RFC 1929)."""


class SignIn(StrEnum):
    """How one signs in to the upstream proxy of a profile."""

    PASSWORD = auto()
    """With a user name and a password that TrayProxy asks for and keeps in the keyring."""
    NONE = auto()
    """Not at all: a 407 is an error and nobody is asked."""
    SSO = auto()
    """As whoever is signed in to this computer: with a Kerberos ticket, on Windows with the log-on.
    No password is asked for and none is kept."""


class Method(StrEnum):
    """Which authentication schemes may be used: all of them, or one (ux §3.3).

    But for `AUTOMATIC` the values are the schemes' own names, as challenges write them in lower
    case (RFC 9110, section 11.1).
    """

    AUTOMATIC = auto()
    """The strongest that the proxy offers."""
    NEGOTIATE = auto()
    NTLM = auto()
    DIGEST = auto()
    BASIC = auto()

    @property
    def supports_sso(self) -> bool:
        """Whether it can sign in without a password of its own."""
        return self not in (Method.DIGEST, Method.BASIC)


class Encoding(StrEnum):
    """How logins are written for an upstream that does not say how it encodes them.

    The values are Python's names. Only Basic and Digest have this question (RFC 7617, section 2.1),
    and only letters beyond ASCII: trying both would be two failed log-ons.
    """

    UTF_8 = "utf-8"
    LATIN_1 = "latin-1"
    """ISO-8859-1, as older proxies of Western Europe read them."""


@dataclass(frozen=True, slots=True)
class Upstream:
    """An upstream proxy as configured; the pinned identity that a login belongs to.

    Attributes:
        host: A DNS name in its ASCII form, lower case, or an IP literal without brackets; one of
            IPv6 may have a zone (RFC 4007, section 11), ``fe80::1%eth0``.
        port: 1 to 65535.
        scheme: How TrayProxy talks to it.
    """

    host: str
    port: int
    scheme: ProxyScheme = ProxyScheme.HTTP

    def __str__(self) -> str:
        """Return its URL, ``http://proxy.corp.example:8080``; IPv6 literals get brackets.

        A zone stands in it as people write it, ``[fe80::1%eth0]``. Where that could be read as an
        escaped one (RFC 6874, section 2) it is escaped: ``%25250`` is the interface 250.
        """
        address, mark, zone = self.host.partition("%")
        if len(zone) > 2 and zone.startswith("25"):
            mark = "%25"
        host = f"[{address}{mark}{zone}]" if ":" in address else self.host
        return f"{self.scheme}://{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Profile:
    """One entry of the profile menu.

    Attributes:
        id: Never changes once made, not even with the name; keyring entries are found by it.
            ``[a-z0-9][a-z0-9-]{0,63}``.
        name: What the person calls it, 1 to 100 characters, unique whatever the case.
        upstream: Where its requests go.
        sign_in: How one signs in there.
        user: The user name to suggest, and whose keyring entry is read; empty if unknown.
        bypass: Hosts that are reached without the upstream (`trayproxy.routing.bypass`).
        fallbacks: Where its requests go while `upstream` cannot be reached, in the order of
            preference. Each has a login of its own.
        ca_file: The file (PEM or DER) with the authorities that sign the certificates of its https
            upstreams, in place of those that the system trusts; empty: the system's.
        method: What its http and https upstreams may be answered with.
        encoding: How logins are written for those that do not say how they encode them.
    """

    id: str
    name: str
    upstream: Upstream
    sign_in: SignIn = SignIn.PASSWORD
    user: str = ""
    bypass: tuple[str, ...] = ()
    fallbacks: tuple[Upstream, ...] = ()
    ca_file: str = ""
    method: Method = Method.AUTOMATIC
    encoding: Encoding = Encoding.UTF_8

    @property
    def upstreams(self) -> tuple[Upstream, ...]:
        """All its upstreams, the preferred one first."""
        return (self.upstream, *self.fallbacks)

    def with_only(self, upstream: str) -> "Profile":
        """Return the profile with one of its upstreams alone.

        Args:
            upstream: Its URL; of none of them, it is the preferred one.
        """
        named = (one for one in self.upstreams if str(one) == upstream)
        return replace(self, upstream=next(named, self.upstream), fallbacks=())
