"""Tests for trayproxy.auth.schemes and for the order of the schemes."""

from contextlib import nullcontext
from pathlib import Path

import pytest

from trayproxy.auth.login import Login, LoginError, check_characters
from trayproxy.auth.scheme import Scheme, choose, strength
from trayproxy.auth.schemes import ANY_METHOD, allowed_schemes, http_schemes, with_encoding
from trayproxy.auth.socks import SocksPassword
from trayproxy.http.challenges import Challenge, parse_challenges

RAW = sorted((Path(__file__).parents[1] / "http" / "407").glob("*.txt"))
SCHEMES = http_schemes(bytes)
LINES = (
    b'Basic realm="AuthLab Basic"',
    b'Digest realm="AuthLab Digest", nonce="a810", qop="auth", stale=false',
    b"NTLM",
    b"Negotiate",
)


def label(values: list[bytes], schemes: tuple[Scheme, ...] = SCHEMES) -> str:
    offer = choose(parse_challenges(values), schemes)
    return offer.label if offer else ""


def test_the_strongest_offered_scheme_is_chosen_in_any_order_r_082() -> None:
    # Corpus U091.
    values = list(LINES)
    labels = []
    while values:
        labels.append(label(values))
        assert label(values[::-1]) == labels[-1]
        values.pop()
    assert labels == ["negotiate", "ntlm", "digest-md5", "basic"]


def test_after_an_unusable_scheme_the_next_scheme_is_chosen() -> None:
    schemes, labels = SCHEMES, []
    while offer := choose(parse_challenges([b"Negotiate", b"Basic"]), schemes):
        labels.append((offer.scheme.name, offer.label))
        schemes = tuple(scheme for scheme in schemes if scheme != offer.scheme)
    assert labels == [("negotiate", "negotiate"), ("negotiate", "ntlm"), ("basic", "basic")]


def test_a_token_in_the_first_challenge_offers_nothing_r_123() -> None:
    # Corpus U152.
    assert label([b"Negotiate Zm9vYmFy"]) == ""
    assert label([b"NTLM TlRMTVNTUAAC", b"Basic"]) == "basic"


@pytest.mark.parametrize("path", RAW, ids=lambda path: path.stem)
def test_every_real_proxy_offers_a_known_scheme(path: Path) -> None:
    head = path.read_bytes().partition(b"\r\n\r\n")[0].split(b"\r\n")
    lines = [line.partition(b":") for line in head]
    values = [value.strip() for name, _, value in lines if name.lower() == b"proxy-authenticate"]
    chosen = label(values)
    asked = {challenge.scheme for challenge in parse_challenges(values)}
    assert bool(chosen) == bool(asked)
    if "negotiate" in asked:
        assert chosen == "negotiate"


@pytest.mark.parametrize(
    ("method", "own", "names"),
    [
        (ANY_METHOD, False, ["negotiate", "ntlm", "negotiate", "digest", "basic"]),
        (ANY_METHOD, True, ["negotiate", "ntlm", "negotiate"]),
        ("negotiate", False, ["negotiate", "negotiate"]),
        ("ntlm", True, ["ntlm"]),
        ("digest", False, ["digest"]),
        ("basic", False, ["basic"]),
        ("basic", True, []),
    ],
)
def test_a_profile_allows_any_method_or_a_single_method(
    method: str, own: bool, names: list[str]
) -> None:
    assert [scheme.name for scheme in allowed_schemes(SCHEMES, method, own_sign_in=own)] == names


def test_only_basic_and_digest_have_an_encoding_r_092() -> None:
    latin = with_encoding(SCHEMES, "latin-1")
    assert latin[:3] == SCHEMES[:3]
    assert [getattr(scheme, "encoding", "") for scheme in latin[3:]] == ["latin-1", "latin-1"]
    assert [getattr(scheme, "encoding", "") for scheme in SCHEMES[3:]] == ["utf-8", "utf-8"]


def test_a_weaker_offer_has_a_label_of_less_strength() -> None:
    # T5; RFC 7616, section 5.8.
    labels = ["", "basic", "digest-md5", "digest-sha-256", "digest-sha-512-256", "ntlm"]
    labels.append("negotiate")
    strengths = [strength(each) for each in labels]
    assert strengths == sorted(set(strengths))
    assert strength("digest-sha-9000") == strength("of a later version") == 0


@pytest.mark.parametrize("algorithm", ["MD5", "md5-sess", "SHA-256", "SHA-256-sess", "SHA-512-256"])
def test_every_scheme_has_a_strength(algorithm: str) -> None:
    value = f'Digest realm="a", nonce="n", qop="auth", algorithm={algorithm}'
    assert strength(label([value.encode()])) > strength("basic")


PROPERTIES = [
    # Name, title, family; whether it is readable, binds the connection, blocks, needs a login.
    ("negotiate", "Kerberos", "negotiate", False, True, True, False),
    ("ntlm", "NTLM", "ntlm", False, True, True, False),
    ("negotiate", "NTLM", "ntlm", False, True, True, False),
    ("digest", "Digest", "digest", False, False, False, True),
    ("basic", "Basic", "basic", True, False, False, True),
    ("socks5/password", "SOCKS5", "socks5/password", True, False, False, True),
]


def test_each_scheme_has_its_properties() -> None:
    found = [
        (
            *(scheme.name, scheme.title, scheme.family),
            *(scheme.sends_password, scheme.binds_connection, scheme.blocks, scheme.needs_login),
        )
        for scheme in (*SCHEMES, SocksPassword())
    ]
    assert found == PROPERTIES


@pytest.mark.parametrize("scheme", [*SCHEMES, SocksPassword()], ids=lambda scheme: scheme.title)
def test_a_scheme_that_needs_a_login_refuses_none(scheme: Scheme) -> None:
    challenge = Challenge(scheme.name, (("nonce", "n"),))
    if scheme.needs_login:
        with pytest.raises(LoginError, match="user name and a password"):
            scheme.authenticator(challenge, None, "proxy.example")
    else:
        assert scheme.authenticator(challenge, None, "proxy.example")
        assert scheme.binds_connection


@pytest.mark.parametrize("scheme", [*SCHEMES, SocksPassword()], ids=lambda scheme: scheme.title)
def test_no_authenticator_shows_the_password(scheme: Scheme) -> None:
    challenge = Challenge(scheme.name, (("nonce", "n"),))
    authenticator = scheme.authenticator(challenge, Login("jdoe", "Zx9-canary"), "proxy.example")
    assert "Zx9-canary" not in repr(authenticator)


@pytest.mark.parametrize(
    ("text", "forbidden", "reason"),
    [
        ("a\nb", "\n", "contains a control character, such as a line break."),
        ("a\tb", "\n\t", "contains a control character, such as a line break."),
        ("a\0b", "\0", "contains a control character."),
        ("a\nb", "\0", ""),
        *((text, "", "contains an invalid character. Retype it.") for text in ("\ud800", "\udfff")),
        *((text, "", "") for text in ("\ud7ff", "\ue000")),
    ],
)
def test_the_part_of_a_login_that_cannot_be_sent_is_named(
    text: str, forbidden: str, reason: str
) -> None:
    for part, login in (("user name", Login(text, "p")), ("password", Login("u", text))):
        refusal = pytest.raises(LoginError) if reason else nullcontext()
        with refusal as refused:
            check_characters(login, forbidden)
        assert refused is None or str(refused.value) == f"This {part} {reason}"
