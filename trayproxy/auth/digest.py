"""The Digest authentication scheme (RFC 7616; RFC 2069 for proxies that know no ``qop``).

The proxy gives out a nonce, a request is signed with a hash over the login, the nonce and how
often the nonce was used (``nc``). Strict proxies refuse a count that does not grow, and requests
that leave on several connections arrive in any order. Therefore a nonce is lent to one request at
a time and comes back when that request is answered. A request that finds none free brings the
nonce of the 407 that made it wait, or goes without credentials and gets one by its 407: that costs
a round trip now and then and is never taken for a failed log-on, as a count out of order could be.
There are soon as many nonces as requests at a time.

Only ``stale=true`` says that the login was right and the nonce too old (section 3.3). Proxies
behind a balancer know only the nonces that they have given out themselves, and not all of them say
so. So a request whose nonce did not come with its own 407 is signed once more with the nonce of the
407 that refused it. Any other 407 to a signed request is a rejection, and the login is not tried
with the new nonce.

Two kinds of 407 do not tell whether the login is wrong. One that names another realm or another
algorithm is no answer to what was signed (RFC 9110, section 11.5): the desk finds that out from its
challenges. And a proxy that closes the connection also behind the 407 of a HEAD gets the
credentials on another connection, behind a balancer perhaps at another machine, which does not know
the nonce: that verdict is `VerdictKind.UNCLEAR`, unless the proxy says ``stale=false`` or repeats
the nonce.

``rspauth``, by which the proxy may prove that it knows the password too, is not checked: the
response is relayed by then, and who signs in to a proxy hardly knows what to do about it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from weakref import WeakValueDictionary

from trayproxy.auth.login import (
    CONTROL_CHARACTERS,
    UTF_8,
    Login,
    LoginError,
    check_characters,
    encode_nfc,
    require_login,
    requires_utf_8,
)
from trayproxy.auth.scheme import Handshake, Leg, RequestToSign, Signer, Verdict, VerdictKind
from trayproxy.http.challenges import Challenge, parse_challenges
from trayproxy.http.fields import Fields

MAX_STALE = 3
"""How often in a row the proxy may declare a nonce too old before that is an error (T14)."""

MAX_IDLE = 64
"""Nonces that are kept for the next requests; the one that was idle for longest goes first."""

_LAST_COUNT = 0xFFFFFFFF
_ATTR_CHARS = frozenset(
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!#$&+-.^_`|~"
)
_INFO = b"Proxy-Authentication-Info"
_ALGORITHMS = {"md5": "md5", "sha-256": "sha256", "sha-512-256": "sha512_256"}
_CHANGED = "This proxy has changed how it asks."
_ALWAYS_STALE = (
    "This proxy says of every sign-in that it comes too late. Its clock may be wrong, "
    "or several proxies share this name and do not know of each other."
)
_NO_CONTENT = (
    "This proxy wants the content of requests to be signed, "
    "which cannot be done for content of this size."
)


class Qop(Enum):
    """What is protected beside the login (section 3.3)."""

    NONE = ""
    """RFC 2069: the request-target, and no count."""
    AUTH = "auth"
    AUTH_INT = "auth-int"


Hash = Callable[[bytes], bytes]
"""From octets to a digest in lower-case hexadecimal digits."""


@dataclass(frozen=True, slots=True)
class Digest:
    """Answers Digest challenges.

    Attributes:
        random: Returns that many octets nobody can foretell.
        encoding: Of logins for a proxy that does not say how it encodes them.
    """

    random: Callable[[int], bytes] = field(repr=False, compare=False)
    encoding: str = UTF_8
    name: str = "digest"
    title: str = "Digest"
    family: str = "digest"
    sends_password: bool = False
    binds_connection: bool = False
    blocks: bool = False
    needs_login: bool = True

    def check(self, login: Login) -> None:
        """Return if Digest can carry the login.

        Raises:
            LoginError: A colon in the user name, which ends it within the hash (section 4), a
                control character or half a surrogate pair in either part.
        """
        if ":" in login.user:
            raise LoginError(
                "A user name cannot contain a colon with the sign-in method of this proxy."
            )
        check_characters(login, CONTROL_CHARACTERS)

    def understands(self, challenge: Challenge) -> bool:
        """Return whether there is a nonce, a known algorithm and a known qop (section 3.3)."""
        return _Terms.of(challenge) is not None

    def signer(self, challenge: Challenge, login: Login | None, host: str) -> Signer:
        """Return a signer that keeps the hash of the login, not the password.

        Raises:
            LoginError: See `check`; or there is no login, or it has a character that the encoding
                has not got.
        """
        login = require_login(login)
        self.check(login)
        terms = _Terms.of(challenge)
        assert terms is not None, "only challenges that are understood get a signer"
        return DigestSigner(terms, login, self.random, self.encoding)


@dataclass(frozen=True, slots=True)
class _Terms:
    """What a challenge asks for, apart from its nonce.

    Text is ISO-8859-1, each character one octet of the wire.

    Attributes:
        realm: Where the login belongs.
        algorithm: As the proxy writes it, to be repeated so; None if it names none, which is MD5.
        qop: The least of what it offers that we can do for every request.
        opaque: To be sent back; None if there is none.
        utf8: Whether the proxy says how it encodes names and passwords.
        hides_user: Whether it wants the user name hashed.
        nonce: To be used first.
        is_stale: Whether it says that the nonce before was too old, and nothing else was wrong.
        states_stale: Whether it says if the nonce before was too old (``stale=false``, too).
    """

    realm: str
    algorithm: str | None
    qop: Qop
    opaque: str | None
    utf8: bool
    hides_user: bool
    nonce: str
    is_stale: bool
    states_stale: bool

    @classmethod
    def of(cls, challenge: Challenge) -> "_Terms | None":
        """Read a challenge; None if it is none that can be answered."""
        nonce = challenge.param("nonce")
        algorithm = challenge.param("algorithm")
        qop = _qop(challenge.param("qop"))
        if not nonce or qop is None or _hash(algorithm) is None:
            return None
        if _is_session(algorithm) and qop is Qop.NONE:
            return None  # There is no cnonce to make a session of (section 3.4.2).
        return cls(
            realm=challenge.param("realm") or "",
            algorithm=algorithm,
            qop=qop,
            opaque=challenge.param("opaque"),
            utf8=requires_utf_8(challenge),
            hides_user=_param_is(challenge, "userhash", "true"),
            nonce=nonce,
            is_stale=_param_is(challenge, "stale", "true"),
            states_stale=challenge.param("stale") is not None,
        )

    def is_compatible(self, earlier: "_Terms") -> bool:
        """Return whether a signer made for earlier terms can sign by these too."""
        same = self.realm == earlier.realm and self.utf8 == earlier.utf8
        return same and (self.algorithm or "md5").lower() == (earlier.algorithm or "md5").lower()


@dataclass(slots=True, eq=False, weakref_slot=True)
class _Nonce:
    """A nonce and what was signed with it.

    Attributes:
        answerable_terms: Of the challenge that brought it.
        nonce: The nonce, or what followed it (``nextnonce``).
        cnonce: Ours, the same for the whole line, so that there is one session key (section 3.4.2).
        secret: The hash that signs: HA1, or the session key of ``-sess``.
        count: How many requests were signed with this nonce.
    """

    terms: _Terms
    value: str
    cnonce: str
    secret: bytes = field(repr=False)
    count: int = 0


class DigestSigner:
    """A login at work in one realm."""

    is_constant = False
    blocks = False

    def __init__(
        self, terms: _Terms, login: Login, random: Callable[[int], bytes], encoding: str = UTF_8
    ) -> None:
        """Hash the login for good; the password is not kept.

        Args:
            terms: Of the challenge that is answered, whose nonce is used first.
            login: The login.
            random: Returns that many octets nobody can foretell.
            encoding: Of the login, unless the proxy says that it is UTF-8.

        Raises:
            LoginError: It has not got a character of the login.
        """
        digest = _hash(terms.algorithm)
        assert digest is not None
        self._terms = terms
        self._random = random
        self._hash = digest
        encoding = UTF_8 if terms.utf8 else encoding
        self._user = encode_nfc(login.user, encoding)
        password = encode_nfc(login.password, encoding)
        realm = terms.realm.encode("iso-8859-1")
        self._ha1 = digest(b":".join((self._user, realm, password)))
        self._user_hash = digest(self._user + b":" + realm)
        # A proxy may give the same nonce to several requests: then they share its count.
        self._nonces: WeakValueDictionary[str, _Nonce] = WeakValueDictionary()
        self._idle = [self.nonce_of(terms)]

    def begin(self, request: RequestToSign) -> Handshake:
        """Return the handshake for a request."""
        return _DigestHandshake(self, request)

    def take_nonce(self, challenges: tuple[Challenge, ...]) -> _Nonce | None:
        """Return a nonce for one request alone, None if there is none.

        Args:
            challenges: Those that this request came back with, if any: its own nonce goes first.
        """
        if terms := self.answerable_terms(challenges):
            return self.nonce_of(terms)
        return self._idle.pop() if self._idle else None

    def nonce_of(self, terms: _Terms) -> _Nonce:
        """Return the nonce of a nonce that came for the very request that needs it."""
        nonce = self._nonces.get(terms.nonce)
        if nonce is None:
            nonce = _Nonce(terms, terms.nonce, *self._keys(terms))
            self._nonces[nonce.value] = nonce
        elif nonce in self._idle:
            self._idle.remove(nonce)
        return nonce

    def release_nonce(self, nonce: _Nonce, next_nonce: str | None) -> None:
        """Take a nonce back, for the next request.

        Args:
            nonce: Of a request that was answered.
            next_nonce: What is to be used from now on; the count begins anew (section 3.5).
        """
        if next_nonce is not None and next_nonce != nonce.value:
            nonce.value, nonce.count = next_nonce, 0
            self._nonces[next_nonce] = nonce
        if nonce.count < _LAST_COUNT and nonce not in self._idle:
            self._idle.append(nonce)
            del self._idle[:-MAX_IDLE]

    def answerable_terms(self, challenges: tuple[Challenge, ...]) -> _Terms | None:
        """Return the first challenge that this login and algorithm answer (section 3.7)."""
        for challenge in challenges:
            if challenge.scheme == "digest":
                terms = _Terms.of(challenge)
                if terms is not None and terms.is_compatible(self._terms):
                    return terms
        return None

    def asks_only_others(self, challenges: tuple[Challenge, ...]) -> bool:
        """Return whether Digest is asked for, but only in realms or by algorithms of others."""
        is_asked = any(challenge.scheme == "digest" for challenge in challenges)
        return is_asked and self.answerable_terms(challenges) is None

    def sign(self, nonce: _Nonce, request: RequestToSign) -> bytes | None:
        """Return the credentials of a request; None if its content must be known and is not.

        The parameters are those of section 3.4, quoted as there: `algorithm`, `qop` and `nc` are
        not, the others are.
        """
        terms = nonce.terms
        signed = [request.method, request.target]
        if terms.qop is Qop.AUTH_INT:
            if request.body is None:
                return None
            signed.append(self._hash(request.body))
        nonce.count += 1
        value = nonce.value.encode("iso-8859-1")
        count, cnonce = b"%08x" % nonce.count, nonce.cnonce.encode()
        between = [] if terms.qop is Qop.NONE else [count, cnonce, terms.qop.value.encode()]
        parts = [nonce.secret, value, *between, self._hash(b":".join(signed))]
        params = [
            *self._user_params(terms),
            b"realm=" + _quote(terms.realm.encode("iso-8859-1")),
            b"nonce=" + _quote(value),
            b"uri=" + _quote(request.target),
        ]
        if terms.algorithm is not None:
            params.append(b"algorithm=" + terms.algorithm.encode("iso-8859-1"))
        params.append(b"response=" + _quote(self._hash(b":".join(parts))))
        if terms.opaque is not None:
            params.append(b"opaque=" + _quote(terms.opaque.encode("iso-8859-1")))
        if terms.qop is not Qop.NONE:
            params += [b"qop=" + terms.qop.value.encode(), b"nc=" + count]
            params.append(b"cnonce=" + _quote(cnonce))
        return b"Digest " + b", ".join(params)

    def _user_params(self, terms: _Terms) -> list[bytes]:
        """Return ``username`` or ``username*``, never both (section 3.4).

        What is not ASCII goes as ``username*`` only to proxies that are new enough to know it,
        which is what their ``charset`` shows. The others get the octets that were hashed.
        """
        if terms.hides_user:
            return [b"username=" + _quote(self._user_hash), b"userhash=true"]
        if terms.utf8 and not self._user.isascii():
            return [b"username*=UTF-8''" + _percent_encode(self._user)]
        return [b"username=" + _quote(self._user)]

    def _keys(self, terms: _Terms) -> tuple[str, bytes]:
        """Return a new cnonce and the hash that signs with it."""
        cnonce = self._random(16).hex()
        if not _is_session(terms.algorithm):
            return cnonce, self._ha1
        parts = (self._ha1, terms.nonce.encode("iso-8859-1"), cnonce.encode())
        return cnonce, self._hash(b":".join(parts))


class _DigestHandshake:
    """One request on its way to be signed, and the nonce that it holds."""

    def __init__(self, signer: DigestSigner, request: RequestToSign) -> None:
        self._signer = signer
        self._request = request
        self._nonce: _Nonce | None = None
        self._is_pooled = False  # Rather than brought by the 407 that this request came back with.
        self._legs = 0
        self._stale = 0

    def step(self, challenges: tuple[Challenge, ...]) -> Leg | Verdict:
        """Return the next leg: without credentials at most once, signed four times at most."""
        self._legs += 1
        if self._legs == 1:
            if self._signer.asks_only_others(challenges):
                return Verdict(VerdictKind.UNUSABLE, _CHANGED)
            self._nonce = self._signer.take_nonce(challenges)
            self._is_pooled = self._signer.answerable_terms(challenges) is None
            return self._sign() if self._nonce else Leg(b"")
        nonce, self._nonce = self._nonce, None
        terms = self._signer.answerable_terms(challenges)
        if nonce is None:
            if terms is None:
                return Verdict(VerdictKind.UNUSABLE, _CHANGED)
        elif terms is None:
            return Verdict(VerdictKind.REJECTED)
        elif terms.is_stale:
            self._stale += 1
            if self._stale > MAX_STALE:
                return Verdict(VerdictKind.UNUSABLE, _ALWAYS_STALE)
        elif terms.nonce == nonce.value:
            return Verdict(VerdictKind.REJECTED)
        elif not self._is_pooled:
            return Verdict(VerdictKind.REJECTED, other_nonce=not terms.states_stale)
        self._nonce, self._is_pooled = self._signer.nonce_of(terms), False
        return self._sign()

    def finish(self, fields: Fields) -> None:
        """Give the nonce back, or the one that the proxy wants to see next (section 3.5)."""
        if self._nonce is not None:
            nonce, self._nonce = self._nonce, None
            self._signer.release_nonce(nonce, _next_nonce(fields))

    def _sign(self) -> Leg | Verdict:
        assert self._nonce is not None
        credentials = self._signer.sign(self._nonce, self._request)
        if credentials is None:
            nonce, self._nonce = self._nonce, None
            if self._is_pooled:
                self._signer.release_nonce(nonce, None)
            return Verdict(VerdictKind.UNUSABLE, _NO_CONTENT, lacks_content=True)
        return Leg(credentials)


def _next_nonce(fields: Fields) -> str | None:
    for value in fields.get_all(_INFO):
        for info in parse_challenges([b"Digest " + value]):
            if nonce := info.param("nextnonce"):
                return nonce
    return None


def _qop(offered: str | None) -> Qop | None:
    """Return what to do of what is offered, None if nothing of it can be done.

    ``auth`` before ``auth-int``, for which the whole content must be known before it is sent.
    """
    if offered is None:
        return Qop.NONE
    options = offered.lower().replace(",", " ").split()
    if not options:
        return Qop.NONE
    return next((qop for qop in (Qop.AUTH, Qop.AUTH_INT) if qop.value in options), None)


def _hash(algorithm: str | None) -> Hash | None:
    """Return the hash function of an algorithm, None if we have not got it."""
    name = _ALGORITHMS.get((algorithm or "md5").lower().removesuffix("-sess"))
    if name is None:
        return None
    import hashlib  # Loads OpenSSL, which a proxy with another scheme does not need.

    try:
        # Not for security as FIPS means it; without this MD5 is missing there.
        hashlib.new(name, usedforsecurity=False)
    except ValueError:  # SHA-512/256 is OpenSSL's, which not every Python has in a new version.
        return None
    return lambda octets: hashlib.new(name, octets, usedforsecurity=False).hexdigest().encode()


def _is_session(algorithm: str | None) -> bool:
    return algorithm is not None and algorithm.lower().endswith("-sess")


def _param_is(challenge: Challenge, name: str, value: str) -> bool:
    return (challenge.param(name) or "").lower() == value


def _percent_encode(octets: bytes) -> bytes:
    """Return the value of a parameter whose name ends with an asterisk (RFC 8187, section 3.2)."""
    return b"".join(
        b"%c" % octet if octet in _ATTR_CHARS else b"%%%02X" % octet for octet in octets
    )


def _quote(octets: bytes) -> bytes:
    """Return a quoted-string (RFC 9110, section 5.6.4)."""
    return b'"' + octets.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'
