"""Checks of a whole profile: its parts, and how they can be combined.

Each function raises `ProfileError` for an invalid profile.
"""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import replace
from itertools import chain, count

from trayproxy.profiles.pac_address import parse_pac_source
from trayproxy.profiles.profile import (
    DIRECT_ID,
    DIRECT_NAME,
    Method,
    Profile,
    ProfileError,
    ProxyScheme,
    SignIn,
    Upstream,
)
from trayproxy.profiles.rules import check_rules
from trayproxy.profiles.validate import (
    check_ca_file,
    check_name,
    check_proxy_pattern,
    check_rule,
    check_spn,
    check_upstream,
    check_use_on,
    check_user,
)

MAX_FALLBACKS = 8
"""The maximum number of fallbacks: each adds to the wait before an error is reported."""

_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")


def check_profile(profile: Profile) -> Profile:
    """Return the profile with every part in its canonical form."""
    if not _ID.fullmatch(profile.id):
        raise ProfileError("The id of a profile has lower-case letters, digits and hyphens only.")
    if profile.id == DIRECT_ID:
        raise ProfileError(f"The id “{DIRECT_ID}” means “{DIRECT_NAME}”; choose another one.")
    upstreams = tuple(map(check_upstream, profile.default_upstreams))
    if len(upstreams) > 1 + MAX_FALLBACKS:
        raise ProfileError(f"A profile has at most {MAX_FALLBACKS} other proxies.")
    if len(set(upstreams)) < len(upstreams):
        raise ProfileError("The profile contains the same proxy twice.")
    rules = check_rules(profile.rules)
    by_rule = (rule.use for rule in rules if isinstance(rule.use, Upstream))
    check_sign_in(profile.sign_in, profile.method, (*upstreams, *by_rule))
    if profile.get_ticket:
        check_get_ticket(profile.sign_in, profile.method)
    spn = check_spn(profile.spn)
    if spn and profile.canonical_name:
        raise ProfileError("Choose either a service name or the canonical name for Kerberos.")
    certificate, key = map(check_ca_file, (profile.client_certificate, profile.client_key))
    check_client_key(certificate, key)
    if (profile.pac is None) is (profile.upstream is None):
        raise ProfileError("A profile has either the address of a proxy or a PAC address.")
    if profile.pac is not None and profile.fallbacks:
        raise ProfileError("With a PAC address, the script names all proxies. Remove the others.")
    return replace(
        profile,
        name=check_name(profile.name),
        upstream=upstreams[0] if upstreams else None,
        fallbacks=upstreams[1:],
        user=check_user(profile.user),
        bypass=tuple(map(check_rule, profile.bypass)),
        rules=tuple(map(str, rules)),
        spn=spn,
        pac=None if profile.pac is None else parse_pac_source(str(profile.pac)),
        shared_sign_in=tuple(map(check_proxy_pattern, profile.shared_sign_in)),
        ca_file=check_ca_file(profile.ca_file),
        client_certificate=certificate,
        client_key=key,
        use_on=check_use_on(profile.use_on),
    )


def check_sign_in(sign_in: SignIn, method: Method, upstreams: Iterable[Upstream]) -> None:
    """Check that this kind of sign-in is possible with this method and these upstreams."""
    by_socks = any(upstream.scheme is ProxyScheme.SOCKS5 for upstream in upstreams)
    if sign_in is SignIn.SSO and by_socks:
        raise ProfileError("A SOCKS5 proxy needs a user name and a password, or no sign-in.")
    if sign_in is SignIn.SSO and not method.supports_sso:
        raise ProfileError("Your own sign-in works with the method Automatic, Negotiate or NTLM.")


def check_get_ticket(sign_in: SignIn, method: Method) -> None:
    """Check that a Kerberos ticket can be requested with this sign-in and this method."""
    if sign_in is not SignIn.SSO or method not in (Method.AUTOMATIC, Method.NEGOTIATE):
        raise ProfileError(
            "A Kerberos ticket is requested only for your own sign-in, with the method Automatic "
            "or Negotiate."
        )


def check_client_key(certificate: str, key: str) -> None:
    """Check that the files of a client certificate and of its key can be combined."""
    if key and not certificate:
        raise ProfileError("Add the file with the certificate of this key.")
    if key and certificate.lower().endswith((".p12", ".pfx")):
        raise ProfileError("A PKCS #12 file contains its key; leave the file of the key empty.")


def make_id(name: str, taken: Iterable[str]) -> str:
    """Return the id for a new profile, derived from its name for readability of the settings file.

    Later names of the profile do not change the id. The ids in `taken` exist already.
    """
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    slug = re.sub(r"[^a-z0-9]+", "-", plain)[:56].strip("-") or "profile"
    numbered = (f"{slug}-{number}" for number in count(2))
    others = {*taken, DIRECT_ID}
    return next(made for made in chain((slug,), numbered) if made not in others)
