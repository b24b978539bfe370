"""The list of HTTP authentication schemes, and the schemes allowed by a profile."""

from collections.abc import Callable, Iterable
from dataclasses import replace

from trayproxy.auth.basic import Basic
from trayproxy.auth.digest import Digest
from trayproxy.auth.negotiate import kerberos_scheme, ticket_source
from trayproxy.auth.ntlm import ntlm_in_negotiate, ntlm_scheme
from trayproxy.auth.ntlmv2 import NtlmEnvironment
from trayproxy.auth.scheme import Scheme

ANY_METHOD = "automatic"
"""The method of a profile that allows every scheme."""


def http_schemes(
    random: Callable[[int], bytes], environment: NtlmEnvironment | None = None
) -> tuple[Scheme, ...]:
    """Return all HTTP schemes, the strongest first, for `trayproxy.auth.scheme.choose`.

    NTLM by name precedes NTLM inside Negotiate, because not every proxy that offers Negotiate
    supports NTLM there.

    Args:
        random: Returns this many cryptographically random octets.
        environment: See `trayproxy.auth.spnego.NtlmLogin`.
    """
    return (
        kerberos_scheme(),
        ntlm_scheme(environment=environment),
        ntlm_in_negotiate(environment),
        Digest(random),
        Basic(),
    )


def with_encoding(schemes: Iterable[Scheme], encoding: str) -> tuple[Scheme, ...]:
    """Return the schemes with another default encoding, used if a challenge has no ``charset``.

    Only Basic and Digest have a default encoding: the other schemes always use Unicode.
    """
    return tuple(
        replace(scheme, encoding=encoding) if isinstance(scheme, Basic | Digest) else scheme
        for scheme in schemes
    )


def with_kerberos_options(
    schemes: Iterable[Scheme], spn: str, *, is_canonical: bool, renews: bool
) -> tuple[Scheme, ...]:
    """Return the schemes with the options of `ticket_source` for Kerberos."""
    kerberos = kerberos_scheme(ticket_source(spn, is_canonical=is_canonical, renews=renews))
    return tuple(kerberos if scheme.family == "negotiate" else scheme for scheme in schemes)


def allowed_schemes(
    schemes: Iterable[Scheme], method: str, *, own_sign_in: bool
) -> tuple[Scheme, ...]:
    """Return the schemes allowed by a profile, in the given order.

    Args:
        schemes: The schemes to choose from.
        method: `ANY_METHOD`, or the name of the only auth-scheme that may be used, in lower case.
        own_sign_in: True to use the user's own sign-in, which excludes schemes with
            `Scheme.needs_login`.
    """
    return tuple(
        scheme
        for scheme in schemes
        if method in (ANY_METHOD, scheme.name) and not (own_sign_in and scheme.needs_login)
    )
