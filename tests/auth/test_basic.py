"""Tests for trayproxy.auth.basic."""

from base64 import b64decode
from unicodedata import normalize

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.auth.steps import SECRET
from trayproxy.auth.basic import Basic, basic_credentials
from trayproxy.auth.login import Login, LoginError
from trayproxy.auth.scheme import Leg, RequestToAuthenticate, Verdict, VerdictKind
from trayproxy.http.challenges import Challenge, parse_challenges


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
def test_credentials_match_the_examples_of_the_rfc(
    user: str, password: str, credentials: bytes
) -> None:
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
    authenticator = scheme.authenticator(challenge, login, "")
    leg = authenticator.begin(RequestToAuthenticate(b"GET", b"http://a/")).step(())
    assert isinstance(leg, Leg)
    return b64decode(leg.credentials.removeprefix(b"Basic "), validate=True)


@pytest.mark.parametrize("text", ["Basic realm=a, foo=bar", 'Basic x="charset=latin-1", realm="a"'])
def test_unknown_parameters_are_ignored_r_091(text: str) -> None:
    assert answer_to(text, "utf-8", Login("jörg", "ü")) == "jörg:ü".encode()


@pytest.mark.parametrize("charset", ["UTF-8", "utf-8", '"Utf-8"'])
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_charset_utf_8_overrides_the_encoding_of_the_profile_r_091(
    charset: str, encoding: str
) -> None:
    text = f"Basic realm=a, charset={charset}"
    decomposed = Login(normalize("NFD", "jörg"), "ü€")
    assert answer_to(text, encoding, decomposed) == "jörg:ü€".encode()


@pytest.mark.parametrize(
    "text", ["Basic realm=a", "Basic realm=a, charset=ISO-8859-1", 'Basic realm=a, charset=""']
)
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_without_charset_the_encoding_of_the_profile_is_used_r_091_r_092(
    text: str, encoding: str
) -> None:
    decomposed = Login(normalize("NFD", "jörg"), "ü")
    assert answer_to(text, encoding, decomposed) == "jörg:ü".encode(encoding)


def test_a_character_outside_the_encoding_is_reported_and_not_replaced_r_092() -> None:
    with pytest.raises(LoginError, match="lacks") as refused:
        Basic("latin-1").authenticator(Challenge("basic"), Login("jdoe", SECRET + "€"), "")
    assert SECRET not in f"{refused.value!r}{refused.value.__context__!r}"


@pytest.mark.parametrize(
    ("user", "password", "text"),
    [
        ("CORP:jdoe", SECRET, "colon"),
        ("jdoe\n", SECRET, "user name contains a control character"),
        ("jdoe", SECRET + "\r\n", "password contains a control character"),
        ("jdoe", SECRET + "\x7f", "password contains a control character"),
        ("jdoe", SECRET + "\0", "password contains a control character"),
        ("jdoe", SECRET + "\udc80", "password contains an invalid character"),
    ],
)
def test_logins_that_basic_cannot_carry_are_refused_with_the_reason_r_090(
    user: str, password: str, text: str
) -> None:
    with pytest.raises(LoginError, match=text) as refused:
        basic_credentials(Login(user, password))
    assert SECRET not in f"{refused.value!r}{refused.value.__context__!r}"


@pytest.mark.parametrize("special", ["@", "#", '"', "\\", "%40", "§", " lead", "trail ", ";", "😀"])
def test_special_characters_are_sent_unchanged(special: str) -> None:
    octets = b64decode(basic_credentials(Login("u", special)).removeprefix(b"Basic "))
    assert octets == b"u:" + special.encode()


def test_a_long_password_is_not_truncated() -> None:
    octets = b64decode(basic_credentials(Login("u", "x" * 5000)).removeprefix(b"Basic "))
    assert len(octets) == 5002


@pytest.mark.parametrize("challenges", [(Challenge("basic"),), ()])
def test_every_request_has_the_same_credentials_and_a_second_407_is_a_rejection(
    challenges: tuple[Challenge, ...],
) -> None:
    login = Login("Aladdin", "open sesame")
    authenticator = Basic().authenticator(Challenge("basic"), login, "proxy.example")
    assert authenticator.is_constant
    for method, target in ((b"GET", b"http://a.example/"), (b"CONNECT", b"b.example:443")):
        handshake = authenticator.begin(RequestToAuthenticate(method, target))
        assert handshake.step(()) == Leg(b"Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==")
        assert handshake.step(challenges) == Verdict(VerdictKind.REJECTED)


def test_basic_needs_a_login() -> None:
    with pytest.raises(LoginError, match="user name and a password"):
        Basic().authenticator(Challenge("basic"), None, "proxy.example")


@given(st.text(), st.text())
def test_credentials_are_a_single_line_of_ascii_or_refused(user: str, password: str) -> None:
    try:
        credentials = basic_credentials(Login(user, password))
    except LoginError:
        return
    scheme, token = credentials.split(b" ")
    assert scheme == b"Basic"
    name, _, secret = b64decode(token, validate=True).partition(b":")
    assert (name.decode(), secret.decode()) == (normalize("NFC", user), normalize("NFC", password))
