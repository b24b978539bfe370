"""Tests for trayproxy.auth.basic."""

from base64 import b64decode
from unicodedata import normalize

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trayproxy.auth.basic import Basic, basic_credentials
from trayproxy.auth.login import Login, LoginError
from trayproxy.auth.scheme import Leg, RequestToSign, Verdict, VerdictKind
from trayproxy.http.challenges import Challenge, parse_challenges

CANARY = "Zx9-canary-secret"


@pytest.mark.parametrize(
    ("user", "password", "credentials"),
    [
        pytest.param("Aladdin", "open sesame", b"QWxhZGRpbjpvcGVuIHNlc2FtZQ==", id="rfc7617-2"),
        pytest.param("test", "123£", b"dGVzdDoxMjPCow==", id="rfc7617-2.1"),
        pytest.param("jörg", "päss€", b"asO2cmc6cMOkc3Pigqw=", id="U099"),
        pytest.param("alice", "", b"YWxpY2U6", id="an empty password"),
        pytest.param("alice", "a:b", b"YWxpY2U6YTpi", id="a colon in the password"),
    ],
)
def test_credentials_are_those_of_the_rfc(user: str, password: str, credentials: bytes) -> None:
    assert basic_credentials(Login(user, password)) == b"Basic " + credentials


def test_composed_and_decomposed_letters_give_the_same_octets_r_091() -> None:
    # RFC 7617, section 2.1: NFC; macOS file dialogs and some input methods type NFD.
    login, decomposed = "jörg", normalize("NFD", "jörg")
    assert login != decomposed
    assert basic_credentials(Login(login, "ü")) == basic_credentials(
        Login(decomposed, normalize("NFD", "ü"))
    )


def answer_to(text: str, encoding: str, login: Login) -> bytes:
    """Return the octets of the login in the credentials for a challenge."""
    (challenge,) = parse_challenges([text.encode()])
    scheme = Basic(encoding)
    assert scheme.understands(challenge)
    leg = scheme.signer(challenge, login, "").begin(RequestToSign(b"GET", b"http://a/")).step(())
    assert isinstance(leg, Leg)
    return b64decode(leg.credentials.removeprefix(b"Basic "), validate=True)


@pytest.mark.parametrize("text", ["Basic realm=a, foo=bar", 'Basic x="charset=latin-1", realm="a"'])
def test_parameters_that_nobody_knows_are_ignored_r_091(text: str) -> None:
    assert answer_to(text, "utf-8", Login("jörg", "ü")) == "jörg:ü".encode()


@pytest.mark.parametrize("charset", ["UTF-8", "utf-8", '"Utf-8"'])
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_a_proxy_that_says_utf_8_gets_it_whatever_the_profile_says_r_091(
    charset: str, encoding: str
) -> None:
    text = f"Basic realm=a, charset={charset}"
    decomposed = Login(normalize("NFD", "jörg"), "ü€")
    assert answer_to(text, encoding, decomposed) == "jörg:ü€".encode()


@pytest.mark.parametrize(
    "text", ["Basic realm=a", "Basic realm=a, charset=ISO-8859-1", 'Basic realm=a, charset=""']
)
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_a_proxy_that_does_not_gets_what_the_profile_says_r_091_r_092(
    text: str, encoding: str
) -> None:
    decomposed = Login(normalize("NFD", "jörg"), "ü")
    assert answer_to(text, encoding, decomposed) == "jörg:ü".encode(encoding)


def test_a_character_that_the_encoding_has_not_got_is_told_and_not_replaced_r_092() -> None:
    with pytest.raises(LoginError, match="has not got") as refused:
        Basic("latin-1").signer(Challenge("basic"), Login("jdoe", CANARY + "€"), "")
    assert CANARY not in f"{refused.value!r}{refused.value.__context__!r}"


@pytest.mark.parametrize(
    ("user", "password", "text"),
    [
        ("CORP:jdoe", CANARY, "colon"),
        ("jdoe\n", CANARY, "user name contains a control character"),
        ("jdoe", CANARY + "\r\n", "password contains a control character"),
        ("jdoe", CANARY + "\x7f", "password contains a control character"),
        ("jdoe", CANARY + "\0", "password contains a control character"),
        ("jdoe", CANARY + "\udc80", "password contains an invalid character"),
    ],
)
def test_what_basic_cannot_carry_is_refused_in_plain_words_r_090(
    user: str, password: str, text: str
) -> None:
    with pytest.raises(LoginError, match=text) as refused:
        basic_credentials(Login(user, password))
    assert CANARY not in f"{refused.value!r}{refused.value.__context__!r}"


@pytest.mark.parametrize("special", ["@", "#", '"', "\\", "%40", "§", " lead", "trail ", ";", "😀"])
def test_special_characters_are_carried_as_they_are(special: str) -> None:
    octets = b64decode(basic_credentials(Login("u", special)).removeprefix(b"Basic "))
    assert octets == b"u:" + special.encode()


def test_a_long_password_is_not_cut() -> None:
    octets = b64decode(basic_credentials(Login("u", "x" * 5000)).removeprefix(b"Basic "))
    assert len(octets) == 5002


def test_every_request_is_signed_alike() -> None:
    signer = Basic().signer(Challenge("basic"), Login("Aladdin", "open sesame"), "proxy.example")
    leg = Leg(b"Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==")
    assert signer.is_constant
    assert signer.begin(RequestToSign(b"GET", b"http://a.example/")).step(()) == leg
    assert signer.begin(RequestToSign(b"CONNECT", b"b.example:443")).step(()) == leg


@pytest.mark.parametrize("challenges", [(Challenge("basic"),), ()])
def test_credentials_that_come_back_are_rejected(challenges: tuple[Challenge, ...]) -> None:
    signer = Basic().signer(Challenge("basic"), Login("Aladdin", "open sesame"), "proxy.example")
    handshake = signer.begin(RequestToSign(b"GET", b"http://a.example/"))
    handshake.step(())
    assert handshake.step(challenges) == Verdict(VerdictKind.REJECTED)


def test_there_is_no_basic_without_a_login() -> None:
    with pytest.raises(LoginError, match="user name and a password"):
        Basic().signer(Challenge("basic"), None, "proxy.example")


@given(st.text(), st.text())
def test_credentials_are_one_line_of_ascii_or_refused(user: str, password: str) -> None:
    try:
        credentials = basic_credentials(Login(user, password))
    except LoginError:
        return
    scheme, token = credentials.split(b" ")
    assert scheme == b"Basic"
    name, _, secret = b64decode(token, validate=True).partition(b":")
    assert (name.decode(), secret.decode()) == (normalize("NFC", user), normalize("NFC", password))
