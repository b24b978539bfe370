"""Tests for trayproxy.http.challenges (RFC 9110, section 11.6.1)."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.examples import examples
from trayproxy.http.challenges import Challenge, parse_challenges
from trayproxy.http.response import parse_response

RAW_407 = sorted(Path(__file__).with_name("407").glob("*.txt"))


def parse(*values: bytes) -> tuple[Challenge, ...]:
    return parse_challenges(values)


def only(*values: bytes) -> Challenge:
    (challenge,) = parse_challenges(values)
    return challenge


BASIC = Challenge("basic", (("realm", "corp"),))


@pytest.mark.parametrize(
    "value",
    [
        b'Basic realm="corp"',
        b"basic realm=corp",
        b'BASIC  REALM = "corp"',
        b'Basic\trealm="corp" ',
        b', ,Basic realm="corp",,',
        b'Basic realm="c\\orp"',
        b'Basic realm="corp", realm="other"',
        b'Basic ,realm="corp"',
    ],
)
def test_scheme_and_names_are_in_any_case_and_the_realm_quoted_or_not_r_081(value: bytes) -> None:
    assert only(value) == BASIC


def test_several_challenges_may_be_in_the_same_line_or_in_several_lines_r_081() -> None:
    same = parse(b'Negotiate, NTLM, Digest realm="d", nonce="n", Basic realm="corp"')
    several = parse(b"Negotiate", b"NTLM", b'Digest realm="d", nonce="n"', b'Basic realm="corp"')
    assert same == several
    assert [challenge.scheme for challenge in same] == ["negotiate", "ntlm", "digest", "basic"]
    assert same[2].params == (("realm", "d"), ("nonce", "n"))
    assert same[3] == BASIC


def test_a_line_may_continue_the_previous_challenge_rfc9110_5_3() -> None:
    assert only(b'Digest realm="d",', b'nonce="n"').params == (("realm", "d"), ("nonce", "n"))


def test_commas_and_schemes_in_quotes_are_text_r_081() -> None:
    value = b'Basic realm="a, Digest realm=\\"b\\", nonce=\\"n\\""'
    assert only(value).realm == 'a, Digest realm="b", nonce="n"'


def test_an_unknown_scheme_is_skipped_with_its_parameters_r_081() -> None:
    newauth, basic = parse(
        b'Newauth realm="apps", type=1, title="Login to \\"apps\\"", Basic realm="corp"'
    )
    assert newauth.param("title") == 'Login to "apps"'
    assert basic == BASIC


def test_a_comma_in_a_list_value_of_a_real_proxy() -> None:
    digest, basic = parse(
        b'Digest realm="a, \\"b\\"", nonce="xyz==", qop="auth,auth-int", algorithm=SHA-256, '
        b'Basic realm="AuthLab-HAProxy", charset="UTF-8"'
    )
    assert digest.params == (
        ("realm", 'a, "b"'),
        ("nonce", "xyz=="),
        ("qop", "auth,auth-int"),
        ("algorithm", "SHA-256"),
    )
    assert basic.params == (("realm", "AuthLab-HAProxy"), ("charset", "UTF-8"))


@pytest.mark.parametrize(
    ("value", "token68"),
    [
        (b"NTLM", ""),
        (b"NTLM ", ""),
        (b"NTLM TlRMTVNTUAAC", "TlRMTVNTUAAC"),
        (b"NTLM TlRMTVNTUAA=", "TlRMTVNTUAA="),
        (b"NTLM TlRMTVNTUA== ", "TlRMTVNTUA=="),
        (b"Negotiate a-._~+/0==, Basic realm=corp", "a-._~+/0=="),
        (b"Negotiate ???", "???"),
        (b"Negotiate a b", "a b"),
    ],
)
def test_a_token_or_the_text_in_its_place_is_kept(value: bytes, token68: str) -> None:
    challenge = parse(value)[0]
    assert challenge.token68 == token68
    assert challenge.params == ()


def test_the_unescaped_realm_of_squid_is_parsed() -> None:
    value = 'Basic realm="Ümlaut "q" \\ realm"'.encode()
    assert only(value).realm == 'Ümlaut "q"  realm'
    charset = only(value + b', charset="UTF-8"')
    assert charset.param("charset") == "UTF-8"
    assert charset.realm == 'Ümlaut "q"  realm'


@pytest.mark.parametrize(
    ("value", "params"),
    [
        (b'Basic realm="a" charset="UTF-8"', (("realm", "a"), ("charset", "UTF-8"))),
        (b'Digest realm=a nonce="n"', (("realm", "a"), ("nonce", "n"))),
        (b'Basic realm="open', (("realm", "open"),)),
        (b'Basic realm="open\\', (("realm", "open\\"),)),
        (b'Basic realm=""', (("realm", ""),)),
        (b'Basic realm="a" junk', (("realm", 'a" junk'),)),
        (b'Basic realm="a"b"', (("realm", 'a"b'),)),
        (b"Basic realm=My Proxy", (("realm", "My"),)),
    ],
)
def test_malformed_challenges_are_parsed_as_far_as_possible(
    value: bytes, params: tuple[tuple[str, str], ...]
) -> None:
    assert only(value).params == params


@pytest.mark.parametrize(
    "value", [b"", b" ", b",,", b"=", b'"', b'realm="x"', b"a=b, c=d", b'"Basic realm=x"', b"\xe9"]
)
def test_garbage_offers_no_challenge(value: bytes) -> None:
    assert parse(value) == ()


@pytest.mark.parametrize(
    "value",
    [
        b'Basic realm="x, Digest realm="y", nonce="n"',
        b'Basic realm="x" Digest',
        b'Basic realm=x Digest nonce="n"',
    ],
)
def test_no_scheme_is_parsed_from_the_text_of_another(value: bytes) -> None:
    assert {challenge.scheme for challenge in parse(value)} == {"basic"}


def test_the_realm_is_utf_8_for_people_and_octets_for_digest() -> None:
    utf8, latin = only(b'Digest realm="\xc3\x9c"'), only(b'Digest realm="\xdc"')
    assert utf8.realm == latin.realm == "Ü"
    assert (utf8.param("realm"), latin.param("realm")) == ("\xc3\x9c", "\xdc")
    assert only(b"Basic").realm == ""
    assert only(b"Basic").param("realm") is None


def test_the_last_parsed_challenge_has_all_its_parameters() -> None:
    value = b", ".join([b'S realm="a"'] * 31 + [b'Last realm="b", x=1, y=2', b"More z=3"])
    challenges = parse(value)
    assert len(challenges) == 32
    assert challenges[-1] == Challenge("last", (("realm", "b"), ("x", "1"), ("y", "2")))


def test_the_number_of_challenges_and_parameters_is_limited() -> None:
    assert len(parse(b"A," * 1000)) == 32
    params = b",".join(b"p%d=1" % i for i in range(1000))
    assert len(only(b"A " + params).params) == 32


def test_tokens_are_not_in_the_repr() -> None:
    assert "secret" not in repr(only(b"Negotiate secret"))


@pytest.mark.parametrize("path", RAW_407, ids=lambda path: path.stem)
def test_the_407_of_a_real_proxy_offers_the_schemes_of_its_file_name(path: Path) -> None:
    octets = path.read_bytes()
    response = parse_response(octets[: octets.index(b"\r\n\r\n") + 4], b"GET")
    assert response.status in (401, 407)
    name = b"proxy-authenticate" if response.status == 407 else b"www-authenticate"
    challenges = parse_challenges(response.fields.get_all(name))
    schemes = {challenge.scheme for challenge in challenges}
    assert schemes
    assert schemes <= {"basic", "digest", "ntlm", "negotiate"}
    for challenge in challenges:
        if challenge.scheme == "digest":
            assert challenge.param("nonce")


@examples(300)
@given(st.lists(st.binary(max_size=60), max_size=3))
def test_any_octets_are_parsed_without_an_exception(values: list[bytes]) -> None:
    for challenge in parse_challenges(values):
        assert challenge.scheme == challenge.scheme.lower()
        challenge.realm.encode("utf-8")


CHARACTERS = st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f")
TEXT = st.text(st.sampled_from(' ,="\\a') | CHARACTERS, max_size=10)
TOKEN = st.text(st.sampled_from("abcXYZ09-._~"), min_size=1, max_size=8)
NAME = TOKEN.map(str.lower)


@examples(200)
@given(st.lists(st.tuples(TOKEN, st.dictionaries(NAME, TEXT, max_size=3)), max_size=3))
def test_well_formed_challenges_round_trip(offers: list[tuple[str, dict[str, str]]]) -> None:
    expected = tuple(Challenge(scheme.lower(), tuple(params.items())) for scheme, params in offers)
    value = ", ".join(
        f"{scheme} " + ", ".join(f"{name}={quoted(text)}" for name, text in params.items())
        for scheme, params in offers
    )
    assert parse_challenges([value.encode("iso-8859-1")]) == expected


def quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
