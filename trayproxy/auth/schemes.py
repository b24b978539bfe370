"""The schemes that we have for HTTP, and which of them a profile allows."""

from collections.abc import Callable, Iterable
from dataclasses import replace

from trayproxy.auth.basic import Basic
from trayproxy.auth.digest import Digest
from trayproxy.auth.negotiate import kerberos_scheme
from trayproxy.auth.ntlm import ntlm_in_negotiate, ntlm_scheme
from trayproxy.auth.ntlmv2 import NtlmEnvironment
from trayproxy.auth.scheme import Scheme

ANY_METHOD = "automatic"
"""The method of a profile that leaves the choice to us."""


def http_schemes(
    random: Callable[[int], bytes], environment: NtlmEnvironment | None = None
) -> tuple[Scheme, ...]:
    """Return all schemes, the strongest first, for `trayproxy.auth.scheme.choose`.

    NTLM where it is offered by name comes before NTLM inside Negotiate, which not every proxy that
    offers Negotiate can do.

    Args:
        random: Returns that many octets nobody can foretell.
        environment: What our own computation of NTLMv2 needs; None: pyspnego computes it.
    """
    return (
        kerberos_scheme(),
        ntlm_scheme(environment=environment),
        ntlm_in_negotiate(environment),
        Digest(random),
        Basic(),
    )


def with_encoding(schemes: Iterable[Scheme], encoding: str) -> tuple[Scheme, ...]:
    """Return the schemes with logins in another encoding, where a proxy does not name its own.

    That is a matter of Basic and Digest: the others are always Unicode.

    Args:
        schemes: Ours.
        encoding: Python's name of it.
    """
    return tuple(
        replace(scheme, encoding=encoding) if isinstance(scheme, Basic | Digest) else scheme
        for scheme in schemes
    )


def allowed_schemes(
    schemes: Iterable[Scheme], method: str, *, own_sign_in: bool
) -> tuple[Scheme, ...]:
    """Return the schemes that a profile allows, in their order.

    Args:
        schemes: Ours.
        method: `ANY_METHOD`, or the auth-scheme that alone may be used, in lower case.
        own_sign_in: Whether one's own sign-in is to be used, with which not every scheme can do.
    """
    return tuple(
        scheme
        for scheme in schemes
        if method in (ANY_METHOD, scheme.name) and not (own_sign_in and scheme.needs_login)
    )
