"""Translates challenges and authentication schemes into values of the state machine."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from trayproxy.auth.login import Login, LoginError
from trayproxy.auth.scheme import Offer, Scheme, Verdict, choose
from trayproxy.auth.schemes import allowed_schemes, with_encoding, with_kerberos_options
from trayproxy.auth.socks import SocksPassword
from trayproxy.desk.credentials import Credentials
from trayproxy.desk.machine.events import OfferedScheme, SignInMethod, TriedLogin
from trayproxy.desk.problems import unusable_login
from trayproxy.desk.protection_space import (
    BY_LOGIN,
    BY_SSO,
    ProtectionSpace,
    UpstreamId,
    bounded_realm,
)
from trayproxy.domain.problem import Problem
from trayproxy.domain.signin import Transport
from trayproxy.http.challenges import Challenge
from trayproxy.profiles.profile import Encoding, Profile, SignIn

SOCKS_SCHEMES: tuple[Scheme, ...] = (SocksPassword(),)
"""The schemes for SOCKS proxies, which do not use HTTP's schemes."""


class ChallengeReader:
    """Reads challenges: finds the offers in them, the protection space and the usable schemes."""

    def __init__(self, schemes: Sequence[Scheme], is_installed: Callable[[str], bool]) -> None:
        """Create a reader of challenges for HTTP authentication schemes, the strongest first.

        `is_installed` returns True if the library for a family of schemes is installed.
        """
        self._schemes = tuple(schemes)
        # Created once: credentials are compared by the identity of their scheme.
        self._by_options: dict[tuple[Encoding, str, bool, bool], tuple[Scheme, ...]] = {}
        self._is_installed = is_installed

    def _all_schemes(self, upstream: str) -> tuple[Scheme, ...]:
        return SOCKS_SCHEMES if upstream.startswith("socks5:") else self._schemes

    def usable_schemes(self, upstream_id: UpstreamId, profile: Profile) -> tuple[Scheme, ...]:
        """Return a profile's schemes for an upstream, the strongest first."""
        schemes = self._all_schemes(upstream_id.upstream)
        if schemes is SOCKS_SCHEMES:
            return schemes
        schemes = self._schemes_of(profile)
        if "*" in upstream_id.upstream:
            # A Kerberos ticket is for one host, a shared login is for several.
            schemes = tuple(scheme for scheme in schemes if scheme.name != "negotiate")
        if profile.get_ticket:  # The password is for the sign-in server only.
            return tuple(scheme for scheme in schemes if scheme.family == "negotiate")
        return allowed_schemes(schemes, profile.method, own_sign_in=profile.sign_in is SignIn.SSO)

    def _schemes_of(self, profile: Profile) -> tuple[Scheme, ...]:
        """Return the HTTP schemes with the options of a profile."""
        encoding, kerberos = (
            profile.encoding,
            (profile.spn, profile.canonical_name, profile.get_ticket),
        )
        if encoding is Encoding.UTF_8 and not any(kerberos):
            return self._schemes
        key = encoding, *kerberos
        found = self._by_options.get(key)
        if found is None:
            schemes = with_encoding(self._schemes, encoding)
            if any(kerberos):
                spn, is_canonical, renews = kerberos
                schemes = with_kerberos_options(
                    schemes, spn, is_canonical=is_canonical, renews=renews
                )
            found = self._by_options[key] = schemes
        return found

    def with_current_scheme(self, profile: Profile, offer: Offer) -> Offer:
        """Return an offer to a parked request with its scheme as the profile configures it now:
        the profile may have been edited since."""
        name = scheme_id(offer.scheme)
        present = (scheme for scheme in self._schemes_of(profile) if scheme_id(scheme) == name)
        return replace(offer, scheme=next(present, offer.scheme))

    def read_offers(
        self, challenges: Sequence[Challenge], upstream_id: UpstreamId, profile: Profile
    ) -> tuple[Offer, ...]:
        """Return the offers for a profile's schemes in challenges, the strongest first.

        If the library for a scheme is not installed, its offer is returned only when no other
        scheme can be used.
        """
        found = _supported_offers(challenges, self.usable_schemes(upstream_id, profile))
        return tuple(o for o in found if self._is_installed(o.scheme.family)) or found

    def protection_space(
        self,
        challenges: Sequence[Challenge],
        upstream_id: UpstreamId,
        profile: Profile,
        tried: Credentials | None,
    ) -> ProtectionSpace:
        """Return the protection space of a response's challenges.

        The realm is taken from the strongest scheme with a realm, usable or not: NTLM and Negotiate
        have no realm, and the choice of the scheme must not change the protection space.
        """
        offers = _supported_offers(challenges, self._all_schemes(upstream_id.upstream))
        realms = [offer.challenge.realm for offer in offers]
        if tried and not any(realms) and tried.upstream_id == upstream_id:
            # The last leg of a handshake names no realm.
            return tried.login_id.space
        family = BY_SSO if profile.sign_in is SignIn.SSO else BY_LOGIN
        if upstream_id.upstream.startswith("socks5:"):
            family = SOCKS_SCHEMES[0].family
        return ProtectionSpace(upstream_id, bounded_realm(next(filter(None, realms), "")), family)

    def check_login(self, login: Login, upstream: str, method: str = "") -> Problem | None:
        """Return why a login cannot be used at the URL of an upstream; None if a scheme can encode
        the login. `method` is the title of the scheme for the login, empty if it is not known.
        """
        schemes = self._all_schemes(upstream)
        meant = [scheme for scheme in schemes if scheme.title == method]
        problem = None
        for scheme in meant or schemes:
            try:
                scheme.check(login)
            except LoginError as error:
                problem = unusable_login(str(error))
            else:
                return None
        return problem

    def guess_method(self, profile: Profile) -> SignInMethod:
        """Return the assumed sign-in method before the first challenge: the least safe."""
        upstream = str(profile.upstream)
        schemes = self.usable_schemes(UpstreamId.of(profile), profile) or self._all_schemes(
            upstream
        )
        return _sign_in_method(schemes[-1], upstream)


def _supported_offers(
    challenges: Sequence[Challenge], schemes: Sequence[Scheme]
) -> tuple[Offer, ...]:
    found = (choose(challenges, (scheme,)) for scheme in schemes)
    return tuple(filter(None, found))


def tried_login(
    credentials: Credentials, verdict: Verdict | None, challenges: Sequence[Challenge]
) -> TriedLogin:
    """Return the refused credentials of a request as a `TriedLogin`."""
    # A SOCKS server asks for the login before it receives a target.
    is_final = (verdict is not None and not challenges) or credentials.scheme in SOCKS_SCHEMES
    return TriedLogin(
        credentials.login_id,
        scheme_id(credentials.scheme),
        verdict,
        is_final,
        credentials.has_changed_realm,
        is_offered_again(credentials, challenges),
        credentials.permit,
    )


def is_offered_again(credentials: Credentials, challenges: Sequence[Challenge]) -> bool:
    """Return whether a 407 offers the scheme of the refused credentials once more.

    If it does not, the response says nothing about the login: the upstream wants another scheme.
    Digest credentials are valid for a single realm and algorithm. A 407 without a challenge repeats
    the previous offer.
    """
    challenge_, label = credentials.challenge, credentials.label
    for challenge in challenges:
        if challenge.scheme == credentials.scheme.name:
            is_digest = challenge.scheme == "digest"
            is_same = Offer(credentials.scheme, challenge).label == label
            if not is_digest or (is_same and challenge.realm == challenge_.realm):
                return True
    return not challenges


def scheme_id(scheme: Scheme) -> str:
    """Return the unique name of a scheme; two schemes may answer the same auth-scheme."""
    return f"{scheme.name} by {scheme.family}"


def offered_schemes(offers: Sequence[Offer], upstream_id: UpstreamId) -> tuple[OfferedScheme, ...]:
    """Return the offers of an upstream as `OfferedScheme` values."""
    return tuple(
        OfferedScheme(
            scheme_id(offer.scheme),
            _sign_in_method(offer.scheme, upstream_id.upstream),
            offer.label,
        )
        for offer in offers
    )


def _sign_in_method(scheme: Scheme, upstream: str) -> SignInMethod:
    """Return how a scheme signs in over the connection to an upstream (ux §3.5)."""
    if upstream.startswith("https:"):
        return SignInMethod(scheme.title, Transport.ENCRYPTED)
    return SignInMethod(
        scheme.title, Transport.READABLE if scheme.sends_password else Transport.SCRAMBLED
    )
