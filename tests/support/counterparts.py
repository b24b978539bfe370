"""All available upstreams by name, each with a right and a wrong login."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from secrets import token_hex

from tests.support import upstreams
from tests.support.digest_proxy import Demands, DigestProxy
from tests.support.kerberos import Kdc
from tests.support.recording_relay import RecordingRelay
from tests.support.socks_proxy import socks_proxy
from tests.support.squid import ALL_SCHEMES, NegotiateHelper, Squid, SquidSetup, squid
from tests.support.upstreams import UpstreamKind
from trayproxy.auth.login import Login
from trayproxy.profiles.profile import ProxyScheme, Upstream


@dataclass(frozen=True, slots=True)
class Counterpart:
    """A running upstream.

    Attributes:
        upstream: The address for a profile.
        method: The name of the sign-in method in prompts; empty if several are possible.
        right: An accepted login.
        wrong: The same user with another password.
        failed_logons: Returns the number of logins checked and rejected so far.
        describe: Returns a text for the report of a failed test.
        environment: Environment variables of the service for the sign-in.
        squid: The Squid; None for other programs.
    """

    upstream: Upstream
    method: str
    right: Login
    wrong: Login
    failed_logons: Callable[[], int]
    describe: Callable[[], str]
    environment: Mapping[str, str] = field(default_factory=dict)
    squid: Squid | None = None


_SPNEGO_NTLM, _KERBEROS = NegotiateHelper.SPNEGO_NTLM, NegotiateHelper.KERBEROS

# Schemes, mechanisms of Negotiate and method of the counterparts that are a Squid.
_SQUIDS: dict[str, tuple[tuple[str, ...], NegotiateHelper, str]] = {
    "squid-basic": (("basic",), _SPNEGO_NTLM, "Basic"),
    "squid-digest": (("digest",), _SPNEGO_NTLM, "Digest"),
    "squid-ntlm": (("ntlm",), _SPNEGO_NTLM, "NTLM"),
    "squid-kerberos": (("negotiate",), _KERBEROS, "Kerberos"),
    "squid-all": (ALL_SCHEMES, _KERBEROS, ""),
    "squid-spnego-ntlm": (("negotiate",), _SPNEGO_NTLM, ""),
    "squid-ntlm-closing": (("ntlm",), _SPNEGO_NTLM, "NTLM"),
}

_OPTIONS = {
    # The first 407 ends its connection: the handshake begins on a new connection.
    "squid-ntlm-closing": ("auth_param ntlm keep_alive off",)
}

_DIGESTS = {
    "sha-256": Demands(("SHA-256", "MD5"), utf8=True),
    "sha-512-256": Demands(("SHA-512-256",), qop="auth,auth-int", userhash=True, utf8=True),
    "sha-256-sess": Demands(("SHA-256-sess",)),
    "md5, strict, announced": Demands(("MD5",), uses=2, announces=True, strict=True),
}

_OTHERS = {kind.name.lower().replace("_", "-"): kind for kind in UpstreamKind}

NAMES = (*_SQUIDS, *_OTHERS, *_DIGESTS, "socks5")
"""The names of all counterparts."""


@contextmanager
def counterpart(name: str, directory: Kdc) -> Iterator[Counterpart]:
    """Run one of `NAMES`, with a directory of the users of Kerberos."""
    with ExitStack() as stack:
        if name in _SQUIDS:
            yield _squid(stack, name, directory)
        elif name in _DIGESTS:
            yield _digest(stack, _DIGESTS[name])
        elif name in _OTHERS:
            yield _other(stack, _OTHERS[name])
        else:
            yield _socks(stack)


def _logins(secret: str) -> tuple[Login, Login]:
    user = f"user{token_hex(4)}"
    return Login(user, secret), Login(user, f"not{secret}")


def _squid(stack: ExitStack, name: str, directory: Kdc) -> Counterpart:
    schemes, negotiate, method = _SQUIDS[name]
    right, wrong = _logins(f"Kanari/ü {token_hex(8)}+&")
    users = {right.user: right.password}
    setup = SquidSetup(users, schemes, options=_OPTIONS.get(name, ()), negotiate=negotiate)
    if negotiate is not _KERBEROS:
        proxy = stack.enter_context(squid(setup))
        at = Upstream(proxy.host, proxy.port)
        counted, outside = proxy.failed_logons, directory.elsewhere()
        return Counterpart(at, method, right, wrong, counted, proxy.describe, outside, proxy)
    directory.add_user(right.user, right.password)
    keys = directory.keytab("localhost")
    proxy = stack.enter_context(
        squid(replace(setup, keytab=keys, environment=directory.environment))
    )
    return Counterpart(
        Upstream("localhost", proxy.port),
        method,
        right,
        wrong,
        lambda: proxy.failed_logons() + directory.failed_logons(right.user),
        lambda: f"{proxy.describe()}\n{directory.process.err.text}",
        directory.environment,
        proxy,
    )


def _digest(stack: ExitStack, demands: Demands) -> Counterpart:
    right, wrong = _logins(f'Kanari/ü "{token_hex(8)}"\\')
    proxy = stack.enter_context(DigestProxy(right, demands))
    at = Upstream(proxy.host, proxy.port)
    return Counterpart(at, "Digest", right, wrong, proxy.failed_logons, proxy.describe)


def _other(stack: ExitStack, kind: UpstreamKind) -> Counterpart:
    right, wrong = _logins(token_hex(8))
    behind = 0
    if kind in (UpstreamKind.HAPROXY, UpstreamKind.HAPROXY_LIST):
        behind = stack.enter_context(squid(SquidSetup(schemes=()))).port
    proxy = stack.enter_context(upstreams.upstream(kind, right, behind))
    method = (
        "Digest" if kind in (UpstreamKind.APACHE_DIGEST, UpstreamKind.APACHE_STALE) else "Basic"
    )
    at = Upstream(proxy.host, proxy.port)
    return Counterpart(at, method, right, wrong, proxy.failed_logons, proxy.describe)


def _socks(stack: ExitStack) -> Counterpart:
    right, wrong = _logins(f"pa55 w:ord ü {token_hex(4)}")
    port = stack.enter_context(socks_proxy({right.user: right.password}))
    relay = stack.enter_context(RecordingRelay(port))
    at = Upstream(relay.host, relay.port, ProxyScheme.SOCKS5)
    return Counterpart(at, "SOCKS5", right, wrong, relay.failed_socks_logons, relay.describe)
