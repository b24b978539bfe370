"""The SOCKS5 dialogue as data, without a server."""

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
CONNECTED = b"\x05\x00\x00\x01\x7f\x00\x00\x01\x04\x38"


def run_dialogue(dialogue: SocksDialogue[object], replies: bytes) -> tuple[object, bytes]:
    """Return the result of a dialogue and the octets sent by it, given all octets of the server."""
    sent = b""
    try:
        step = next(dialogue)
        while True:
            sent += step.send
            reply, replies = replies[: step.read], replies[step.read :]
            assert len(reply) == step.read, "it wants more than a server says"
            step = dialogue.send(reply)
    except StopIteration as stop:
        assert not replies, "it left something unread"
        return stop.value, sent


def test_a_server_that_needs_no_login_is_sent_none() -> None:
    assert run_dialogue(negotiate(MESSAGE, may_sign_in=True), b"\x05\x00") == (
        False,
        b"\x05\x02\x00\x02",
    )


def test_a_login_is_sent_to_a_server_that_requires_it() -> None:
    signed_in, sent = run_dialogue(negotiate(MESSAGE, may_sign_in=True), b"\x05\x02\x01\x00")
    assert signed_in is True
    assert sent == b"\x05\x02\x00\x02" + MESSAGE


def test_a_profile_without_sign_in_offers_none() -> None:
    assert run_dialogue(negotiate(None, may_sign_in=False), b"\x05\x00") == (False, b"\x05\x01\x00")
    with pytest.raises(NotSocksError):
        run_dialogue(negotiate(None, may_sign_in=False), b"\x05\x02")


def test_a_server_that_requires_an_unknown_login_is_sent_nothing_more() -> None:
    dialogue = negotiate(None, may_sign_in=True)
    next(dialogue)
    with pytest.raises(SocksAuthRequiredError):
        dialogue.send(b"\x05\x02")


@pytest.mark.parametrize("reply", [b"\x01\x01", b"\x01\xff", b"\x05\x01"])
def test_every_status_but_zero_is_a_rejection(reply: bytes) -> None:
    with pytest.raises(SocksAuthRejectedError):
        run_dialogue(negotiate(MESSAGE, may_sign_in=True), b"\x05\x02" + reply)


def test_a_wrong_version_in_the_authentication_reply_is_ignored() -> None:
    assert run_dialogue(negotiate(MESSAGE, may_sign_in=True), b"\x05\x02\x05\x00")[0] is True


def test_a_server_may_accept_no_method() -> None:
    with pytest.raises(NoAcceptableMethodError):
        run_dialogue(negotiate(MESSAGE, may_sign_in=True), b"\x05\xff")


@pytest.mark.parametrize("reply", [b"HT", b"\x00\x5a", b"\x05\x01", b"\x05\x03"])
def test_a_server_that_does_not_speak_socks5_is_sent_no_login(reply: bytes) -> None:
    dialogue = negotiate(MESSAGE, may_sign_in=True)
    next(dialogue)
    with pytest.raises(NotSocksError):
        dialogue.send(reply)


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("www.test.lan", b"\x03\x0cwww.test.lan"),
        ("192.0.2.1", b"\x01\xc0\x00\x02\x01"),
        ("2001:db8::1", b"\x04" + ip_address("2001:db8::1").packed),
        ("x" * 255, b"\x03\xff" + b"x" * 255),
    ],
)
def test_names_are_resolved_by_the_server(host: str, address: bytes) -> None:
    _, sent = run_dialogue(connect_to(host, 443), CONNECTED)
    assert sent == b"\x05\x01\x00" + address + b"\x01\xbb"


def test_a_name_too_long_for_socks5_is_not_sent() -> None:
    with pytest.raises(ConnectFailedError):
        next(connect_to("x" * 256, 443))


@pytest.mark.parametrize(
    "reply",
    [
        CONNECTED,
        b"\x05\x00\x00\x04" + b"\x00" * 18,
        b"\x05\x00\x00\x03\x04host\x00\x50",
        b"\x05\x00\x00\x03\x00\x00\x50",
    ],
)
def test_the_address_in_the_reply_is_read_exactly(reply: bytes) -> None:
    _, sent = run_dialogue(connect_to("a", 1), reply)
    assert sent == b"\x05\x01\x00\x03\x01a\x00\x01"


@pytest.mark.parametrize("code", range(1, 256, 13))
def test_an_unreachable_target_raises_with_the_reply_code(code: int) -> None:
    with pytest.raises(ConnectFailedError) as failed:
        run_dialogue(connect_to("a", 1), bytes((5, code, 0, 1)))
    assert failed.value.code == code


@pytest.mark.parametrize("reply", [b"HTTP", b"\x05\x00\x00\x02", b"\x04\x00\x00\x01"])
def test_a_malformed_reply_is_rejected(reply: bytes) -> None:
    with pytest.raises(NotSocksError):
        run_dialogue(connect_to("a", 1), reply)


@given(st.binary(max_size=300), st.booleans())
def test_the_login_is_never_sent_twice(octets: bytes, known: bool) -> None:
    sent = b""
    dialogue: SocksDialogue[object] = negotiate(MESSAGE if known else None, may_sign_in=True)
    try:
        step: SocksStep = next(dialogue)
        while True:
            sent += step.send
            reply, octets = octets[: step.read], octets[step.read :]
            if len(reply) < step.read:
                break
            step = dialogue.send(reply)
    except (
        StopIteration,
        SocksAuthRequiredError,
        SocksAuthRejectedError,
        NoAcceptableMethodError,
        NotSocksError,
    ):
        pass
    assert sent.count(MESSAGE) <= (1 if known else 0)


def test_the_repr_of_a_step_hides_the_login() -> None:
    assert "pass" not in repr(SocksStep(MESSAGE, 2))
