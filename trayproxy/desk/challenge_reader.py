"""Our schemes, and what of them a 407 offers: from schemes and challenges to the desk's words."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from trayproxy.auth.login import Login, LoginError
from trayproxy.auth.scheme import Offer, Scheme, Verdict, choose
from trayproxy.auth.schemes import allowed_schemes, with_encoding
from trayproxy.auth.socks import SocksPassword
from trayproxy.control.messages import Problem, Transport
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
from trayproxy.http.challenges import Challenge
from trayproxy.profiles.profile import Encoding, Profile, SignIn

SOCKS_SCHEMES: tuple[Scheme, ...] = (SocksPassword(),)
"""How one signs in to a SOCKS proxy; none of HTTP's schemes means anything there."""


class ChallengeReader:
    """Reads challenges."""

    def __init__(self, schemes: Sequence[Scheme], is_installed: Callable[[str], bool]) -> None:
        """Know some schemes.

        Args:
            schemes: Ours for HTTP, the strongest first.
            is_installed: Whether what a family of schemes needs is installed.
        """
        self._schemes = tuple(schemes)
        # Made once: answers are told apart by their scheme.
        self._by_encoding = {Encoding.LATIN_1: with_encoding(schemes, Encoding.LATIN_1)}
        self._is_installed = is_installed

    def _all_schemes(self, upstream: str) -> tuple[Scheme, ...]:
        return SOCKS_SCHEMES if upstream.startswith("socks5:") else self._schemes

    def usable_schemes(self, upstream_id: UpstreamId, profile: Profile) -> tuple[Scheme, ...]:
        """Return the schemes that a profile allows at an upstream, the strongest first."""
        schemes = self._all_schemes(upstream_id.upstream)
        if schemes is SOCKS_SCHEMES:
            return schemes
        schemes = self._encoded_schemes(profile)
        return allowed_schemes(schemes, profile.method, own_sign_in=profile.sign_in is SignIn.SSO)

    def _encoded_schemes(self, profile: Profile) -> tuple[Scheme, ...]:
        return self._by_encoding.get(profile.encoding, self._schemes)

    def with_current_scheme(self, profile: Profile, offer: Offer) -> Offer:
        """Return an offer with its scheme as a profile has it now.

        Args:
            profile: It may have been edited since a request was parked with the offer.
            offer: What that request was offered.
        """
        name = scheme_id(offer.scheme)
        present = (scheme for scheme in self._encoded_schemes(profile) if scheme_id(scheme) == name)
        return replace(offer, scheme=next(present, offer.scheme))

    def read_offers(
        self, challenges: Sequence[Challenge], upstream_id: UpstreamId, profile: Profile
    ) -> tuple[Offer, ...]:
        """Return what of the schemes on offer a profile can use, the strongest first.

        One that is not installed is left out if another one is on offer. Else it is for the scheme
        itself to say what is missing.
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
        """Return who asks.

        The realm is that of the strongest scheme that has one, whether or not it can be used: NTLM
        and Negotiate have none, and which scheme is used must not make it another upstream.
        """
        offers = _supported_offers(challenges, self._all_schemes(upstream_id.upstream))
        realms = [offer.challenge.realm for offer in offers]
        if tried and not any(realms) and tried.upstream_id == upstream_id:
            # The end of a handshake, which tells of nothing but itself.
            return tried.login_id.space
        family = BY_SSO if profile.sign_in is SignIn.SSO else BY_LOGIN
        if upstream_id.upstream.startswith("socks5:"):
            family = SOCKS_SCHEMES[0].family
        return ProtectionSpace(upstream_id, bounded_realm(next(filter(None, realms), "")), family)

    def check_login(self, login: Login, upstream: str, method: str = "") -> Problem | None:
        """Return why a login cannot be used; None if a scheme can express it.

        Args:
            login: The login.
            upstream: For which upstream.
            method: The title of the scheme that it is for; empty if that is not known.
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
        """Return how an upstream will ask that has not asked yet: in the least safe way."""
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
    """Return what a request carried that has come back, in the words of the machine."""
    # A SOCKS server asks for the login before it hears of any target.
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
    """Return whether a 407 offers once more what the refused request carried.

    If not, it says nothing about the login: the upstream wants it in another way. What Digest signs
    holds for one realm and one algorithm. A 407 without any challenge offers what was offered
    before.
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
    """Return what tells a scheme from the others; two may answer the same auth-scheme."""
    return f"{scheme.name} by {scheme.family}"


def offered_schemes(offers: Sequence[Offer], upstream_id: UpstreamId) -> tuple[OfferedScheme, ...]:
    """Return what an upstream offers, in the words of the machine."""
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
