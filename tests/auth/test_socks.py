"""Tests for trayproxy.auth.socks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trayproxy.auth.login import Login, LoginError
from trayproxy.auth.scheme import Leg, Offer, RequestToAuthenticate, choose
from trayproxy.auth.socks import NAME, SocksPassword, socks_challenge, socks_credentials
from trayproxy.http.challenges import parse_challenges


def test_the_message_follows_rfc_1929() -> None:
    login = Login("jdoe", "pa55 w:rd")
    assert socks_credentials(login) == b"\x01\x04jdoe\x09pa55 w:rd"
    authenticator = SocksPassword().authenticator(socks_challenge(), login, "proxy.example")
    assert authenticator.begin(RequestToAuthenticate(b"", b"")).step(()) == Leg(
        socks_credentials(login)
    )


def test_text_is_encoded_as_utf_8_in_composed_form() -> None:
    assert socks_credentials(Login("Jo\u0308rg", "ß")) == b"\x01\x05J\xc3\xb6rg\x02\xc3\x9f"


def test_a_colon_is_allowed() -> None:
    assert b"CORP:jdoe" in socks_credentials(Login("CORP:jdoe", "x"))


def test_an_empty_password_and_255_octets_are_allowed() -> None:
    assert socks_credentials(Login("jdoe", "")) == b"\x01\x04jdoe\x00"
    assert socks_credentials(Login("u" * 255, "")) == b"\x01\xff" + b"u" * 255 + b"\x00"


@pytest.mark.parametrize(
    "login",
    [
        Login("", "x"),
        Login("u" * 256, "x"),
        Login("jdoe", "ß" * 128),
        Login("jdoe", "canary\ud800"),
    ],
)
def test_an_invalid_login_is_refused_without_quoting_it(login: Login) -> None:
    with pytest.raises(LoginError) as refused:
        SocksPassword().check(login)
    assert "canary" not in str(refused.value)


@given(st.text(max_size=300), st.text(max_size=300))
def test_lengths_on_the_wire_are_right(user: str, password: str) -> None:
    try:
        message = socks_credentials(Login(user, password))
    except LoginError:
        return
    size = message[1]
    assert len(message) == 3 + size + message[2 + size]


def test_no_http_challenge_can_name_the_socks_method() -> None:
    """Otherwise an HTTP proxy could request a readable login despite the allowed schemes."""
    socks = SocksPassword()
    assert choose([socks_challenge()], [socks]) == Offer(socks, socks_challenge())
    for value in (NAME, f'{NAME} realm="x"', f"Basic, {NAME}"):
        assert choose(parse_challenges([value.encode()]), [socks]) is None
