"""Tests for trayproxy.auth.digest."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.auth.steps import SECRET, verdict_kind
from trayproxy.auth.digest import LAST_COUNT, MAX_IDLE, MAX_STALE, Digest
from trayproxy.auth.login import Login, LoginError
from trayproxy.auth.scheme import (
    Authenticator,
    Handshake,
    Leg,
    RequestToAuthenticate,
    Verdict,
    VerdictKind,
    choose,
)
from trayproxy.http.challenges import Challenge, parse_challenges
from trayproxy.http.fields import Fields, is_field_value

RAW = Path(__file__).parents[1] / "http" / "407"
LOGIN = Login("user", "pass")
CNONCE = bytes(range(16))
GET = RequestToAuthenticate(b"GET", b"http://a.example/x", b"")
REJECTED = Verdict(VerdictKind.REJECTED)
NO_FIELDS = Fields()


def digest(random: Callable[[int], bytes] = lambda size: CNONCE[:size]) -> Digest:
    return Digest(random)


def digest_challenge(text: str) -> Challenge:
    return parse_challenges([f"Digest {text}".encode()])[0]


def challenge(nonce: str, more: str = "") -> Challenge:
    return digest_challenge(f'realm="c", nonce="{nonce}", qop="auth"{more}')


def authenticator_for(text: str, login: Login = LOGIN) -> Authenticator:
    return digest().authenticator(digest_challenge(text), login, "proxy.example")


def authenticator_with_nonce(nonce: str = "n1", more: str = "") -> Authenticator:
    return digest().authenticator(challenge(nonce, more), LOGIN, "proxy.example")


def handshake_after_first_leg(*challenges: Challenge, more: str = "") -> Handshake:
    """Return a handshake whose first leg had the nonce n1, of these challenges or a free nonce."""
    handshake = authenticator_with_nonce("n1", more).begin(GET)
    assert params(handshake.step(challenges))["nonce"] == "n1"
    return handshake


def params_of_first_leg(
    authenticator: Authenticator, request: RequestToAuthenticate = GET, *challenges: Challenge
) -> dict[str, str]:
    """Return the parameters of the first leg."""
    return params(authenticator.begin(request).step(challenges))


def nonce_and_count(leg: Leg | Verdict) -> tuple[str, str]:
    fields = params(leg)
    return fields["nonce"], fields["nc"]


def params(leg: Leg | Verdict) -> dict[str, str]:
    assert isinstance(leg, Leg)
    assert (leg.with_content, leg.same_connection) == (True, False)
    (credentials,) = parse_challenges([leg.credentials])
    assert credentials.scheme == "digest"
    return dict(credentials.params)


def hashed(algorithm: str, *parts: str | bytes) -> str:
    octets = b":".join(part.encode() if isinstance(part, str) else part for part in parts)
    return hashlib.new(algorithm, octets).hexdigest()


# --- the examples of the RFCs -------------------------------------------------------------------

RFC_7616 = 'realm="http-auth@example.org", qop="auth, auth-int", nonce="{}", opaque="{}"'.format(
    "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", "FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"
)
RFC_CNONCE = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ"


class FixedOctets(bytes):
    """Random octets with the cnonce of an RFC example as their hexadecimal form."""

    def hex(self, *_: object) -> str:
        return self.decode()


@pytest.mark.parametrize(
    ("algorithm", "response"),
    [
        pytest.param("MD5", "8ca523f5e9506fed4657c9700eebdbec", id="rfc7616-3.9.1 MD5"),
        pytest.param(
            "SHA-256",
            "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1",
            id="rfc7616-3.9.1 SHA-256",
        ),
    ],
)
def test_credentials_match_the_examples_of_rfc_7616_r_101(algorithm: str, response: str) -> None:
    scheme = digest(lambda size: FixedOctets(RFC_CNONCE.encode()))
    login = Login("Mufasa", "Circle of Life")
    authenticator = scheme.authenticator(
        digest_challenge(f"{RFC_7616}, algorithm={algorithm}"), login, "proxy.example"
    )
    fields = params_of_first_leg(
        authenticator, RequestToAuthenticate(b"GET", b"/dir/index.html", b"")
    )
    assert fields["response"] == response
    assert fields["opaque"] == "FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"
    assert (fields["qop"], fields["nc"], fields["algorithm"]) == ("auth", "00000001", algorithm)


def test_the_user_name_is_hashed_if_the_proxy_requires_it_r_107_r_108() -> None:
    """RFC 7616, section 3.9.2, with truncated SHA-512 as its hash (erratum 4897)."""
    text = 'realm="api@example.org", qop="auth", algorithm=SHA-512-256, nonce="5TsQ", opaque="HRPC"'
    login = Login("Jäsøn Doe", "Secret, or not?")
    fields = params_of_first_leg(authenticator_for(f"{text}, charset=UTF-8, userhash=true", login))
    algorithm = "sha512_256"
    ha1 = hashed(algorithm, "Jäsøn Doe", "api@example.org", "Secret, or not?")
    ha2 = hashed(algorithm, "GET", "http://a.example/x")
    assert fields["username"] == hashed(algorithm, "Jäsøn Doe", "api@example.org")
    assert fields["userhash"] == "true"
    assert "username*" not in fields
    expected = hashed(algorithm, ha1, "5TsQ", "00000001", CNONCE.hex(), "auth", ha2)
    assert fields["response"] == expected


def test_without_qop_the_response_follows_rfc_2069_r_104() -> None:
    """RFC 2069, section 2.4, with the response of erratum 749. Corpus U109."""
    text = 'realm="testrealm@host.com", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", opaque="5ccc"'
    login = Login("Mufasa", "CircleOfLife")
    fields = params_of_first_leg(
        authenticator_for(text, login), RequestToAuthenticate(b"GET", b"/dir/index.html")
    )
    assert fields["response"] == "1949323746fe6a43ef61f9606e7febea"
    assert {"qop", "nc", "cnonce", "algorithm"}.isdisjoint(fields)


# --- credentials --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("algorithm", "name"),
    [("MD5", "md5"), ("SHA-256", "sha256"), ("SHA-512-256", "sha512_256"), ("md5", "md5")],
)
@pytest.mark.parametrize("session", ["", "-sess"])
def test_every_algorithm_authenticates_consecutive_requests_r_101_r_110(
    algorithm: str, name: str, session: str
) -> None:
    # Corpus U105, U123, U124.
    authenticator = authenticator_for(
        f'realm="c", nonce="n", qop="auth", algorithm={algorithm}{session}'
    )
    ha1 = hashed(name, "user", "c", "pass")
    if session:
        ha1 = hashed(name, ha1, "n", CNONCE.hex())
    ha2 = hashed(name, "GET", "http://a.example/x")
    for number in ("00000001", "00000002", "00000003", "00000004"):
        handshake = authenticator.begin(GET)
        fields = params(handshake.step(()))
        assert fields["nc"] == number
        assert fields["algorithm"] == algorithm + session
        expected = hashed(name, ha1, "n", number, CNONCE.hex(), "auth", ha2)
        assert fields["response"] == expected
        handshake.finish(NO_FIELDS)


@pytest.mark.parametrize(
    ("method", "target"), [(b"GET", b"http://a.example/x?y=1"), (b"CONNECT", b"a.example:443")]
)
def test_the_uri_is_the_request_target_as_sent_r_103(method: bytes, target: bytes) -> None:
    # Apache answers 400 to anything else.
    fields = params_of_first_leg(
        authenticator_for('realm="c", nonce="n", qop="auth"'), RequestToAuthenticate(method, target)
    )
    assert fields["uri"] == target.decode()


def test_the_content_is_hashed_if_only_auth_int_is_offered_r_104() -> None:
    authenticator = authenticator_for('realm="c", nonce="n", qop="auth-int", algorithm=SHA-256')
    fields = params_of_first_leg(
        authenticator, RequestToAuthenticate(b"POST", b"http://a.example/", b"text")
    )
    ha1 = hashed("sha256", "user", "c", "pass")
    ha2 = hashed("sha256", "POST", "http://a.example/", hashed("sha256", "text"))
    expected = hashed("sha256", ha1, "n", "00000001", CNONCE.hex(), "auth-int", ha2)
    assert (fields["qop"], fields["response"]) == ("auth-int", expected)


def test_unread_content_cannot_be_hashed_and_uses_up_no_nonce() -> None:
    authenticator = authenticator_for('realm="c", nonce="n", qop="auth-int"')
    request = RequestToAuthenticate(b"POST", b"http://a.example/", None)
    verdict = authenticator.begin(request).step(())
    assert isinstance(verdict, Verdict)
    assert (verdict.kind, verdict.lacks_content) == (VerdictKind.UNUSABLE, True)
    leg = authenticator.begin(replace(request, body=b"text")).step(())
    assert nonce_and_count(leg) == ("n", "00000001")


def test_parameters_are_quoted_as_in_the_rfc_r_102() -> None:
    text = 'realm="c", nonce="n", qop="auth", algorithm=MD5, opaque="o"'
    leg = authenticator_for(text).begin(GET).step(())
    assert isinstance(leg, Leg)
    names = dict(
        param.split(b"=", 1) for param in leg.credentials.removeprefix(b"Digest ").split(b", ")
    )
    bare = {name for name, value in names.items() if not value.startswith(b'"')}
    assert bare == {b"algorithm", b"qop", b"nc"}
    assert list(names) == [
        *(b"username", b"realm", b"nonce", b"uri"),
        *(b"algorithm", b"response", b"opaque", b"qop", b"nc", b"cnonce"),
    ]


def test_a_realm_with_quotes_is_escaped() -> None:
    # Corpus U120.
    leg = authenticator_for(r'realm="a\"b\\c", nonce="n"').begin(GET).step(())
    assert isinstance(leg, Leg)
    assert rb'realm="a\"b\\c"' in leg.credentials


def test_a_user_name_outside_ascii_is_sent_as_username_star_if_supported_r_108() -> None:
    # Corpus U114.
    login = Login("jörg", "päss")
    old = params_of_first_leg(authenticator_for('realm="c", nonce="n", qop="auth"', login))
    new = params_of_first_leg(
        authenticator_for('realm="c", nonce="n", qop="auth", charset=UTF-8', login)
    )
    assert old["username"].encode("iso-8859-1") == "jörg".encode()
    assert unquote_to_bytes(new["username*"].removeprefix("UTF-8''")) == "jörg".encode()
    assert ("username*" in old, "username" in new) == (False, False)
    assert old["response"] == new["response"]


@pytest.mark.parametrize("charset", ["", ", charset=UTF-8"])
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_a_proxy_without_a_charset_gets_the_encoding_of_the_profile_r_092(
    encoding: str, charset: str
) -> None:
    challenge = digest_challenge(f'realm="c", nonce="n", qop="auth"{charset}')
    scheme = Digest(lambda size: CNONCE[:size], encoding)
    fields = params_of_first_leg(
        scheme.authenticator(challenge, Login("jörg", "päss"), "proxy.example")
    )
    written = "utf-8" if charset else encoding
    if not charset:
        assert fields["username"].encode("iso-8859-1") == "jörg".encode(written)
    ha1 = hashed("md5", "jörg".encode(written), "c", "päss".encode(written))
    ha2 = hashed("md5", "GET", "http://a.example/x")
    expected = hashed("md5", ha1, "n", "00000001", CNONCE.hex(), "auth", ha2)
    assert fields["response"] == expected


def test_composed_and_decomposed_letters_are_the_same_login() -> None:
    text = 'realm="c", nonce="n", qop="auth"'
    assert params_of_first_leg(
        authenticator_for(text, Login("jo\u0308rg", "u\u0308"))
    ) == params_of_first_leg(authenticator_for(text, Login("jörg", "ü")))


# --- challenges ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        'realm="c", qop="auth"',
        'realm="c", nonce="", qop="auth"',
        'realm="c", nonce="n", qop="auth", algorithm=SHA-9000',
        'realm="c", nonce="n", qop="auth-conf"',
        'realm="c", nonce="n", algorithm=MD5-sess',
    ],
)
def test_an_unusable_challenge_is_not_understood_r_100(text: str) -> None:
    # Corpus U108, U118.
    assert not digest().understands(digest_challenge(text))


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        ("auth", "auth"),
        ("auth-int", "auth-int"),
        ("auth-int,auth", "auth"),
        ("auth-conf, auth-int", "auth-int"),
        ("AUTH", "auth"),
        ("", None),
        ("auth-conf", ""),
    ],
)
def test_the_qop_is_an_offered_option_r_104(offered: str, chosen: str | None) -> None:
    challenge = digest_challenge(f'realm="c", nonce="n", qop="{offered}"')
    assert digest().understands(challenge) == (chosen != "")
    if chosen != "":
        fields = params_of_first_leg(digest().authenticator(challenge, LOGIN, "proxy.example"))
        assert fields.get("qop") == chosen
        assert ("nc" in fields, "cnonce" in fields) == (bool(chosen), bool(chosen))


def test_the_domain_parameter_is_ignored_r_109() -> None:
    """RFC 7616, section 3.3: the protection space of a proxy is the entire proxy."""
    authenticator = authenticator_for(
        'realm="c", nonce="n", qop="auth", domain="http://only.example/here"'
    )
    for number, target in enumerate((b"http://other.example/", b"c.example:443"), 1):
        handshake = authenticator.begin(RequestToAuthenticate(b"GET", target))
        fields = params(handshake.step(()))
        assert (fields["uri"], fields["nc"]) == (target.decode(), f"{number:08x}")
        assert "domain" not in fields
        handshake.finish(NO_FIELDS)


@pytest.mark.parametrize(
    "text",
    [
        'realm="c", nonce="n", qop=auth, algorithm="MD5"',
        'realm="c", nonce="n", qop="auth-int,auth"',
        'realm="c", nonce="n", qop="auth auth-int"',
        'realm="c", nonce="n", qop=""',
        'realm=c nonce=n stale=FALSE, domain="http://elsewhere.example/"',
        'nonce="n"',
    ],
)
def test_malformed_challenges_are_answered(text: str) -> None:
    # Corpus U111, U112.
    assert digest().understands(digest_challenge(text))
    assert params_of_first_leg(authenticator_for(text)).get("qop", "auth") == "auth"


def test_the_first_known_challenge_is_answered_r_100() -> None:
    # Corpus U106: the order is the proxy's preference (RFC 7616, section 3.7).
    lines = [
        b'Digest realm="c", nonce="n1", qop="auth", algorithm=SHA-9000',
        b'Digest realm="c", nonce="n2", qop="auth", algorithm=SHA-256',
        b'Digest realm="c", nonce="n3", qop="auth", algorithm=MD5',
    ]
    offer = choose(parse_challenges(lines), [digest()])
    assert offer is not None
    assert (offer.challenge.param("nonce"), offer.label) == ("n2", "digest-sha-256")


@pytest.mark.parametrize("path", sorted(RAW.glob("*-digest-*.txt")), ids=lambda path: path.stem)
def test_challenges_of_real_proxies_are_answered(path: Path) -> None:
    lines = path.read_bytes().split(b"\r\n")
    values = [line.partition(b":")[2] for line in lines if line.lower().startswith(b"proxy-authen")]
    offer = choose(parse_challenges(values), [digest()])
    assert offer is not None
    fields = params_of_first_leg(digest().authenticator(offer.challenge, LOGIN, "proxy.example"))
    ha1 = hashed("md5", "user", offer.challenge.realm, "pass")
    ha2 = hashed("md5", "GET", "http://a.example/x")
    between = (fields["nonce"], "00000001", CNONCE.hex(), "auth")
    assert fields["response"] == hashed("md5", ha1, *between, ha2)


# --- one nonce, one request at a time -----------------------------------------------------------


def test_parallel_requests_never_share_a_nonce_r_106() -> None:
    # Strict proxies refuse a count out of order.
    authenticator = authenticator_with_nonce()
    first, second = authenticator.begin(GET), authenticator.begin(GET)
    assert params(first.step(()))["nonce"] == "n1"
    assert second.step(()) == Leg(b"")
    assert nonce_and_count(second.step((challenge("n2"),))) == ("n2", "00000001")
    first.finish(NO_FIELDS)
    second.finish(NO_FIELDS)
    both = {nonce_and_count(authenticator.begin(GET).step(())) for _ in range(2)}
    assert both == {("n1", "00000002"), ("n2", "00000002")}


def test_a_parked_request_uses_the_nonce_of_its_407() -> None:
    authenticator = authenticator_with_nonce()
    nonces = ["n1", "n2", "n3"]
    legs = [authenticator.begin(GET).step((challenge(nonce),)) for nonce in nonces]
    assert [params(leg)["nonce"] for leg in legs] == nonces


def test_the_nonce_of_a_407_is_not_free_for_another_request() -> None:
    authenticator = authenticator_with_nonce()
    first = authenticator.begin(GET)
    first.step(())
    first.finish(NO_FIELDS)
    assert params_of_first_leg(authenticator, GET, challenge("n1"))["nc"] == "00000002"
    assert authenticator.begin(GET).step(()) == Leg(b"")


def test_requests_with_the_same_nonce_share_its_count() -> None:
    authenticator = authenticator_with_nonce("n")
    handshakes = [authenticator.begin(GET) for _ in range(3)]
    counts = [params(each.step((challenge("n"),)))["nc"] for each in handshakes]
    assert counts == ["00000001", "00000002", "00000003"]
    for handshake in handshakes:
        handshake.finish(NO_FIELDS)
    assert params_of_first_leg(authenticator)["nc"] == "00000004"
    assert authenticator.begin(GET).step(()) == Leg(b""), "there was more than a single nonce"


def test_a_nonce_with_a_used_up_count_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    assert f"{LAST_COUNT:08x}" == "ffffffff"
    monkeypatch.setattr("trayproxy.auth.digest.LAST_COUNT", 2)
    authenticator = authenticator_with_nonce()
    for number in ("00000001", "00000002"):
        handshake = authenticator.begin(GET)
        assert params(handshake.step(()))["nc"] == number
        handshake.finish(NO_FIELDS)
    assert authenticator.begin(GET).step(()) == Leg(b"")


def test_the_nonce_of_an_abandoned_request_is_not_used_again() -> None:
    authenticator = authenticator_with_nonce()
    authenticator.begin(GET).step(())
    assert authenticator.begin(GET).step(()) == Leg(b"")


def test_the_number_of_free_nonces_is_limited() -> None:
    authenticator = authenticator_with_nonce("n")
    handshakes = [authenticator.begin(GET) for _ in range(3 * MAX_IDLE)]
    for number, handshake in enumerate(handshakes):
        handshake.step((challenge(str(number)),))
    for handshake in handshakes:
        handshake.finish(NO_FIELDS)
    again = [authenticator.begin(GET).step(()) for _ in handshakes]
    assert sum(leg != Leg(b"") for leg in again) == MAX_IDLE


@pytest.mark.parametrize(
    ("info", "nonce", "count"),
    [
        # Squid sends ``nextnonce`` shortly before a nonce expires.
        pytest.param(b'nextnonce="n2", qop=auth', "n2", "00000001", id="next"),
        # A count used twice is a replay (RFC 7616, section 3.4.5).
        pytest.param(b'nextnonce="n1"', "n1", "00000002", id="same"),
        *(
            pytest.param(other, "n1", "00000002", id=f"ignored {other!r}")
            for other in (b"", b'nextnonce=""', b'rspauth="x"', b",,=", b"nextnonce")
        ),
    ],
)
def test_only_a_new_nextnonce_resets_the_count_r_106(info: bytes, nonce: str, count: str) -> None:
    authenticator = authenticator_with_nonce()
    handshake = authenticator.begin(GET)
    handshake.step(())
    handshake.finish(Fields(((b"Proxy-Authentication-Info", info),)))
    assert nonce_and_count(authenticator.begin(GET).step(())) == (nonce, count)


def test_nextnonce_keeps_the_session_key() -> None:
    """RFC 7616, section 3.4.2: the session key is valid until the next challenge."""
    authenticator = authenticator_with_nonce("n1", ", algorithm=MD5-sess")
    handshake = authenticator.begin(GET)
    handshake.step(())
    handshake.finish(Fields(((b"Proxy-Authentication-Info", b'nextnonce="n2"'),)))
    key = hashed("md5", hashed("md5", "user", "c", "pass"), "n1", CNONCE.hex())
    ha2 = hashed("md5", "GET", "http://a.example/x")
    fields = params_of_first_leg(authenticator)
    assert fields["response"] == hashed("md5", key, "n2", "00000001", fields["cnonce"], "auth", ha2)


# --- responses ----------------------------------------------------------------------------------


def test_a_stale_nonce_is_replaced_without_a_rejection_r_105() -> None:
    # Corpus U115.
    leg = handshake_after_first_leg().step((challenge("n2", ", stale=TRUE"),))
    assert nonce_and_count(leg) == ("n2", "00000001")


@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256", "sha-512-256", "MD5-sess", "SHA-256-sess"])
def test_a_stale_nonce_is_replaced_for_every_algorithm_in_any_case(algorithm: str) -> None:
    handshake = handshake_after_first_leg(more=f", algorithm={algorithm}")
    for number, spelt in enumerate((algorithm.upper(), algorithm.lower()), start=2):
        stale = challenge(f"n{number}", f", algorithm={spelt}, stale=true")
        fields = params(handshake.step((stale,)))
        assert (fields["nonce"], fields["algorithm"]) == (f"n{number}", spelt)


def test_a_missing_algorithm_is_the_same_as_md5() -> None:
    handshake = handshake_after_first_leg(more=", algorithm=md5")
    assert "algorithm" not in params(handshake.step((challenge("n2", ", stale=true"),)))


@pytest.mark.parametrize(
    "challenges",
    [
        (),
        (challenge("n2", ", stale=false"),),
        (challenge("n2"),),
        (Challenge("basic"),),
        (digest_challenge('realm="other", nonce="n2", qop="auth", stale=true'),),
    ],
)
def test_any_other_407_is_a_rejection_r_105(challenges: tuple[Challenge, ...]) -> None:
    # Corpus U117.
    handshake = handshake_after_first_leg(challenge("n1"))
    assert verdict_kind(handshake.step(challenges)) is VerdictKind.REJECTED


@pytest.mark.parametrize(
    ("refusal", "kind"),
    [
        (challenge("n2"), VerdictKind.UNCLEAR),
        (challenge("n2", ", stale=false"), VerdictKind.REJECTED),
        (challenge("n1"), VerdictKind.REJECTED),
    ],
)
def test_a_refusal_on_another_connection_is_unclear_unless_the_proxy_knows_the_nonce(
    refusal: Challenge, kind: VerdictKind
) -> None:
    verdict = handshake_after_first_leg(challenge("n1")).step((refusal,))
    assert isinstance(verdict, Verdict)
    assert verdict.on_other_connection().kind is kind


def test_a_refused_nonce_of_another_407_is_replaced_once() -> None:
    """A proxy behind a load balancer does not recognise the nonces of other proxies."""
    handshake = handshake_after_first_leg()
    assert nonce_and_count(handshake.step((challenge("n2"),))) == ("n2", "00000001")
    assert handshake.step((challenge("n3"),)) == replace(REJECTED, other_nonce=True)


def test_a_refusal_with_the_same_nonce_is_a_rejection() -> None:
    assert handshake_after_first_leg().step((challenge("n1"),)) == REJECTED


@pytest.mark.parametrize(
    "more",
    [
        ", algorithm=MD5",
        ", algorithm=SHA-512-256",
        ", algorithm=MD5-sess",
        # The authenticator keeps only a hash of the login, which cannot be encoded again.
        ", algorithm=SHA-256, charset=UTF-8",
    ],
)
def test_a_stale_challenge_with_another_algorithm_or_charset_is_not_answered(more: str) -> None:
    handshake = handshake_after_first_leg(more=", algorithm=SHA-256")
    assert handshake.step((challenge("n2", f"{more}, stale=true"),)) == REJECTED


def test_repeated_stale_nonces_are_a_problem_of_the_clock() -> None:
    # T14, F30.
    handshake = handshake_after_first_leg()
    for number in range(MAX_STALE):
        stale = challenge(f"m{number}", ", stale=true")
        assert params(handshake.step((stale,)))["nonce"] == f"m{number}"
    verdict = handshake.step((challenge("m9", ", stale=true"),))
    assert isinstance(verdict, Verdict)
    assert verdict.kind is VerdictKind.UNUSABLE
    assert "clock" in verdict.text


def test_a_407_to_a_request_without_credentials_is_not_a_rejection() -> None:
    authenticator = authenticator_with_nonce()
    authenticator.begin(GET).step(())
    handshake = authenticator.begin(GET)
    assert handshake.step(()) == Leg(b"")
    assert verdict_kind(handshake.step((Challenge("basic"),))) is VerdictKind.UNUSABLE


# --- logins -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("user", "password"),
    [("a:b", SECRET), ("a\n", SECRET), ("a", SECRET + "\x7f"), ("a", SECRET + "\ud800")],
)
def test_logins_that_digest_cannot_carry_are_refused_without_quoting_them(
    user: str, password: str
) -> None:
    with pytest.raises(LoginError) as refused:
        digest().check(Login(user, password))
    assert SECRET not in f"{refused.value!r}{refused.value.__context__!r}"


def test_the_password_is_hashed_and_not_kept() -> None:
    authenticator = authenticator_for('realm="c", nonce="n", qop="auth"', Login("user", SECRET))
    handshake = authenticator.begin(GET)
    leg = handshake.step(())
    assert isinstance(leg, Leg)
    assert SECRET.encode() not in leg.credentials
    ha1 = hashed("md5", "user", "c", SECRET)
    seen = f"{authenticator!r}{handshake!r}{leg!r}{vars(handshake)!r}"
    assert SECRET not in f"{seen}{vars(authenticator)!r}"
    assert ha1 not in seen


@given(
    user=st.text(),
    password=st.text(),
    realm=st.text(),
    nonce=st.text(min_size=1),
    target=st.binary(min_size=1),
)
def test_credentials_are_a_field_value_that_parses_back(
    user: str, password: str, realm: str, nonce: str, target: bytes
) -> None:
    texts = {"realm": realm, "nonce": nonce, "qop": "auth"}
    octets = {
        key: value.encode("utf-8", "replace").decode("iso-8859-1") for key, value in texts.items()
    }
    challenge = Challenge("digest", tuple(octets.items()))
    try:
        authenticator = digest().authenticator(challenge, Login(user, password), "proxy.example")
    except LoginError:
        return
    leg = authenticator.begin(RequestToAuthenticate(b"GET", target)).step(())
    assert isinstance(leg, Leg)
    if not is_field_value(leg.credentials):
        # Fields and targets received from the network contain no control characters.
        assert not is_field_value("".join(octets.values()).encode("iso-8859-1") + target)
        return
    fields = params(leg)
    assert fields["response"].isalnum()
    assert (fields["nc"], fields["cnonce"]) == ("00000001", CNONCE.hex())
