"""A profile: an entry of the tray menu, with an upstream proxy and how to sign in to it."""

from dataclasses import dataclass, replace
from enum import StrEnum, auto
from fnmatch import fnmatchcase

from trayproxy.profiles.pac_source import PacSource


class ProfileError(ValueError):
    """A profile or a part of it is invalid; the text gives the reason and the valid form."""


DIRECT_ID = "direct"
"""The id of *Connect directly*, which uses no upstream and no login."""
DIRECT_NAME = "Connect directly"
"""The name of *Connect directly*. No profile has this id or this name."""


class ProxyScheme(StrEnum):
    """The protocol between TrayProxy and an upstream proxy."""

    HTTP = auto()
    HTTPS = auto()
    """HTTP over TLS, which hides requests and passwords from eavesdroppers."""
    SOCKS5 = auto()
    """RFC 1928, with or without a user name and a password (RFC 1929)."""


class SignIn(StrEnum):
    """The kind of sign-in to the upstream proxy of a profile."""

    PASSWORD = auto()
    """A user name and a password, which TrayProxy prompts for and keeps in the keyring."""
    NONE = auto()
    """No sign-in: a 407 is an error, without a prompt."""
    SSO = auto()
    """The own sign-in: a Kerberos ticket, on Windows the log-on. TrayProxy prompts for no password
    and keeps none."""


class Method(StrEnum):
    """The allowed authentication schemes: all, or a single scheme (ux §3.3).

    Except for `AUTOMATIC`, the values are the names of the schemes in challenges, in lower case
    (RFC 9110, section 11.1).
    """

    AUTOMATIC = auto()
    """The strongest scheme offered by the proxy."""
    NEGOTIATE = auto()
    NTLM = auto()
    DIGEST = auto()
    BASIC = auto()

    @property
    def supports_sso(self) -> bool:
        """True if the method can authenticate without a password."""
        return self not in (Method.DIGEST, Method.BASIC)


class Encoding(StrEnum):
    """The encoding of logins for an upstream with challenges without ``charset``.

    The values are Python's names. Only Basic and Digest use the encoding (RFC 7617, section 2.1),
    and it matters only for characters outside ASCII. Trying both encodings would cost two failed
    log-ons.
    """

    UTF_8 = "utf-8"
    LATIN_1 = "latin-1"
    """ISO-8859-1, as older proxies in Western Europe expect."""


@dataclass(frozen=True, slots=True)
class Upstream:
    """An upstream proxy as configured. A login belongs to exactly this value.

    Attributes:
        host: A DNS name in its ASCII form, lower case, or an IP literal without brackets. An IPv6
            literal may have a zone (RFC 4007, section 11), ``fe80::1%eth0``.
        port: 1 to 65535.
        scheme: The protocol.
    """

    host: str
    port: int
    scheme: ProxyScheme = ProxyScheme.HTTP

    def __str__(self) -> str:
        """Return the URL, ``http://proxy.corp.example:8080``; IPv6 literals get brackets.

        A zone is written as people write it, ``[fe80::1%eth0]``, unless its percent sign could be
        read as escaped (RFC 6874, section 2). Then it is escaped: ``%25250`` is the interface 250.
        """
        address, mark, zone = self.host.partition("%")
        if len(zone) > 2 and zone.startswith("25"):
            mark = "%25"
        host = f"[{address}{mark}{zone}]" if ":" in address else self.host
        return f"{self.scheme}://{host}:{self.port}"

    @classmethod
    def from_url(cls, url: str) -> "Upstream":
        """Return the upstream for which `str` returns this URL.

        For text of a user, see `trayproxy.profiles.validate.parse_upstream`.
        """
        scheme, _, authority = url.partition("://")
        host, _, port = authority.rpartition(":")
        address, mark, zone = host.removeprefix("[").removesuffix("]").partition("%")
        if len(zone) > 2 and zone.startswith("25"):
            zone = zone[2:]
        return cls(f"{address}{mark}{zone}", int(port), ProxyScheme(scheme))


@dataclass(frozen=True, slots=True)
class Profile:
    """An entry of the profile menu.

    Attributes:
        id: ``[a-z0-9][a-z0-9-]{0,63}``. The id never changes, even if the name does: it is part of
            the names of keyring entries.
        name: The name chosen by the user, 1 to 100 characters, unique without regard to case.
        upstream: The preferred upstream; None for an automatic profile, whose PAC script names the
            upstreams.
        user: The user name to suggest and to look up in the keyring; empty if unknown.
        bypass: Hosts reached without the upstream (`trayproxy.profiles.host_pattern`).
        fallbacks: The upstreams for the time in which `upstream` cannot be reached, in order of
            preference. Each has its own login.
        ca_file: The file (PEM or DER) with the certificate authorities of the https upstreams,
            instead of those of the system; empty: those of the system.
        client_certificate: The file (PEM or PKCS #12) with the certificate by which the https
            upstreams recognise the user; empty: none. Its password is in the keyring only.
        client_key: The file (PEM) with its key; empty if `client_certificate` contains the key.
        method: The allowed authentication schemes of the http and https upstreams.
        encoding: The encoding of logins for challenges without ``charset``.
        spn: The service principal name of the upstreams for Kerberos, ``HTTP/proxy.corp.example``
            (RFC 4559, section 4.1); empty: ``HTTP/`` and the host of each upstream.
        canonical_name: True if this name has the canonical name of the host in the DNS.
        get_ticket: True if the own sign-in requests a Kerberos ticket with a saved password while
            the user has none.
        rules: Routing rules in their canonical form (`trayproxy.profiles.rules`): other upstreams,
            direct connections or refusals for some hosts or programs. The first matching rule
            decides.
        use_on: The networks on which the profile is used by itself, each a condition
            (`trayproxy.profiles.use_on`); empty if only a person chooses the profile.
        else_direct: True if programs connect directly on all other networks.
        pac: The source of the PAC script of an automatic profile; None for a profile with a fixed
            upstream.
        shared_sign_in: Patterns such as ``*.proxy.corp.example:8080``; the upstreams that match one
            pattern have one login. Every other upstream has a login of its own. A pattern may begin
            with the scheme, ``https://``; otherwise it is for each scheme.
    """

    id: str
    name: str
    upstream: Upstream | None
    sign_in: SignIn = SignIn.PASSWORD
    user: str = ""
    bypass: tuple[str, ...] = ()
    fallbacks: tuple[Upstream, ...] = ()
    ca_file: str = ""
    method: Method = Method.AUTOMATIC
    encoding: Encoding = Encoding.UTF_8
    spn: str = ""
    canonical_name: bool = False
    get_ticket: bool = False
    client_certificate: str = ""
    client_key: str = ""
    rules: tuple[str, ...] = ()
    use_on: tuple[str, ...] = ()
    else_direct: bool = False
    pac: PacSource | None = None
    shared_sign_in: tuple[str, ...] = ()

    @property
    def takes_password(self) -> bool:
        """True if TrayProxy may prompt for a password and keep it."""
        return self.sign_in is SignIn.PASSWORD or self.get_ticket

    @property
    def method_options(self) -> tuple[object, ...]:
        """The settings that decide how a login is sent. The login itself is independent of them."""
        return self.method, self.encoding, self.spn, self.canonical_name

    @property
    def default_upstreams(self) -> tuple[Upstream, ...]:
        """The upstreams of requests for which no rule decides, the preferred upstream first; empty
        for an automatic profile."""
        return () if self.upstream is None else (self.upstream, *self.fallbacks)

    @property
    def upstreams(self) -> tuple[Upstream, ...]:
        """All upstreams of the profile that are known without its PAC script, the preferred
        upstream first."""
        uses = (rule.rpartition("-> ")[2] for rule in self.rules)
        by_rule = (Upstream.from_url(use) for use in uses if "://" in use)
        return tuple(dict.fromkeys((*self.default_upstreams, *by_rule)))

    @property
    def address(self) -> str:
        """The URL of the preferred upstream, or the source of the PAC script, for texts."""
        return str(self.upstream) if self.pac is None else self.pac.title

    def login_key(self, upstream: Upstream) -> str:
        """Return the URL that identifies the login of an upstream: the URL of the upstream, or of
        the pattern in `shared_sign_in` that the upstream matches."""
        pattern = self._sharing(upstream)
        # The own sign-in has no login that could be shared.
        if pattern is None or self.sign_in is SignIn.SSO:
            return str(upstream)
        return f"{upstream.scheme}://{pattern.rpartition('://')[2]}"

    def is_vouched_for(self, upstream: Upstream) -> bool:
        """Return whether a pattern in `shared_sign_in` names an upstream: then the user, and not
        only a script, says that it belongs to the company."""
        return self._sharing(upstream) is not None

    def _sharing(self, upstream: Upstream) -> str | None:
        """Return the first pattern in `shared_sign_in` that an upstream matches."""
        place = f"{upstream.scheme}://{upstream.host}:{upstream.port}"
        full = ((each if "://" in each else f"*://{each}", each) for each in self.shared_sign_in)
        return next((each for pattern, each in full if fnmatchcase(place, pattern)), None)

    def via(self, upstream: Upstream) -> "Profile":
        """Return the profile with only this upstream, without rules and PAC script."""
        return replace(self, upstream=upstream, fallbacks=(), rules=(), pac=None)

    def with_only(self, key: str) -> "Profile":
        """Return the profile with only the upstream that has the login of a `login_key`."""
        named = (own for own in self.upstreams if self.login_key(own) == key)
        # For a pattern of all ports, any port stands for the login.
        url = f"{key[:-1]}1" if key.endswith(":*") else key
        return self.via(next(named, None) or Upstream.from_url(url))
