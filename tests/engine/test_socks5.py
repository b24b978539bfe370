"""Tests for trayproxy.engine.net.socks5: played as data, without a server."""

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trayproxy.engine.net.socks5 import (
    ConnectFailedError,
    NoAcceptableMethodError,
    NotSocksError,
    SocksAuthRejectedError,
    SocksAuthRequiredError,
    SocksDialogue,
    SocksStep,
    connect_to,
    negotiate,
)

MESSAGE = b"\x01\x04user\x04pass"
PROMISED = b"\x05\x00\x00\x01\x7f\x00\x00\x01\x04\x38"


def play(conversation: SocksDialogue[object], replies: bytes) -> tuple[object, bytes]:
    """Return what a conversation came to, and what it said, when this is answered in all."""
    said = b""
    try:
        turn = next(conversation)
        while True:
            said += turn.send
            reply, replies = replies[: turn.read], replies[turn.read :]
            assert len(reply) == turn.read, "it wants more than a server says"
            turn = conversation.send(reply)
    except StopIteration as stop:
        assert not replies, "it left something unread"
        return stop.value, said


def test_a_server_that_needs_no_login_is_sent_none() -> None:
    assert play(negotiate(MESSAGE, may_sign_in=True), b"\x05\x00") == (False, b"\x05\x02\x00\x02")


def test_a_login_is_sent_to_a_server_that_wants_it() -> None:
    signed_in, said = play(negotiate(MESSAGE, may_sign_in=True), b"\x05\x02\x01\x00")
    assert signed_in is True
    assert said == b"\x05\x02\x00\x02" + MESSAGE


def test_a_profile_without_sign_in_offers_none() -> None:
    assert play(negotiate(None, may_sign_in=False), b"\x05\x00") == (False, b"\x05\x01\x00")
    with pytest.raises(NotSocksError):
        play(negotiate(None, may_sign_in=False), b"\x05\x02")


def test_a_server_that_wants_a_login_that_is_not_known_is_sent_nothing_more() -> None:
    conversation = negotiate(None, may_sign_in=True)
    next(conversation)
    with pytest.raises(SocksAuthRequiredError):
        conversation.send(b"\x05\x02")


@pytest.mark.parametrize("reply", [b"\x01\x01", b"\x01\xff", b"\x05\x01"])
def test_every_status_but_zero_is_a_rejection(reply: bytes) -> None:
    with pytest.raises(SocksAuthRejectedError):
        play(negotiate(MESSAGE, may_sign_in=True), b"\x05\x02" + reply)


def test_servers_that_give_the_wrong_version_with_the_verdict_are_understood() -> None:
    assert play(negotiate(MESSAGE, may_sign_in=True), b"\x05\x02\x05\x00")[0] is True


def test_a_server_may_accept_no_method() -> None:
    with pytest.raises(NoAcceptableMethodError):
        play(negotiate(MESSAGE, may_sign_in=True), b"\x05\xff")


@pytest.mark.parametrize("reply", [b"HT", b"\x00\x5a", b"\x05\x01", b"\x05\x03"])
def test_what_is_not_socks_is_told_no_login(reply: bytes) -> None:
    conversation = negotiate(MESSAGE, may_sign_in=True)
    next(conversation)
    with pytest.raises(NotSocksError):
        conversation.send(reply)


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("www.test.lan", b"\x03\x0cwww.test.lan"),
        ("192.0.2.1", b"\x01\xc0\x00\x02\x01"),
        ("2001:db8::1", b"\x04" + ip_address("2001:db8::1").packed),
        ("x" * 255, b"\x03\xff" + b"x" * 255),
    ],
)
def test_names_are_left_to_the_server(host: str, address: bytes) -> None:
    _, said = play(connect_to(host, 443), PROMISED)
    assert said == b"\x05\x01\x00" + address + b"\x01\xbb"


def test_a_name_that_does_not_fit_is_not_asked_for() -> None:
    with pytest.raises(ConnectFailedError):
        next(connect_to("x" * 256, 443))


@pytest.mark.parametrize(
    "reply",
    [
        PROMISED,
        b"\x05\x00\x00\x04" + b"\x00" * 18,
        b"\x05\x00\x00\x03\x04host\x00\x50",
        b"\x05\x00\x00\x03\x00\x00\x50",
    ],
)
def test_the_address_in_the_reply_is_read_to_its_end_and_no_further(reply: bytes) -> None:
    play(connect_to("a", 1), reply)


@pytest.mark.parametrize("code", range(1, 256, 13))
def test_a_target_that_cannot_be_reached_has_the_servers_reason(code: int) -> None:
    with pytest.raises(ConnectFailedError) as failed:
        play(connect_to("a", 1), bytes((5, code, 0, 1)))
    assert failed.value.code == code


@pytest.mark.parametrize("reply", [b"HTTP", b"\x05\x00\x00\x02", b"\x04\x00\x00\x01"])
def test_a_reply_that_is_none_is_refused(reply: bytes) -> None:
    with pytest.raises(NotSocksError):
        play(connect_to("a", 1), reply)


@given(st.binary(max_size=300), st.booleans())
def test_whatever_is_answered_it_never_sends_the_login_twice(octets: bytes, known: bool) -> None:
    said = b""
    conversation: SocksDialogue[object] = negotiate(MESSAGE if known else None, may_sign_in=True)
    try:
        turn: SocksStep = next(conversation)
        while True:
            said += turn.send
            reply, octets = octets[: turn.read], octets[turn.read :]
            if len(reply) < turn.read:
                break
            turn = conversation.send(reply)
    except (
        StopIteration,
        SocksAuthRequiredError,
        SocksAuthRejectedError,
        NoAcceptableMethodError,
        NotSocksError,
    ):
        pass
    assert said.count(MESSAGE) <= (1 if known else 0)


def test_the_login_is_not_shown_by_what_carries_it() -> None:
    assert "pass" not in repr(SocksStep(MESSAGE, 2))
