"""The Digest authentication scheme (RFC 7616; RFC 2069 for proxies without ``qop``).

The proxy issues a nonce. The credentials of a request contain a hash of the login, the nonce and
the number of uses of the nonce (``nc``). Strict proxies refuse a count out of order, and requests
on several connections arrive in any order. Therefore a nonce is held by a single request at a time,
until its response arrives. A request that was parked after a 407 uses the nonce of its 407. Any
other request uses a free nonce or, if no nonce is free, is sent without credentials and gets a
nonce from its 407. The extra round trips are rare, and unlike a count out of order they are never
taken for a failed log-on. After a short time there are as many nonces as concurrent requests.

Only ``stale=true`` means a correct login and an expired nonce (section 3.3). A proxy behind a load
balancer recognises only its own nonces, and not every such proxy sends ``stale=true``. Therefore,
if the nonce was not issued in a 407 to the same request, the request is repeated once with the
nonce of the refusal. Any other 407 to a request with credentials is a rejection, and the login is
not repeated with the new nonce.

Two kinds of 407 do not show whether the login is wrong. A 407 with another realm or another
algorithm does not answer the credentials (RFC 9110, section 11.5); the desk detects it by its
challenges. And if a proxy closes the connection even after the 407 of a HEAD, the credentials are
sent on another connection. Behind a load balancer, the other connection may lead to another
machine, which does not recognise the nonce. The verdict is then `VerdictKind.UNCLEAR`, unless the
proxy sends ``stale=false`` or repeats the nonce.

``rspauth``, by which the proxy can prove that it knows the password, is not checked: by then the
response is being relayed, and a person could hardly act on the result.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from weakref import WeakValueDictionary

from trayproxy.auth.login import (
    UTF_8,
    Login,
    check_http_login,
    encode_nfc,
    require_login,
    requires_utf_8,
)
from trayproxy.auth.scheme import (
    Authenticator,
    Handshake,
    Leg,
    RequestToAuthenticate,
    Verdict,
    VerdictKind,
)
from trayproxy.http.challenges import Challenge, parse_challenges
from trayproxy.http.fields import Fields

MAX_STALE = 3
"""The number of consecutive stale nonces after which a further stale nonce is an error (T14)."""

MAX_IDLE = 64
"""The maximum number of free nonces; the nonce that has been free for longest is dropped first."""

LAST_COUNT = 0xFFFFFFFF
"""The highest number of uses of a nonce: ``nc`` has eight hexadecimal digits (section 3.4)."""

_ATTR_CHARS = frozenset(
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789!#$&+-.^_`|~"
)
_INFO = b"Proxy-Authentication-Info"
_ALGORITHMS = {"md5": "md5", "sha-256": "sha256", "sha-512-256": "sha512_256"}
_CHANGED = "This proxy has changed its challenge."
_ALWAYS_STALE = (
    "This proxy rejects every sign-in as too late. Its clock may be wrong, "
    "or several proxies share this name and do not know of each other."
)
_NO_CONTENT = (
    "This proxy wants the content of requests to be signed, "
    "which cannot be done for content of this size."
)


class Qop(Enum):
    """The quality of protection: the parts of the message covered by the hash (section 3.3)."""

    NONE = ""
    """As in RFC 2069: the hash covers the method and the request-target; uses are not counted."""
    AUTH = "auth"
    AUTH_INT = "auth-int"


Hash = Callable[[bytes], bytes]
"""Returns the digest of octets in lower-case hexadecimal digits."""


@dataclass(frozen=True, slots=True)
class Digest:
    """The Digest scheme.

    Attributes:
        random: Returns this many cryptographically random octets.
        encoding: The encoding of logins for challenges without ``charset``.
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
        """Check that Digest can carry a login; raise the errors of `check_http_login`."""
        check_http_login(login)

    def understands(self, challenge: Challenge) -> bool:
        """Return whether a challenge has a nonce, a known algorithm and qop (section 3.3)."""
        return _Terms.of(challenge) is not None

    def authenticator(self, challenge: Challenge, login: Login | None, host: str) -> Authenticator:
        """Return an authenticator that keeps a hash of the login, not the password."""
        login = require_login(login)
        check_http_login(login)
        terms = _Terms.of(challenge)
        assert terms is not None, "only challenges that are understood get an authenticator"
        return DigestAuthenticator(terms, login, self.random, self.encoding)


@dataclass(frozen=True, slots=True)
class _Terms:
    """The parameters of a challenge.

    Text is ISO-8859-1: each character is an octet on the wire.

    Attributes:
        realm: The realm; empty if there is none.
        algorithm: The algorithm as the proxy writes it, which is how it is sent back; None means
            MD5.
        qop: The least demanding of the offered options.
        opaque: The value to send back, if any.
        utf8: True if the challenge requires user names and passwords in UTF-8.
        hides_user: True if the user name must be sent as a hash.
        nonce: The nonce of the challenge.
        is_stale: True if the challenge states that only the previous nonce was too old.
        states_stale: True if the challenge has a ``stale`` parameter, ``stale=false`` included.
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
        """Return the parameters of a challenge; None if the challenge cannot be answered."""
        nonce = challenge.param("nonce")
        algorithm = challenge.param("algorithm")
        qop = _qop(challenge.param("qop"))
        if not nonce or qop is None or _hash(algorithm) is None:
            return None
        if _is_session(algorithm) and qop is Qop.NONE:
            return None  # A session key needs a cnonce (section 3.4.2).
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
        """Return whether an authenticator made for earlier parameters can use these too."""
        same = self.realm == earlier.realm and self.utf8 == earlier.utf8
        return same and (self.algorithm or "md5").lower() == (earlier.algorithm or "md5").lower()


@dataclass(slots=True, eq=False, weakref_slot=True)
class _Nonce:
    """A nonce and the state of its use.

    Attributes:
        terms: The parameters of the challenge with the nonce.
        value: The nonce, or its replacement by ``nextnonce``.
        cnonce: The client nonce, the same after ``nextnonce`` (section 3.4.2).
        secret: The keyed part of the hash: HA1, or the session key of ``-sess``, the same after
            ``nextnonce``.
        count: The number of requests authenticated with this nonce.
    """

    terms: _Terms
    value: str
    cnonce: str
    secret: bytes = field(repr=False)
    count: int = 0


class DigestAuthenticator:
    """A login in use for a realm, and the free nonces."""

    is_constant = False
    blocks = False

    def __init__(
        self, terms: _Terms, login: Login, random: Callable[[int], bytes], encoding: str = UTF_8
    ) -> None:
        """Hash the login. The password is not kept; the nonce of the challenge is free.

        Raises:
            LoginError: The login contains a character outside the encoding.
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
        # A proxy may issue the same nonce to several requests, which then share its count.
        self._nonces: WeakValueDictionary[str, _Nonce] = WeakValueDictionary()
        self._idle = [self.nonce_of(terms)]

    def begin(self, request: RequestToAuthenticate) -> Handshake:
        """Return the handshake for a request."""
        return _DigestHandshake(self, request)

    def take_nonce(self, terms: _Terms | None) -> _Nonce | None:
        """Return a nonce for exclusive use by a request: the nonce of its 407, if it has these
        terms, or else a free nonce; None if no nonce is free."""
        if terms is not None:
            return self.nonce_of(terms)
        return self._idle.pop() if self._idle else None

    def nonce_of(self, terms: _Terms) -> _Nonce:
        """Return the nonce of a challenge and mark the nonce as taken."""
        nonce = self._nonces.get(terms.nonce)
        if nonce is None:
            nonce = _Nonce(terms, terms.nonce, *self._keys(terms))
            self._nonces[nonce.value] = nonce
        elif nonce in self._idle:
            self._idle.remove(nonce)
        return nonce

    def release_nonce(self, nonce: _Nonce, next_nonce: str | None) -> None:
        """Make a nonce available for the next request, replaced by `next_nonce` unless it is None.

        The count of the next nonce starts again (section 3.5).
        """
        if next_nonce is not None and next_nonce != nonce.value:
            nonce.value, nonce.count = next_nonce, 0
            self._nonces[next_nonce] = nonce
        if nonce.count < LAST_COUNT and nonce not in self._idle:
            self._idle.append(nonce)
            del self._idle[:-MAX_IDLE]

    def answerable_terms(self, challenges: tuple[Challenge, ...]) -> _Terms | None:
        """Return the first challenge with this realm and algorithm (section 3.7)."""
        for challenge in challenges:
            if challenge.scheme == "digest":
                terms = _Terms.of(challenge)
                if terms is not None and terms.is_compatible(self._terms):
                    return terms
        return None

    def credentials_for(self, nonce: _Nonce, request: RequestToAuthenticate) -> bytes | None:
        """Return the credentials of a request; None if its content is needed and has not been read.

        All values are quoted except `algorithm`, `qop` and `nc` (section 3.4).
        """
        terms = nonce.terms
        hashed = [request.method, request.target]
        if terms.qop is Qop.AUTH_INT:
            if request.body is None:
                return None
            hashed.append(self._hash(request.body))
        nonce.count += 1
        value = nonce.value.encode("iso-8859-1")
        count, cnonce = b"%08x" % nonce.count, nonce.cnonce.encode()
        between = [] if terms.qop is Qop.NONE else [count, cnonce, terms.qop.value.encode()]
        parts = [nonce.secret, value, *between, self._hash(b":".join(hashed))]
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

        A user name with characters outside ASCII is sent as ``username*`` only if the challenge has
        a ``charset``, which proves support of RFC 7616. Otherwise ``username`` contains the hashed
        octets.
        """
        if terms.hides_user:
            return [b"username=" + _quote(self._user_hash), b"userhash=true"]
        if terms.utf8 and not self._user.isascii():
            return [b"username*=UTF-8''" + _percent_encode(self._user)]
        return [b"username=" + _quote(self._user)]

    def _keys(self, terms: _Terms) -> tuple[str, bytes]:
        """Return a new cnonce and the secret to use with it: HA1, or the session key."""
        cnonce = self._random(16).hex()
        if not _is_session(terms.algorithm):
            return cnonce, self._ha1
        parts = (self._ha1, terms.nonce.encode("iso-8859-1"), cnonce.encode())
        return cnonce, self._hash(b":".join(parts))


class _DigestHandshake:
    """The Digest authentication of a request, and its nonce."""

    def __init__(self, authenticator: DigestAuthenticator, request: RequestToAuthenticate) -> None:
        self._authenticator = authenticator
        self._request = request
        self._nonce: _Nonce | None = None
        self._is_pooled = False  # False if a 407 to this request issued the nonce.
        self._has_begun = False
        self._stale = 0

    def step(self, challenges: tuple[Challenge, ...]) -> Leg | Verdict:
        """Return the next leg: at most one without, and at most four with credentials."""
        terms = self._authenticator.answerable_terms(challenges)
        if not self._has_begun:
            self._has_begun = True
            # All Digest challenges have other realms or algorithms.
            if terms is None and any(challenge.scheme == "digest" for challenge in challenges):
                return Verdict(VerdictKind.UNUSABLE, _CHANGED)
            self._nonce = self._authenticator.take_nonce(terms)
            self._is_pooled = terms is None
            return self._next_leg() if self._nonce else Leg(b"")
        nonce, self._nonce = self._nonce, None
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
        self._nonce, self._is_pooled = self._authenticator.nonce_of(terms), False
        return self._next_leg()

    def finish(self, fields: Fields) -> None:
        """Release the nonce, replaced by ``nextnonce`` if there is such a field (section 3.5)."""
        if self._nonce is not None:
            nonce, self._nonce = self._nonce, None
            self._authenticator.release_nonce(nonce, _next_nonce(fields))

    def _next_leg(self) -> Leg | Verdict:
        assert self._nonce is not None
        credentials = self._authenticator.credentials_for(self._nonce, self._request)
        if credentials is None:
            nonce, self._nonce = self._nonce, None
            if self._is_pooled:
                self._authenticator.release_nonce(nonce, None)
            return Verdict(VerdictKind.UNUSABLE, _NO_CONTENT, lacks_content=True)
        return Leg(credentials)


def _next_nonce(fields: Fields) -> str | None:
    for value in fields.get_all(_INFO):
        for info in parse_challenges([b"Digest " + value]):
            if nonce := info.param("nextnonce"):
                return nonce
    return None


def _qop(offered: str | None) -> Qop | None:
    """Return the quality of protection to use; None if none of the offered options is known.

    ``auth`` is preferred to ``auth-int``, which needs the whole content before the request is sent.
    """
    options = (offered or "").lower().replace(",", " ").split()
    if not options:
        return Qop.NONE
    return next((qop for qop in (Qop.AUTH, Qop.AUTH_INT) if qop.value in options), None)


def _hash(algorithm: str | None) -> Hash | None:
    """Return the hash function of an algorithm (section 3.2); None if this system has none."""
    name = _ALGORITHMS.get((algorithm or "md5").lower().removesuffix("-sess"))
    if name is None:
        return None
    import hashlib  # Not at the top: it loads OpenSSL, which other schemes do not need.

    try:
        # In FIPS mode MD5 is available only with this argument.
        hashlib.new(name, usedforsecurity=False)
    except ValueError:  # SHA-512/256 needs a recent OpenSSL.
        return None
    return lambda octets: hashlib.new(name, octets, usedforsecurity=False).hexdigest().encode()


def _is_session(algorithm: str | None) -> bool:
    return algorithm is not None and algorithm.lower().endswith("-sess")


def _param_is(challenge: Challenge, name: str, value: str) -> bool:
    return (challenge.param(name) or "").lower() == value


def _percent_encode(octets: bytes) -> bytes:
    """Return the value of an extended parameter such as ``username*`` (RFC 8187, section 3.2)."""
    return b"".join(
        b"%c" % octet if octet in _ATTR_CHARS else b"%%%02X" % octet for octet in octets
    )


def _quote(octets: bytes) -> bytes:
    """Return a quoted-string (RFC 9110, section 5.6.4)."""
    return b'"' + octets.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'
